/*
 * crc32c.c: see crc32c.h. Eight bytes a step from eight tables, which are made on first use. Threads: the tables are made
 * once.
 */
#include "base/crc32c.h"

#include <pthread.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t tables[8][256]; /* [n][b]: what byte b does that n others follow */
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t rest = byte;
        for (int bit = 0; bit < 8; bit++) {
            rest = (rest >> 1) ^ ((rest & 1) != 0 ? POLYNOMIAL : 0);
        }
        tables[0][byte] = rest;
    }
    for (int n = 1; n < 8; n++) {
        for (int byte = 0; byte < 256; byte++) {
            tables[n][byte] = (tables[n - 1][byte] >> 8) ^ tables[0][tables[n - 1][byte] & 0xff];
        }
    }
}

uint32_t qn_crc32c(uint32_t before, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint32_t rest = ~before;
    (void)pthread_once(&made, make_tables);
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t first =
            rest ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        rest = tables[7][first & 0xff] ^ tables[6][first >> 8 & 0xff] ^ tables[5][first >> 16 & 0xff] ^
               tables[4][first >> 24] ^ tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
    }
    for (; size > 0; at++, size--) {
        rest = (rest >> 8) ^ tables[0][(rest ^ *at) & 0xff];
    }
    return ~rest;
}
