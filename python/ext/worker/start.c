/*
 * start.c: START, taken apart: what a run is to do.
 *
 * Layout (src/processor/protocol.h): parts of struct qn_part and its bytes, each padded to 8. The engine is trusted, but a
 * part that is not whole is a broken channel. The memfd is mapped and closed here, before a statement can see it.
 */
#include "worker.h"

#include "base/memory.h"

#include <unistd.h>

struct part {
    const char *bytes;
    size_t size;
};

#define N_PARTS (QN_PART_OUTPUT_TYPES + 1)

static bool split(const char *bytes, size_t size, struct part parts[N_PARTS])
{
    size_t at = 0;
    while (at < size) {
        struct qn_part head;
        if (size - at < sizeof head) {
            return false;
        }
        memcpy(&head, bytes + at, sizeof head);
        at += sizeof head;
        if (head.kind == 0 || head.kind >= N_PARTS || head.size > size - at) {
            return false;
        }
        parts[head.kind] = (struct part){ .bytes = bytes + at, .size = (size_t)head.size };
        size_t padded = ((size_t)head.size + 7) & ~(size_t)7;
        at = padded > size - at ? size : at + padded;
    }
    return true;
}

/* The value of the one column in the one row. */
static PyObject *read_checkpoint(const struct part *part)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_ipc_decoder *decoder = NULL;
    struct rows_in *rows = NULL;
    qn_auto_array batch = { .release = NULL };
    PyObject *value = NULL;
    uint64_t schema_size = 0;
    uint64_t batch_size = 0;
    bool end = false;
    struct qn_ipc_owner copied = { .release = NULL };
    if (qn_ipc_decoder_new(0, &decoder, &err) != QN_OK ||
        qn_ipc_message_size(decoder, part->bytes, part->size, &schema_size, &end, &err) != QN_OK ||
        qn_ipc_decode_schema(decoder, part->bytes, (size_t)schema_size, &err) != QN_OK ||
        qn_ipc_message_size(decoder, part->bytes + schema_size, part->size - (size_t)schema_size, &batch_size, &end,
                            &err) != QN_OK ||
        qn_ipc_decode_batch(decoder, part->bytes + schema_size, (size_t)batch_size, copied, &batch, &err) != QN_OK) {
        worker_raise(&err);
    } else if ((rows = rows_in_new(qn_ipc_decoder_schema(decoder))) != NULL) {
        value = rows_in_value(rows, &batch);
    }
    rows_in_free(rows);
    qn_ipc_decoder_free(decoder);
    return value;
}

static int set(PyObject *dict, const char *key, PyObject *taken)
{
    int result = taken == NULL ? -1 : PyDict_SetItemString(dict, key, taken);
    Py_XDECREF(taken);
    return result;
}

static PyObject *text_of(const struct part *part, const char *otherwise)
{
    return part->bytes == NULL ? PyUnicode_FromString(otherwise)
                               : PyUnicode_DecodeUTF8(part->bytes, (Py_ssize_t)part->size, "replace");
}

static PyObject *describe(struct child *child, const struct part parts[N_PARTS])
{
    const struct part *statement = &parts[QN_PART_STATEMENT];
    const struct part *checkpoint = &parts[QN_PART_CHECKPOINT];
    const struct qn_run_options_part *options = &child->options;
    PyObject *all = PyDict_New();
    if (all == NULL ||
        set(all, "statement", PyBytes_FromStringAndSize(statement->bytes, (Py_ssize_t)statement->size)) < 0 ||
        set(all, "name", text_of(&parts[QN_PART_NAME], "statement.py")) < 0 ||
        set(all, "allow", text_of(&parts[QN_PART_ALLOW], "")) < 0 ||
        set(all, "flags", PyLong_FromUnsignedLong(options->flags)) < 0 ||
        set(all, "concurrency", PyLong_FromUnsignedLong(options->concurrency)) < 0 ||
        set(all, "batch_rows", PyLong_FromLongLong(options->batch_rows)) < 0 ||
        set(all, "has_input", PyBool_FromLong(child->input.decoder != NULL)) < 0 ||
        set(all, "checkpoint", checkpoint->bytes != NULL ? read_checkpoint(checkpoint) : Py_NewRef(Py_None)) < 0) {
        Py_XDECREF(all);
        return NULL;
    }
    return all;
}

static int open_data(struct child *child, const struct part parts[N_PARTS], int input_fd)
{
    const struct part *schema = &parts[QN_PART_OUTPUT_SCHEMA];
    const struct part *types = &parts[QN_PART_OUTPUT_TYPES];
    if (child->options.flags & QN_RUN_CHECK_ONLY) {
        child->input.ended = true;
        return 0;
    }
    if (schema->bytes == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the run has no output schema");
        return -1;
    }
    if (child_output_open(child, schema->bytes, schema->size, types->bytes, types->size) < 0) {
        return -1;
    }
    return child_input_open(child, input_fd, input_fd >= 0 ? child->options.input_bytes : 0);
}

PyObject *child_start(struct child *child)
{
    struct qn_frame frame;
    void *payload = NULL;
    int got = channel_receive(&child->channel, &frame, &payload);
    if (got < 0) {
        return PyErr_NoMemory();
    }
    if (got == 0) {
        _exit(WORKER_EXIT_ENDED);
    }
    struct part parts[N_PARTS] = { { .bytes = NULL } };
    if (frame.kind != QN_FRAME_START || !split(payload, (size_t)frame.size, parts) ||
        parts[QN_PART_OPTIONS].size != sizeof child->options || parts[QN_PART_STATEMENT].bytes == NULL) {
        _exit(WORKER_EXIT_BROKEN);
    }
    memcpy(&child->options, parts[QN_PART_OPTIONS].bytes, sizeof child->options);
    if (child->options.version != QN_WORKER_VERSION) {
        _exit(WORKER_EXIT_BROKEN);
    }
    int input_fd = child->channel.attached;
    child->channel.attached = -1;
    PyObject *all = open_data(child, parts, input_fd) < 0 ? NULL : describe(child, parts);
    if (input_fd >= 0) {
        close(input_fd);
    }
    qn_free(payload);
    return all;
}
