/*
 * fuzz_filter.c: filter expressions. One that is read and fits the columns keeps rows that are there, in their order, and none
 * that its negation keeps too.
 */
#include "arrow/column.h"
#include "base/buffer.h"
#include "connector/filter.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ArrowSchema schema;
static struct ArrowArray rows;

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void make_rows(void)
{
    static const char *const types[] = {
        "Int64",  "Utf8",         "Float64",    "Date32", "Decimal(10,2)", "Boolean", "Timestamp[us, UTC]",
        "Binary", "Duration[ms]", "List<Int64>"
    };
    static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
    struct qn_batch batch;
    require(qn_schema_struct(&schema, 10, NULL) == QN_OK);
    for (int i = 0; i < 10; i++) {
        require(qn_schema_set_from_text(&schema, i, names[i], types[i], NULL) == QN_OK);
    }
    require(qn_batch_init(&batch, &schema, NULL) == QN_OK);
    require(qn_batch_reserve(&batch, ROWS, NULL) == QN_OK);
    for (int row = 0; row < ROWS; row++) {
        char text[2] = { (char)('a' + row), '\0' };
        for (int i = 0; i < 10; i++) {
            struct qn_column *column = &batch.columns[i];
            if (row % 5 == 4 || i == 9) {
                qn_column_put_null(column);
            } else if (i == 1 || i == 7) {
                qn_column_put_bytes(column, text, (size_t)(row % 2));
            } else if (i == 2) {
                qn_column_put_float64(column, row == 3 ? __builtin_nan("") : row * 0.5);
            } else if (i == 3) {
                qn_column_put_int32(column, row);
            } else if (i == 4) {
                qn_column_put_decimal128(column, row * 25 - 100);
            } else if (i == 5) {
                qn_column_put_bool(column, row % 2 == 0);
            } else {
                qn_column_put_int64(column, row - 3);
            }
        }
    }
    require(qn_batch_finish(&batch, ROWS, &rows, NULL) == QN_OK);
    qn_batch_dispose(&batch);
}

/* The rows that are kept, as bits; false where the filter is none, or does not fit. */
static bool kept_by(const char *text, uint32_t *out)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_filter *filter;
    struct qn_filter_plan *plan;
    const int64_t *kept;
    int64_t n;
    enum qn_status status = qn_filter_parse(text, &filter, &err);
    if (status != QN_OK) {
        require(status == QN_ERR_ARGUMENT && err.message[0] != '\0');
        return false;
    }
    status = qn_filter_plan_new(filter, &schema, &plan, &err);
    if (status != QN_OK) {
        require((status == QN_ERR_ARGUMENT || status == QN_ERR_UNSUPPORTED) && err.message[0] != '\0');
        qn_filter_free(filter);
        return false;
    }
    *out = 0;
    require(qn_filter_plan_rows(plan, &rows, &kept, &n, &err) == QN_OK);
    for (int64_t i = 0; i < n; i++) {
        require(kept[i] >= (i > 0 ? kept[i - 1] + 1 : 0) && kept[i] < ROWS);
        *out |= UINT32_C(1) << kept[i];
    }
    qn_filter_plan_free(plan);
    qn_filter_free(filter);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t kept, others;
    if (rows.release == NULL) {
        make_rows();
    }
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_auto_buffer negation = QN_BUFFER_INIT;
    qn_buffer_append(&text, data, size);
    qn_buffer_append_byte(&text, '\0');
    qn_buffer_printf(&negation, "[\"not\",%s]", text.data);
    if (kept_by(text.data, &kept) && kept_by(negation.data, &others)) {
        require((kept & others) == 0);
    }
    return 0;
}
