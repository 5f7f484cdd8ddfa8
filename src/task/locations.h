/*
 * locations.h: a source that is read location by location: a connector's locations, or the blocks of a bundle's pack.
 *
 * What has been moved of each location is the checkpoint. The list is made before the run and only the counts of its
 * entries change. Threads: the reader's stream goes through the list at its own pace and changes nothing in it; `writing`,
 * and the counts, are the writer's.
 */
#ifndef QN_TASK_LOCATIONS_H
#define QN_TASK_LOCATIONS_H

#include "bundle/digest.h"
#include "task/positions.h"

#include <qanat/connector.h>

struct qn_run;

struct qn_task_location {
    char *location, *version, *format;
    bool must_copy;
    int64_t num_rows;
    struct qn_sha256 hash; /* of its name */
    int64_t start;         /* rows that earlier runs have moved */
    int64_t rows;          /* that have been moved, with those of the open slice */
    bool resumable;        /* a run may begin in its middle */
    bool done, touched;    /* touched: the sink does not know yet */
};

struct qn_locations {
    struct qn_task_location *items; /* that this run has to move, in order */
    size_t n, capacity;
    int64_t known;                 /* locations that the source has, moved ones included */
    bool stable;                   /* the source gives the rows of a version in the same order again */
    size_t writing;                /* whose rows come next out of the queue */
    size_t touched, first_touched; /* none before it is */
};

void qn_locations_dispose(struct qn_locations *locations);

/* What to do with locations that the sink knows. */
struct qn_locations_rules {
    bool update;    /* those with another version come again */
    bool repeating; /* a row that comes again does no harm: the sink has a key */
};

/* Append a location (texts are copied) unless it has been moved. QN_ERR_CONFIG where it has been moved in part and the rest
 * cannot be told. */
enum qn_status qn_locations_add(struct qn_locations *locations, const struct qn_location *location,
                                struct qn_positions *positions, const struct qn_locations_rules *rules,
                                struct qn_error *err) QN_MUST_CHECK;

/* The writer took `rows` of the location that it is at; or came to its end. */
void qn_locations_take(struct qn_locations *locations, int64_t rows);
void qn_locations_end_one(struct qn_locations *locations);
void qn_locations_end_all(struct qn_locations *locations);

/* How many locations have been moved whole, in all. */
int64_t qn_locations_moved(const struct qn_locations *locations);

/* The sink has kept all that was touched. */
void qn_locations_kept(struct qn_locations *locations);

/* Open what the plan names, make run->locations, and run->rows with its schema in run->source_schema; where no location has
 * data the schema has no columns. With `ends` the end of every location comes as a batch without rows. */
enum qn_status qn_source_locations_open(struct qn_run *run, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_source_locations_prepare(struct qn_run *run, bool ends, struct qn_error *err) QN_MUST_CHECK;
void qn_source_locations_close(struct qn_run *run);

#endif
