/*
 * fixture.h (connector): a runtime of the tests' own, `test::`, whose locations are numbers from 0 on and whose failures are
 * arranged: before a batch, with or without a retry, while the order is stable or not.
 */
#ifndef QN_TEST_CONNECTOR_FIXTURE_H
#define QN_TEST_CONNECTOR_FIXTURE_H

#include "../wire/fixture.h"

#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/text.h"

#include <qanat/connector.h>
#include <qanat/plugin/connector.h>
#include <stdio.h>

/* What the runtime does, and what it was asked. One at a time. */
struct arranged {
    int64_t rows, batch; /* of every location: `rows` in batches of `batch` */
    int64_t fail_at;     /* the batch, counted over all attempts, before which it fails; -1: none */
    bool fail_each;      /* fails before each batch of the location, once each */
    enum qn_status failure;
    bool retryable, stable, no_data, changes_schema;
    int64_t retry_after_ms;
    int fail_discover, fail_data; /* how many of these calls fail */
    uint32_t applies;             /* bits of what it does itself */
    uint32_t claims;              /* bits that it says besides */
    const char **locations;
    size_t n_locations, discover_fails_after;
    int64_t given;         /* batches, over all attempts */
    int64_t failed_before; /* the value before which it failed last */
    int opened, closed, data_calls, discover_calls, streams;
    char columns[256], filter[256]; /* that were asked for last */
    int64_t limit, skip;
};
static struct arranged arranged;

static enum qn_status fail_as_arranged(struct qn_error *err)
{
    qn_error_set(err, arranged.failure, "out of luck");
    err->retryable = arranged.retryable;
    err->retry_after_ms = arranged.retry_after_ms;
    return arranged.failure;
}

/* ---- streams ---- */

struct numbers {
    int64_t next, end; /* values */
    int attempt;
    bool picked; /* "text" alone */
};

static enum qn_status numbers_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct numbers *numbers = self;
    struct ArrowSchema schema = { 0 };
    bool changed = arranged.changes_schema && numbers->attempt > 1;
    QN_TRY(qn_schema_struct(&schema, 2, err));
    enum qn_status status = qn_schema_set_from_text(&schema, 0, "id", changed ? "Int32" : "Int64", err);
    if (status == QN_OK) {
        status = qn_schema_set_from_text(&schema, 1, "text", "Utf8", err);
    }
    if (status != QN_OK) {
        qn_schema_release(&schema);
        return status;
    }
    *out = schema;
    return QN_OK;
}

static enum qn_status put_numbers(struct numbers *numbers, struct qn_batch *batch, int64_t n, struct ArrowArray *out,
                                  struct qn_error *err)
{
    bool wide = batch->columns[0].type.id == QN_TYPE_INT64;
    QN_TRY(qn_batch_reserve(batch, n, err));
    for (int64_t i = 0; i < n; i++) {
        char text[32];
        int size = snprintf(text, sizeof text, "row %lld of many", (long long)(numbers->next + i));
        if (wide) {
            qn_column_put_int64(&batch->columns[0], numbers->next + i);
        } else {
            qn_column_put_int32(&batch->columns[0], (int32_t)(numbers->next + i));
        }
        qn_column_put_bytes(&batch->columns[1], text, (size_t)size);
    }
    QN_TRY(qn_batch_finish(batch, n, out, err));
    numbers->next += n;
    return QN_OK;
}

static enum qn_status numbers_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct numbers *numbers = self;
    struct ArrowSchema schema = { 0 };
    struct qn_batch batch;
    if (numbers->next >= numbers->end) {
        return QN_OK;
    }
    int64_t number = arranged.given;
    if (number == arranged.fail_at || (arranged.fail_each && numbers->next > arranged.failed_before)) {
        arranged.failed_before = numbers->next;
        arranged.fail_at = number == arranged.fail_at ? -1 : arranged.fail_at;
        return fail_as_arranged(err);
    }
    arranged.given++;
    QN_TRY(numbers_schema(self, &schema, err));
    enum qn_status status = qn_batch_init(&batch, &schema, err);
    if (status == QN_OK) {
        int64_t left = numbers->end - numbers->next;
        status = put_numbers(numbers, &batch, left < arranged.batch ? left : arranged.batch, out, err);
        qn_batch_dispose(&batch);
    }
    qn_schema_release(&schema);
    return status;
}

static void numbers_free(void *self)
{
    arranged.streams--;
    qn_free(self);
}

/* ---- the runtime ---- */

static enum qn_status arranged_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                    struct qn_error *err)
{
    if (qn_text_equal(opening->entrypoint, "fails")) {
        return qn_error_set(err, QN_ERR_CONFIG, "no such thing");
    }
    arranged.opened++;
    *self_out = context;
    return QN_OK;
}

static void arranged_close(void *self)
{
    (void)self;
    arranged.closed++;
}

static enum qn_status arranged_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                        void *context, struct qn_error *err)
{
    (void)self;
    (void)attached;
    arranged.discover_calls++;
    for (size_t i = 0; i < arranged.n_locations; i++) {
        struct qn_location location = QN_LOCATION_INIT;
        if (i >= arranged.discover_fails_after && arranged.fail_discover > 0) {
            arranged.fail_discover--;
            return fail_as_arranged(err);
        }
        location.location = arranged.locations[i];
        location.num_rows = (int64_t)n;
        QN_TRY(each(context, &location, err));
    }
    return QN_OK;
}

static enum qn_status arranged_data(void *self, const struct qn_location *location,
                                    const struct qn_data_request *request, struct ArrowArrayStream *out,
                                    uint32_t *applied_out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { numbers_schema, numbers_next, numbers_free };
    (void)self;
    (void)location;
    arranged.data_calls++;
    if (arranged.fail_data > 0) {
        arranged.fail_data--;
        return fail_as_arranged(err);
    }
    arranged.columns[0] = '\0';
    for (size_t i = 0; i < request->n_columns; i++) {
        (void)strcat(strcat(arranged.columns, i > 0 ? "," : ""), request->columns[i]);
    }
    (void)snprintf(arranged.filter, sizeof arranged.filter, "%s", request->filter != NULL ? request->filter : "");
    arranged.limit = request->limit;
    arranged.skip = request->skip_rows;
    if (arranged.no_data) {
        out->release = NULL;
        return QN_OK;
    }
    struct numbers *numbers = qn_calloc(1, sizeof *numbers);
    if (numbers == NULL) {
        return qn__no_memory(err);
    }
    numbers->end = arranged.rows;
    numbers->attempt = arranged.data_calls;
    numbers->next = (arranged.applies & QN_APPLIED_SKIP) != 0 ? request->skip_rows : 0;
    numbers->next = numbers->next < arranged.rows ? numbers->next : arranged.rows;
    if ((arranged.applies & QN_APPLIED_LIMIT) != 0 && request->limit >= 0 &&
        numbers->end > numbers->next + request->limit) {
        numbers->end = numbers->next + request->limit;
    }
    *applied_out = arranged.applies | arranged.claims;
    enum qn_status status = qn_stream_make(&ops, numbers, out, err);
    if (status != QN_OK) {
        qn_free(numbers);
        return status;
    }
    arranged.streams++;
    return QN_OK;
}

static enum qn_status arranged_capabilities(void *self, uint32_t *out, struct qn_error *err)
{
    (void)self;
    (void)err;
    *out = arranged.stable ? 1U << QN_CAN_RESUME : 0;
    return QN_OK;
}

static enum qn_status arranged_url(void *self, const struct qn_location *location, char **out, struct qn_error *err)
{
    (void)self;
    if (qn_text_equal(location->location, "none")) {
        *out = NULL;
        return QN_OK;
    }
    if (qn_text_equal(location->location, "bad\nname")) {
        return fail_as_arranged(err);
    }
    *out = strdup("https://localhost/x");
    return QN_OK;
}

static const struct qn_connector_runtime arranged_runtime = {
    .struct_size = sizeof arranged_runtime,
    .abi = QN_CONNECTOR_ABI,
    .name = "test",
    .external = true,
    .open = arranged_open,
    .close = arranged_close,
    .discover = arranged_discover,
    .data = arranged_data,
    .stable_url = arranged_url,
    .capabilities = arranged_capabilities,
};

/* ---- use ---- */

static inline struct qn_connector *opened_with(int retries)
{
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = NULL;
    options.name = "acme.numbers";
    options.allow_external_code = true;
    options.retries = retries;
    ok(qn_connector_open("test::x", &options, &connector, &error));
    return connector;
}

static const struct qn_location location_a = { .struct_size = sizeof location_a,
                                               .location = "a",
                                               .must_copy = true,
                                               .format = "parquet",
                                               .version = "",
                                               .num_rows = -1 };

/* Read a stream of numbers to its end, or to its failure: ids must be `first`, `first` + 1... */
static inline enum qn_status read_numbers(struct ArrowArrayStream *stream, int64_t first, int64_t *rows_out)
{
    qn_auto_schema schema = { 0 };
    struct qn_batch_reader reader;
    *rows_out = 0;
    ok(qn_stream_schema(stream, &schema, &error));
    ok(qn_batch_reader_init(&reader, &schema, &error));
    for (;;) {
        qn_auto_array batch = { 0 };
        enum qn_status status = qn_stream_next(stream, &batch, &error);
        if (status != QN_OK || batch.release == NULL) {
            qn_batch_reader_dispose(&reader);
            return status;
        }
        assert_int_equal(qn_batch_reader_bind(&reader, &batch, &error), QN_OK);
        for (int64_t row = 0; row < batch.length; row++, (*rows_out)++) {
            assert_int_equal(qn_reader_int64(&reader.columns[0], row), first + *rows_out);
        }
    }
}

#endif
