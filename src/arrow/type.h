/*
 * type.h: Arrow types as a small struct, to and from format strings and type strings.
 *
 * Format strings are those of the Arrow C data interface ("l", "vu", "d:10,2"). Type strings are what people write:
 * "Int64", "Utf8", "Decimal(10,2)", "Timestamp[us, UTC]" and the aliases of the connector SDK ("int", "string"...).
 */
#ifndef QN_ARROW_TYPE_H
#define QN_ARROW_TYPE_H

#include "base/status.h"

#include <qanat/stream.h>

enum qn_type_id {
    QN_TYPE_NULL,
    QN_TYPE_BOOL,
    QN_TYPE_INT8,
    QN_TYPE_INT16,
    QN_TYPE_INT32,
    QN_TYPE_INT64,
    QN_TYPE_UINT8,
    QN_TYPE_UINT16,
    QN_TYPE_UINT32,
    QN_TYPE_UINT64,
    QN_TYPE_FLOAT16,
    QN_TYPE_FLOAT32,
    QN_TYPE_FLOAT64,
    QN_TYPE_DECIMAL32,
    QN_TYPE_DECIMAL64,
    QN_TYPE_DECIMAL128,
    QN_TYPE_DECIMAL256,
    QN_TYPE_STRING,       /* 32-bit offsets */
    QN_TYPE_LARGE_STRING, /* 64-bit offsets */
    QN_TYPE_STRING_VIEW,
    QN_TYPE_BINARY,
    QN_TYPE_LARGE_BINARY,
    QN_TYPE_BINARY_VIEW,
    QN_TYPE_FIXED_BINARY,
    QN_TYPE_DATE32,
    QN_TYPE_DATE64,
    QN_TYPE_TIME32, /* s or ms */
    QN_TYPE_TIME64, /* us or ns */
    QN_TYPE_TIMESTAMP,
    QN_TYPE_DURATION,
    QN_TYPE_INTERVAL_MONTHS,
    QN_TYPE_INTERVAL_DAY_TIME,
    QN_TYPE_INTERVAL_MONTH_DAY_NANO,
    QN_TYPE_LIST,
    QN_TYPE_LARGE_LIST,
    QN_TYPE_FIXED_LIST,
    QN_TYPE_STRUCT,
    QN_TYPE_MAP,
    QN_TYPE_OTHER /* unions, run-end encoded, list views: known, not handled */
};

enum qn_time_unit { QN_UNIT_SECOND, QN_UNIT_MILLI, QN_UNIT_MICRO, QN_UNIT_NANO };

#define QN_TIMEZONE_SIZE 64

struct qn_type {
    enum qn_type_id id;
    enum qn_time_unit unit;          /* of times, timestamps, durations */
    int32_t precision, scale;        /* of decimals */
    int32_t width;                   /* bytes of fixed binary, length of fixed lists */
    char timezone[QN_TIMEZONE_SIZE]; /* of timestamps; "" for wall clock */
};

#define QN_TYPE_MAX_FORMAT 96

/* Parse a format string. A dictionary-encoded schema gives its index type: look at schema->dictionary first. */
enum qn_status qn_type_from_format(const char *format, struct qn_type *out, struct qn_error *err) QN_MUST_CHECK;
/* Write the format string. Always fits. */
void qn_type_to_format(const struct qn_type *type, char out[QN_TYPE_MAX_FORMAT]);

/* Parse a type string that has no children ("Utf8" gives a string view). Unknown: QN_ERR_CONFIG listing the known ones. */
enum qn_status qn_type_from_text(const char *text, struct qn_type *out, struct qn_error *err) QN_MUST_CHECK;
/* "Decimal(10,2)" and so on, for messages; a list is "List", a struct "Struct". */
void qn_type_to_text(const struct qn_type *type, char out[QN_TYPE_MAX_FORMAT]);

/* Bytes a value in the data buffer of fixed-width types and views; 0 for all others. */
uint32_t qn_type_width(const struct qn_type *type);

/* Short makers for the common ones. */
static inline struct qn_type qn_type_of(enum qn_type_id id)
{
    return (struct qn_type){ .id = id };
}
static inline struct qn_type qn_type_decimal(int precision, int scale)
{
    return (struct qn_type){ .id = QN_TYPE_DECIMAL128, .precision = precision, .scale = scale };
}
struct qn_type qn_type_timestamp(enum qn_time_unit unit, const char *timezone); /* timezone NULL: wall clock */

/* ---- schemas: released by their own release, made by these ---- */

/* A struct schema with n fields, all still without name and type (null type). */
enum qn_status qn_schema_struct(struct ArrowSchema *out, int64_t n_fields, struct qn_error *err) QN_MUST_CHECK;
/* Set the i-th field of a struct (or list) schema. Lists and structs get their children by calling this on the field
 * (qn_schema_children sets how many). */
enum qn_status qn_schema_set(struct ArrowSchema *schema, int64_t i, const char *name, const struct qn_type *type,
                             struct qn_error *err) QN_MUST_CHECK;
/* Set the i-th field, name, type, children and nullability, from a text: "Int64", "Utf8!", "List<Int64>",
 * "Struct<a: Int64, b: Utf8!>?". After a type `!` says that it may not be null (ARROW_FLAG_NULLABLE is cleared); `?` that it
 * may, as without. QN_ERR_CONFIG (the known names in the message) leaves the field as it was. */
#define QN_TYPE_TEXT_MAX 4096 /* bytes */
enum qn_status qn_schema_set_from_text(struct ArrowSchema *schema, int64_t i, const char *name, const char *text,
                                       struct qn_error *err) QN_MUST_CHECK;
/* Append the text of a field's type: as above, for what is written so; "Map<...>" and others for what is not. */
struct qn_buffer;
void qn_schema_field_to_text(const struct ArrowSchema *field, struct qn_buffer *out);
enum qn_status qn_schema_children(struct ArrowSchema *field, int64_t n_children, struct qn_error *err) QN_MUST_CHECK;
/* Add or replace a key of a field's metadata. */
enum qn_status qn_schema_metadata_set(struct ArrowSchema *field, const char *key, const char *value,
                                      struct qn_error *err) QN_MUST_CHECK;
/* The value of a key (borrowed, not NUL-terminated) or false. */
bool qn_schema_metadata_get(const struct ArrowSchema *field, const char *key, const char **value_out, size_t *size_out);
enum qn_status qn_schema_copy(const struct ArrowSchema *schema, struct ArrowSchema *out,
                              struct qn_error *err) QN_MUST_CHECK;
/* Make a schema one that is never changed again and whose copies by qn_schema_share are cheap: they share its texts, which
 * live as long as the last of them. On failure it is as it was. */
enum qn_status qn_schema_freeze(struct ArrowSchema *schema, struct qn_error *err) QN_MUST_CHECK;
/* A copy that is not to be changed: cheap where the schema is frozen, as qn_schema_copy otherwise. */
enum qn_status qn_schema_share(const struct ArrowSchema *schema, struct ArrowSchema *out,
                               struct qn_error *err) QN_MUST_CHECK;
/* Index of the field of that name; -1 none, -2 more than one. */
int64_t qn_schema_find(const struct ArrowSchema *schema, const char *name);

void qn_schema_release(struct ArrowSchema *schema); /* NULL and released ones are allowed */
void qn_array_release(struct ArrowArray *array);
void qn_stream_release(struct ArrowArrayStream *stream);
#define qn_auto_schema __attribute__((cleanup(qn_schema_release))) struct ArrowSchema
#define qn_auto_array  __attribute__((cleanup(qn_array_release))) struct ArrowArray
#define qn_auto_stream __attribute__((cleanup(qn_stream_release))) struct ArrowArrayStream

/* Metadata keys of ours. */
#define QN_KEY_DATABASE "qanat.database" /* whose type that is, where its own text form is exact: the dialect's name */
#define QN_KEY_SQL_TYPE "qanat.sql_type" /* the column's type as the database names it */
#define QN_KEY_KIND     "qanat.kind"     /* "json" or "uuid": what a text parameter is */

#endif
