/*
 * ipc_schema.c: schemas as Arrow IPC writes them (Schema.fbs): which layout goes out, FlatBuffers from a schema and back.
 *
 * Reading bounds what tables shared in a FlatBuffer could blow up: levels, fields, bytes of text. Threads: no state.
 */
#include "arrow/ipc_private.h"

#include "arrow/type_parse.h"
#include "base/decimal.h"
#include "base/memory.h"
#include "base/utf8.h"

/* Schema.fbs: the union Type, and the fields of its tables and of Schema, Field, KeyValue. */
enum flat_type {
    FLAT_NULL = 1,
    FLAT_INT,
    FLAT_FLOAT,
    FLAT_BINARY,
    FLAT_UTF8,
    FLAT_BOOL,
    FLAT_DECIMAL,
    FLAT_DATE,
    FLAT_TIME,
    FLAT_TIMESTAMP,
    FLAT_INTERVAL,
    FLAT_LIST,
    FLAT_STRUCT,
    FLAT_UNION,
    FLAT_FIXED_BINARY,
    FLAT_FIXED_LIST,
    FLAT_MAP,
    FLAT_DURATION,
    FLAT_LARGE_BINARY,
    FLAT_LARGE_UTF8,
    FLAT_LARGE_LIST,
    FLAT_RUN_END_ENCODED,
    FLAT_BINARY_VIEW,
    FLAT_UTF8_VIEW
};
enum schema_field { SCHEMA_ENDIANNESS, SCHEMA_FIELDS, SCHEMA_METADATA, SCHEMA_SLOTS };
enum field_field {
    FIELD_NAME,
    FIELD_NULLABLE,
    FIELD_TYPE_KIND,
    FIELD_TYPE,
    FIELD_DICTIONARY,
    FIELD_CHILDREN,
    FIELD_METADATA,
    FIELD_SLOTS
};
enum encoding_field { ENCODING_ID, ENCODING_INDEX_TYPE };

int64_t qn__ipc_buffers(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_NULL:
        return 0;
    case QN_TYPE_STRUCT:
    case QN_TYPE_FIXED_LIST:
        return 1;
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
        return 3;
    default:
        return 2;
    }
}

size_t qn__ipc_offset_width(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_STRING:
    case QN_TYPE_BINARY:
    case QN_TYPE_LIST:
    case QN_TYPE_MAP:
        return 4;
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_LARGE_LIST:
        return 8;
    default:
        return 0;
    }
}

/* ---- the schema as it is written ---- */

static bool is_list(enum qn_type_id id)
{
    return id == QN_TYPE_LIST || id == QN_TYPE_LARGE_LIST || id == QN_TYPE_FIXED_LIST || id == QN_TYPE_MAP;
}

static enum qn_status check_children(const struct ArrowSchema *field, enum qn_type_id id, struct qn_error *err)
{
    bool good = is_list(id) ? field->n_children == 1 : id == QN_TYPE_STRUCT || field->n_children == 0;
    if (good && id == QN_TYPE_MAP) {
        const struct ArrowSchema *entries = field->children[0];
        good = strcmp(entries->format, "+s") == 0 && entries->n_children == 2 && entries->dictionary == NULL;
    }
    return good ? QN_OK
                : qn_error_set(err, QN_ERR_DATA, "column \"%s\": an Arrow schema of type %s with %lld children",
                               field->name != NULL ? field->name : "", field->format, (long long)field->n_children);
}

static enum qn_status wire_field(const struct ArrowSchema *field, struct ArrowSchema *parent, int64_t i, int64_t *left,
                                 struct qn_error *err)
{
    const char *name = field->name != NULL ? field->name : "";
    const struct ArrowSchema *values = field;
    struct qn_type type;
    while (values->dictionary != NULL) {
        values = values->dictionary;
    }
    QN_TRY(qn_type_from_format(values->format, &type, err));
    bool nested = is_list(type.id) || type.id == QN_TYPE_STRUCT;
    if (type.id == QN_TYPE_OTHER || (nested && values != field)) {
        char quoted[QN__QUOTED_SIZE];
        qn__type_quote(values->format, quoted);
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\": Arrow format \"%s\"%s is not written as Arrow IPC",
                            name, quoted, nested ? " behind a dictionary" : "");
    }
    if (--*left < 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "a schema has more than %d fields", QN__IPC_MAX_FIELDS);
    }
    QN_TRY(check_children(values, type.id, err));
    type.id = type.id == QN_TYPE_STRING_VIEW   ? QN_TYPE_STRING
              : type.id == QN_TYPE_BINARY_VIEW ? QN_TYPE_BINARY
                                               : type.id;
    QN_TRY(qn_schema_set(parent, i, name, &type, err));
    struct ArrowSchema *made = parent->children[i];
    made->flags = field->flags & (ARROW_FLAG_NULLABLE | (type.id == QN_TYPE_MAP ? ARROW_FLAG_MAP_KEYS_SORTED : 0));
    QN_TRY(qn__schema_metadata_copy(made, field->metadata, err));
    QN_TRY(qn_schema_children(made, values->n_children, err));
    for (int64_t child = 0; child < values->n_children; child++) {
        QN_TRY(wire_field(values->children[child], made, child, left, err));
    }
    return QN_OK;
}

enum qn_status qn__ipc_wire_schema(const struct ArrowSchema *schema, struct ArrowSchema *out, struct qn_error *err)
{
    QN_TRY(qn__schema_check(schema, err));
    if (strcmp(schema->format, "+s") != 0 || schema->dictionary != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "rows come as struct arrays; the schema's format is another");
    }
    qn_auto_schema made = { 0 };
    QN_TRY(qn_schema_struct(&made, schema->n_children, err));
    QN_TRY(qn__schema_metadata_copy(&made, schema->metadata, err));
    int64_t left = QN__IPC_MAX_FIELDS;
    for (int64_t i = 0; i < schema->n_children; i++) {
        QN_TRY(wire_field(schema->children[i], &made, i, &left, err));
    }
    *out = made;
    made.release = NULL;
    return QN_OK;
}

static int64_t count_fields(const struct ArrowSchema *schema)
{
    int64_t count = schema->n_children;
    for (int64_t i = 0; i < schema->n_children; i++) {
        count += count_fields(schema->children[i]);
    }
    return count;
}

static enum qn_status list_fields(struct qn__ipc_fields *fields, const struct ArrowSchema *schema, struct qn_error *err)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        const struct ArrowSchema *child = schema->children[i];
        struct qn__ipc_field *field = &fields->list[fields->count++];
        QN_TRY(qn_type_from_format(child->format, &field->type, err));
        field->name = child->name;
        field->required = (child->flags & ARROW_FLAG_NULLABLE) == 0;
        field->n_children = child->n_children;
        fields->n_buffers += qn__ipc_buffers(field->type.id);
        QN_TRY(list_fields(fields, child, err));
    }
    return QN_OK;
}

enum qn_status qn__ipc_fields_init(struct qn__ipc_fields *fields, const struct ArrowSchema *wire, struct qn_error *err)
{
    struct qn__ipc_fields made = { .list = qn_calloc((size_t)count_fields(wire), sizeof *made.list) };
    if (made.list == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = list_fields(&made, wire, err);
    if (status != QN_OK) {
        qn__ipc_fields_dispose(&made);
        return status;
    }
    *fields = made;
    return QN_OK;
}

void qn__ipc_fields_dispose(struct qn__ipc_fields *fields)
{
    qn_free(fields->list);
    *fields = (struct qn__ipc_fields){ 0 };
}

/* ---- writing ---- */

/* A type in the union, and what its table holds, a letter for each field: b bits of a value, s whether it is signed, p
 * precision, c scale, w width, u unit, z the offset of a time zone, e which one of a family that begins with `first`. */
static const struct {
    uint8_t kind;
    const char *fields;
    enum qn_type_id first;
} flat_types[] = {
    [QN_TYPE_NULL] = { FLAT_NULL, "", 0 },
    [QN_TYPE_BOOL] = { FLAT_BOOL, "", 0 },
    [QN_TYPE_INT8] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_INT16] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_INT32] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_INT64] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_UINT8] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_UINT16] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_UINT32] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_UINT64] = { FLAT_INT, "bs", 0 },
    [QN_TYPE_FLOAT16] = { FLAT_FLOAT, "e", QN_TYPE_FLOAT16 },
    [QN_TYPE_FLOAT32] = { FLAT_FLOAT, "e", QN_TYPE_FLOAT16 },
    [QN_TYPE_FLOAT64] = { FLAT_FLOAT, "e", QN_TYPE_FLOAT16 },
    [QN_TYPE_DECIMAL32] = { FLAT_DECIMAL, "pcb", 0 },
    [QN_TYPE_DECIMAL64] = { FLAT_DECIMAL, "pcb", 0 },
    [QN_TYPE_DECIMAL128] = { FLAT_DECIMAL, "pcb", 0 },
    [QN_TYPE_DECIMAL256] = { FLAT_DECIMAL, "pcb", 0 },
    [QN_TYPE_STRING] = { FLAT_UTF8, "", 0 },
    [QN_TYPE_LARGE_STRING] = { FLAT_LARGE_UTF8, "", 0 },
    [QN_TYPE_BINARY] = { FLAT_BINARY, "", 0 },
    [QN_TYPE_LARGE_BINARY] = { FLAT_LARGE_BINARY, "", 0 },
    [QN_TYPE_FIXED_BINARY] = { FLAT_FIXED_BINARY, "w", 0 },
    [QN_TYPE_DATE32] = { FLAT_DATE, "e", QN_TYPE_DATE32 },
    [QN_TYPE_DATE64] = { FLAT_DATE, "e", QN_TYPE_DATE32 },
    [QN_TYPE_TIME32] = { FLAT_TIME, "ub", 0 },
    [QN_TYPE_TIME64] = { FLAT_TIME, "ub", 0 },
    [QN_TYPE_TIMESTAMP] = { FLAT_TIMESTAMP, "uz", 0 },
    [QN_TYPE_DURATION] = { FLAT_DURATION, "u", 0 },
    [QN_TYPE_INTERVAL_MONTHS] = { FLAT_INTERVAL, "e", QN_TYPE_INTERVAL_MONTHS },
    [QN_TYPE_INTERVAL_DAY_TIME] = { FLAT_INTERVAL, "e", QN_TYPE_INTERVAL_MONTHS },
    [QN_TYPE_INTERVAL_MONTH_DAY_NANO] = { FLAT_INTERVAL, "e", QN_TYPE_INTERVAL_MONTHS },
    [QN_TYPE_LIST] = { FLAT_LIST, "", 0 },
    [QN_TYPE_LARGE_LIST] = { FLAT_LARGE_LIST, "", 0 },
    [QN_TYPE_FIXED_LIST] = { FLAT_FIXED_LIST, "w", 0 },
    [QN_TYPE_STRUCT] = { FLAT_STRUCT, "", 0 },
    [QN_TYPE_MAP] = { FLAT_MAP, "", 0 },
};

static struct qn__flat_slot type_slot(const struct qn_type *type, char field)
{
    switch (field) {
    case 'b':
        return (struct qn__flat_slot){ 4, 8 * (int64_t)qn_type_width(type) };
    case 's':
        return (struct qn__flat_slot){ 1, type->id <= QN_TYPE_INT64 };
    case 'p':
        return (struct qn__flat_slot){ 4, type->precision };
    case 'c':
        return (struct qn__flat_slot){ 4, type->scale };
    case 'w':
        return (struct qn__flat_slot){ 4, type->width };
    case 'u':
        return (struct qn__flat_slot){ 2, (int64_t)type->unit };
    case 'z':
        return (struct qn__flat_slot){ type->timezone[0] != '\0' ? 4 : 0, 0 };
    default:
        return (struct qn__flat_slot){ 2, (int64_t)type->id - flat_types[type->id].first };
    }
}

/* The kind of a type in the union and the slots of its table. */
static uint8_t describe_type(const struct qn_type *type, struct qn__flat_slot slots[3], int *n_slots)
{
    const char *fields = flat_types[type->id].fields;
    *n_slots = (int)strlen(fields);
    for (int i = 0; i < *n_slots; i++) {
        slots[i] = type_slot(type, fields[i]);
    }
    return flat_types[type->id].kind;
}

/* The pairs of a field's metadata as the C data interface has them: native i32 counts before each text. */
static void put_metadata(const struct qn__flat_writer *to, const char *metadata, size_t place)
{
    int32_t count, size;
    memcpy(&count, metadata, sizeof count);
    metadata += sizeof count;
    size_t vector = qn__flat_put_vector(to, (uint32_t)count);
    qn__flat_patch(to, place, vector);
    size_t first = to->out->size;
    for (int32_t i = 0; i < count; i++) {
        qn_buffer_append(to->out, "\0\0\0", 4);
    }
    for (int32_t i = 0; i < count; i++) {
        size_t places[QN__FLAT_MAX_FIELDS];
        const struct qn__flat_slot slots[] = { { 4, 0 }, { 4, 0 } };
        size_t pair = qn__flat_put_table(to, slots, 2, places);
        qn__flat_patch(to, first + 4 * (size_t)i, pair);
        for (int part = 0; part < 2; part++) {
            memcpy(&size, metadata, sizeof size);
            metadata += sizeof size;
            qn__flat_patch(to, places[part], qn__flat_put_string(to, metadata, (size_t)size));
            metadata += size;
        }
    }
}

static bool has_metadata(const struct ArrowSchema *schema)
{
    int32_t count = 0;
    if (schema->metadata != NULL) {
        memcpy(&count, schema->metadata, sizeof count);
    }
    return count > 0;
}

static size_t put_field(const struct qn__flat_writer *to, const struct ArrowSchema *field);

static void put_fields(const struct qn__flat_writer *to, const struct ArrowSchema *parent, size_t place)
{
    size_t vector = qn__flat_put_vector(to, (uint32_t)parent->n_children);
    qn__flat_patch(to, place, vector);
    size_t first = to->out->size;
    for (int64_t i = 0; i < parent->n_children; i++) {
        qn_buffer_append(to->out, "\0\0\0", 4);
    }
    for (int64_t i = 0; i < parent->n_children; i++) {
        qn__flat_patch(to, first + 4 * (size_t)i, put_field(to, parent->children[i]));
    }
}

static size_t put_field(const struct qn__flat_writer *to, const struct ArrowSchema *field)
{
    struct qn_type type;
    if (qn_type_from_format(field->format, &type, NULL) != QN_OK) {
        type = qn_type_of(QN_TYPE_NULL); /* not reached: the format was made from a type */
    }
    struct qn__flat_slot type_slots[3];
    int n_type_slots;
    uint8_t kind = describe_type(&type, type_slots, &n_type_slots);
    if (type.id == QN_TYPE_MAP) {
        n_type_slots = 1;
        type_slots[0] = (struct qn__flat_slot){ 1, (field->flags & ARROW_FLAG_MAP_KEYS_SORTED) != 0 };
    }
    const struct qn__flat_slot slots[FIELD_SLOTS] = {
        [FIELD_NAME] = { 4, 0 },
        [FIELD_NULLABLE] = { 1, (field->flags & ARROW_FLAG_NULLABLE) != 0 },
        [FIELD_TYPE_KIND] = { 1, kind },
        [FIELD_TYPE] = { 4, 0 },
        [FIELD_CHILDREN] = { 4, 0 }, /* readers ask for it, empty too */
        [FIELD_METADATA] = { has_metadata(field) ? 4 : 0, 0 },
    };
    size_t places[QN__FLAT_MAX_FIELDS], type_places[QN__FLAT_MAX_FIELDS];
    size_t table = qn__flat_put_table(to, slots, FIELD_SLOTS, places);
    qn__flat_patch(to, places[FIELD_NAME], qn__flat_put_string(to, field->name, strlen(field->name)));
    qn__flat_patch(to, places[FIELD_TYPE], qn__flat_put_table(to, type_slots, n_type_slots, type_places));
    if (type.id == QN_TYPE_TIMESTAMP && type.timezone[0] != '\0') {
        qn__flat_patch(to, type_places[1], qn__flat_put_string(to, type.timezone, strlen(type.timezone)));
    }
    put_fields(to, field, places[FIELD_CHILDREN]);
    if (has_metadata(field)) {
        put_metadata(to, field->metadata, places[FIELD_METADATA]);
    }
    return table;
}

size_t qn__ipc_put_schema(const struct qn__flat_writer *to, const struct ArrowSchema *wire)
{
    const struct qn__flat_slot slots[SCHEMA_SLOTS] = {
        [SCHEMA_ENDIANNESS] = { 2, 0 },
        [SCHEMA_FIELDS] = { 4, 0 },
        [SCHEMA_METADATA] = { has_metadata(wire) ? 4 : 0, 0 },
    };
    size_t places[QN__FLAT_MAX_FIELDS];
    size_t table = qn__flat_put_table(to, slots, SCHEMA_SLOTS, places);
    put_fields(to, wire, places[SCHEMA_FIELDS]);
    if (has_metadata(wire)) {
        put_metadata(to, wire->metadata, places[SCHEMA_METADATA]);
    }
    return table;
}

/* ---- reading ---- */

struct schema_reader {
    struct qn__flat *flat;
    int64_t fields_left, text_left;
    int64_t n_fields; /* so far */
    struct qn_buffer *encoded;
    struct qn_error *err;
};

static enum qn_status malformed(const struct schema_reader *reader, const char *what)
{
    return qn_error_set(reader->err, QN_ERR_PROTOCOL, "Arrow IPC: the schema is malformed: %s", what);
}

/* The string of a field, borrowed and not NUL-terminated; absent: "". */
static enum qn_status get_text(struct schema_reader *reader, const struct qn__flat_table *table, int field,
                               const char **out, size_t *size_out)
{
    struct qn__flat_vector text = qn__flat_vector(reader->flat, table, field, 1);
    if (reader->flat->bad) {
        return malformed(reader, "a text lies outside of it");
    }
    reader->text_left -= text.count;
    if (reader->text_left < 0) {
        return malformed(reader, "it has too much text");
    }
    *out = (const char *)reader->flat->bytes + text.at;
    *size_out = text.count;
    return QN_OK;
}

/* A name: UTF-8 without NUL, as a C string of the caller's. */
static enum qn_status get_name(struct schema_reader *reader, const struct qn__flat_table *table, int field, char **out)
{
    const char *text = NULL;
    size_t size = 0;
    QN_TRY(get_text(reader, table, field, &text, &size));
    if (memchr(text, '\0', size) != NULL || !qn_utf8_valid(text, size)) {
        return malformed(reader, "a name is not UTF-8");
    }
    *out = qn_strndup(text, size);
    return *out != NULL ? QN_OK : qn__no_memory(reader->err);
}

static enum qn_status get_metadata(struct schema_reader *reader, const struct qn__flat_table *table, int field,
                                   struct ArrowSchema *out)
{
    struct qn__flat_vector pairs = qn__flat_vector(reader->flat, table, field, 4);
    if (pairs.count == 0) {
        return QN_OK;
    }
    qn_auto_buffer encoded = { .limit = INT32_MAX };
    qn_buffer_append(&encoded, &pairs.count, sizeof pairs.count);
    for (uint32_t i = 0; i < pairs.count; i++) {
        struct qn__flat_table pair = qn__flat_item(reader->flat, &pairs, i);
        for (int part = 0; part < 2; part++) {
            const char *text = NULL;
            size_t size = 0;
            QN_TRY(get_text(reader, &pair, part, &text, &size));
            reader->text_left -= 8; /* an empty pair costs too */
            uint32_t count = (uint32_t)size;
            qn_buffer_append(&encoded, &count, sizeof count);
            qn_buffer_append(&encoded, text, size);
        }
    }
    QN_TRY(qn_buffer_check(&encoded, "metadata of a schema", reader->err));
    return qn__schema_metadata_copy(out, encoded.data, reader->err);
}

static bool get_unit(int64_t unit, struct qn_type *type)
{
    type->unit = (enum qn_time_unit)(unit & 3);
    return unit >= 0 && unit <= 3;
}

static bool get_int(int64_t bits, bool is_signed, struct qn_type *type)
{
    static const enum qn_type_id ids[] = { QN_TYPE_INT8, QN_TYPE_INT16, QN_TYPE_INT32, QN_TYPE_INT64 };
    for (int i = 0; i < 4; i++) {
        if (bits == 8 << i) {
            type->id = ids[i] + (is_signed ? 0 : QN_TYPE_UINT8 - QN_TYPE_INT8);
            return true;
        }
    }
    return false;
}

static bool get_decimal(int64_t precision, int64_t scale, int64_t bits, struct qn_type *type)
{
    type->id = bits == 32    ? QN_TYPE_DECIMAL32
               : bits == 64  ? QN_TYPE_DECIMAL64
               : bits == 128 ? QN_TYPE_DECIMAL128
               : bits == 256 ? QN_TYPE_DECIMAL256
                             : QN_TYPE_OTHER;
    type->precision = (int32_t)precision;
    type->scale = (int32_t)scale;
    char format[QN_TYPE_MAX_FORMAT];
    struct qn_type again;
    if (type->id == QN_TYPE_OTHER) {
        return false;
    }
    qn_type_to_format(type, format); /* whose reader knows the limits */
    return qn_type_from_format(format, &again, NULL) == QN_OK;
}

static bool get_time(int64_t unit, int64_t bits, struct qn_type *type)
{
    type->id = bits == 32 ? QN_TYPE_TIME32 : QN_TYPE_TIME64;
    return get_unit(unit, type) && bits == (type->unit <= QN_UNIT_MILLI ? 32 : 64);
}

static bool get_width(int64_t width, enum qn_type_id id, struct qn_type *type)
{
    type->id = id;
    type->width = (int32_t)width;
    return width >= 0;
}

/* The time zone of a timestamp. */
static enum qn_status get_timezone(struct schema_reader *reader, const struct qn__flat_table *table,
                                   struct qn_type *type)
{
    char *zone qn_auto_free = NULL;
    QN_TRY(get_name(reader, table, 1, &zone));
    size_t size = strlen(zone);
    if (size >= sizeof type->timezone) {
        return malformed(reader, "the name of a time zone is too long");
    }
    memcpy(type->timezone, zone, size + 1);
    return QN_OK;
}

/* The types that have one table of small numbers, or nothing; false: one that is malformed or not read. */
static bool get_plain_type(struct qn__flat *flat, const struct qn__flat_table *table, int64_t kind,
                           struct qn_type *type)
{
    static const enum qn_type_id bare[] = {
        [FLAT_NULL] = QN_TYPE_NULL,
        [FLAT_BINARY] = QN_TYPE_BINARY,
        [FLAT_UTF8] = QN_TYPE_STRING,
        [FLAT_BOOL] = QN_TYPE_BOOL,
        [FLAT_LIST] = QN_TYPE_LIST,
        [FLAT_STRUCT] = QN_TYPE_STRUCT,
        [FLAT_MAP] = QN_TYPE_MAP,
        [FLAT_LARGE_BINARY] = QN_TYPE_LARGE_BINARY,
        [FLAT_LARGE_UTF8] = QN_TYPE_LARGE_STRING,
        [FLAT_LARGE_LIST] = QN_TYPE_LARGE_LIST,
        [FLAT_BINARY_VIEW] = QN_TYPE_BINARY_VIEW,
        [FLAT_UTF8_VIEW] = QN_TYPE_STRING_VIEW,
    };
    int64_t number;
    switch (kind) {
    case FLAT_INT:
        return get_int(qn__flat_int(flat, table, 0, 4, 0), qn__flat_int(flat, table, 1, 1, 0) != 0, type);
    case FLAT_FLOAT:
        number = qn__flat_int(flat, table, 0, 2, 0);
        type->id = (enum qn_type_id)(QN_TYPE_FLOAT16 + (number & 3));
        return number >= 0 && number <= 2;
    case FLAT_DECIMAL:
        return get_decimal(qn__flat_int(flat, table, 0, 4, 0), qn__flat_int(flat, table, 1, 4, 0),
                           qn__flat_int(flat, table, 2, 4, 128), type);
    case FLAT_DATE:
        number = qn__flat_int(flat, table, 0, 2, 1);
        type->id = number == 0 ? QN_TYPE_DATE32 : QN_TYPE_DATE64;
        return number == 0 || number == 1;
    case FLAT_TIME:
        return get_time(qn__flat_int(flat, table, 0, 2, 1), qn__flat_int(flat, table, 1, 4, 32), type);
    case FLAT_TIMESTAMP:
        type->id = QN_TYPE_TIMESTAMP;
        return get_unit(qn__flat_int(flat, table, 0, 2, 0), type);
    case FLAT_DURATION:
        type->id = QN_TYPE_DURATION;
        return get_unit(qn__flat_int(flat, table, 0, 2, 1), type);
    case FLAT_INTERVAL:
        number = qn__flat_int(flat, table, 0, 2, 0);
        type->id = (enum qn_type_id)(QN_TYPE_INTERVAL_MONTHS + (number & 3));
        return number >= 0 && number <= 2;
    case FLAT_FIXED_BINARY:
        return get_width(qn__flat_int(flat, table, 0, 4, 0), QN_TYPE_FIXED_BINARY, type);
    case FLAT_FIXED_LIST:
        return get_width(qn__flat_int(flat, table, 0, 4, 0), QN_TYPE_FIXED_LIST, type);
    default:
        if (kind < FLAT_NULL || kind > FLAT_UTF8_VIEW || (bare[kind] == QN_TYPE_NULL && kind != FLAT_NULL)) {
            return false;
        }
        type->id = bare[kind];
        return true;
    }
}

struct qn_type qn__ipc_gathered_type(const struct qn_type *values)
{
    struct qn_type type = *values;
    type.id = qn__type_is_text(type.id)                                      ? QN_TYPE_STRING_VIEW
              : type.id == QN_TYPE_BINARY || type.id == QN_TYPE_LARGE_BINARY ? QN_TYPE_BINARY_VIEW
                                                                             : type.id;
    return type;
}

/* What the DictionaryEncoding of a field says; *type, that of the values, becomes what they are handed out as. */
static enum qn_status get_encoding(struct schema_reader *reader, const struct qn__flat_table *table, const char *name,
                                   struct qn_type *type)
{
    struct qn__flat *flat = reader->flat;
    struct qn__flat_table encoding = qn__flat_child(flat, table, FIELD_DICTIONARY);
    struct qn__flat_table index = qn__flat_child(flat, &encoding, ENCODING_INDEX_TYPE);
    struct qn__ipc_encoded encoded = { .field = reader->n_fields - 1,
                                       .dictionary = qn__flat_int(flat, &encoding, ENCODING_ID, 8, 0),
                                       .index_type = { .id = QN_TYPE_INT32 },
                                       .value_type = *type };
    if (index.vtable_size != 0 &&
        !get_int(qn__flat_int(flat, &index, 0, 4, 0), qn__flat_int(flat, &index, 1, 1, 0) != 0, &encoded.index_type)) {
        return malformed(reader, "the indices of a dictionary are no integers");
    }
    if (is_list(type->id) || type->id == QN_TYPE_STRUCT) {
        return qn_error_set(reader->err, QN_ERR_UNSUPPORTED,
                            "Arrow IPC: column \"%s\": a dictionary of nested values is not read", name);
    }
    *type = qn__ipc_gathered_type(type);
    qn_buffer_append(reader->encoded, &encoded, sizeof encoded);
    return qn_buffer_check(reader->encoded, "dictionaries of a schema", reader->err);
}

static enum qn_status get_fields(struct schema_reader *reader, const struct qn__flat_table *table, int field,
                                 struct ArrowSchema *parent, int depth);

static enum qn_status get_field(struct schema_reader *reader, const struct qn__flat_table *table,
                                struct ArrowSchema *parent, int64_t i, int depth)
{
    struct qn__flat *flat = reader->flat;
    char *name qn_auto_free = NULL;
    reader->n_fields++;
    QN_TRY(get_name(reader, table, FIELD_NAME, &name));
    int64_t kind = qn__flat_int(flat, table, FIELD_TYPE_KIND, 1, 0);
    struct qn__flat_table type_table = qn__flat_child(flat, table, FIELD_TYPE);
    struct qn_type type = { .id = QN_TYPE_NULL };
    bool good = get_plain_type(flat, &type_table, kind, &type);
    if (flat->bad) {
        return malformed(reader, "a field lies outside of it");
    }
    if (!good) {
        return qn_error_set(reader->err, QN_ERR_UNSUPPORTED,
                            "Arrow IPC: column \"%s\": its type is not one that is read", name);
    }
    if (type.id == QN_TYPE_TIMESTAMP) {
        QN_TRY(get_timezone(reader, &type_table, &type));
    }
    if (qn__flat_has(flat, table, FIELD_DICTIONARY)) {
        QN_TRY(get_encoding(reader, table, name, &type));
    }
    QN_TRY(qn_schema_set(parent, i, name, &type, reader->err));
    struct ArrowSchema *made = parent->children[i];
    made->flags = qn__flat_int(flat, table, FIELD_NULLABLE, 1, 0) != 0 ? ARROW_FLAG_NULLABLE : 0;
    if (type.id == QN_TYPE_MAP && qn__flat_int(flat, &type_table, 0, 1, 0) != 0) {
        made->flags |= ARROW_FLAG_MAP_KEYS_SORTED;
    }
    QN_TRY(get_fields(reader, table, FIELD_CHILDREN, made, depth + 1));
    if (check_children(made, type.id, NULL) != QN_OK) {
        return malformed(reader, "a field has children that its type does not have");
    }
    return get_metadata(reader, table, FIELD_METADATA, made);
}

static enum qn_status get_fields(struct schema_reader *reader, const struct qn__flat_table *table, int field,
                                 struct ArrowSchema *parent, int depth)
{
    struct qn__flat_vector list = qn__flat_vector(reader->flat, table, field, 4);
    if (list.count == 0) {
        return reader->flat->bad ? malformed(reader, "fields lie outside of it") : QN_OK;
    }
    reader->fields_left -= list.count;
    if (reader->fields_left < 0 || depth > QN__MAX_NESTING) {
        return malformed(reader, "it has too many fields or levels");
    }
    QN_TRY(qn_schema_children(parent, list.count, reader->err));
    for (uint32_t i = 0; i < list.count; i++) {
        struct qn__flat_table item = qn__flat_item(reader->flat, &list, i);
        QN_TRY(get_field(reader, &item, parent, i, depth));
    }
    return QN_OK;
}

enum qn_status qn__ipc_get_schema(struct qn__flat *flat, const struct qn__flat_table *table, struct ArrowSchema *out,
                                  struct qn_buffer *encoded, struct qn_error *err)
{
    struct schema_reader reader = {
        .flat = flat, .fields_left = QN__IPC_MAX_FIELDS, .text_left = QN__IPC_MAX_TEXT, .encoded = encoded, .err = err
    };
    if (qn__flat_int(flat, table, SCHEMA_ENDIANNESS, 2, 0) != 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "Arrow IPC: only little-endian data is read");
    }
    qn_auto_schema made = { 0 };
    QN_TRY(qn_schema_struct(&made, 0, err));
    QN_TRY(get_fields(&reader, table, SCHEMA_FIELDS, &made, 1));
    QN_TRY(get_metadata(&reader, table, SCHEMA_METADATA, &made));
    if (flat->bad) {
        return malformed(&reader, "it points outside of itself");
    }
    *out = made;
    made.release = NULL;
    return QN_OK;
}
