/*
 * input.c: the input of a run: record batches of a mapped memfd first, then INPUT frames, one for each NEED.
 *
 * The memfd holds a schema message, batch messages and, where there is no more, the end-of-stream marker: then nothing is
 * asked for. It is mapped and closed before the statement begins, and unmapped once it is read. The engine is trusted; the
 * decoder is the same that trusts nothing. Needs the GIL.
 */
#include "worker.h"

#include "base/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static void keep(void *context)
{
    (void)context; /* the map is given up when all of it was read */
}

static void free_payload(void *context)
{
    qn_free(context);
}

static void unmap(struct child_input *input)
{
    if (input->map != NULL) {
        munmap(input->map, input->map_size);
        input->map = NULL;
    }
}

void child_input_close(struct child_input *input)
{
    qn_array_release(&input->batch);
    rows_in_free(input->rows);
    qn_ipc_decoder_free(input->decoder);
    unmap(input);
    *input = (struct child_input){ .ended = true };
}

/* The message at the map's position: its size, 0 where there is none any more. */
static int next_message(struct child_input *input, uint64_t *size_out, struct qn_error *err)
{
    uint64_t size = 0;
    bool end = false;
    size_t left = input->map_size - input->map_at;
    if (left == 0) {
        *size_out = 0;
        return 0;
    }
    const char *at = (const char *)input->map + input->map_at;
    if (qn_ipc_message_size(input->decoder, at, left, &size, &end, err) != QN_OK) {
        return -1;
    }
    if (end) {
        input->ended = true;
        size = 0;
    } else if (size == 0 || size > left) {
        qn_error_set(err, QN_ERR_PROTOCOL, "the input ends inside of a message");
        return -1;
    }
    *size_out = size;
    return 0;
}

static int open_map(struct child_input *input, int fd, uint64_t size, struct qn_error *err)
{
    void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        qn_error_set(err, errno == ENOMEM ? QN_ERR_NO_MEMORY : QN_ERR_IO, "the input cannot be mapped: %s",
                     strerror(errno));
        return -1;
    }
    input->map = map;
    input->ended = false;
    input->map_size = (size_t)size;
    uint64_t message = 0;
    if (qn_ipc_decoder_new(0, &input->decoder, err) != QN_OK || next_message(input, &message, err) < 0) {
        return -1;
    }
    if (message == 0) {
        qn_error_set(err, QN_ERR_PROTOCOL, "the input has no schema");
        return -1;
    }
    if (qn_ipc_decode_schema(input->decoder, map, (size_t)message, err) != QN_OK) {
        return -1;
    }
    input->map_at = (size_t)message;
    return 0;
}

int child_input_open(struct child *child, int fd, uint64_t size)
{
    struct child_input *input = &child->input;
    struct qn_error err = QN_ERROR_INIT;
    if (size == 0) {
        input->ended = true;
        return 0;
    }
    if (open_map(input, fd, size, &err) < 0) {
        worker_raise(&err);
        return -1;
    }
    input->rows = rows_in_new(qn_ipc_decoder_schema(input->decoder));
    return input->rows == NULL ? -1 : 0;
}

/* A batch of an INPUT frame; 0: there is no more. */
static int ask(struct child *child, struct ArrowArray *out)
{
    struct child_input *input = &child->input;
    channel_send(child->channel.fd, QN_FRAME_NEED, NULL, 0, -1);
    struct qn_frame frame;
    void *payload = NULL;
    int got = channel_receive(&child->channel, &frame, &payload);
    if (got < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (got == 0 || (frame.kind != QN_FRAME_INPUT && frame.kind != QN_FRAME_INPUT_END)) {
        _exit(WORKER_EXIT_BROKEN);
    }
    if (frame.kind == QN_FRAME_INPUT_END) {
        qn_free(payload);
        input->ended = true;
        return 0;
    }
    struct qn_error err = QN_ERROR_INIT;
    uint64_t start = worker_nanos();
    struct qn_ipc_owner owner = { .release = free_payload, .context = payload };
    enum qn_status status = qn_ipc_decode_batch(input->decoder, payload, (size_t)frame.size, owner, out, &err);
    input->nanos += worker_nanos() - start;
    if (status != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    return 1;
}

int child_input_next(struct child *child, struct ArrowArray *out)
{
    struct child_input *input = &child->input;
    if (input->map != NULL && !input->ended) {
        struct qn_error err = QN_ERROR_INIT;
        uint64_t start = worker_nanos();
        uint64_t message = 0;
        struct qn_ipc_owner owner = { .release = keep };
        const char *at = (const char *)input->map + input->map_at;
        if (next_message(input, &message, &err) < 0 ||
            (message > 0 && qn_ipc_decode_batch(input->decoder, at, (size_t)message, owner, out, &err) != QN_OK)) {
            worker_raise(&err);
            return -1;
        }
        input->nanos += worker_nanos() - start;
        if (message > 0) {
            input->map_at += (size_t)message;
            return 1;
        }
    }
    unmap(input);
    return input->ended ? 0 : ask(child, out);
}

/* The next batch that has rows, bound. 0 at the end. */
static int next_slices(struct child *child)
{
    struct child_input *input = &child->input;
    while (input->batch.release == NULL || input->batch_at >= input->batch.length) {
        if (input->batch.release != NULL) {
            input->rows_read += input->batch.length;
            qn_array_release(&input->batch);
        }
        int got = child_input_next(child, &input->batch);
        if (got <= 0) {
            return got;
        }
        input->batch_at = 0;
        if (rows_in_bind(input->rows, &input->batch, input->rows_read) < 0) {
            return -1;
        }
    }
    return 1;
}

PyObject *child_input_read(struct child *child, int64_t rows)
{
    struct child_input *input = &child->input;
    int got = next_slices(child);
    if (got < 0) {
        return NULL;
    }
    if (got == 0) {
        Py_RETURN_NONE;
    }
    uint64_t start = worker_nanos();
    int64_t count = input->batch.length - input->batch_at;
    if (rows > 0 && count > rows) {
        count = rows;
    }
    PyObject *list = rows_in_slice(input->rows, input->batch_at, count);
    input->nanos += worker_nanos() - start;
    if (list != NULL) {
        input->batch_at += count;
    }
    return list;
}
