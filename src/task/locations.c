/* locations.c: the list of what a run has to move, and how far each entry came. */
#include "task/locations.h"

#include "base/memory.h"

#include <string.h>

void qn_locations_dispose(struct qn_locations *locations)
{
    for (size_t i = 0; i < locations->n; i++) {
        qn_free(locations->items[i].location);
        qn_free(locations->items[i].version);
        qn_free(locations->items[i].format);
    }
    qn_free(locations->items);
    *locations = (struct qn_locations){ .items = NULL };
}

static enum qn_status make_room(struct qn_locations *locations, struct qn_error *err)
{
    if (locations->n < locations->capacity) {
        return QN_OK;
    }
    size_t capacity = locations->capacity > 0 ? locations->capacity * 2 : 64;
    struct qn_task_location *items = qn_realloc_array(locations->items, capacity, sizeof *items);
    if (items == NULL) {
        return qn__no_memory(err);
    }
    locations->items = items;
    locations->capacity = capacity;
    return QN_OK;
}

static enum qn_status append(struct qn_locations *locations, const struct qn_location *location,
                             const struct qn_sha256 *hash, int64_t start, struct qn_error *err)
{
    QN_TRY(make_room(locations, err));
    struct qn_task_location *item = &locations->items[locations->n];
    *item = (struct qn_task_location){ .location = qn_strdup(location->location),
                                       .version = qn_strdup(location->version),
                                       .format = qn_strdup(location->format),
                                       .must_copy = location->must_copy,
                                       .num_rows = location->num_rows,
                                       .hash = *hash,
                                       .start = start,
                                       .rows = start,
                                       .resumable = locations->stable && location->version[0] != '\0' };
    locations->n++;
    return item->location != NULL && item->version != NULL && item->format != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status refuse_part(const struct qn_location *location, const struct qn_position *position,
                                  struct qn_error *err)
{
    (void)qn_error_set(
        err, QN_ERR_CONFIG,
        "location \"%s\": %lld rows of its version \"%s\" have been moved, the rest of them cannot be told "
        "from them: the version is now \"%s\"",
        location->location, (long long)position->rows, position->version, location->version);
    qn_error_hint(err,
                  "use sink.mode upsert with a key, or move every row again into an empty table (qanat run --full)");
    return QN_ERR_CONFIG;
}

enum qn_status qn_locations_add(struct qn_locations *locations, const struct qn_location *location,
                                struct qn_positions *positions, const struct qn_locations_rules *rules,
                                struct qn_error *err)
{
    struct qn_sha256 hash;
    QN_TRY(qn_sha256_of(location->location, strlen(location->location), &hash, err));
    locations->known++;
    const struct qn_position *position = qn_positions_find(positions, &hash);
    if (position == NULL) {
        return append(locations, location, &hash, 0, err);
    }
    bool same = strcmp(position->version, location->version) == 0;
    if (position->done) {
        return same || !rules->update ? QN_OK : append(locations, location, &hash, 0, err);
    }
    if (position->rows == 0 || (same && location->version[0] != '\0' && locations->stable)) {
        return append(locations, location, &hash, position->rows, err);
    }
    return rules->repeating ? append(locations, location, &hash, 0, err) : refuse_part(location, position, err);
}

static void touch(struct qn_locations *locations, struct qn_task_location *item)
{
    locations->touched += item->touched ? 0 : 1;
    item->touched = true;
}

void qn_locations_take(struct qn_locations *locations, int64_t rows)
{
    struct qn_task_location *item = &locations->items[locations->writing];
    if (rows > 0) {
        item->rows += rows;
        touch(locations, item);
    }
}

void qn_locations_end_one(struct qn_locations *locations)
{
    struct qn_task_location *item = &locations->items[locations->writing++];
    item->done = true;
    touch(locations, item);
}

void qn_locations_end_all(struct qn_locations *locations)
{
    while (locations->writing < locations->n) {
        qn_locations_end_one(locations);
    }
}

int64_t qn_locations_moved(const struct qn_locations *locations)
{
    return locations->known - (int64_t)(locations->n - locations->writing);
}

void qn_locations_kept(struct qn_locations *locations)
{
    for (size_t i = locations->first_touched; locations->touched > 0 && i < locations->n; i++) {
        locations->touched -= locations->items[i].touched ? 1 : 0;
        locations->items[i].touched = false;
        locations->first_touched = i;
    }
}
