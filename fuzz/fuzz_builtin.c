/*
 * fuzz_builtin.c: what the built-in connectors read of locations and arguments. The first byte chooses: ranges of keys, which
 * are written as they were read and never become more SQL than a condition; or a pattern and a path, between which there is a
 * zero.
 */
#include "base/memory.h"
#include "base/text.h"
#include "connector/database_private.h"
#include "connector/files_private.h"
#include "db/driver_table.h"
#include "db/sql.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* The condition is whole in SQL: with an unterminated literal, or a placeholder that came out of one, it would not be. */
static void check_sql(const struct database *database, const struct database_range *range)
{
    struct qn_buffer sql = QN_BUFFER_INIT;
    struct qn_rewritten rewritten = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    qn__database_put_range(database, range, "q.k", &sql);
    qn_buffer_append_text(&sql, " and q.z = :last");
    require(qn_buffer_check(&sql, "a condition", &err) == QN_OK);
    require(qn_sql_rewrite(database->dialect, sql.data, sql.size, true, &rewritten, &err) == QN_OK);
    require(rewritten.n_placeholders == 1 && qn_text_equal(rewritten.names[0], "last"));
    qn_rewritten_dispose(&rewritten);
    qn_buffer_dispose(&sql);
}

static void check_range(const struct database *database, const char *text)
{
    struct database_range range, again;
    struct qn_buffer location = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    char name[] = "t";
    const struct database_table table = { .name = name, .text = name };
    bool right = false;
    require(qn__database_parse_range(database, text, &range, &right, &err) == QN_OK);
    if (right) {
        const char *brackets = NULL;
        require(qn__database_location(database, &table, &range, &location, &err) == QN_OK);
        require(qn__database_is_of(&table, location.data, &brackets) && brackets != NULL);
        require(qn_text_equal(brackets, text));
        require(qn__database_parse_range(database, brackets, &again, &right, &err) == QN_OK && right);
        require(range.nulls == again.nulls && range.low == again.low && range.high == again.high);
        check_sql(database, &range);
        qn__database_range_dispose(&again);
        qn__database_range_dispose(&range);
    }
    qn_buffer_dispose(&location);
}

static void check_pattern(const char *pattern, const char *path)
{
    bool matches = qn__pattern_matches(pattern, path, true);
    require(!qn__pattern_matches(pattern, path, false) || matches); /* hidden names only add */
    const char *slash = strrchr(path, '/');
    if (matches && slash != NULL && slash > path && slash[1] != '\0' && strstr(path, "//") == NULL) {
        char *folder = qn_strndup(path, (size_t)(slash - path));
        require(folder != NULL && qn__pattern_leads_into(pattern, folder, true)); /* or a walk would not find it */
        qn_free(folder);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const drivers[] = { "postgres", "sqlite" };
    if (size == 0) {
        return 0;
    }
    char *text = qn_strndup((const char *)data + 1, size - 1);
    require(text != NULL);
    if (data[0] == 'p') {
        size_t first = strlen(text);
        check_pattern(text, first + 1 < size ? text + first + 1 : "");
    } else {
        for (size_t i = 0; i < 2; i++) {
            const struct qn_driver *driver = NULL;
            for (size_t j = 0; (driver = qn_driver_at(j)) != NULL && !qn_text_equal(driver->name, drivers[i]); j++) {
            }
            require(driver != NULL);
            struct database database = { .dialect = driver->dialect,
                                         .kind = i == 0 ? DATABASE_POSTGRES : DATABASE_SQLITE,
                                         .key = data[0] == 'q' ? "odd \"key\"]" : "k" };
            check_range(&database, text);
        }
    }
    qn_free(text);
    return 0;
}
