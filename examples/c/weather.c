/*
 * weather.c: a connector as a shared library, in plain C. A host opens it as `ffi::./weather.so`.
 *
 *   cc -shared -fPIC -fvisibility=hidden -I sdk/c -o weather.so weather.c
 *
 * Two locations, a city each, of 24 rows for every day of the argument "days" (1): hour (Int64) and celsius (Float64). A day
 * is a batch, made when it is asked for: memory does not grow with their number.
 */
#include <qanat_connector.h>

#define HOURS 24

int32_t qanat_discover(const char *args_json, char **out_json)
{
    (void)args_json;
    *out_json = qanat_copy("{\"locations\": [{\"location\": \"Oslo\", \"version\": \"v1\"},"
                           " {\"location\": \"Nairobi\", \"version\": \"v1\"}]}");
    return *out_json != NULL ? 0 : ENOMEM;
}

void qanat_free(char *text)
{
    free(text);
}

/* ---- one day as an Arrow batch: each column owns its values, since whoever gets them may take columns apart ---- */

struct column {
    const void *buffers[2]; /* validity (NULL: no nulls), values */
    int64_t values[HOURS];  /* of 8 bytes each: integers, or doubles */
};

struct day {
    struct ArrowArray columns[2], *children[2];
    const void *buffers[1]; /* validity */
};

static void release_column(struct ArrowArray *array)
{
    free(array->private_data);
    array->release = NULL;
}

static void release_day(struct ArrowArray *array)
{
    for (int i = 0; i < 2; i++) {
        if (array->children[i]->release != NULL) {
            array->children[i]->release(array->children[i]);
        }
    }
    free(array->private_data);
    array->release = NULL;
}

static int64_t *make_column(struct ArrowArray *out)
{
    struct column *column = calloc(1, sizeof *column);
    if (column == NULL) {
        return NULL;
    }
    column->buffers[1] = column->values;
    *out = (struct ArrowArray){ .length = HOURS, .n_buffers = 2, .release = release_column };
    out->buffers = column->buffers;
    out->private_data = column;
    return column->values;
}

static int make_day(int64_t number, double mean, struct ArrowArray *out)
{
    struct day *day = calloc(1, sizeof *day);
    int64_t *hours = day != NULL ? make_column(&day->columns[0]) : NULL;
    int64_t *degrees = hours != NULL ? make_column(&day->columns[1]) : NULL;
    if (degrees == NULL) {
        if (hours != NULL) {
            day->columns[0].release(&day->columns[0]);
        }
        free(day);
        return ENOMEM;
    }
    for (int64_t i = 0; i < HOURS; i++) {
        double celsius = mean + 0.5 * (double)(i < 12 ? i : HOURS - i);
        hours[i] = number * HOURS + i;
        memcpy(&degrees[i], &celsius, sizeof celsius);
    }
    day->children[0] = &day->columns[0];
    day->children[1] = &day->columns[1];
    *out = (struct ArrowArray){ .length = HOURS, .n_buffers = 1, .n_children = 2, .release = release_day };
    out->buffers = day->buffers;
    out->children = day->children;
    out->private_data = day;
    return 0;
}

/* ---- the stream of a city ---- */

struct city {
    double mean;
    int64_t day, days;
};

struct schema {
    struct ArrowSchema columns[2], *children[2];
};

static void release_field(struct ArrowSchema *field)
{
    field->release = NULL; /* its texts are constants */
}

static void release_schema(struct ArrowSchema *schema)
{
    free(schema->private_data);
    schema->release = NULL;
}

static int weather_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct schema *schema = calloc(1, sizeof *schema);
    (void)stream;
    if (schema == NULL) {
        return ENOMEM;
    }
    schema->columns[0] = (struct ArrowSchema){ .format = "l", .name = "hour", .release = release_field };
    schema->columns[1] = (struct ArrowSchema){ .format = "g", .name = "celsius", .release = release_field };
    schema->children[0] = &schema->columns[0];
    schema->children[1] = &schema->columns[1];
    *out = (struct ArrowSchema){ .format = "+s", .name = "", .n_children = 2, .release = release_schema };
    out->children = schema->children;
    out->private_data = schema;
    return 0;
}

static int weather_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct city *city = stream->private_data;
    out->release = NULL; /* the end */
    return city->day < city->days ? make_day(city->day++, city->mean, out) : 0;
}

static const char *weather_error(struct ArrowArrayStream *stream)
{
    (void)stream;
    return "out of memory";
}

static void weather_release(struct ArrowArrayStream *stream)
{
    free(stream->private_data);
    stream->release = NULL;
}

int32_t qanat_data(const char *location_json, const char *args_json, struct ArrowArrayStream *out)
{
    char *name = qanat_member(location_json, "location");
    char *days = qanat_member(args_json, "days");
    struct city *city = calloc(1, sizeof *city);
    int32_t code = 0;
    if (name == NULL || city == NULL) {
        code = qanat_fail(out, "out of memory");
    } else if (strcmp(name, "Oslo") != 0 && strcmp(name, "Nairobi") != 0) {
        code = qanat_fail(out, "{\"message\": \"there is no such city\", \"data\": {\"kind\": \"not_found\"}}");
    } else {
        city->mean = strcmp(name, "Oslo") == 0 ? -4.0 : 19.0;
        city->days = days != NULL ? atoll(days) : 1;
        *out = (struct ArrowArrayStream){ weather_schema, weather_next, weather_error, weather_release, city };
        city = NULL;
    }
    free(name);
    free(days);
    free(city);
    return code;
}
