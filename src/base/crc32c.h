/*
 * crc32c.h: CRC-32C (Castagnoli, RFC 3720), which tells damage from data; no protection against intent.
 *
 * Threads: no state.
 */
#ifndef QN_BASE_CRC32C_H
#define QN_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of `size` bytes that follow those whose checksum is `before` (0: none). */
uint32_t qn_crc32c(uint32_t before, const void *bytes, size_t size);

#endif
