/* cassette_ask.c: see cassette_ask.h. Threads: no state. */
#include "connector/cassette_ask.h"

#include "base/memory.h"
#include "connector/location_json.h"

#include <stdlib.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Hand out what was made, or say why it could not be. */
static enum qn_status made(json_t *ask, json_t **out, struct qn_error *err)
{
    *out = ask;
    return ask != NULL ? QN_OK : qn_error_set(err, QN_ERR_ARGUMENT, "a text of the request is not UTF-8");
}

enum qn_status qn_cassette_ask_discover(const char *const *attached, size_t n, json_t **out, struct qn_error *err)
{
    qn_auto_free const char **sorted = qn_calloc(n + 1, sizeof *sorted);
    if (sorted == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = attached[i];
    }
    qsort(sorted, n, sizeof *sorted, by_text);
    qn_auto_json *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(list, json_string(sorted[i])) != 0) {
            return made(NULL, out, err);
        }
    }
    return made(json_pack("{s:s, s:O}", "method", "discover", "attached", list), out, err);
}

enum qn_status qn_cassette_ask_data(const struct qn_location *location, const struct qn_data_request *request,
                                    json_t **out, struct qn_error *err)
{
    qn_auto_json *ask = json_pack("{s:s, s:o}", "method", "data", "location", qn_location_write(location));
    int failed = ask == NULL ? -1 : 0;
    if (request->columns != NULL) {
        json_t *columns = json_array();
        for (size_t i = 0; i < request->n_columns; i++) {
            failed |= json_array_append_new(columns, json_string(request->columns[i]));
        }
        failed |= json_object_set_new(ask, "columns", columns);
    }
    if (request->filter != NULL) {
        failed |= json_object_set_new(ask, "filter", json_string(request->filter));
    }
    if (request->limit >= 0) {
        failed |= json_object_set_new(ask, "limit", json_integer(request->limit));
    }
    if (request->skip_rows > 0) {
        failed |= json_object_set_new(ask, "skip_rows", json_integer(request->skip_rows));
    }
    return made(failed == 0 ? json_incref(ask) : NULL, out, err);
}

enum qn_status qn_cassette_ask_stable_url(const struct qn_location *location, json_t **out, struct qn_error *err)
{
    return made(json_pack("{s:s, s:o}", "method", "stable_url", "location", qn_location_write(location)), out, err);
}
