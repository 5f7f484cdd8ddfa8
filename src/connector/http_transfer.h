/*
 * http_transfer.h: one exchange with a server, redirects included: a request goes out, a reply comes in.
 *
 * Knows nothing of what is done with broken ones. Threads: one at a time per exchange.
 */
#ifndef QN_CONNECTOR_HTTP_TRANSFER_H
#define QN_CONNECTOR_HTTP_TRANSFER_H

#include "connector/http_private.h"

#define HTTP_PIECE 512 /* bytes of a body that are kept in memory: of an error, or of what is looked at */

enum qn_http_kind { QN_HTTP_HEAD, QN_HTTP_FIRST, QN_HTTP_BODY };

struct qn_http_exchange {
    const struct qn_http *http; /* borrowed */
    enum qn_http_kind kind;
    int64_t first;        /* of QN_HTTP_FIRST: how many bytes are wanted, HTTP_PIECE at most */
    int fd;               /* of QN_HTTP_BODY: where the body goes */
    int64_t offset;       /* of QN_HTTP_BODY: bytes that are there already */
    const char *if_range; /* with an offset: what the bytes that are there belong to */

    /* What came. */
    int status;    /* 0: no reply */
    int64_t total; /* bytes of the whole resource; -1: unknown */
    int64_t range_start;
    char etag[256], modified[64], content_type[128], reason[64], range_unit[16];
    bool encoded; /* compressed on the line: offsets mean nothing */
    int64_t retry_after_ms;
    char piece[HTTP_PIECE + 1];
    size_t piece_size;
    int64_t written; /* size of the file now */
    bool broken;     /* the transfer broke off: what is written is good */

    /* Of the exchange itself. */
    bool begun;
    size_t header_bytes, dropped;
    int64_t last_sign; /* qn_clock_nanos of the last byte */
    enum qn_status failure;
    struct qn_error error; /* why our side ended it */
};

/* Run it. QN_OK: a reply of 200, 206 or 416 came whole. Any other status is an error that names it, with a piece of the
 * body. `deadline` as in os/clock.h. */
enum qn_status qn__http_exchange(struct qn_http_exchange *exchange, int64_t deadline,
                                 struct qn_error *err) QN_MUST_CHECK;

#endif
