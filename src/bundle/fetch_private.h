/*
 * fetch_private.h: what the parts of a fetch share. Not for other folders.
 *
 * A fetch runs source by source. fetch_plan.c asks the connector what there is and decides what is to be done about each
 * location; fetch_worker.c does it, several locations at a time; fetch_attach.c makes changes of the bundle of what was
 * done; fetch.c says what happened. Threads: workers see their pool and one job each; all else is the caller's.
 */
#ifndef QN_BUNDLE_FETCH_PRIVATE_H
#define QN_BUNDLE_FETCH_PRIVATE_H

#include "bundle/blocks.h"
#include "bundle/bundle_private.h"

#define QN__FETCH_MAX_LOCATIONS 500000 /* that one connector may report: what is attached has to fit a commit */
#define QN__FETCH_MAX_PARALLEL  256
#define QN__FETCH_PARALLEL      16

enum qn__job_kind {
    QN__JOB_NOTHING, /* it is as it should be, or this mode leaves it alone */
    QN__JOB_ADD,
    QN__JOB_REPLACE,
    QN__JOB_COMPARE, /* replace it where its content is another */
};

enum qn__job_outcome {
    QN__JOB_WAITING, /* not done, also where the fetch ended before */
    QN__JOB_DONE,
    QN__JOB_SAME, /* COMPARE: the content is what it was; NOTHING: said again */
    QN__JOB_FAILED,
};

struct qn__job {
    struct qn_location location; /* its texts live in `texts` */
    char *texts;
    enum qn__job_kind kind;
    enum qn__job_outcome outcome;
    bool nameless;                      /* no commit can hold its name and version */
    bool orphan;                        /* the source that put it into the pack is gone: it is this one's now */
    const struct qn_state_entry *known; /* what the pack has of it; NULL: nothing. Borrowed of the state */
    struct qn__block block;             /* of DONE */
    char *url;                          /* of DONE: a reference's; else NULL */
    char *origin;                       /* of DONE: a copy's stable URL; else NULL; of qn_text_free */
    struct qn_error *error;             /* of FAILED */
};

struct qn__fetch {
    struct qn_bundle *bundle;
    enum qn_fetch_mode mode;
    struct qn_fetch_options options;
    int parallel;
    struct qn__block_place place;
    int64_t started;           /* qn_clock_nanos */
    struct qn_error failure;   /* the first that failed */
    int64_t failures;          /* locations, and sources that could not say what they have */
    bool forbidden;            /* a source's connector may not run here: an error of the call in any case */
    struct qn_buffer *results; /* what fetch.c says */
    int64_t n_results;
};

/* One source of it. */
struct qn__fetch_source {
    struct qn__fetch *fetch;
    struct qn__source *source;
    struct qn_connector *connector;
    struct qn__job *jobs; /* in the order in which the connector said them */
    size_t n_jobs, capacity;
    const struct qn__job **by_location; /* the same, sorted */
    char **removed;                     /* locations that the connector has no more */
    size_t n_removed;
    struct qn_buffer vanished; /* see qn__fetch_next_vanished */
    int64_t started;
    bool retry; /* only locations of the retry list: the source itself is not on it */
};

/* ---- fetch_plan.c ----------------------------------------------------------------------------------------------- */

/* Ask the connector, and decide. */
enum qn_status qn__fetch_plan(struct qn__fetch_source *run, struct qn_error *err) QN_MUST_CHECK;
void qn__fetch_jobs_dispose(struct qn__fetch_source *run);

/* The job of a location, or NULL. */
const struct qn__job *qn__fetch_find(const struct qn__fetch_source *run, const char *location);

/* The next entry of the retry list, from *place 0 on, whose location the connector has no more; false: no more of them. Its
 * texts are borrowed. */
struct qn__vanished {
    const char *failure;  /* the entry's name */
    const char *location; /* "": the source itself, which could not say what it has, and now has */
};
bool qn__fetch_next_vanished(const struct qn__fetch_source *run, size_t *place, struct qn__vanished *out);

/* Note that a job failed; takes a copy of the error. */
void qn__job_fail(struct qn__job *job, const struct qn_error *error);

/* ---- fetch_worker.c --------------------------------------------------------------------------------------------- */

/* Do what is planned, in as many threads as are wanted; all have ended when it returns. QN_ERR_CANCELLED, or what is wrong
 * with the bundle's folder: jobs that were not done are WAITING then. A location that fails is no error. */
enum qn_status qn__fetch_run(struct qn__fetch_source *run, struct qn_error *err) QN_MUST_CHECK;

/* ---- fetch_attach.c --------------------------------------------------------------------------------------------- */

/* Make changes of what was done and of what failed, in the operation that is open. `whole`: the run came to its end, so
 * that what it did not find is gone. */
enum qn_status qn__fetch_attach(struct qn__fetch_source *run, bool whole, struct qn_error *err) QN_MUST_CHECK;

/* Put the source itself on the retry list, as its location "". */
enum qn_status qn__fetch_set_aside(struct qn__fetch_source *run, const struct qn_error *error,
                                   struct qn_error *err) QN_MUST_CHECK;

#endif
