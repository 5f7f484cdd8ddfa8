/*
 * bench_connector.c: how fast the data of a connector arrives in a C program, and what it costs.
 *
 *   bench_connector URI GIBIBYTES [sum]
 *
 * Reads the location "GIBIBYTES" to its end; with `sum` it looks at every value too (columns of 8 bytes). Prints GiB/s of
 * Arrow buffers, CPU seconds of both sides, and how far this process' memory grew.
 */
#include <inttypes.h>
#include <qanat/qanat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double cpu_of(int who)
{
    struct rusage usage;
    (void)getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static long peak_mib(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss >> 10;
}

struct totals {
    int64_t bytes, rows;
    uint64_t sum;
};

static void add(const struct ArrowArray *batch, bool look, struct totals *totals)
{
    totals->rows += batch->length;
    for (int64_t column = 0; column < batch->n_children; column++) {
        const struct ArrowArray *array = batch->children[column];
        const uint64_t *values = (const uint64_t *)array->buffers[1] + array->offset;
        totals->bytes += 8 * array->length;
        for (int64_t row = 0; look && row < array->length; row++) {
            totals->sum += values[row];
        }
    }
}

static enum qn_status read_all(struct qn_connector *connector, const char *name, bool look, struct totals *totals,
                               struct qn_error *err)
{
    struct qn_location location = QN_LOCATION_INIT;
    struct ArrowArrayStream stream;
    location.location = name;
    enum qn_status status = qn_connector_data(connector, &location, NULL, &stream, err);
    while (status == QN_OK && stream.release != NULL) {
        struct ArrowArray batch;
        if (stream.get_next(&stream, &batch) != 0) {
            status = qn_stream_error(&stream, err);
        } else if (batch.release == NULL) {
            break;
        } else {
            add(&batch, look, totals);
            batch.release(&batch);
        }
    }
    if (stream.release != NULL) {
        stream.release(&stream);
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) {
        (void)fprintf(stderr, "usage: %s URI GIBIBYTES [sum]\n", argv[0]);
        return 2;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = NULL;
    struct totals totals = { 0 };
    options.allow_external_code = true;
    options.interpreter = getenv("PYTHON");
    enum qn_status status = qn_connector_open(argv[1], &options, &connector, &err);
    if (status == QN_OK) { /* what starts, and is loaded, is no part of it */
        status = read_all(connector, "0", false, &totals, &err);
    }
    long before = peak_mib();
    double begin = now(), cpu = cpu_of(RUSAGE_SELF);
    if (status == QN_OK) {
        status = read_all(connector, argv[2], argc == 4, &totals, &err);
    }
    double seconds = now() - begin;
    cpu = cpu_of(RUSAGE_SELF) - cpu;
    qn_connector_free(connector);
    if (status != QN_OK) {
        (void)fprintf(stderr, "%s: %s\n%s\n", qn_status_name(status), err.message, err.detail);
        return EXIT_FAILURE;
    }
    double gib = (double)totals.bytes / (1 << 30);
    printf("%-40.40s %6.2f GiB %7.2f s %8.2f GiB/s, CPU %.2f s here %.2f s there, +%ld MiB (%" PRIx64 ")\n", argv[1],
           gib, seconds, gib / seconds, cpu, cpu_of(RUSAGE_CHILDREN), peak_mib() - before, totals.sum);
    return EXIT_SUCCESS;
}
