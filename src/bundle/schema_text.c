/*
 * schema_text.c: schemas as a commit keeps them: base64 (RFC 4648, padded, one line) of an Arrow IPC schema message.
 *
 * What is read is trusted in nothing: only text that is written so again is taken. No state.
 */
#include "arrow/ipc.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blocks.h"

#include <openssl/evp.h>

enum qn_status qn__schema_to_text(const struct ArrowSchema *schema, char **out, struct qn_error *err)
{
    struct qn_ipc_encoder *encoder = NULL;
    enum qn_status status = qn_ipc_encoder_new(schema, &encoder, err);
    if (status == QN_ERR_UNSUPPORTED) {
        *out = NULL;
        return QN_OK;
    }
    QN_TRY(status);
    qn_auto_buffer message = { .limit = QN_COMMIT_MAX_SCHEMA };
    status = qn_ipc_encode_schema(encoder, &message, err);
    qn_ipc_encoder_free(encoder);
    size_t size = (message.size + 2) / 3 * 4;
    if (message.failure == QN_BUFFER_LIMIT || size > QN_COMMIT_MAX_SCHEMA) {
        *out = NULL;
        return QN_OK;
    }
    QN_TRY(status);
    char *text = qn_malloc(size + 1);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    (void)EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)message.data, (int)message.size);
    *out = text;
    return QN_OK;
}

static enum qn_status damaged(struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "the schema that the log has of a block is not base64");
}

/* The bytes of a text; *size_out without the padding. */
static enum qn_status decode(const char *text, size_t length, unsigned char **out, size_t *size_out,
                             struct qn_error *err)
{
    size_t padding = length > 0 && text[length - 1] == '=' ? (text[length - 2] == '=' ? 2 : 1) : 0;
    qn_auto_free unsigned char *bytes = qn_malloc(length / 4 * 3 + 1);
    qn_auto_free char *again = qn_malloc(length + 1);
    if (bytes == NULL || again == NULL) {
        return qn__no_memory(err);
    }
    int size = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length);
    if (size < 0 || (size_t)size < padding) {
        return damaged(err);
    }
    *size_out = (size_t)size - padding;
    (void)EVP_EncodeBlock((unsigned char *)again, bytes, (int)*size_out);
    if (!qn_text_equal(again, text)) {
        return damaged(err);
    }
    *out = qn_steal(&bytes);
    return QN_OK;
}

enum qn_status qn__schema_from_text(const char *text, struct ArrowSchema *out, struct qn_error *err)
{
    size_t length = strlen(text);
    if (length == 0 || length % 4 != 0 || length > QN_COMMIT_MAX_SCHEMA) {
        return damaged(err);
    }
    qn_auto_free unsigned char *bytes = NULL;
    size_t size = 0;
    QN_TRY(decode(text, length, &bytes, &size, err));
    struct qn_ipc_decoder *decoder = NULL;
    QN_TRY(qn_ipc_decoder_new(QN_COMMIT_MAX_SCHEMA, &decoder, err));
    enum qn_status status = qn_ipc_decode_schema(decoder, bytes, size, err);
    if (status == QN_OK) {
        status = qn_schema_copy(qn_ipc_decoder_schema(decoder), out, err);
    } else if (status == QN_ERR_PROTOCOL) {
        status = qn_error_set(err, QN_ERR_DATA, "the schema that the log has of a block is no Arrow schema");
    }
    qn_ipc_decoder_free(decoder);
    return status;
}
