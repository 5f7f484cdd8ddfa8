/*
 * sqlite_source.c: what a run has to know of a source in SQLite: whether writers of the same file have to wait for its
 * readers, and whether SQLite puts the checkpoint's values into the same order as we do.
 *
 * SQLite has no dates: it compares what is stored, a text or a number, with the text that is bound. Where the two are
 * not written alike, `updated > :checkpoint` silently finds too much or too little. Nothing is written here.
 */
#include "base/calendar.h"
#include "base/log.h"
#include "base/utf8.h"
#include "task/run.h"

#include <stdio.h>
#include <sys/stat.h>

#define FORM_MAX 256 /* bytes of a stored value that are looked at */

bool qn_task_is_sqlite(const struct qn_config *config)
{
    const char *type = qn_config_get(config, "type");
    return type != NULL && strcmp(type, "sqlite") == 0;
}

/* The text in a column of the first row; *found_out is false where there is no row, or a null. */
static enum qn_status first_text(struct ArrowArrayStream *stream, int64_t column, char out[FORM_MAX], bool *found_out,
                                 struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    qn_auto_array batch = { .release = NULL };
    QN_TRY(qn_stream_schema(stream, &schema, err));
    QN_TRY(qn_stream_next(stream, &batch, err));
    *found_out = false;
    if (batch.release == NULL || batch.length == 0 || column >= batch.n_children) {
        return QN_OK;
    }
    struct qn_reader reader = { .name = NULL };
    enum qn_status status = qn_reader_init(&reader, schema.children[column], err);
    if (status == QN_OK) {
        status = qn_reader_bind(&reader, batch.children[column], err);
    }
    const char *text = NULL;
    size_t size = 0;
    if (status == QN_OK && !qn_reader_is_null(&reader, batch.offset) &&
        qn_reader_bytes(&reader, batch.offset, &text, &size)) {
        (void)snprintf(out, FORM_MAX, "%.*s", (int)(size < FORM_MAX ? size : qn_utf8_floor(text, FORM_MAX - 1)), text);
        *found_out = true;
    }
    qn_reader_dispose(&reader);
    return status;
}

/* In one SQLite file a reader keeps a writer from committing, unless the file is in WAL mode. */
enum qn_status qn_run_check_one_file(struct qn_run *run, struct qn_error *err)
{
    const struct qn_config *source = run->task->source.config;
    const struct qn_config *sink = run->task->sink.config;
    struct stat a;
    struct stat b;
    if (run->task->sink.place != QN_PLACE_DATABASE) {
        return QN_OK;
    }
    const char *source_path = qn_config_get(source, "path");
    const char *sink_path = qn_config_get(sink, "path");
    if (!qn_task_is_sqlite(source) || !qn_task_is_sqlite(sink) || source_path == NULL || sink_path == NULL ||
        stat(source_path, &a) != 0 || stat(sink_path, &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino) {
        return QN_OK;
    }
    char mode[FORM_MAX] = "";
    bool found = false;
    struct qn_query query = QN_QUERY_INIT;
    query.sql = "pragma journal_mode";
    qn_auto_stream stream = { .release = NULL };
    QN_TRY(qn_connection_query(run->source, &query, &stream, NULL, err));
    QN_TRY(first_text(&stream, 0, mode, &found, err));
    run->one_file = strcmp(mode, "wal") != 0;
    if (run->one_file) {
        QN_LOG(QN_LOG_INFO, "task",
               "source and sink are one SQLite file in %s mode: reading ends before writing begins", mode);
    }
    return QN_OK;
}

/* Whether a stored text is what is bound for the moment that it names. */
static bool is_bound_form(const struct qn_type *type, const char *stored)
{
    char bound[QN_CALENDAR_TEXT_SIZE + 8] = "";
    size_t size = strlen(stored);
    if (type->id == QN_TYPE_DATE32) {
        int32_t days = 0;
        if (!qn_date_parse(stored, size, &days)) {
            return false;
        }
        (void)qn_date_format(days, bound);
        return strcmp(bound, stored) == 0;
    }
    int64_t micros = 0;
    enum qn_zone zone = QN_ZONE_NONE;
    if (!qn_timestamp_parse(stored, size, &micros, &zone)) {
        return false;
    }
    size_t used = qn_timestamp_format(micros, bound);
    if (type->timezone[0] != '\0') {
        memcpy(bound + used, "+00:00", sizeof "+00:00");
    }
    return strcmp(bound, stored) == 0;
}

/* The first row's value as it is stored. */
static enum qn_status probe(struct qn_run *run, const char *column, int64_t at, char out[FORM_MAX], bool *found_out,
                            struct qn_error *err)
{
    struct qn_type_override override = { .column = column, .type = "Utf8" };
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.batch_rows = 1;
    options.types = &override;
    options.n_types = 1;
    qn_auto_stream stream = { .release = NULL };
    QN_TRY(qn_run_statement(run, &options, &stream, err));
    return first_text(&stream, at, out, found_out, err);
}

enum qn_status qn_run_check_order(struct qn_run *run, bool *probed_out, struct qn_error *err)
{
    *probed_out = false;
    if (run->feed.column < 0 || !run->task->source.uses_checkpoint || !qn_task_is_sqlite(run->task->source.config)) {
        return QN_OK;
    }
    const char *column = run->task->checkpoint.column;
    int64_t at = qn_schema_find(&run->source_schema, column);
    if (at < 0) {
        return QN_OK; /* a statement makes it: what the query compares is not known */
    }
    const struct qn_type *type = &run->feed.watch.last.type;
    if (type->id == QN_TYPE_DECIMAL128) {
        (void)qn_error_set(err, QN_ERR_UNSUPPORTED,
                           "checkpoint.column \"%s\" is a decimal, which SQLite does not put into order exactly",
                           column);
        qn_error_hint(err, "use a column of integers or floats as the checkpoint");
        return QN_ERR_UNSUPPORTED;
    }
    if (type->id != QN_TYPE_DATE32 && type->id != QN_TYPE_TIMESTAMP) {
        return QN_OK;
    }
    qn_stream_release(&run->rows); /* one statement at a time on a connection */
    char stored[FORM_MAX] = "";
    bool found = false;
    QN_TRY(probe(run, column, at, stored, &found, err));
    *probed_out = true;
    if (!found || is_bound_form(type, stored)) {
        return QN_OK;
    }
    (void)qn_error_set(err, QN_ERR_DATA,
                       "checkpoint.column \"%s\": SQLite compares what is stored, such as \"%s\", which is not how a "
                       "checkpoint is written",
                       column, stored);
    qn_error_place(err, 0, column);
    qn_error_hint(err, "read the column as it is stored: [source] types = { %s = \"%s\" }", column,
                  strspn(stored, "-0123456789") == strlen(stored) ? "Int64" : "Utf8");
    return QN_ERR_DATA;
}
