/*
 * ffi_odd.c: a connector as a shared library that behaves, or misbehaves, as the argument "mode" and the location say. Built
 * with several prefixes; without QANAT_PREFIX's data where ODD_WITHOUT_DATA is defined.
 */
#include <pthread.h>
#include <qanat_connector.h>
#include <stdatomic.h>

#define ROWS 4

QANAT_EXPORT extern atomic_int odd_live, odd_inside, odd_most;
atomic_int odd_live;   /* texts, streams and batches that have not been given back */
atomic_int odd_inside; /* calls that are going on, and the most there have ever been */
atomic_int odd_most;

static pthread_barrier_t meeting;

__attribute__((constructor)) static void begin(void)
{
    pthread_barrier_init(&meeting, NULL, 2);
}

static void enter(void)
{
    int inside = atomic_fetch_add(&odd_inside, 1) + 1;
    int most = atomic_load(&odd_most);
    while (inside > most && !atomic_compare_exchange_weak(&odd_most, &most, inside)) {
    }
}

static void leave(void)
{
    atomic_fetch_sub(&odd_inside, 1);
}

static char *text_of(const char *text)
{
    atomic_fetch_add(&odd_live, 1);
    return qanat_copy(text);
}

void QANAT_NAME(free)(char *text)
{
    enter();
    atomic_fetch_sub(&odd_live, 1);
    free(text);
    leave();
}

/* Five pages of two locations each, the page being the number of the first. */
static char *page_of(const char *args)
{
    char *asked = qanat_member(args, "_page");
    int page = asked != NULL ? atoi(asked) : 0;
    char text[256];
    (void)snprintf(text, sizeof text,
                   "{\"locations\": [{\"location\": \"p%d\"}, {\"location\": \"p%d\"}], \"next\": %s%d%s}", page,
                   page + 1, page < 8 ? "\"" : "null }", page + 2, page < 8 ? "\"" : "");
    char *end = strstr(text, "null }");
    if (end != NULL) {
        end[6] = '\0';
    }
    free(asked);
    return text_of(text);
}

static int32_t answer(const char *mode, const char *args, char **out)
{
    static const struct {
        const char *mode;
        int32_t code;
        const char *text;
    } answers[] = {
        { "list", 0,
          "{\"locations\": [{\"location\": \"a\\u00e4\\n\"}, {\"location\": \"rows\", \"must_copy\": false, "
          "\"format\": "
          "\"csv\", \"version\": \"7\", \"num_rows\": 4}, {\"location\": \"null\", \"num_rows\": null}]}" },
        { "empty", 0, "{\"locations\": []}" },
        { "fail_text", 5, "no more\ntoday" },
        { "fail_bytes", 5, "caf\xe9" },
        { "fail_json", 1,
          "{\"message\": \"slow down\", \"data\": {\"kind\": \"rate_limited\", \"retryable\": true, "
          "\"retry_after_ms\": "
          "1500}}" },
        { "fail_braces", 1, "{not json" },
        { "not_json", 0, "{\"locations\": [" },
        { "no_list", 0, "{}" },
        { "a_list", 0, "[]" },
        { "nameless", 0, "{\"locations\": [{}]}" },
        { "no_text", 0, "{\"locations\": [{\"location\": 1}]}" },
        { "bad_copy", 0, "{\"locations\": [{\"location\": \"a\", \"must_copy\": 1}]}" },
        { "bad_rows", 0, "{\"locations\": [{\"location\": \"a\", \"num_rows\": -1}]}" },
        { "twice", 0, "{\"locations\": [], \"locations\": []}" },
        { "bad_next", 0, "{\"locations\": [], \"next\": 2}" },
        { "loop", 0, "{\"locations\": [], \"next\": \"again\"}" },
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (strcmp(answers[i].mode, mode) == 0) {
            *out = text_of(answers[i].text);
            return answers[i].code;
        }
    }
    if (strcmp(mode, "pages") == 0) {
        *out = page_of(args);
    } else if (strcmp(mode, "meet") == 0) {
        pthread_barrier_wait(&meeting);
        *out = text_of("{\"locations\": []}");
    }
    return strcmp(mode, "fail") == 0 ? 9 : 0;
}

int32_t QANAT_NAME(discover)(const char *args_json, char **out_json)
{
    enter();
    char *mode = qanat_member(args_json, "mode");
    char *attached = qanat_member(args_json, "attached_locations");
    int32_t code = 3;
    if (mode != NULL && strcmp(mode, "echo") == 0) {
        *out_json = text_of(attached != NULL ? attached : "");
    } else {
        code = answer(mode != NULL ? mode : "list", args_json, out_json);
    }
    free(mode);
    free(attached);
    leave();
    return code;
}

int32_t QANAT_NAME(stable_url)(const char *location_json, const char *args_json, char **out_json)
{
    char *name = qanat_member(location_json, "location");
    int32_t code = 0;
    (void)args_json;
    if (name != NULL && strcmp(name, "url") == 0) {
        *out_json = text_of("{\"url\": \"https://example.com/\\u00e4\"}");
    } else if (name != NULL && strcmp(name, "null") == 0) {
        *out_json = text_of("null");
    } else if (name != NULL && strcmp(name, "number") == 0) {
        *out_json = text_of("{\"url\": 1}");
    } else if (name != NULL && strcmp(name, "fails") == 0) {
        *out_json = text_of("no address");
        code = 1;
    }
    free(name);
    return code;
}

#ifndef ODD_WITHOUT_DATA

/* ---- data: Int64 columns "a" and "b", batches of ROWS rows ---- */

struct odd {
    char mode[16];
    int n;
    struct ArrowSchema columns[2], *schemas[2];
};

struct rows {
    int64_t values[ROWS];
    struct ArrowArray columns[2], *children[2];
    const void *buffers[2];
};

static void release_part(struct ArrowArray *array)
{
    array->release = NULL;
}
static void release_rows(struct ArrowArray *array)
{
    atomic_fetch_sub(&odd_live, 1);
    free(array->private_data);
    array->release = NULL;
}
static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static void release_stream(struct ArrowArrayStream *stream)
{
    enter();
    atomic_fetch_sub(&odd_live, 1);
    free(stream->private_data);
    stream->release = NULL;
    leave();
}

static int odd_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct odd *odd = stream->private_data;
    out->release = NULL;
    if (strcmp(odd->mode, "schema_fails") == 0) {
        return EIO;
    }
    if (strcmp(odd->mode, "schema_none") == 0) {
        return 0;
    }
    odd->columns[0] = (struct ArrowSchema){ .format = "l", .name = "a", .release = release_schema };
    odd->columns[1] = (struct ArrowSchema){ .format = "l", .name = "b", .release = release_schema };
    odd->schemas[0] = &odd->columns[0];
    odd->schemas[1] = &odd->columns[1];
    *out = (struct ArrowSchema){ .format = "+s", .name = "", .n_children = 2, .children = odd->schemas };
    if (strcmp(odd->mode, "no_columns") == 0) {
        *out = odd->columns[0];
    }
    out->release = release_schema;
    return 0;
}

static int odd_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct odd *odd = stream->private_data;
    out->release = NULL;
    if (odd->n == 1 && strcmp(odd->mode, "middle") == 0) {
        return EIO;
    }
    if (odd->n == 3) {
        return 0;
    }
    enter();
    struct rows *rows = calloc(1, sizeof *rows);
    for (int i = 0; rows != NULL && i < ROWS; i++) {
        rows->values[i] = odd->n * ROWS + i;
    }
    odd->n++;
    atomic_fetch_add(&odd_live, 1);
    rows->buffers[1] = rows->values;
    rows->columns[0] = (struct ArrowArray){ .length = ROWS, .n_buffers = 2, .buffers = rows->buffers };
    rows->columns[0].release = release_part;
    rows->columns[1] = rows->columns[0];
    rows->children[0] = &rows->columns[0];
    rows->children[1] = &rows->columns[1];
    *out = (struct ArrowArray){ .length = ROWS, .n_buffers = 1, .n_children = 2, .buffers = rows->buffers };
    out->children = rows->children;
    out->release = release_rows;
    out->private_data = rows;
    out->n_children -= strcmp(odd->mode, "wrong_columns") == 0;
    out->length -= strcmp(odd->mode, "wrong_rows") == 0 ? 2 * ROWS : 0;
    leave();
    return 0;
}

static const char *odd_error(struct ArrowArrayStream *stream)
{
    const struct odd *odd = stream->private_data;
    return strcmp(odd->mode, "middle") == 0 ? "{\"message\": \"the line is cut\", \"data\": {\"retryable\": true}}"
                                            : NULL;
}

int32_t QANAT_NAME(data)(const char *location_json, const char *args_json, struct ArrowArrayStream *out)
{
    char *name = qanat_member(location_json, "location");
    char *columns = qanat_member(args_json, "_columns");
    int32_t code = 0;
    if (name == NULL || strcmp(name, "fails") == 0) {
        code = qanat_fail(out, columns != NULL ? columns : "no such thing");
    } else if (strcmp(name, "fails_quietly") == 0) {
        code = 42;
    } else if (strcmp(name, "none") != 0) {
        struct odd *odd = calloc(1, sizeof *odd);
        strncpy(odd->mode, name, sizeof odd->mode - 1);
        atomic_fetch_add(&odd_live, 1);
        *out = (struct ArrowArrayStream){ odd_schema, odd_next, odd_error, release_stream, odd };
    }
    free(name);
    free(columns);
    return code;
}
#endif
