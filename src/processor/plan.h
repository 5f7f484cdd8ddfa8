/*
 * plan.h: a processor as its plan says it: the statement, what it takes and returns, its limits, and the runtime.
 *
 * A qn_processor is filled by qn_processor_new (plan.c), checked whole, and never changed afterwards, but for what the
 * first check of the statement finds out (under `lock`). Threads: read by any; freed with the last reference.
 */
#ifndef QN_PROCESSOR_PLAN_H
#define QN_PROCESSOR_PLAN_H

#include "arrow/type.h"
#include "base/buffer.h"
#include "processor/network_policy.h"

#include <pthread.h>
#include <qanat/processor.h>
#include <stdatomic.h>

#define QN_PLAN_MAX             (16 << 20) /* bytes of a plan */
#define QN_STATEMENT_MAX        (4 << 20)  /* bytes of a statement */
#define QN_PLAN_NAME_MAX        255        /* bytes of the name of its file */
#define QN_PLAN_MAX_FIELDS      4096       /* of a schema */
#define QN_PLAN_MAX_TEXTS       1024       /* of one list of texts */
#define QN_PLAN_MAX_CONCURRENCY 10000
#define QN_PLAN_MAX_BATCH_ROWS  1000000000
#define QN_PLAN_MAX_TIMEOUT     604800 /* seconds: a week */
#define QN_PLAN_MIN_MEMORY      (1 << 20)

/* Owned texts; items[n] is NULL. */
struct qn_texts {
    char **items;
    size_t n;
};

/* What `qanat runtime describe` prints: an interpreter and what a sandbox must hold for it. */
struct qn_runtime {
    char *name;
    char *python;    /* paths from here on: absolute */
    char *worker;    /* the folder of the worker package */
    char *extension; /* the worker's extension */
    char *launcher;
    char *version; /* "3.11"; may be "" */
    struct qn_texts paths, readable, links, environment;
};

struct qn_processor {
    atomic_size_t references;
    char *statement;
    size_t statement_size;
    char *name;
    struct ArrowSchema output;       /* frozen; in the layouts that batches come in (ipc.h) */
    struct qn_buffer output_message; /* the same, as an Arrow IPC schema message */
    struct ArrowSchema input;        /* released: any */
    char *output_types;              /* "name\ttype" a line, as the user wrote them */
    bool bulk;
    int64_t batch_rows;
    int64_t concurrency;
    int64_t checkpoint;                /* index of the column in `output`; -1: none */
    struct qn_texts allow;             /* sorted */
    struct qn_network_policy *network; /* NULL: off */
    int64_t timeout;                   /* nanoseconds */
    int64_t memory, output_limit, log_limit;
    struct qn_runtime runtime;
    struct qn_buffer zygote_key; /* runtime and allow list in one text; see pool.h */

    pthread_mutex_t lock; /* for all below */
    bool checked;         /* the interpreter has looked at the statement */
    bool rejected;
    struct qn_statement_problem problem; /* where it is rejected */
    char *modules;                       /* heavy modules that it imports, one a line, sorted */
};

struct qn_processor *qn__processor_ref(struct qn_processor *processor);

void qn_texts_dispose(struct qn_texts *texts);

/* ---- plan_schema.c: the parts of a plan that are schemas ---- */

struct json_t;
/* A struct schema of [{"name", "type"}, ...]; `key` ("output") is for messages. `types_out` (may be NULL): the texts as in
 * qn_processor.output_types. */
enum qn_status qn__plan_schema(const char *key, const struct json_t *fields, struct ArrowSchema *out,
                               struct qn_buffer *types_out, struct qn_error *err) QN_MUST_CHECK;

/* ---- plan_runtime.c ---- */

enum qn_status qn__plan_runtime(const struct json_t *runtime, struct qn_runtime *out,
                                struct qn_error *err) QN_MUST_CHECK;
void qn__runtime_dispose(struct qn_runtime *runtime);

/* ---- plan_value.c: typed values of a JSON table, refused by their key path ---- */

/* The text at `key`, owned; NULL where the key is absent or null. Texts that are empty or hold a NUL are refused. */
enum qn_status qn__plan_text(const struct json_t *table, const char *prefix, const char *key, char **out,
                             struct qn_error *err) QN_MUST_CHECK;
/* The texts of an array; none where the key is absent or null (*found_out, may be NULL, says which). */
enum qn_status qn__plan_texts(const struct json_t *table, const char *prefix, const char *key, struct qn_texts *out,
                              bool *found_out, struct qn_error *err) QN_MUST_CHECK;
/* The integer at `key` within [low, high]; untouched where the key is absent or null. */
enum qn_status qn__plan_integer(const struct json_t *table, const char *key, int64_t low, int64_t high, int64_t *out,
                                struct qn_error *err) QN_MUST_CHECK;
/* "a string" and so on. */
const char *qn__plan_type_name(const struct json_t *value);

#endif
