/*
 * bundle.h: a directory of tables with a history: what connectors delivered, from which location, in which version, when.
 *
 * A handle shows the bundle at one version plus what it has changed since: changes are pending until they are committed,
 * and reads of the handle see them. A bundle that was opened at an older version is read-only. On disk:
 * docs/formats/bundle.md. Documents (history, results ...) come as JSON texts, which the caller frees with qn_text_free;
 * their members are listed in docs/formats/bundle_documents.md. Tables come as Arrow streams.
 * Threads: one at a time per handle (a second one gets QN_ERR_BUSY); streams of a handle are independent of it and of each
 * other. Processes: any number, readers and writers.
 */
#ifndef QANAT_BUNDLE_H
#define QANAT_BUNDLE_H

#include <qanat/connector.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qn_bundle;

struct qn_bundle_options {
    size_t struct_size;
    const char *version;     /* open: NULL: the newest; else a number, a prefix of a hash, or a time of RFC 3339 */
    const char *config;      /* JSON {"section": {"key": "text"}}; NULL: none */
    const char *interpreter; /* as in qn_connector_options */
};
#define QN_BUNDLE_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_bundle_options)                                                                \
    }

/* Make a bundle in a folder that is not there or is empty of bundles (its commit 0 is made at once), or open one.
 * QN_ERR_CONFIG: there is one already, there is none, or the configuration is wrong; QN_ERR_DATA: its log is damaged. */
QN_API enum qn_status qn_bundle_create(const char *path, const struct qn_bundle_options *options,
                                       struct qn_bundle **out, struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_bundle_open(const char *path, const struct qn_bundle_options *options, struct qn_bundle **out,
                                     struct qn_error *err) QN_MUST_CHECK;

/* Pending changes are dropped. NULL is allowed. */
QN_API void qn_bundle_free(struct qn_bundle *bundle);

/* ---- configuration: set on the handle > passed > environment QANAT_SECTION_KEY > stored in the bundle ---- */

/* `key` is "section.key". `store`: also a pending change of the bundle; keys of the section "system" are decisions of
 * whoever runs the engine and are neither stored in a bundle nor read from one (QN_ERR_CONFIG). One that there is not is
 * QN_ERR_CONFIG wherever it is named: here, in what is passed, and at opening QANAT_SYSTEM_... of the environment. value
 * NULL: unset. */
QN_API enum qn_status qn_bundle_set_config(struct qn_bundle *bundle, const char *key, const char *value, bool store,
                                           struct qn_error *err) QN_MUST_CHECK;
/* *out is NULL where it is set nowhere. */
QN_API enum qn_status qn_bundle_config(struct qn_bundle *bundle, const char *key, char **out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* ---- connectors and sources ---- */

/* Name a connector. `name` has exactly one dot. `platform` ("linux/amd64"; NULL: any) chooses between several of a name.
 * A temporary one lives in this handle; the others are pending changes of the bundle, and python:: is refused for them. A
 * library, jar or script that is not there is QN_ERR_CONFIG "not found". */
QN_API enum qn_status qn_bundle_import_connector(struct qn_bundle *bundle, const char *name, const char *uri,
                                                 const char *platform, bool temporary,
                                                 struct qn_error *err) QN_MUST_CHECK;
/* platform NULL: all of them. QN_ERR_CONFIG: unknown name, or (rename) a name that is there. */
QN_API enum qn_status qn_bundle_drop_connector(struct qn_bundle *bundle, const char *name, const char *platform,
                                               bool temporary, struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_bundle_rename_connector(struct qn_bundle *bundle, const char *name, const char *new_name,
                                                 bool temporary, struct qn_error *err) QN_MUST_CHECK;

/* A source: a connector with arguments (JSON object of texts; NULL: none) that feeds a pack, kept in `save_as` ("parquet",
 * "arrow"; NULL: "parquet" where it is registered, else "arrow"). `connector` is an imported name, "files", "http" or
 * "database". Relative paths of its arguments and of the connector's URI begin in the folder that is current now, wherever it
 * is fetched later. *id_out: the source's, freed by qn_text_free; may be NULL. */
QN_API enum qn_status qn_bundle_create_source(struct qn_bundle *bundle, const char *connector, const char *arguments,
                                              const char *pack, const char *save_as, char **id_out,
                                              struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_bundle_drop_source(struct qn_bundle *bundle, const char *id,
                                            struct qn_error *err) QN_MUST_CHECK;

/* ---- fetch ---- */

enum qn_fetch_mode {
    QN_FETCH_ADD = 1, /* locations that are new */
    QN_FETCH_UPDATE,  /* also those whose version changed or, with an empty version, whose content did */
    QN_FETCH_SYNC     /* also removes what the connector reports no more */
};

/* How a fetch stands. Called about ten times a second and at the end, on the thread of the call. Non-zero cancels. */
struct qn_fetch_progress {
    size_t struct_size;
    const char *source;                 /* its connector; borrowed */
    int64_t locations, locations_total; /* done, set aside included; known so far */
    int64_t rows, bytes;                /* Arrow bytes */
    double seconds;
};
typedef int (*qn_fetch_progress_callback)(void *context, const struct qn_fetch_progress *progress);

struct qn_fetch_options {
    size_t struct_size;
    bool dry_run;                        /* say what would change; nothing does */
    bool quarantine;                     /* locations and sources that fail are no error of the call */
    bool retry;                          /* only the locations of the retry list */
    int parallel;                        /* locations at a time; 0: system.fetch_parallel, else 16 */
    const char *source;                  /* only this source's; NULL: all of the pack */
    qn_fetch_progress_callback progress; /* or NULL */
    void *progress_context;
};
#define QN_FETCH_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_fetch_options)                                                                 \
    }

/* Run the sources of a pack (NULL: of all packs). Each location is taken whole or not at all, as a pending change; one that
 * fails is set aside with its error on the retry list, the rest goes on. *results_out (set on success and where locations
 * failed): JSON array, an object a source: {"connector", "source_id", "pack", "added", "replaced", "removed": [location],
 * "failed": [{"location", "error", "detail" where there is one, "retryable"}], "rows", "bytes" (of the blocks taken),
 * "seconds", "dry_run", "rows_after": n of the pack or null, "vanished": [location] that was on the retry list, is reported
 * no more, and so is off it}. Unless `quarantine`, failures are the error of the first that failed, whose detail counts the
 * others; what was attached stays pending. A source that cannot be opened or cannot say what it has fails with location "",
 * and is set aside in the same way: the other sources run, and a retry asks it for all that it has. One whose connector may
 * not run here (QN_ERR_FORBIDDEN) is an error of the call in any case, and is not set aside. Interrupted, cancelled or the
 * disk full: what was attached until then stays pending too. A dry run asks for the data only where nothing else tells
 * whether it changed. */
QN_API enum qn_status qn_bundle_fetch(struct qn_bundle *bundle, const char *pack, enum qn_fetch_mode mode,
                                      const struct qn_fetch_options *options, char **results_out,
                                      struct qn_error *err) QN_MUST_CHECK;

/* Put a table into a pack by hand: the block of (pack, location), pending. It replaces one that is there only where
 * `replace` (else QN_ERR_CONFIG). Takes the stream over, always. *rows_out may be NULL. */
QN_API enum qn_status qn_bundle_put(struct qn_bundle *bundle, const char *pack, const char *location,
                                    const char *version, const char *format, bool replace,
                                    struct ArrowArrayStream *stream, int64_t *rows_out,
                                    struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_bundle_remove(struct qn_bundle *bundle, const char *pack, const char *location,
                                       struct qn_error *err) QN_MUST_CHECK;

/* A value that a task keeps with its rows: JSON without fractions; NULL: unset. Pending, committed with the rest. */
QN_API enum qn_status qn_bundle_set_checkpoint(struct qn_bundle *bundle, const char *task, const char *value,
                                               struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_bundle_checkpoint(struct qn_bundle *bundle, const char *task, char **out,
                                           struct qn_error *err) QN_MUST_CHECK;

/* ---- history ---- */

/* Make what is pending the next version, all of it or nothing. Others may have committed since: what they did is kept, and
 * QN_ERR_CONFLICT names (pack, location) pairs and objects that both touched; then nothing is written and the changes stay
 * pending. Nothing pending: *version_out is the version that is there. May be NULL. */
QN_API enum qn_status qn_bundle_commit(struct qn_bundle *bundle, const char *message, int64_t *version_out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* Drop the last pending operation (a call that changed something), or all. *undone_out (may be NULL): how many. */
QN_API enum qn_status qn_bundle_undo(struct qn_bundle *bundle, int64_t *undone_out, struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_bundle_reset(struct qn_bundle *bundle, int64_t *undone_out,
                                      struct qn_error *err) QN_MUST_CHECK;

/* Commit a new version that holds what `version` held. QN_ERR_CONFIG while anything is pending; QN_ERR_DATA where a block
 * of it is gone (gc). message NULL: one that says so. */
QN_API enum qn_status qn_bundle_revert(struct qn_bundle *bundle, const char *version, const char *message,
                                       int64_t *version_out, struct qn_error *err) QN_MUST_CHECK;

/* Take in what others committed. QN_ERR_CONFLICT as qn_bundle_commit. */
QN_API enum qn_status qn_bundle_refresh(struct qn_bundle *bundle, struct qn_error *err) QN_MUST_CHECK;

QN_API int64_t qn_bundle_version(const struct qn_bundle *bundle);

/* {"version", "hash", "previous", "timestamp" (microseconds), "message", "changes": [...]} of versions first to last, newest
 * last; last -1: to the handle's version. */
QN_API enum qn_status qn_bundle_history(struct qn_bundle *bundle, int64_t first, int64_t last, char **out,
                                        struct qn_error *err) QN_MUST_CHECK;
/* What is pending: {"version", "operations": [{"operation", "changes": [...]}]}. */
QN_API enum qn_status qn_bundle_status(struct qn_bundle *bundle, char **out, struct qn_error *err) QN_MUST_CHECK;
/* {"packs": [{"name","blocks","rows","bytes"}], "connectors", "sources", "config", "checkpoints", "failures": [...]}. */
QN_API enum qn_status qn_bundle_describe(struct qn_bundle *bundle, char **out, struct qn_error *err) QN_MUST_CHECK;
/* Blocks of a pack, in the order of reading: [{"location","version","source","format","path" or "url","sha256","rows","bytes",
 * "commit"}]; paths are absolute; of a copy whose connector gave a stable URL also "origin". */
QN_API enum qn_status qn_bundle_files(struct qn_bundle *bundle, const char *pack, char **out,
                                      struct qn_error *err) QN_MUST_CHECK;

/* Read everything again: log, chain, blocks, references that are local. [{"object","expected","found","version"}]; "[]" when
 * all is well. Works on a folder whose log cannot be opened. */
QN_API enum qn_status qn_bundle_verify(const char *path, char **out, struct qn_error *err) QN_MUST_CHECK;

/* Remove temporary files and blocks that no version names (`keep_versions` -1), or that none of the newest `keep_versions`
 * names; older than min_age seconds in any case. {"removed", "bytes", "temporary"}. Waits for writers up to `timeout`
 * seconds (QN_ERR_TIMEOUT). */
QN_API enum qn_status qn_bundle_gc(struct qn_bundle *bundle, int64_t min_age, int64_t keep_versions, double timeout,
                                   char **out, struct qn_error *err) QN_MUST_CHECK;

/* ---- reading ---- */

/* The schema of a pack: its blocks' columns by name, in the order in which they first come; types are widened only where
 * exact, else QN_ERR_DATA names blocks and types. The copy is the caller's. */
QN_API enum qn_status qn_bundle_schema(struct qn_bundle *bundle, const char *pack, struct ArrowSchema *out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* Rows of a pack; counted by reading where a block does not say. */
QN_API enum qn_status qn_bundle_rows(struct qn_bundle *bundle, const char *pack, int64_t *out,
                                     struct qn_error *err) QN_MUST_CHECK;

/* All rows of a pack, block by block in the order of their commits and, within one, of its changes; what is pending comes
 * last. columns NULL: all; else these, in this order, QN_ERR_ARGUMENT where one is not there. "_location", "_version" and
 * "_commit" (null while pending) may be asked for by name. The stream is the caller's and outlives the handle; a block that
 * gc took meanwhile, and a reference that is not what it was when it was attached, are QN_ERR_DATA. */
QN_API enum qn_status qn_bundle_stream(struct qn_bundle *bundle, const char *pack, const char *const *columns,
                                       size_t n_columns, struct ArrowArrayStream *out,
                                       struct qn_error *err) QN_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
