/* Locations of a source: what is left to move, cuts and ends, and positions by hash. */
#include "task/locations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct qn_locations_rules appending = { .update = false, .repeating = false };
static const struct qn_locations_rules updating = { .update = true, .repeating = true };

static struct qn_location location_of(const char *name, const char *version)
{
    struct qn_location location = QN_LOCATION_INIT;
    location.location = name;
    location.version = version;
    return location;
}

static void know(struct qn_positions *positions, const char *name, const char *version, int64_t rows, bool done)
{
    struct qn_position position = { .version = (char *)(uintptr_t)version, .rows = rows, .done = done };
    assert_int_equal(qn_sha256_of(name, strlen(name), &position.hash, NULL), QN_OK);
    assert_int_equal(qn_positions_add(positions, &position, NULL), QN_OK);
}

static void positions__are_found_by_hash(void **state)
{
    (void)state;
    struct qn_positions positions = { .items = NULL };
    char name[16];
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        know(&positions, name, name, i, true);
    }
    for (int i = 0; i < 1000; i++) {
        struct qn_sha256 hash;
        (void)snprintf(name, sizeof name, "%d", i);
        assert_int_equal(qn_sha256_of(name, strlen(name), &hash, NULL), QN_OK);
        const struct qn_position *found = qn_positions_find(&positions, &hash);
        assert_non_null(found);
        assert_int_equal(found->rows, i);
        assert_string_equal(found->version, name);
    }
    struct qn_sha256 other = { .bytes = { 0 } };
    assert_null(qn_positions_find(&positions, &other));
    qn_positions_dispose(&positions);
}

static void added(const struct qn_locations_rules *rules, bool stable, const char *version, int64_t start_wanted)
{
    struct qn_positions positions = { .items = NULL };
    struct qn_locations locations = { .stable = stable };
    struct qn_error err = QN_ERROR_INIT;
    know(&positions, "new", "", 0, false);
    know(&positions, "moved", "v1", 7, true);
    know(&positions, "cut", "v1", 5, false);
    struct qn_location cut = location_of("cut", version);
    assert_int_equal(qn_locations_add(&locations, &cut, &positions, rules, &err),
                     start_wanted < 0 ? QN_ERR_CONFIG : QN_OK);
    if (start_wanted < 0) {
        assert_non_null(strstr(err.message, "location \"cut\": 5 rows of its version \"v1\" have been moved"));
    } else {
        assert_int_equal(locations.n, 1);
        assert_int_equal(locations.items[0].start, start_wanted);
    }
    qn_locations_dispose(&locations);
    qn_positions_dispose(&positions);
}

/* trace: B2 */
static void locations__cut_ones_go_on_where_that_is_exact(void **state)
{
    (void)state;
    added(&appending, true, "v1", 5);
    added(&appending, true, "v2", -1);
    added(&appending, true, "", -1);
    added(&appending, false, "v1", -1);
    added(&updating, true, "v2", 0);
    added(&updating, false, "v1", 0);
}

static size_t left_of(const struct qn_locations_rules *rules, const char *name, const char *version)
{
    struct qn_positions positions = { .items = NULL };
    struct qn_locations locations = { .stable = true };
    know(&positions, "moved", "v1", 7, true);
    know(&positions, "empty", "v1", 0, true);
    struct qn_location location = location_of(name, version);
    assert_int_equal(qn_locations_add(&locations, &location, &positions, rules, NULL), QN_OK);
    size_t left = locations.n;
    assert_int_equal(locations.known, 1);
    qn_locations_dispose(&locations);
    qn_positions_dispose(&positions);
    return left;
}

static void locations__moved_ones_come_again_only_in_updates(void **state)
{
    (void)state;
    assert_int_equal(left_of(&appending, "new", "v1"), 1);
    assert_int_equal(left_of(&appending, "moved", "v1"), 0);
    assert_int_equal(left_of(&appending, "moved", "v2"), 0);
    assert_int_equal(left_of(&appending, "empty", "v1"), 0);
    assert_int_equal(left_of(&updating, "moved", "v1"), 0);
    assert_int_equal(left_of(&updating, "moved", "v2"), 1);
    assert_int_equal(left_of(&updating, "empty", "v2"), 1);
}

static void locations__tell_what_the_sink_does_not_know(void **state)
{
    (void)state;
    struct qn_positions positions = { .items = NULL };
    struct qn_locations locations = { .stable = true };
    for (int i = 0; i < 3; i++) {
        char name[2] = { (char)('a' + i), '\0' };
        struct qn_location location = location_of(name, "v1");
        assert_int_equal(qn_locations_add(&locations, &location, &positions, &appending, NULL), QN_OK);
    }
    qn_locations_take(&locations, 10);
    assert_int_equal(locations.touched, 1);
    qn_locations_kept(&locations);
    assert_int_equal(locations.touched, 0);
    qn_locations_end_one(&locations);
    qn_locations_take(&locations, 4);
    assert_int_equal(locations.touched, 2);
    assert_true(locations.items[0].done);
    assert_false(locations.items[1].done);
    assert_int_equal(qn_locations_moved(&locations), 1);
    qn_locations_kept(&locations);
    qn_locations_end_all(&locations);
    assert_int_equal(locations.touched, 2);
    assert_int_equal(locations.items[1].rows, 4);
    assert_int_equal(qn_locations_moved(&locations), 3);
    qn_locations_dispose(&locations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions__are_found_by_hash),
        cmocka_unit_test(locations__cut_ones_go_on_where_that_is_exact),
        cmocka_unit_test(locations__moved_ones_come_again_only_in_updates),
        cmocka_unit_test(locations__tell_what_the_sink_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
