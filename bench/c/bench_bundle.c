/*
 * bench_bundle.c: what a commit of one block costs, and what opening a long history does. Not a test: it prints.
 *
 *   bench_bundle FOLDER [COMMITS]     makes FOLDER anew with so many commits (100,000) of one block each, then opens it;
 *                                     0 commits: only opens it
 *
 * In a folder in memory (/dev/shm) an fsync is free, so that a commit's time is what it costs besides its fsyncs; on a disk
 * it has them too. Each location is another one, so that the state has as many entries as the log has commits.
 */
#include "bundle/blob.h"
#include "bundle/bundle_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OPENINGS 9
#define SCHEMA   "/////8gAAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAIAAABkAAAA"

static clockid_t clock_used = CLOCK_MONOTONIC;

static double now_ms(void)
{
    struct timespec time;
    (void)clock_gettime(clock_used, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void check(enum qn_status status, const struct qn_error *err)
{
    if (status != QN_OK) {
        (void)fprintf(stderr, "%s: %s\n", qn_status_name(status), err->message);
        exit(1);
    }
}

static enum qn_status write_block(struct qn_bundle *bundle, const char *text, struct qn_sha256 *hash_out,
                                  struct qn_error *err)
{
    struct qn_blob_writer *writer = NULL;
    QN_TRY(qn__bundle_lock_blocks(bundle, err));
    QN_TRY(qn_blob_writer_new(bundle->fd, "arrow", &writer, err));
    enum qn_status status = qn_blob_writer_write(writer, text, strlen(text), err);
    if (status == QN_OK) {
        status = qn_blob_writer_finish(writer, hash_out, err);
    }
    qn_blob_writer_free(writer);
    return status;
}

static enum qn_status put(struct qn_bundle *bundle, int64_t i, struct qn_error *err)
{
    char location[64];
    char sha256[QN_SHA256_TEXT_SIZE];
    struct qn_sha256 hash;
    (void)snprintf(location, sizeof location, "some/path/to/a/file-%lld.parquet", (long long)i);
    QN_TRY(write_block(bundle, location, &hash, err));
    qn_sha256_format(&hash, sha256);
    const struct qn_change change = { .kind = QN_CHANGE_ADD,
                                      .pack = "base",
                                      .location = location,
                                      .version = "2026-01-31T12:00:00Z",
                                      .source = "0123456789abcdef",
                                      .format = "arrow",
                                      .sha256 = sha256,
                                      .rows = i,
                                      .bytes = (int64_t)strlen(location) };
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = qn__bundle_begin(bundle, "put", err);
    if (status == QN_OK) {
        status = qn__bundle_close(bundle, qn__bundle_add(bundle, &change, SCHEMA, err));
    }
    qn__bundle_leave(bundle);
    return status;
}

static int compare(const void *a, const void *b)
{
    const double *left = a;
    const double *right = b;
    return (*left > *right) - (*left < *right);
}

static void print_sorted(const char *what, double *times, int64_t count)
{
    qsort(times, (size_t)count, sizeof *times, compare);
    printf("%-28s p50 %8.3f ms   p99 %8.3f ms   max %8.3f ms\n", what, times[count / 2], times[count * 99 / 100],
           times[count - 1]);
}

static void fill(const char *folder, int64_t commits)
{
    struct qn_bundle *bundle = NULL;
    struct qn_error err = QN_ERROR_INIT;
    double *puts = calloc((size_t)commits, sizeof *puts);
    double *times = calloc((size_t)commits, sizeof *times);
    check(qn_bundle_create(folder, NULL, &bundle, &err), &err);
    for (int64_t i = 0; i < commits; i++) {
        double start = now_ms();
        check(put(bundle, i, &err), &err);
        double middle = now_ms();
        check(qn_bundle_commit(bundle, "a commit of one block", NULL, &err), &err);
        puts[i] = middle - start;
        times[i] = now_ms() - middle;
    }
    qn_bundle_free(bundle);
    print_sorted("write one block", puts, commits);
    print_sorted("commit one block", times, commits);
    free(puts);
    free(times);
}

static void open_often(const char *folder)
{
    double open[OPENINGS];
    double state[OPENINGS];
    double next[OPENINGS];
    for (int i = 0; i < OPENINGS; i++) {
        struct qn_bundle *bundle = NULL;
        struct qn_error err = QN_ERROR_INIT;
        const struct qn_bundle_state *known = NULL;
        double start = now_ms();
        check(qn_bundle_open(folder, NULL, &bundle, &err), &err);
        double opened = now_ms();
        check(qn__bundle_state(bundle, &known, &err), &err);
        double read = now_ms();
        check(qn_bundle_refresh(bundle, &err), &err);
        open[i] = opened - start;
        state[i] = read - opened;
        next[i] = now_ms() - read;
        if (i == 0) {
            printf("opened once: %.1f ms, its state: %.1f ms, %zu entries, %lld commits applied\n", open[i], state[i],
                   qn_bundle_state_count(known), (long long)bundle->state_applied);
        }
        qn_bundle_free(bundle);
    }
    print_sorted("open", open, OPENINGS);
    print_sorted("its state", state, OPENINGS);
    print_sorted("refresh, nothing new", next, OPENINGS);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_bundle FOLDER [COMMITS]; 0: only open\n");
        return 2;
    }
    int64_t commits = argc > 2 ? atoll(argv[2]) : 100000;
    if (commits > 0) {
        fill(argv[1], commits);
    }
    printf("wall clock\n");
    open_often(argv[1]);
    clock_used = CLOCK_PROCESS_CPUTIME_ID; /* on a machine that does other things too */
    printf("processor time\n");
    open_often(argv[1]);
    return 0;
}
