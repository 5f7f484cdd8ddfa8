/*
 * fuzz_ipc.c: a stream of Arrow IPC messages from a hostile process. What is refused is refused by type, gives its bytes
 * back and leaves the output alone. What is accepted binds to readers, whose every value can be read; it can be written
 * again, and what is read from that has the same values.
 */
#include "arrow/ipc.h"
#include "arrow/reader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT     (1 << 20)
#define MOST_ROWS 4096 /* whose values are read: rows of columns without bytes cost nothing to claim */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static int64_t given_back;

static void give_back(void *context)
{
    given_back++;
    free(context);
}

/* An exact copy: the sanitizer sees what is read behind it. */
static void *exact_copy(const void *bytes, size_t size)
{
    void *copy = malloc(size);
    must(copy != NULL);
    memcpy(copy, bytes, size);
    return copy;
}

/* The values of a batch as text; false where a value has none (NaN). */
static void read_values(const struct ArrowSchema *schema, const struct ArrowArray *batch, struct qn_buffer *out)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_batch_reader reader;
    must(qn_batch_reader_init(&reader, schema, &error) == QN_OK);
    must(qn_batch_reader_bind(&reader, batch, &error) == QN_OK);
    for (int64_t i = 0; i < reader.n_columns; i++) {
        for (int64_t row = 0; row < batch->length && row < MOST_ROWS && out->size < LIMIT; row++) {
            size_t before = out->size;
            if (qn_reader_to_json(&reader.columns[i], row, out, &error) != QN_OK) {
                out->size = before;
                qn_buffer_append_text(out, error.message);
            }
            qn_buffer_append_byte(out, '\n');
        }
    }
    qn_batch_reader_dispose(&reader);
}

static void write_again(const struct ArrowSchema *schema, const struct ArrowArray *batch)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_ipc_encoder *encoder = NULL;
    struct qn_ipc_decoder *decoder = NULL;
    qn_auto_buffer bytes = QN_BUFFER_INIT, first = QN_BUFFER_INIT, second = QN_BUFFER_INIT;
    qn_auto_array again = { 0 };
    must(qn_ipc_encoder_new(schema, &encoder, &error) == QN_OK);
    must(qn_ipc_decoder_new(0, &decoder, &error) == QN_OK);
    must(qn_ipc_encode_schema(encoder, &bytes, &error) == QN_OK);
    must(qn_ipc_decode_schema(decoder, bytes.data, bytes.size, &error) == QN_OK);
    qn_buffer_reset(&bytes);
    must(qn_ipc_encode_batch(encoder, batch, &bytes, &error) == QN_OK);
    must(qn_ipc_decode_batch(decoder, bytes.data, bytes.size, (struct qn_ipc_owner){ 0 }, &again, &error) == QN_OK);
    must(again.length == batch->length);
    read_values(schema, batch, &first);
    read_values(qn_ipc_decoder_schema(decoder), &again, &second);
    must(strcmp(qn_buffer_text(&first), qn_buffer_text(&second)) == 0);
    qn_ipc_encoder_free(encoder);
    qn_ipc_decoder_free(decoder);
}

static bool one_message(struct qn_ipc_decoder *decoder, const uint8_t *data, size_t size, bool dictionary,
                        bool in_place)
{
    struct qn_error error = QN_ERROR_INIT;
    if (dictionary) {
        char *copy = exact_copy(data, size);
        enum qn_status status = qn_ipc_decode_dictionary(decoder, copy, size, &error);
        must(status == QN_OK || error.message[0] != '\0');
        free(copy);
        return status == QN_OK;
    }
    if (qn_ipc_decoder_schema(decoder) == NULL) {
        char *copy = exact_copy(data, size);
        enum qn_status status = qn_ipc_decode_schema(decoder, copy, size, &error);
        must(status == QN_OK || error.message[0] != '\0');
        must((status == QN_OK) == (qn_ipc_decoder_schema(decoder) != NULL));
        free(copy);
        return status == QN_OK;
    }
    qn_auto_array batch = { 0 };
    char *copy = exact_copy(data, size);
    int64_t before = given_back;
    struct qn_ipc_owner owner = { in_place ? give_back : NULL, copy };
    enum qn_status status = qn_ipc_decode_batch(decoder, copy, size, owner, &batch, &error);
    if (!in_place) {
        free(copy);
    }
    if (status != QN_OK) {
        must(status == QN_ERR_PROTOCOL || status == QN_ERR_UNSUPPORTED || status == QN_ERR_NO_MEMORY);
        must(error.message[0] != '\0' && batch.release == NULL && given_back == before + in_place);
        return false;
    }
    must(given_back == before);
    if (batch.length <= MOST_ROWS * 16) {
        write_again(qn_ipc_decoder_schema(decoder), &batch);
    }
    qn_array_release(&batch);
    must(given_back == before + in_place);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_ipc_decoder *decoder = NULL;
    must(qn_ipc_decoder_new(LIMIT, &decoder, &error) == QN_OK);
    bool more = true;
    for (int i = 0; more && i < 12; i++) {
        struct qn_ipc_head head = { 0 };
        enum qn_status status = qn_ipc_peek(decoder, data, size, &head, &error);
        must(status == QN_OK || (error.message[0] != '\0' && head.size == 0));
        if (status != QN_OK || head.needed > size || head.size > size || head.kind == QN_IPC_END) {
            break;
        }
        more = one_message(decoder, data, (size_t)head.size, head.kind == QN_IPC_DICTIONARY, i % 2 == 0);
        data += head.size;
        size -= (size_t)head.size;
    }
    qn_ipc_decoder_free(decoder);
    return 0;
}
