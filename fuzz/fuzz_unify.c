/*
 * fuzz_unify.c: two streams of Arrow IPC messages, one after the other, as tables of one pack. Whether they go together does
 * not depend on which comes first; if they do, every batch of either can be converted to the schema of both or is refused for
 * a value, and what comes out binds and can be read. A schema is what its text in a commit says.
 */
#include "arrow/ipc.h"
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "arrow/unify.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blocks.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT     (1 << 20)
#define MOST_ROWS 4096
#define MOST_SEEN 4 /* batches of a stream */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct table {
    struct qn_ipc_decoder *decoder;
    struct ArrowArray batches[MOST_SEEN];
    int n;
};

/* Read a stream up to its end, or as far as it can be read. */
static void read_table(struct table *table, const uint8_t **data, size_t *size)
{
    struct qn_error error = QN_ERROR_INIT;
    must(qn_ipc_decoder_new(LIMIT, &table->decoder, &error) == QN_OK);
    for (int i = 0; i < 12; i++) {
        struct qn_ipc_head head = { 0 };
        if (qn_ipc_peek(table->decoder, *data, *size, &head, &error) != QN_OK || head.needed > *size ||
            head.size > *size) {
            return;
        }
        const uint8_t *message = *data;
        *data += head.size;
        *size -= (size_t)head.size;
        if (head.kind == QN_IPC_END) {
            return;
        }
        enum qn_status status;
        if (head.kind == QN_IPC_DICTIONARY) {
            status = qn_ipc_decode_dictionary(table->decoder, message, (size_t)head.size, &error);
        } else if (qn_ipc_decoder_schema(table->decoder) == NULL) {
            status = qn_ipc_decode_schema(table->decoder, message, (size_t)head.size, &error);
        } else {
            struct ArrowArray batch = { 0 };
            status = qn_ipc_decode_batch(table->decoder, message, (size_t)head.size, (struct qn_ipc_owner){ 0 }, &batch,
                                         &error);
            if (status == QN_OK && table->n < MOST_SEEN && batch.length <= MOST_ROWS) {
                table->batches[table->n++] = batch;
            } else {
                qn_array_release(&batch);
            }
        }
        if (status != QN_OK) {
            return;
        }
    }
}

static void drop_table(struct table *table)
{
    for (int i = 0; i < table->n; i++) {
        qn_array_release(&table->batches[i]);
    }
    qn_ipc_decoder_free(table->decoder);
}

static bool unify(const struct ArrowSchema *a, const struct ArrowSchema *b, struct ArrowSchema *out)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_unify *unify = NULL;
    must(qn_unify_new(&unify, &error) == QN_OK);
    bool good = qn_unify_add(unify, a, "a", &error) == QN_OK && qn_unify_add(unify, b, "b", &error) == QN_OK;
    must(good || error.message[0] != '\0');
    if (good) {
        must(qn_unify_schema(unify, out, &error) == QN_OK);
    }
    qn_unify_free(unify);
    return good;
}

static void read_values(const struct ArrowSchema *schema, const struct ArrowArray *batch)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_batch_reader reader;
    qn_auto_buffer text = { .limit = LIMIT };
    must(qn_batch_reader_init(&reader, schema, &error) == QN_OK);
    must(qn_batch_reader_bind(&reader, batch, &error) == QN_OK);
    for (int64_t i = 0; i < reader.n_columns; i++) {
        for (int64_t row = 0; row < batch->length; row++) {
            (void)!qn_reader_to_json(&reader.columns[i], row, &text, &error);
        }
    }
    qn_batch_reader_dispose(&reader);
}

static void convert_all(struct table *table, const struct ArrowSchema *both)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_convert *convert = NULL;
    enum qn_status status = qn_convert_new(qn_ipc_decoder_schema(table->decoder), both, &convert, &error);
    must(status == QN_OK || status == QN_ERR_UNSUPPORTED); /* dictionaries of what nests */
    for (int i = 0; status == QN_OK && i < table->n; i++) {
        struct ArrowArray made = { 0 };
        int64_t length = table->batches[i].length;
        if (qn_convert_batch(convert, &table->batches[i], &made, &error) == QN_OK) {
            must(table->batches[i].release == NULL && made.length == length);
            read_values(both, &made);
            qn_array_release(&made);
        } else {
            must(error.message[0] != '\0' && made.release == NULL);
        }
    }
    qn_convert_free(convert);
}

static void check_text(const struct ArrowSchema *schema)
{
    struct qn_error error = QN_ERROR_INIT;
    qn_auto_free char *text = NULL, *again = NULL;
    qn_auto_schema read = { 0 };
    must(qn__schema_to_text(schema, &text, &error) == QN_OK);
    if (text != NULL) {
        must(qn__schema_from_text(text, &read, &error) == QN_OK);
        must(qn__schema_to_text(&read, &again, &error) == QN_OK);
        must(again != NULL && qn_text_equal(text, again));
    }
}

/* The bytes themselves as a schema's text. */
static void read_text(const uint8_t *data, size_t size)
{
    struct qn_error error = QN_ERROR_INIT;
    qn_auto_free char *text = qn_strndup((const char *)data, size);
    qn_auto_schema schema = { 0 };
    must(text != NULL);
    if (qn__schema_from_text(text, &schema, &error) != QN_OK) {
        must(error.message[0] != '\0' && schema.release == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct table a = { 0 }, b = { 0 };
    qn_auto_schema both = { 0 }, turned = { 0 };
    read_text(data, size);
    read_table(&a, &data, &size);
    read_table(&b, &data, &size);
    const struct ArrowSchema *x = qn_ipc_decoder_schema(a.decoder), *y = qn_ipc_decoder_schema(b.decoder);
    if (x != NULL && y != NULL) {
        check_text(x);
        bool good = unify(x, y, &both);
        must(good == unify(y, x, &turned));
        if (good) {
            convert_all(&a, &both);
            convert_all(&b, &both);
        }
    }
    drop_table(&a);
    drop_table(&b);
    return 0;
}
