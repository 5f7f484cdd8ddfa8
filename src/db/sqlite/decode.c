/*
 * decode.c (sqlite): rows of a statement into Arrow columns, whose types the values may widen.
 *
 * A column begins with the kind that its declared type asks for (types.c) and is read by the one case of decode_row that
 * expects this kind. A value that the case does not expect goes to put_other: nulls, conversions, and the widening of the
 * whole column (bool -> int64 -> float64 where exact -> text; anything while there is no value yet). Once the schema is
 * promised nothing widens: the value is an error that names row, column and the `types` option. Overrides never widen.
 *
 * sqlite3_column_value gives an unprotected value, whose accessors are safe because one thread uses the connection. It
 * costs one check of the statement a cell, where sqlite3_column_type, _text and _bytes cost one each.
 */
#include "db/sqlite/sqlite.h"

#include "base/calendar.h"
#include "base/memory.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

#define FIRST_ROWS  64    /* room for a small result */
#define QUICK_ROWS  65536 /* room grows fourfold up to here, then twofold */
#define SHOWN_BYTES 40    /* of a value in an error */

/* ---- setting up ---- */

static bool override_supported(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_BOOL:
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_INT32:
    case QN_TYPE_INT64:
    case QN_TYPE_UINT8:
    case QN_TYPE_UINT16:
    case QN_TYPE_UINT32:
    case QN_TYPE_UINT64:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_DATE32:
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
    case QN_TYPE_TIMESTAMP:
    case QN_TYPE_DURATION:
        return true;
    default:
        return false;
    }
}

static enum qn_status apply_overrides(struct qn_sqlite_decoder *self, struct qn_error *err)
{
    const struct qn_query_options *options = self->options;
    for (size_t i = 0; i < options->n_types; i++) {
        const struct qn_type_override *it = &options->types[i];
        struct qn_type type;
        bool found = false;
        QN_TRY(qn_type_from_text(it->type, &type, err));
        if (!override_supported(type.id)) {
            return qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\": sqlite cannot be read as %s", it->column,
                                it->type);
        }
        for (int32_t k = 0; k < self->n_fields; k++) {
            if (qn_text_equal(self->fields[k].name, it->column)) {
                found = true;
                self->fields[k].kind = QN_SQLITE_OVERRIDE;
                self->fields[k].type = type;
                self->changed = true;
            }
        }
        if (!found) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "types: the result has no column \"%s\"", it->column);
        }
    }
    return QN_OK;
}

static bool is_time_kind(enum qn_sqlite_kind kind)
{
    return kind == QN_SQLITE_DATE || kind == QN_SQLITE_TIME || kind == QN_SQLITE_TIMESTAMP || kind == QN_SQLITE_INSTANT;
}

static enum qn_status describe_field(sqlite3_stmt *stmt, int i, struct qn_sqlite_field *field, struct qn_error *err)
{
    const char *declared = sqlite3_column_decltype(stmt, i);
    field->name = qn_strdup(sqlite3_column_name(stmt, i));
    field->declared = qn_strdup(declared);
    if (field->name == NULL || (declared != NULL && field->declared == NULL)) {
        return qn__no_memory(err);
    }
    field->kind = qn_sqlite_declared(declared, &field->type);
    if (field->kind != QN_SQLITE_DECIMAL) {
        field->type = qn_sqlite_kind_type(field->kind);
    }
    return QN_OK;
}

static enum qn_status make_schema(const struct qn_sqlite_field *fields, int32_t n, struct ArrowSchema *out,
                                  struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_schema_struct(&schema, n, err));
    for (int32_t i = 0; i < n; i++) {
        QN_TRY(qn_schema_set(&schema, i, fields[i].name, &fields[i].type, err));
        if (fields[i].declared != NULL) {
            QN_TRY(qn_schema_metadata_set(schema.children[i], QN_KEY_SQL_TYPE, fields[i].declared, err));
        }
    }
    *out = schema;
    schema.release = NULL;
    return QN_OK;
}

/* ---- plans ---- */

void qn_sqlite_plan_unref(struct qn_sqlite_plan *plan)
{
    if (plan == NULL || --plan->refs > 0) {
        return;
    }
    for (int32_t i = 0; plan->fields != NULL && i < plan->n_fields; i++) {
        qn_free((void *)(uintptr_t)plan->fields[i].name);
        qn_free((void *)(uintptr_t)plan->fields[i].declared);
    }
    qn_free(plan->fields);
    qn_batch_dispose(&plan->batch);
    qn_schema_release(&plan->schema);
    qn_free(plan);
}

static enum qn_status fill_plan(struct qn_sqlite_plan *plan, sqlite3_stmt *stmt, struct qn_error *err)
{
    plan->fields = qn_calloc((size_t)plan->n_fields, sizeof *plan->fields);
    if (plan->fields == NULL) {
        return qn__no_memory(err);
    }
    for (int i = 0; i < plan->n_fields; i++) {
        QN_TRY(describe_field(stmt, i, &plan->fields[i], err));
    }
    QN_TRY(make_schema(plan->fields, plan->n_fields, &plan->schema, err));
    QN_TRY(qn_batch_init(&plan->batch, &plan->schema, err));
    return qn_schema_freeze(&plan->schema, err);
}

/* The plan of a statement that has been stepped, which is the statement's own while nothing has been prepared again. */
static enum qn_status find_plan(struct qn_sqlite_statement *statement, struct qn_sqlite_plan **out,
                                struct qn_error *err)
{
    int32_t n_fields = sqlite3_column_count(statement->stmt);
    int prepared_again = sqlite3_stmt_status(statement->stmt, SQLITE_STMTSTATUS_REPREPARE, 0);
    struct qn_sqlite_plan *plan = statement->plan;
    if (plan == NULL || plan->prepared_again != prepared_again || plan->n_fields != n_fields) {
        plan = qn_calloc(1, sizeof *plan);
        if (plan == NULL) {
            return qn__no_memory(err);
        }
        *plan = (struct qn_sqlite_plan){ .refs = 1, .prepared_again = prepared_again, .n_fields = n_fields };
        enum qn_status status = fill_plan(plan, statement->stmt, err);
        if (status != QN_OK) {
            qn_sqlite_plan_unref(plan);
            return status;
        }
        qn_sqlite_plan_unref(statement->plan);
        statement->plan = plan;
    }
    plan->refs++;
    *out = plan;
    return QN_OK;
}

/* ---- decoders ---- */

/* Dates that may turn out to be text are read as text from the start, so that the text stays as it was. */
static void read_dates_as_text(struct qn_sqlite_decoder *self)
{
    for (int32_t i = 0; i < self->n_fields; i++) {
        struct qn_sqlite_field *field = &self->fields[i];
        if (is_time_kind(field->kind)) {
            field->wanted = field->kind;
            field->text_at_last = self->options->result_mode == QN_RESULT_WHOLE;
            field->kind = QN_SQLITE_TEXT;
            field->type = qn_sqlite_kind_type(QN_SQLITE_TEXT);
            self->changed = true;
        }
    }
}

enum qn_status qn_sqlite_decoder_init(struct qn_sqlite_decoder *self, struct qn_sqlite_statement *statement,
                                      const struct qn_query_options *options, struct qn_error *err)
{
    *self = (struct qn_sqlite_decoder){ .stmt = statement->stmt, .options = options };
    if (options->invalid_date == QN_POLICY_SATURATE) {
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            "invalid_date: text has no nearest date; error, null or text is possible");
    }
    QN_TRY(find_plan(statement, &self->plan, err));
    self->n_fields = self->plan->n_fields;
    self->fields = qn_realloc_array(NULL, (size_t)self->n_fields, sizeof *self->fields);
    if (self->fields == NULL) {
        return qn__no_memory(err);
    }
    memcpy(self->fields, self->plan->fields, (size_t)self->n_fields * sizeof *self->fields);
    QN_TRY(apply_overrides(self, err));
    if (options->invalid_date == QN_POLICY_TEXT) {
        read_dates_as_text(self);
    }
    if (!self->changed) {
        return qn_batch_like(&self->plan->batch, &self->batch, err);
    }
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_sqlite_decoder_schema(self, &schema, err));
    return qn_batch_init(&self->batch, &schema, err);
}

void qn_sqlite_decoder_dispose(struct qn_sqlite_decoder *self)
{
    qn_free(self->fields);
    qn_batch_dispose(&self->batch);
    qn_sqlite_plan_unref(self->plan); /* after the batch, whose names are the plan's */
    *self = (struct qn_sqlite_decoder){ .stmt = NULL };
}

enum qn_status qn_sqlite_decoder_schema(const struct qn_sqlite_decoder *self, struct ArrowSchema *out,
                                        struct qn_error *err)
{
    return self->changed ? make_schema(self->fields, self->n_fields, out, err)
                         : qn_schema_share(&self->plan->schema, out, err);
}

/* ---- errors ---- */

/* The value as an error shows it: "text "2020-13-01"", "integer 5", "a blob of 3 bytes". */
static void describe_value(sqlite3_value *value, char *out, size_t size)
{
    char text[QN_SQLITE_FLOAT_TEXT];
    const char *bytes;
    size_t n;
    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
        (void)snprintf(out, size, "integer %" PRId64, (int64_t)sqlite3_value_int64(value));
        return;
    case SQLITE_FLOAT:
        (void)qn_sqlite_float_text(sqlite3_value_double(value), text);
        (void)snprintf(out, size, "real %s", text);
        return;
    case SQLITE_BLOB:
        (void)snprintf(out, size, "a blob of %d bytes", sqlite3_value_bytes(value));
        return;
    default:
        bytes = (const char *)sqlite3_value_text(value);
        n = (size_t)sqlite3_value_bytes(value);
        if (bytes == NULL || !qn_sqlite_text_valid(bytes, n) || memchr(bytes, '\0', n) != NULL) {
            (void)snprintf(out, size, "text of %zu bytes", n);
            return;
        }
        size_t shown = n;
        if (n > SHOWN_BYTES) {
            for (shown = SHOWN_BYTES; (bytes[shown] & 0xC0) == 0x80; shown--) {
            }
        }
        (void)snprintf(out, size, "text \"%.*s\"%s", (int)shown, bytes, shown < n ? "..." : "");
        for (char *at = out; *at; at++) {
            *at = *at == '\n' || *at == '\r' ? ' ' : *at;
        }
        return;
    }
}

static enum qn_status misfit(const struct qn_sqlite_decoder *self, int i, sqlite3_value *value, const char *why,
                             struct qn_error *err)
{
    const struct qn_sqlite_field *field = &self->fields[i];
    char shown[128], type[QN_TYPE_MAX_FORMAT];
    describe_value(value, shown, sizeof shown);
    qn_type_to_text(&field->type, type);
    if (why != NULL) {
        (void)qn_error_set(err, QN_ERR_DATA, "row %" PRId64 ", column \"%s\": %s %s", self->row, field->name, shown,
                           why);
    } else {
        (void)qn_error_set(err, QN_ERR_DATA, "row %" PRId64 ", column \"%s\": %s does not fit %s", self->row,
                           field->name, shown, type);
    }
    qn_error_place(err, self->row, field->name);
    const char *way = sqlite3_value_type(value) == SQLITE_BLOB ? "Binary" : "Utf8";
    if (why != NULL && strstr(why, "UTF-8") != NULL) {
        way = "Binary";
    }
    if (is_time_kind(field->kind)) {
        qn_error_hint(err, "types={\"%s\": \"Utf8\"} reads the column as text; so does invalid_date=\"text\"",
                      field->name);
    } else {
        qn_error_hint(err, "types={\"%s\": \"%s\"} names the type to read the column as", field->name, way);
    }
    return QN_ERR_DATA;
}

/* ---- widening ---- */

static bool has_values(const struct qn_column *column)
{
    return column->type.id != QN_TYPE_NULL && column->length > column->null_count;
}

/* Give a column that holds only nulls another type. */
static enum qn_status become(struct qn_sqlite_decoder *self, int i, enum qn_sqlite_kind kind, struct qn_error *err)
{
    struct qn_sqlite_field *field = &self->fields[i];
    struct qn_column *column = &self->batch.columns[i], fresh;
    struct qn_type type = qn_sqlite_kind_type(kind);
    QN_TRY(qn_sqlite_column_new(&fresh, field->name, &type, self->reserved, err));
    for (int64_t n = column->length; n > 0; n--) {
        qn_column_put_null(&fresh);
    }
    qn_column_dispose(column);
    *column = fresh;
    field->kind = kind;
    field->type = type;
    self->changed = true;
    return QN_OK;
}

static enum qn_status widen_to_text(struct qn_sqlite_decoder *self, int i, struct qn_error *err)
{
    struct qn_sqlite_field *field = &self->fields[i];
    QN_TRY(qn_sqlite_column_to_text(&self->batch.columns[i], field->name, field->held_integers, err));
    field->kind = QN_SQLITE_TEXT;
    field->type = qn_sqlite_kind_type(QN_SQLITE_TEXT);
    self->changed = true;
    return QN_OK;
}

/* One step towards a kind that holds both the column and a value of `wanted`. */
static enum qn_status widen(struct qn_sqlite_decoder *self, int i, enum qn_sqlite_kind wanted, sqlite3_value *value,
                            struct qn_error *err)
{
    struct qn_sqlite_field *field = &self->fields[i];
    struct qn_column *column = &self->batch.columns[i];
    if (self->promised) {
        return misfit(self, i, value, NULL, err);
    }
    if (!has_values(column)) {
        return become(self, i, wanted, err);
    }
    if (wanted == QN_SQLITE_BINARY || field->kind == QN_SQLITE_BINARY || field->kind == QN_SQLITE_DURATION) {
        return misfit(self, i, value,
                      wanted == QN_SQLITE_BINARY        ? "stands in a column with other values than blobs"
                      : field->kind == QN_SQLITE_BINARY ? "stands in a column of blobs"
                                                        : NULL,
                      err);
    }
    if (field->kind == QN_SQLITE_BOOL) {
        QN_TRY(qn_sqlite_column_bool_to_int64(column, field->name, err));
        field->kind = QN_SQLITE_INT64;
        field->type = qn_sqlite_kind_type(QN_SQLITE_INT64);
        self->changed = true;
        return QN_OK;
    }
    if (field->kind == QN_SQLITE_INT64 && wanted == QN_SQLITE_FLOAT64) {
        bool exact;
        QN_TRY(qn_sqlite_column_to_float64(column, field->name, &exact, err));
        if (exact) {
            field->held_integers = true;
            field->kind = QN_SQLITE_FLOAT64;
            field->type = qn_sqlite_kind_type(QN_SQLITE_FLOAT64);
            self->changed = true;
            return QN_OK;
        }
    }
    return widen_to_text(self, i, err);
}

/* ---- values that the hot loop did not expect ---- */

static enum qn_status put_text(struct qn_sqlite_decoder *self, int i, sqlite3_value *value, struct qn_error *err)
{
    const char *bytes = (const char *)sqlite3_value_text(value);
    size_t size = (size_t)sqlite3_value_bytes(value);
    if (bytes == NULL) {
        return qn__no_memory(err);
    }
    if (!qn_sqlite_text_valid(bytes, size)) {
        return misfit(self, i, value, "is not valid UTF-8", err);
    }
    qn_column_put_bytes(&self->batch.columns[i], bytes, size);
    return QN_OK;
}

static void put_number_text(struct qn_column *column, sqlite3_value *value)
{
    char text[QN_SQLITE_FLOAT_TEXT];
    size_t size;
    if (sqlite3_value_type(value) == SQLITE_INTEGER) {
        size = (size_t)snprintf(text, sizeof text, "%" PRId64, (int64_t)sqlite3_value_int64(value));
    } else {
        size = qn_sqlite_float_text(sqlite3_value_double(value), text);
    }
    qn_column_put_bytes(column, text, size);
}

/* Put where the kind of the column takes the value as it is. */
static bool put_as_is(struct qn_sqlite_decoder *self, int i, sqlite3_value *value, int type, enum qn_status *status,
                      struct qn_error *err)
{
    struct qn_column *column = &self->batch.columns[i];
    int64_t number = type == SQLITE_INTEGER ? sqlite3_value_int64(value) : 0;
    *status = QN_OK;
    switch (self->fields[i].kind) {
    case QN_SQLITE_BOOL:
        if (type == SQLITE_INTEGER && (uint64_t)number <= 1) {
            qn_column_put_bool(column, number == 1);
            return true;
        }
        return false;
    case QN_SQLITE_INT64:
    case QN_SQLITE_DURATION:
        if (type == SQLITE_INTEGER) {
            qn_column_put_int64(column, number);
        }
        return type == SQLITE_INTEGER;
    case QN_SQLITE_FLOAT64:
        if (type == SQLITE_FLOAT || (type == SQLITE_INTEGER && qn_sqlite_exact_in_double(number))) {
            self->fields[i].held_integers |= type == SQLITE_INTEGER;
            qn_column_put_float64(column, sqlite3_value_double(value));
            return true;
        }
        return false;
    case QN_SQLITE_TEXT:
        if (type == SQLITE_TEXT) {
            *status = put_text(self, i, value, err);
        } else if (type != SQLITE_BLOB) {
            put_number_text(column, value);
        }
        return type != SQLITE_BLOB;
    case QN_SQLITE_BINARY:
        if (type == SQLITE_BLOB) {
            const char *bytes = sqlite3_value_blob(value);
            qn_column_put_bytes(column, bytes != NULL ? bytes : "", (size_t)sqlite3_value_bytes(value));
        }
        return type == SQLITE_BLOB;
    default:
        return false;
    }
}

/* Dates and times: text that parses, or what the policy says. */
static enum qn_status put_time(struct qn_sqlite_decoder *self, int i, sqlite3_value *value, int type,
                               struct qn_error *err)
{
    static const char *const reasons[] = { "is not a date (YYYY-MM-DD)", "is not a time (HH:MM:SS)",
                                           "is not a timestamp (YYYY-MM-DD HH:MM:SS)" };
    struct qn_sqlite_field *field = &self->fields[i];
    struct qn_column *column = &self->batch.columns[i];
    const char *bytes = type == SQLITE_TEXT ? (const char *)sqlite3_value_text(value) : NULL;
    size_t size = bytes != NULL ? (size_t)sqlite3_value_bytes(value) : 0;
    const char *why = field->kind == QN_SQLITE_DATE   ? reasons[0]
                      : field->kind == QN_SQLITE_TIME ? reasons[1]
                                                      : reasons[2];
    int32_t days;
    int64_t micros;
    enum qn_zone zone = QN_ZONE_NONE;
    if (bytes != NULL && field->kind == QN_SQLITE_DATE && qn_date_parse(bytes, size, &days)) {
        qn_column_put_int32(column, days);
        return QN_OK;
    }
    if (bytes != NULL && field->kind == QN_SQLITE_TIME && qn_time_parse(bytes, size, &micros)) {
        qn_column_put_int64(column, micros);
        return QN_OK;
    }
    if (bytes != NULL && (field->kind == QN_SQLITE_TIMESTAMP || field->kind == QN_SQLITE_INSTANT) &&
        qn_timestamp_parse(bytes, size, &micros, &zone)) {
        enum qn_sqlite_kind found = zone == QN_ZONE_OFFSET ? QN_SQLITE_INSTANT : QN_SQLITE_TIMESTAMP;
        if (found != field->kind && !self->promised && !has_values(column)) {
            QN_TRY(become(self, i, found, err));
            column = &self->batch.columns[i];
        }
        if (found == field->kind) {
            qn_column_put_int64(column, micros);
            return QN_OK;
        }
        why = zone == QN_ZONE_OFFSET ? "has an offset from UTC, which others of the column have not"
                                     : "has no offset from UTC, which others of the column have";
    }
    if (self->options->invalid_date == QN_POLICY_NULL && type != SQLITE_BLOB) {
        qn_column_put_null(column);
        return QN_OK;
    }
    return misfit(self, i, value, why, err);
}

static enum qn_status put_other(struct qn_sqlite_decoder *self, int i, sqlite3_value *value, int type,
                                struct qn_error *err)
{
    static const enum qn_sqlite_kind kinds[] = {
        [SQLITE_INTEGER] = QN_SQLITE_INT64,
        [SQLITE_FLOAT] = QN_SQLITE_FLOAT64,
        [SQLITE_TEXT] = QN_SQLITE_TEXT,
        [SQLITE_BLOB] = QN_SQLITE_BINARY,
    };
    struct qn_column *column = &self->batch.columns[i];
    const char *why = NULL;
    enum qn_status status;
    if (type == SQLITE_NULL) {
        qn_column_put_null(column);
        return QN_OK;
    }
    if (is_time_kind(self->fields[i].kind)) {
        return put_time(self, i, value, type, err);
    }
    if (self->fields[i].kind == QN_SQLITE_OVERRIDE) {
        return qn_sqlite_put_override(column, value, &why) ? QN_OK : misfit(self, i, value, why, err);
    }
    if (self->fields[i].kind == QN_SQLITE_DECIMAL) {
        return qn_sqlite_put_decimal(column, value, &why) ? QN_OK : misfit(self, i, value, why, err);
    }
    while (!put_as_is(self, i, value, type, &status, err)) {
        QN_TRY(widen(self, i, kinds[type], value, err));
    }
    return status;
}

/* ---- the hot loop ---- */

/* "YYYY-MM-DD", which nearly every date is; false leaves it to put_other. */
static inline bool put_plain_date(struct qn_column *column, sqlite3_value *value)
{
    static const uint8_t month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    const unsigned char *text = sqlite3_value_text(value);
    if (text == NULL || sqlite3_value_bytes(value) != 10 || text[4] != '-' || text[7] != '-') {
        return false;
    }
    unsigned digits[8], wrong = 0;
    static const uint8_t places[] = { 0, 1, 2, 3, 5, 6, 8, 9 };
    for (int i = 0; i < 8; i++) {
        digits[i] = (unsigned)text[places[i]] - '0';
        wrong |= digits[i] > 9;
    }
    unsigned year = digits[0] * 1000 + digits[1] * 100 + digits[2] * 10 + digits[3];
    unsigned month = digits[4] * 10 + digits[5], day = digits[6] * 10 + digits[7];
    if (wrong || month < 1 || month > 12 || day < 1 || day > month_days[month - 1]) {
        return false; /* February 29 as well */
    }
    /* days of the civil calendar with years that begin in March (year + 400 keeps all numbers positive) */
    unsigned shifted = year + 400 - (month <= 2), era_year = shifted % 400;
    unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned day_of_era = era_year * 365 + era_year / 4 - era_year / 100 + day_of_year;
    qn_column_put_int32(column, (int32_t)(shifted / 400 * 146097 + day_of_era) - 719468 - 146097);
    return true;
}

static inline enum qn_status decode_row(struct qn_sqlite_decoder *self, sqlite3_stmt *stmt, int64_t *bytes,
                                        struct qn_error *err)
{
    int32_t n = self->n_fields;
    for (int32_t i = 0; i < n; i++) {
        sqlite3_value *value = sqlite3_column_value(stmt, i);
        int type = sqlite3_value_type(value);
        struct qn_column *column = &self->batch.columns[i];
        switch (self->fields[i].kind) {
        case QN_SQLITE_INT64:
            if (QN_LIKELY(type == SQLITE_INTEGER)) {
                qn_column_put_int64(column, sqlite3_value_int64(value));
                continue;
            }
            break;
        case QN_SQLITE_FLOAT64:
            if (QN_LIKELY(type == SQLITE_FLOAT)) {
                qn_column_put_float64(column, sqlite3_value_double(value));
                continue;
            }
            break;
        case QN_SQLITE_TEXT:
            if (QN_LIKELY(type == SQLITE_TEXT)) {
                const char *text = (const char *)sqlite3_value_text(value);
                size_t size = (size_t)sqlite3_value_bytes(value);
                if (QN_LIKELY(text != NULL && qn_sqlite_text_valid(text, size))) {
                    qn_column_put_bytes(column, text, size);
                    *bytes += (int64_t)size;
                    continue;
                }
            }
            break;
        case QN_SQLITE_DATE:
            if (QN_LIKELY(type == SQLITE_TEXT) && put_plain_date(column, value)) {
                continue;
            }
            break;
        default:
            break;
        }
        if (type == SQLITE_TEXT || type == SQLITE_BLOB) {
            *bytes += sqlite3_value_bytes(value);
        }
        QN_TRY(put_other(self, i, value, type, err));
    }
    return QN_OK;
}

/* Room for more rows: a little at first, then several times as much. */
static enum qn_status grow(struct qn_sqlite_decoder *self, int64_t max_rows, struct qn_error *err)
{
    int64_t more = self->rows < FIRST_ROWS ? FIRST_ROWS : self->rows < QUICK_ROWS ? 3 * self->rows : self->rows;
    more = self->rows == 0 && self->promised ? max_rows : more;
    if (more > max_rows - self->rows) {
        more = max_rows - self->rows;
    }
    QN_TRY(qn_batch_reserve(&self->batch, more, err));
    self->reserved = self->rows + more;
    self->row_width = 0;
    for (int32_t i = 0; i < self->n_fields; i++) {
        self->row_width += self->batch.columns[i].width;
    }
    return QN_OK;
}

enum qn_status qn_sqlite_decoder_read(struct qn_sqlite_decoder *self, int64_t max_rows, int64_t max_bytes,
                                      int *code_out, struct qn_error *err)
{
    sqlite3_stmt *stmt = self->stmt;
    int64_t bytes = 0;
    int code = SQLITE_ROW;
    while (code == SQLITE_ROW && self->rows < max_rows && bytes + self->rows * self->row_width < max_bytes) {
        if (QN_UNLIKELY(self->rows == self->reserved)) {
            QN_TRY(grow(self, max_rows, err));
        }
        QN_TRY(decode_row(self, stmt, &bytes, err));
        self->rows++;
        self->row++;
        code = sqlite3_step(stmt);
    }
    *code_out = code;
    return QN_OK;
}

enum qn_status qn_sqlite_decoder_promise(struct qn_sqlite_decoder *self, struct qn_error *err)
{
    for (int32_t i = 0; i < self->n_fields; i++) {
        struct qn_sqlite_field *field = &self->fields[i];
        bool parsed = false;
        if (field->text_at_last && field->kind == QN_SQLITE_TEXT) {
            QN_TRY(qn_sqlite_column_parse(&self->batch.columns[i], field->name, &field->wanted, &parsed, err));
        }
        if (parsed) {
            field->kind = field->wanted;
            field->type = qn_sqlite_kind_type(field->wanted);
            self->changed = true;
        }
    }
    self->promised = true;
    return QN_OK;
}

enum qn_status qn_sqlite_decoder_finish(struct qn_sqlite_decoder *self, struct ArrowArray *out, struct qn_error *err)
{
    enum qn_status status = qn_batch_finish(&self->batch, self->rows, out, err);
    self->rows = 0;
    self->reserved = 0;
    return status;
}
