/* location_json.c: see location_json.h. Threads: no state. */
#include "connector/location_json.h"

#include "connector/connector_private.h"

#include <string.h>

/* A text that may be missing, or null; `text_out` keeps its default then. */
static enum qn_status read_text(const json_t *object, const char *name, const char **text_out, struct qn_error *err)
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL || json_is_null(value)) {
        return QN_OK;
    }
    if (!json_is_string(value)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "a location's \"%s\" is no text", name);
    }
    if (json_string_length(value) > QN_LOCATION_MAX_NAME) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "a location's \"%s\" is longer than %u bytes", name,
                            QN_LOCATION_MAX_NAME);
    }
    *text_out = json_string_value(value);
    return QN_OK;
}

enum qn_status qn_location_read(const json_t *value, struct qn_location *out, struct qn_error *err)
{
    struct qn_location location = QN_LOCATION_INIT;
    char shown[QN__SHOWN_NAME];
    if (!json_is_object(value)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "a location is no object");
    }
    QN_TRY(read_text(value, "location", &location.location, err));
    QN_TRY(read_text(value, "format", &location.format, err));
    QN_TRY(read_text(value, "version", &location.version, err));
    if (location.location == NULL) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "a location has no \"location\"");
    }
    const json_t *must_copy = json_object_get(value, "must_copy");
    if (must_copy != NULL && !json_is_null(must_copy)) {
        if (!json_is_boolean(must_copy)) {
            qn__shown_name(location.location, shown);
            return qn_error_set(err, QN_ERR_PROTOCOL, "location \"%s\": \"must_copy\" is neither true nor false",
                                shown);
        }
        location.must_copy = json_is_true(must_copy);
    }
    const json_t *rows = json_object_get(value, "num_rows");
    if (rows != NULL && !json_is_null(rows)) {
        if (!json_is_integer(rows) || json_integer_value(rows) < 0) {
            qn__shown_name(location.location, shown);
            return qn_error_set(err, QN_ERR_PROTOCOL, "location \"%s\": \"num_rows\" is no number of rows", shown);
        }
        location.num_rows = json_integer_value(rows);
    }
    *out = location;
    return QN_OK;
}

json_t *qn_location_write(const struct qn_location *location)
{
    json_t *rows = location->num_rows >= 0 ? json_integer(location->num_rows) : json_null();
    return json_pack("{s:s, s:b, s:s, s:s, s:o}", "location", location->location, "must_copy", (int)location->must_copy,
                     "format", location->format != NULL ? location->format : "parquet", "version",
                     location->version != NULL ? location->version : "", "num_rows", rows);
}

enum qn_status qn_locations_read(const json_t *reply, qn_location_callback each, void *context, const char **next_out,
                                 struct qn_error *err)
{
    const json_t *list = json_object_get(reply, "locations");
    const json_t *next = json_object_get(reply, "next");
    if (!json_is_array(list)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "its reply to \"discover\" is not {\"locations\": [...]}");
    }
    if (next != NULL && !json_is_null(next) && !json_is_string(next)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "its reply to \"discover\" has a \"next\" that is no text");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct qn_location location;
        QN_TRY(qn_location_read(json_array_get(list, i), &location, err));
        QN_TRY(each(context, &location, err));
    }
    *next_out = json_string_value(next);
    return QN_OK;
}
