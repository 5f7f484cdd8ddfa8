/*
 * plan.h: a task as its plan says it: where rows come from, where they go, what the checkpoint is.
 *
 * A qn_task is filled by qn_task_new (plan.c), checked whole, and never changed afterwards: runs keep their state in the
 * runner. Threads: read by any, freed by one.
 */
#ifndef QN_TASK_PLAN_H
#define QN_TASK_PLAN_H

#include "task/checkpoint.h"

#include <qanat/database.h>
#include <qanat/plugin/driver.h>
#include <qanat/processor.h>
#include <qanat/task.h>

#define QN_TASK_PLAN_MAX       (16 << 20) /* bytes of a plan, statements included */
#define QN_TASK_NAME_MAX       200        /* bytes of a task's name */
#define QN_TASK_MAX_COLUMNS    1600       /* of sink.key and source.types */
#define QN_TASK_MAX_BATCH_ROWS 1000000
#define QN_TASK_MAX_PROCESSES  64

/* A database is read by a query; a connector and a bundle location by location (a bundle's are its blocks). */
enum qn_task_place { QN_PLACE_DATABASE, QN_PLACE_CONNECTOR, QN_PLACE_BUNDLE };

/* The database's qn_dialect is found by the type of `config`. */
struct qn_task_source {
    enum qn_task_place place;
    char *connection; /* the name under [connections]; else the connector, or the bundle's path: what messages say */
    struct qn_config *config; /* of a database */
    char *query;              /* or NULL: `table` is read */
    char *table;
    bool uses_checkpoint;           /* :checkpoint stands in the query, or the table is read past a checkpoint */
    int64_t batch_rows;             /* 0: the default */
    struct qn_type_override *types; /* owned, texts too */
    size_t n_types;
    /* a connector */
    char *arguments; /* JSON object of texts */
    char *folder;    /* where its relative files begin; NULL: the current one */
    /* a bundle */
    char *pack;
    char *version; /* NULL: the newest */
    bool update;   /* locations whose version is another one come again */
};

struct qn_task_sink {
    enum qn_task_place place; /* a database or a bundle */
    char *connection;         /* as the source's */
    struct qn_config *config;
    char *table;  /* of a bundle: the pack */
    char *format; /* of a bundle's blocks; NULL: the bundle's choice */
    enum qn_ingest_mode mode;
    char **key;
    size_t n_key;
};

/* A step between source and sink. */
struct qn_task_process {
    const char *name; /* of the statement; the processor's */
    struct qn_processor *processor;
};

struct qn_task_checkpoint {
    char *column; /* NULL: the task has no checkpoint */
    struct qn_checkpoint initial;
    int64_t every_rows; /* 0: one commit a run */
};

struct qn_task {
    char *name;
    struct qn_task_source source;
    struct qn_task_sink sink;
    struct qn_task_process *processes; /* in their order */
    size_t n_processes;
    struct qn_task_checkpoint checkpoint;
};

/* The dialect of a configuration's database. */
enum qn_status qn_task_dialect(const struct qn_config *config, const struct qn_dialect **out,
                               struct qn_error *err) QN_MUST_CHECK;

/* "append" and so on; a static text. */
const char *qn_task_mode_name(enum qn_ingest_mode mode);

#endif
