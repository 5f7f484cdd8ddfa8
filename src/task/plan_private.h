/*
 * plan_private.h: what the files that read plans share: the rules of a table's keys, and messages that name a key's path.
 * Not for other folders.
 */
#ifndef QN_TASK_PLAN_PRIVATE_H
#define QN_TASK_PLAN_PRIVATE_H

#include "task/plan.h"

#include <jansson.h>

#define QN__PATH_SIZE 200

enum qn__value_types {
    QN__AS_TEXT = 1,
    QN__AS_INTEGER = 2,
    QN__AS_FLOAT = 4,
    QN__AS_BOOLEAN = 8,
    QN__AS_TABLE = 16,
    QN__AS_ARRAY = 32
};

struct qn__key_rule {
    const char *name;  /* NULL: the end of the rules */
    int types;         /* 0: the key is a part of the format that this version does not run */
    const char *later; /* what that part is */
};

/* ---- plan_keys.c ---- */

/* Which keys a table has, and of which types. */
enum qn_status qn__task_check_shape(json_t *table, const char *prefix, const struct qn__key_rule *rules,
                                    struct qn_error *err) QN_MUST_CHECK;

/* The text or number of a key. `out` is untouched where the key is absent; require: an error then. An empty text is an
 * error. */
enum qn_status qn__task_take_text(json_t *root, const char *table, const char *key, char **out,
                                  struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__task_require_text(json_t *root, const char *table, const char *key, char **out,
                                     struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__task_copy_text(const char *text, char **out, struct qn_error *err) QN_MUST_CHECK;
/* An integer key within [low, high]; `out` is untouched where the key is absent. */
enum qn_status qn__task_take_integer(json_t *root, const char *table, const char *key, int64_t low, int64_t high,
                                     int64_t *out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__task_option_text(const char *path, json_t *value, char number[64], const char **out,
                                    struct qn_error *err) QN_MUST_CHECK;
/* What a value is called in a TOML file: "a table". */
const char *qn__task_toml_name(json_t *value);
/* "prefix.key", cut where it is too long for a message. */
void qn__task_join_path(char path[QN__PATH_SIZE], const char *prefix, const char *key);
/* What another part refused in a value of the plan, as what it is here: a wrong key. */
enum qn_status qn__task_refuse_value(const char *path, enum qn_status status, struct qn_error *err) QN_MUST_CHECK;

/* ---- plan_places.c ---- */

/* [source] and [sink] where they are no databases. */
enum qn_status qn__task_read_connector(json_t *root, struct qn_task_source *source, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__task_read_bundle_source(json_t *root, struct qn_task_source *source,
                                           struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__task_read_bundle_sink(json_t *root, struct qn_task_sink *sink, struct qn_error *err) QN_MUST_CHECK;
/* The task's name can be one in a bundle. */
enum qn_status qn__task_check_bundle_name(const struct qn_task *task, struct qn_error *err) QN_MUST_CHECK;
/* What source, sink and [checkpoint] say together where the source is read by locations. */
enum qn_status qn__task_check_locations(json_t *root, const struct qn_task *task, struct qn_error *err) QN_MUST_CHECK;

/* ---- plan_process.c ---- */

/* The array at "process" as task->processes; what the steps say of each other agrees. */
enum qn_status qn__task_read_processes(json_t *root, struct qn_task *task, struct qn_error *err) QN_MUST_CHECK;

/* checkpoint.column and sink.key are in what the last step returns. */
enum qn_status qn__task_check_output(const struct qn_task *task, struct qn_error *err) QN_MUST_CHECK;

#endif
