/*
 * bundle_private.h: a handle of a bundle, and what its parts call of each other. Not for other folders.
 *
 * A handle shows the state at `version`, with the changes of its pending operations applied on top (as of
 * QN_VERSION_PENDING). A change is applied when it is added; taking back drops the state, which is then made anew from the
 * log and what is still pending. Threads: everything here is for the thread that entered the handle, and only between
 * qn__bundle_enter and qn__bundle_leave; threads that a call starts hand their findings to that thread.
 */
#ifndef QN_BUNDLE_PRIVATE_H
#define QN_BUNDLE_PRIVATE_H

#include "bundle/state.h"

#include <qanat/bundle.h>
#include <stdatomic.h>
#include <sys/types.h>

struct json_t;

struct qn__pending_change {
    struct qn_state_entry *made; /* the change with its texts; owned */
    bool was_there;              /* what it is about, before it */
};

/* What one call has changed. */
struct qn__operation {
    char *name; /* "create_source"; what status shows */
    struct qn__pending_change *changes;
    size_t n_changes;
    size_t capacity;
};

struct qn_bundle {
    int fd;     /* its folder */
    char *path; /* absolute */
    pid_t owner;
    atomic_flag in_use;
    bool read_only; /* opened at an older version */
    struct qn_commit_log *log;
    int64_t version;
    struct qn_bundle_state *state; /* NULL: not read yet; see qn__bundle_state */
    int64_t state_applied;         /* commits that were applied one by one since the last snapshot */
    struct qn__operation *operations;
    size_t n_operations;
    bool operation_open; /* the last one is being added to */
    int lock_fd;         /* the writers' lock, while blocks are pending; -1: not held */
    struct json_t *given_config;
    struct json_t *set_config; /* {"section.key": "text"}; set_config counts more */
    struct json_t *temporary;  /* connectors of this handle: {name: {platform: URI}} */
    struct json_t *folders;    /* that were current when they were imported: {"name platform": path} */
    char *interpreter;         /* or NULL */
};

/* ---- bundle.c: the handle --------------------------------------------------------------------------------------- */

/* Begin and end a call. QN_ERR_BUSY: another thread is in one; QN_ERR_CLOSED: the handle is of another process;
 * QN_ERR_CONFIG: QN__BUNDLE_CHANGES, and the handle shows an older version. */
enum qn__bundle_use { QN__BUNDLE_READS, QN__BUNDLE_CHANGES };
enum qn_status qn__bundle_enter(struct qn_bundle *bundle, enum qn__bundle_use use, struct qn_error *err) QN_MUST_CHECK;
void qn__bundle_leave(struct qn_bundle *bundle);

/* The version that a text names: a number, the beginning of a hash, or a time. QN_ERR_ARGUMENT: none. */
enum qn_status qn__bundle_find_version(const struct qn_commit_log *log, const char *text, int64_t *out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* ---- pending.c: operations -------------------------------------------------------------------------------------- */

/* The state with what is pending. Borrowed until the next call that changes, takes back or commits. */
enum qn_status qn__bundle_state(struct qn_bundle *bundle, const struct qn_bundle_state **out,
                                struct qn_error *err) QN_MUST_CHECK;

/* Begin an operation, add changes (copied; they show in the state at once; `schema` is the text of an added block's
 * schema, NULL: unknown, and change->schema is not looked at), then end it or take it back. A change that no commit can
 * hold is QN_ERR_ARGUMENT, one that does not fit what is there QN_ERR_DATA; the operation stays as it was. One
 * operation at a time; ended without changes it leaves nothing. */
enum qn_status qn__bundle_begin(struct qn_bundle *bundle, const char *name, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__bundle_add(struct qn_bundle *bundle, const struct qn_change *change, const char *schema,
                              struct qn_error *err) QN_MUST_CHECK;
void qn__bundle_end(struct qn_bundle *bundle);

/* End the operation where `status` is QN_OK, else take it back; returns `status`. */
enum qn_status qn__bundle_close(struct qn_bundle *bundle, enum qn_status status);

/* Hold the writers' lock, until nothing is pending any more: before the first block is written. Waits (gc may hold it) up
 * to a minute. */
enum qn_status qn__bundle_lock_blocks(struct qn_bundle *bundle, struct qn_error *err) QN_MUST_CHECK;

/* All that is pending as one commit: of each (pack, location) and object what is left of its changes. The texts are
 * borrowed from the operations; the caller disposes of it by qn__pending_dispose. */
enum qn_status qn__pending_commit(const struct qn_bundle *bundle, struct qn_commit *out,
                                  struct qn_error *err) QN_MUST_CHECK;
void qn__pending_dispose(struct qn_commit *commit);

/* Forget what is pending, without looking at the state: it was committed, or the handle ends. */
void qn__pending_clear(struct qn_bundle *bundle);

/* Drop the state: it is read again where it is needed. */
void qn__bundle_drop_state(struct qn_bundle *bundle);

/* ---- publish.c -------------------------------------------------------------------------------------------------- */

/* Show what others committed; QN_ERR_CONFLICT where that touches what is pending. */
enum qn_status qn__bundle_take_in(struct qn_bundle *bundle, struct qn_error *err) QN_MUST_CHECK;

/* Commit what is pending, be it nothing, unless somebody has committed since (*lost_out; nothing is written then). */
enum qn_status qn__bundle_publish_once(struct qn_bundle *bundle, const char *message, bool *lost_out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* ---- settings.c: configuration ---------------------------------------------------------------------------------- */

/* Read {"section": {"key": value}} (NULL: nothing) into {"section.key": "text"}; json_decref. */
enum qn_status qn__bundle_read_config(const char *text, struct json_t **out, struct qn_error *err) QN_MUST_CHECK;

/* QN_ERR_CONFIG names a variable QANAT_SYSTEM_... of the environment that is none of the settings, and the nearest one. */
enum qn_status qn__bundle_check_environment(struct qn_error *err) QN_MUST_CHECK;

/* The value of "section.key" by precedence, as a boolean or a number within [low, high]; QN_ERR_CONFIG names what is neither. `otherwise`: set nowhere. */
enum qn_status qn__bundle_flag(struct qn_bundle *bundle, const char *key, bool otherwise, bool *out,
                               struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__bundle_number(struct qn_bundle *bundle, const char *key, double low, double high, double otherwise,
                                 double *out, struct qn_error *err) QN_MUST_CHECK;

/* system.connector_timeout, in seconds; `otherwise`: set nowhere. */
enum qn_status qn__bundle_timeout(struct qn_bundle *bundle, double otherwise, double *out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* ---- sources.c -------------------------------------------------------------------------------------------------- */

/* A source as the bundle keeps it. */
struct qn__source {
    char *id;
    char *connector; /* an imported name, "files", "http" or "database" */
    char *arguments; /* JSON object of texts; "{}" */
    char *pack;
    char *save_as; /* a format */
    char *folder;  /* that was current when it was made, where relative paths begin; NULL: unknown */
};

/* Read an entry of the state (kind QN_OBJECT_SOURCE). The caller disposes of it. */
enum qn_status qn__source_read(const struct qn_state_entry *entry, struct qn__source *out,
                               struct qn_error *err) QN_MUST_CHECK;
void qn__source_dispose(struct qn__source *source);

/* name_hint.c: the hint of an error about a name that there is not: the nearest one, those that there are, how to list them. */
enum qn__named {
    QN__NAMED_PACKS,     /* that have blocks or sources */
    QN__NAMED_FED_PACKS, /* that have sources */
    QN__NAMED_SOURCES,   /* by their ids */
};
void qn__bundle_hint_name(const struct qn_bundle_state *state, enum qn__named which, const char *typed,
                          struct qn_error *err);

/* The sources of one connector are those of another name from now on. The operation is open. */
enum qn_status qn__sources_follow(struct qn_bundle *bundle, const char *connector, const char *new_name,
                                  struct qn_error *err) QN_MUST_CHECK;

/* ---- connectors.c, connect.c ------------------------------------------------------------------------------------ */

/* The URI of a name (qn_free): one that is imported (temporary ones first, then the bundle's; for this platform before
 * any) or built in. QN_ERR_CONFIG: there is none. */
enum qn_status qn__bundle_connector_uri(struct qn_bundle *bundle, const char *name, char **out,
                                        struct qn_error *err) QN_MUST_CHECK;

/* The folder that was current when a temporary connector was imported, borrowed; NULL: it is none, or nobody knows. */
const char *qn__bundle_connector_folder(const struct qn_bundle *bundle, const char *name);

/* The connector of a source. */
struct qn__connecting {
    const char *name;
    const char *arguments;
    const char
        *folder;   /* the source's: where relative paths of arguments and of the URI begin; NULL: the current one */
    int processes; /* 0: the connector's own choice */
};

/* Open it, with allow_external_code and connector_timeout of the configuration's section "system". What relative paths of its
 * URI do not find in the source's folder (of a temporary connector: where it was imported) is looked for in the bundle's.
 * What it says goes to the log. */
enum qn_status qn__bundle_connector(struct qn_bundle *bundle, const struct qn__connecting *what,
                                    struct qn_connector **out, struct qn_error *err) QN_MUST_CHECK;

/* The current folder, absolute (qn_free); NULL: it has no name that a bundle can hold. */
char *qn__current_folder(void);

/* ---- documents.c ------------------------------------------------------------------------------------------------ */

/* Take a buffer's bytes as a text that qn_text_free frees. */
enum qn_status qn__document_take(struct qn_buffer *buffer, char **out, struct qn_error *err) QN_MUST_CHECK;

#endif
