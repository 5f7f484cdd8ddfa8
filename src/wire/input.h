/*
 * input.h: bytes from another process: lines with a limit, exact lengths, and the descriptors that they come from.
 *
 * A qn_wire_read is where bytes come from: a descriptor (qn_wire_fd_read), a payload (payload.h), or memory in tests. An
 * input keeps what was read ahead. What comes is hostile: a line is held to its limit, and memory grows with the bytes
 * that have come. An end of file inside of something is QN_ERR_CONNECTION. Threads: one at a time per input.
 */
#ifndef QN_WIRE_INPUT_H
#define QN_WIRE_INPUT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_WIRE_MAX_LINE (64u << 20)
#define QN_WIRE_STAGE    (64u << 10) /* bytes that are read ahead */

/* Read at least one byte and at most `size` (never 0) into `into`; *got_out 0: the end. Blocks. */
typedef enum qn_status (*qn_wire_read)(void *context, void *into, size_t size, size_t *got_out, struct qn_error *err);

/* ---- descriptors ---- */

/* A non-blocking descriptor, borrowed. Its owner sets the fields; the last three may change between calls. */
struct qn_wire_fd {
    int fd;
    const char *what; /* for messages: who is at the other end */
    /* Waits until `fd` is ready for `events`, as qn_poll_one does, which stands in for NULL. For owners that have more to
     * look after meanwhile. */
    enum qn_status (*wait)(void *context, int fd, short events, int64_t deadline, struct qn_error *err);
    void *wait_context;
    int64_t deadline;   /* (os/clock.h) of everything */
    int64_t silence_ms; /* how long the other side may do nothing; 0: for ever */
};

/* Read what is there, or wait for it. QN_ERR_TIMEOUT, QN_ERR_CANCELLED (the interrupt callback), QN_ERR_IO. */
enum qn_status qn_wire_fd_read(void *wire_fd, void *into, size_t size, size_t *got_out,
                               struct qn_error *err) QN_MUST_CHECK;

/* Write all of it. A reader that is gone is QN_ERR_CONNECTION, without SIGPIPE. */
enum qn_status qn_wire_fd_write(struct qn_wire_fd *wire_fd, const void *bytes, size_t size,
                                struct qn_error *err) QN_MUST_CHECK;

/* ---- inputs ---- */

struct qn_wire_input {
    qn_wire_read read;
    void *context;
    const char *what; /* for messages */
    char *bytes;      /* what was read ahead: [begin, end) */
    size_t begin, end, capacity;
    bool ended;
};

/* Allocates nothing. `context` and `what` are borrowed. */
void qn_wire_input_init(struct qn_wire_input *input, qn_wire_read read, void *context, const char *what);
void qn_wire_input_dispose(struct qn_wire_input *input);

/* The next line, of at most `limit` bytes without its "\n" (more is QN_ERR_PROTOCOL); *line_out is NULL at the end. Borrowed
 * until the next call. Where waiting for it fails (deadline, interrupt), what has come is kept: the call may be repeated. */
enum qn_status qn_wire_read_line(struct qn_wire_input *input, size_t limit, const char **line_out, size_t *size_out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* At least one byte, at most `size` (never 0); 0: the end. */
enum qn_status qn_wire_read_some(struct qn_wire_input *input, void *into, size_t size, size_t *got_out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* Wait until `size` bytes are there, which are those of `part` ("a header"), and look at them: they stay the next ones until
 * qn_wire_skip. Borrowed until the next call. Where waiting fails, what has come is kept, as with lines. */
enum qn_status qn_wire_look(struct qn_wire_input *input, size_t size, const char *part, const char **bytes_out,
                            struct qn_error *err) QN_MUST_CHECK;
void qn_wire_skip(struct qn_wire_input *input, size_t size); /* no more than were looked at */

/* Bytes that have been read and that nobody has asked for yet. */
size_t qn_wire_input_pending(const struct qn_wire_input *input);

#endif
