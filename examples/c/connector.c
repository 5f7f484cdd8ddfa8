/*
 * connector.c: a C program that embeds the host of connectors: discovers locations, reads the data of each, with the public
 * headers only.
 *
 *   connector 'ipc::planets.py' '{"system": "solar"}'
 *
 * The connector runs in a process of its own; what it says on standard error, and its failures, come out here as typed errors
 * and events. A crash of it is a failure of one location.
 */
#include <inttypes.h>
#include <qanat/qanat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hear_log(void *context, const char *level, const char *message)
{
    (void)context;
    (void)fprintf(stderr, "[%s] %s\n", level, message);
}

/* ---- what there is ---- */

#define MOST 100

struct found {
    char *names[MOST];
    size_t n;
};

static enum qn_status keep(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct found *found = context;
    if (found->n == MOST) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "this example takes %d locations", MOST);
    }
    found->names[found->n] = strdup(location->location);
    if (found->names[found->n] == NULL) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    found->n++;
    printf("%s: version \"%s\", %" PRId64 " rows\n", location->location, location->version, location->num_rows);
    return QN_OK;
}

/* ---- the data of one ---- */

static enum qn_status print_columns(struct ArrowArrayStream *stream, struct qn_error *err)
{
    struct ArrowSchema schema;
    if (stream->get_schema(stream, &schema) != 0) {
        return qn_stream_error(stream, err);
    }
    for (int64_t i = 0; i < schema.n_children; i++) {
        printf(" %s(%s)", schema.children[i]->name, schema.children[i]->format);
    }
    schema.release(&schema);
    return QN_OK;
}

static enum qn_status read_location(struct qn_connector *connector, const char *name, struct qn_error *err)
{
    struct qn_location location = QN_LOCATION_INIT;
    struct ArrowArrayStream stream;
    struct ArrowArray batch;
    int64_t rows = 0;
    location.location = name;
    enum qn_status status = qn_connector_data(connector, &location, NULL, &stream, err);
    if (status != QN_OK) {
        return status;
    }
    printf("%s:", name);
    if (stream.release == NULL) {
        printf(" no data\n");
        return QN_OK;
    }
    status = print_columns(&stream, err);
    for (batch.release = NULL; status == QN_OK;) {
        if (stream.get_next(&stream, &batch) != 0) {
            status = qn_stream_error(&stream, err);
        } else if (batch.release == NULL) {
            printf(", %" PRId64 " rows read\n", rows);
            break;
        } else {
            rows += batch.length;
            batch.release(&batch);
        }
    }
    stream.release(&stream);
    return status;
}

/* A location that fails is told and passed over. */
static void read_all(struct qn_connector *connector, const struct found *found)
{
    for (size_t i = 0; i < found->n; i++) {
        struct qn_error err = QN_ERROR_INIT;
        enum qn_status status = read_location(connector, found->names[i], &err);
        if (status != QN_OK) {
            printf("%s: %s\n", qn_status_name(status), err.message);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: %s URI [ARGUMENTS]\n", argv[0]);
        return 2;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = NULL;
    struct found found = { .n = 0 };
    options.name = "example";
    options.arguments = argc == 3 ? argv[2] : NULL;
    options.interpreter = getenv("PYTHON"); /* what runs a script; NULL: python3 */
    options.allow_external_code = true;     /* whoever gave the command line decided it */
    options.events.log = hear_log;
    enum qn_status status = qn_connector_open(argv[1], &options, &connector, &err);
    if (status == QN_OK) {
        status = qn_connector_discover(connector, NULL, 0, keep, &found, &err);
    }
    if (status == QN_OK) {
        read_all(connector, &found);
    }
    qn_connector_free(connector);
    for (size_t i = 0; i < found.n; i++) {
        free(found.names[i]);
    }
    if (status != QN_OK) {
        (void)fprintf(stderr, "%s: %s\n%s%s", qn_status_name(status), err.message, err.hint, err.hint[0] ? "\n" : "");
    }
    return status == QN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
