/*
 * fuzz_sql.c: placeholders, for each dialect. What was rewritten has only native placeholders, as many as were counted; it
 * is rewritten again to itself; and every position in it leads back into the given text. The first byte chooses dialect
 * and whether values are there.
 */
#include "base/utf8.h"
#include "db/driver_table.h"
#include "db/sql.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct qn_dialect at_dialect = {
    .struct_size = sizeof(struct qn_dialect),
    .name = "ats",
    .placeholder = QN_PLACEHOLDER_AT,
    .quote_open = '[',
    .quote_close = ']',
    .bracket_quotes = true,
    .nested_comments = true,
};

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static int32_t characters(const char *text)
{
    int32_t n = 0;
    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return n;
}

static void check_positions(const char *given, const char *rewritten)
{
    int32_t last = characters(given) + 1;
    int32_t end = characters(rewritten);
    int32_t step = end / 16 + 1;
    for (int32_t position = 1; position <= end; position += step) {
        int32_t mapped = qn_sql_position(given, rewritten, position);
        require(mapped >= 1 && mapped <= last);
    }
}

static void check(const struct qn_dialect *dialect, const char *sql, bool allow_question,
                  const struct qn_rewritten *first)
{
    const char *text = qn_buffer_text(&first->sql);
    struct qn_rewritten second;
    /* Native placeholders make `?` an operator where it can be one; without any, it is one only if no value is there. */
    require(qn_sql_rewrite(dialect, text, strlen(text), allow_question && first->n_placeholders > 0, &second, NULL) ==
            QN_OK);
    require(second.n_placeholders == first->n_placeholders);
    require(strcmp(qn_buffer_text(&second.sql), text) == 0);
    require(first->spelling == QN_SPELLING_NONE ? first->n_placeholders == 0 : first->n_placeholders > 0);
    qn_rewritten_dispose(&second);
    check_positions(sql, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const struct qn_dialect *const dialects[] = { qn__driver_postgres.dialect, qn__driver_sqlite.dialect, &at_dialect };
    const struct qn_dialect *dialect = dialects[(data[0] & 0x7F) % 3];
    bool allow_question = (data[0] & 0x80) == 0;
    char *sql = malloc(size);
    require(sql != NULL);
    memcpy(sql, data + 1, size - 1);
    sql[size - 1] = '\0';
    size_t length = strlen(sql);
    struct qn_rewritten rewritten;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_sql_rewrite(dialect, sql, length, allow_question, &rewritten, &err);
    if (status == QN_OK) {
        check(dialect, sql, allow_question, &rewritten);
        qn_rewritten_dispose(&rewritten);
    } else {
        require(status == QN_ERR_QUERY && err.position >= 1 && err.message[0] != '\0');
    }
    free(sql);
    return 0;
}
