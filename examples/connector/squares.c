/*
 * squares.c: a connector in plain C, by docs/protocol/connector.md and arrow.md alone; jansson reads and writes the JSON.
 *
 *   cc -o squares squares.c -ljansson          and a host runs it as `ipc::./squares`
 *
 * A location is a number of rows, of the columns n and square. For machines that are little-endian, as Arrow is.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_OF_BATCH = 1000, BODY = 5, ROWS = 9, NODES = 12, BUFFERS = 17 };

/* The two messages of arrow.md, in words of 8 bytes. */
static const uint64_t schema[26] = { 0xc8ffffffff,     0xc000a00000010,
                                     0x800060004,      0x100040000000c,
                                     0x800080000000c,  0x800040000,
                                     0x200000004,      0x5800000018,
                                     0x400140010,      0x100000000c0008,
                                     0x1000000010,     0x1800000002,
                                     0x100000020,      0xc00080000006e,
                                     0x800080004,      0x100000040,
                                     0x14001000000000, 0xc000800000004,
                                     0x1000100000,     0x200000010,
                                     0x240000001c,     0x6175717300000006,
                                     0xc000800006572,  0x800080004,
                                     0x100000040,      0 };
static uint64_t batch[25] = {
    0xc0ffffffff, 0x18000c00000010, 0x10000800060004,  0x300040000000c, 0x20, 0, 0x1000080018000a, 0x14, 0x10, 0,
    0x300000000c, 0x200000000,      [16] = 0x400000000
};
static const uint64_t the_end = 0xffffffff;

static void answer(const json_t *id, const char *member, json_t *value)
{
    json_t *reply = json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "id", id != NULL ? json_deep_copy(id) : json_null(),
                              member, value);
    json_dumpf(reply, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(reply);
}

static void fail(const json_t *id, int code, const char *message)
{
    answer(id, "error", json_pack("{s:i, s:s}", "code", code, "message", message));
}

/* Send the rows (begin, end] as a batch: header, n, square. */
static void send_batch(uint64_t begin, uint64_t end)
{
    uint64_t n[ROWS_OF_BATCH], square[ROWS_OF_BATCH], rows = end - begin, size = 8 * rows;
    for (uint64_t i = 0; i < rows; i++) {
        n[i] = begin + i + 1;
        square[i] = n[i] * n[i];
    }
    batch[BODY] = 2 * size;
    batch[ROWS] = batch[NODES] = batch[NODES + 2] = rows;
    batch[BUFFERS + 3] = batch[BUFFERS + 4] = batch[BUFFERS + 6] = batch[BUFFERS + 7] = size;
    fwrite(batch, 1, sizeof batch, stdout);
    fwrite(n, 1, size, stdout);
    fwrite(square, 1, size, stdout);
}

static void data(const json_t *id, const json_t *params)
{
    const char *location = json_string_value(json_object_get(json_object_get(params, "location"), "location"));
    char *rest = NULL;
    uint64_t rows = location != NULL ? strtoull(location, &rest, 10) : 0;
    if (location == NULL || *location == '\0' || *rest != '\0' || rows > 100000000) {
        fail(id, location == NULL ? -32602 : -32000,
             location == NULL ? "no location" : "a location is a number of rows");
        return;
    }
    uint64_t batches = (rows + ROWS_OF_BATCH - 1) / ROWS_OF_BATCH; /* the size goes first: it has to be known */
    uint64_t size = rows == 0 ? 0 : sizeof schema + batches * sizeof batch + 16 * rows + sizeof the_end;
    answer(id, "result", json_pack("{s:b}", "ok", 1));
    for (int shift = 24; shift >= 0; shift -= 8) {
        putchar((int)(size >> shift & 0xff));
    }
    if (rows > 0) { /* else: no data */
        fwrite(schema, 1, sizeof schema, stdout);
        for (uint64_t at = 0; at < rows; at += ROWS_OF_BATCH) {
            send_batch(at, at + ROWS_OF_BATCH < rows ? at + ROWS_OF_BATCH : rows);
        }
        fwrite(&the_end, 1, sizeof the_end, stdout);
    }
}

static int handle(const json_t *request)
{
    const json_t *id = json_object_get(request, "id"), *params = json_object_get(request, "params");
    const char *method = json_string_value(json_object_get(request, "method"));
    if (method == NULL) {
        fail(id, request == NULL ? -32700 : -32600, request == NULL ? "not JSON" : "not a request");
    } else if (id == NULL) { /* a notification: none is known */
    } else if (strcmp(method, "handshake") == 0) {
        answer(id, "result", json_pack("{s:s}", "protocol_version", "1"));
    } else if (strcmp(method, "ping") == 0) {
        answer(id, "result", json_string("pong"));
    } else if (strcmp(method, "discover") == 0) {
        answer(id, "result",
               json_pack("{s:[{s:s, s:i}, {s:s, s:i}, {s:s}]}", "locations", "location", "10", "num_rows", 10,
                         "location", "1000000", "num_rows", 1000000, "location", "0"));
    } else if (strcmp(method, "data") == 0) {
        data(id, params);
    } else if (strcmp(method, "stable_url") == 0) {
        answer(id, "result", json_null());
    } else if (strcmp(method, "shutdown") == 0) {
        answer(id, "result", json_pack("{s:b}", "ok", 1));
    } else {
        fail(id, -32601, "there is no such method");
    }
    fflush(stdout);
    return method == NULL || strcmp(method, "shutdown") != 0;
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    for (int more = 1; more && getline(&line, &room, stdin) > 0;) {
        json_t *request = json_loads(line, JSON_DECODE_ANY, NULL);
        more = line[strspn(line, " \r\n")] == '\0' || handle(request);
        json_decref(request);
    }
    free(line);
    return 0;
}
