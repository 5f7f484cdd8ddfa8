/*
 * prepared.c: a connector as a shared library that gives one prepared batch of 1 MiB again and again, for bench_connector.
 */
#include <qanat_connector.h>

#define ROWS (1 << 16) /* of two columns of 8 bytes: 1 MiB */

static int64_t values[2][ROWS];

int32_t qanat_discover(const char *args_json, char **out_json)
{
    (void)args_json;
    *out_json = qanat_copy("{\"locations\": [{\"location\": \"1\"}]}");
    return *out_json != NULL ? 0 : ENOMEM;
}

void qanat_free(char *text)
{
    free(text);
}

struct batch {
    struct ArrowArray columns[2], *children[2];
    const void *buffers[2][2], *none[1];
};

static void release_column(struct ArrowArray *column)
{
    column->release = NULL; /* its values live as long as the library, which is never unloaded */
}

static void release_batch(struct ArrowArray *batch)
{
    free(batch->private_data);
    batch->release = NULL;
}

static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    static struct ArrowSchema a = { .format = "l", .name = "a", .release = release_schema };
    static struct ArrowSchema b = { .format = "l", .name = "b", .release = release_schema };
    static struct ArrowSchema *columns[] = { &a, &b };
    (void)stream;
    *out = (struct ArrowSchema){ .format = "+s", .name = "", .n_children = 2, .children = columns };
    out->release = release_schema;
    return 0;
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    int64_t *left = stream->private_data;
    struct batch *batch = *left > 0 ? calloc(1, sizeof *batch) : NULL;
    out->release = NULL;
    if (batch == NULL) {
        return *left > 0 ? ENOMEM : 0;
    }
    --*left;
    for (int i = 0; i < 2; i++) {
        batch->buffers[i][1] = values[i];
        batch->columns[i] = (struct ArrowArray){ .length = ROWS, .n_buffers = 2, .release = release_column };
        batch->columns[i].buffers = batch->buffers[i];
        batch->children[i] = &batch->columns[i];
    }
    *out = (struct ArrowArray){ .length = ROWS, .n_buffers = 1, .n_children = 2, .buffers = batch->none };
    out->children = batch->children;
    out->release = release_batch;
    out->private_data = batch;
    return 0;
}

static const char *get_last_error(struct ArrowArrayStream *stream)
{
    (void)stream;
    return "out of memory";
}

static void release_stream(struct ArrowArrayStream *stream)
{
    free(stream->private_data);
    stream->release = NULL;
}

int32_t qanat_data(const char *location_json, const char *args_json, struct ArrowArrayStream *out)
{
    char *gibibytes = qanat_member(location_json, "location");
    int64_t *left = malloc(sizeof *left);
    (void)args_json;
    if (gibibytes == NULL || left == NULL) {
        free(gibibytes);
        free(left);
        return qanat_fail(out, "out of memory");
    }
    for (int64_t i = 0; i < ROWS; i++) {
        values[0][i] = i;
        values[1][i] = i * i;
    }
    *left = atoll(gibibytes) * 1024;
    free(gibibytes);
    *out = (struct ArrowArrayStream){ get_schema, get_next, get_last_error, release_stream, left };
    return 0;
}
