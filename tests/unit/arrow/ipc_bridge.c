/*
 * ipc_bridge.c: Arrow IPC behind plain C functions, for check_ipc.py, which calls them from Python by address.
 *
 * Each returns the status; the text of the last error is in bridge_error (one thread).
 */
#include "arrow/ipc.h"

#include <stdlib.h>

int bridge_encode(const struct ArrowSchema *schema, const struct ArrowArray *const *batches, int64_t n_batches,
                  int64_t head, char **bytes_out, size_t *size_out);
int bridge_decode(const char *bytes, size_t size, int in_place, struct ArrowSchema *schema_out,
                  struct ArrowArray *batches_out, int64_t most, int64_t *n_out);
void bridge_free(char *bytes);
const char *bridge_error(void);

static struct qn_error error = QN_ERROR_INIT;

const char *bridge_error(void)
{
    return error.message;
}

void bridge_free(char *bytes)
{
    free(bytes);
}

/* A stream of the batches, behind `head` bytes that are somebody else's. */
int bridge_encode(const struct ArrowSchema *schema, const struct ArrowArray *const *batches, int64_t n_batches,
                  int64_t head, char **bytes_out, size_t *size_out)
{
    struct qn_ipc_encoder *encoder = NULL;
    struct qn_buffer out = QN_BUFFER_INIT;
    for (int64_t i = 0; i < head; i++) {
        qn_buffer_append_byte(&out, 'x');
    }
    enum qn_status status = qn_ipc_encoder_new(schema, &encoder, &error);
    if (status == QN_OK) {
        status = qn_ipc_encode_schema(encoder, &out, &error);
    }
    for (int64_t i = 0; status == QN_OK && i < n_batches; i++) {
        status = qn_ipc_encode_batch(encoder, batches[i], &out, &error);
    }
    qn_ipc_encode_end(&out);
    qn_ipc_encoder_free(encoder);
    char *bytes = status == QN_OK ? malloc(out.size) : NULL;
    if (bytes != NULL) {
        memcpy(bytes, out.data, out.size);
        *bytes_out = bytes;
        *size_out = out.size;
    }
    qn_buffer_dispose(&out);
    return (int)status;
}

static enum qn_status decode_all(struct qn_ipc_decoder *decoder, const char *bytes, size_t size, int in_place,
                                 struct ArrowArray *batches_out, int64_t most, int64_t *n_out)
{
    uint64_t message;
    bool end = false;
    *n_out = 0;
    for (int64_t i = 0; size > 0; i++) {
        QN_TRY(qn_ipc_message_size(decoder, bytes, size, &message, &end, &error));
        if (end) {
            return QN_OK;
        }
        if (message == 0 || message > size) {
            return qn_error_set(&error, QN_ERR_PROTOCOL, "cut short");
        }
        if (i == 0) {
            QN_TRY(qn_ipc_decode_schema(decoder, bytes, (size_t)message, &error));
        } else if (*n_out < most) {
            char *copy = malloc((size_t)message);
            if (copy == NULL) {
                return QN_ERR_NO_MEMORY;
            }
            memcpy(copy, bytes, (size_t)message);
            struct qn_ipc_owner owner = { in_place ? free : NULL, copy };
            enum qn_status status =
                qn_ipc_decode_batch(decoder, copy, (size_t)message, owner, &batches_out[*n_out], &error);
            if (!in_place) {
                memset(copy, 0xAA, (size_t)message);
                free(copy);
            }
            QN_TRY(status);
            ++*n_out;
        }
        bytes += message;
        size -= (size_t)message;
    }
    return QN_OK;
}

int bridge_decode(const char *bytes, size_t size, int in_place, struct ArrowSchema *schema_out,
                  struct ArrowArray *batches_out, int64_t most, int64_t *n_out)
{
    struct qn_ipc_decoder *decoder = NULL;
    enum qn_status status = qn_ipc_decoder_new(0, &decoder, &error);
    if (status == QN_OK) {
        status = decode_all(decoder, bytes, size, in_place, batches_out, most, n_out);
    }
    if (status == QN_OK) {
        status = qn_schema_copy(qn_ipc_decoder_schema(decoder), schema_out, &error);
    }
    qn_ipc_decoder_free(decoder);
    return (int)status;
}
