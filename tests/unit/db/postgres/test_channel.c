/*
 * test_channel.c: messages from a server that lies, stutters or dies: no server is needed.
 */
#include "conversation.h"
#include "reading.h"

#include "base/fault.h"

#include <qanat/qanat.h>

/* ---- messages ---- */

static void put(struct qn_buffer *out, char type, const char *body, size_t size)
{
    qn_buffer_append_byte(out, type);
    qn_buffer_append_be32(out, (uint32_t)size + 4);
    qn_buffer_append(out, body, size);
}
#define PUT(out, type, ...)                                                                                            \
    do {                                                                                                               \
        const char bytes_[] = { __VA_ARGS__ };                                                                         \
        put((out), (type), bytes_, sizeof bytes_);                                                                     \
    } while (0)

static void put_ready(struct qn_buffer *out)
{
    put(out, 'Z', "I", 1);
}

/* Parse, Describe and Sync answered: no parameters, columns n (int4) and t (text). */
static void put_prepared(struct qn_buffer *out)
{
    put(out, '1', "", 0);
    PUT(out, 't', INT16(0));
    PUT(out, 'T', INT16(2), 'n', 0, INT32(0), INT16(0), INT32(23), INT16(4), INT32(-1), INT16(0), 't', 0, INT32(0),
        INT16(0), INT32(25), INT16(-1), INT32(-1), INT16(0));
    put_ready(out);
}

/* The whole of a result of two rows. */
static void put_result(struct qn_buffer *out)
{
    put(out, '2', "", 0);
    PUT(out, 'D', INT16(2), INT32(4), INT32(7), INT32(3), 'a', 'b', 'c');
    PUT(out, 'D', INT16(2), INT32(-1), INT32(-1));
    put(out, 'C', "SELECT 2", 9);
    put_ready(out);
}

static struct answer converse(struct qn_buffer *script, size_t step, struct qn_pg **pg_out)
{
    static struct conversation talk;
    talk = (struct conversation){ .bytes = script->data, .size = script->size, .step = step };
    struct qn_pg *pg = conversation_open(&talk);
    assert_non_null(pg);
    struct answer answer = ask(pg, "select", NULL);
    *pg_out = pg;
    return answer;
}

/* The conversation ends in this status, with the connection broken. */
static void expect_broken(struct qn_buffer *script, enum qn_status status)
{
    struct qn_pg *pg = NULL;
    struct answer answer = converse(script, 0, &pg);
    if (answer.status != status) {
        fail_msg("%s, not %s: %s", qn_status_name(answer.status), qn_status_name(status), answer.err.message);
    }
    assert_true(pg->broken);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_pg_simple(pg, "select 1", NULL, &err), QN_ERR_CONNECTION);
    answer_free(&answer);
    qn_pg_close(pg);
    qn_buffer_reset(script);
}

/* ---- whole conversations ---- */

static void channel__bytes_in_pieces_of_any_size(void **state)
{
    (void)state;
    qn_auto_buffer script = QN_BUFFER_INIT;
    put_prepared(&script);
    put_result(&script);
    for (size_t step = 0; step < 40; step++) {
        struct qn_pg *pg = NULL;
        struct answer answer = converse(&script, step, &pg);
        assert_int_equal(answer.status, QN_OK);
        assert_string_equal(qn_buffer_text(&answer.schema), "n:i t:vu");
        assert_string_equal(qn_buffer_text(&answer.rows), "7|\"abc\"\nnull|null\n");
        assert_int_equal(answer.affected, 2);
        assert_false(pg->broken);
        answer_free(&answer);
        qn_pg_close(pg);
    }
}

static void channel__cut_anywhere_is_never_an_end(void **state)
{
    (void)state;
    qn_auto_buffer script = QN_BUFFER_INIT;
    put_prepared(&script);
    put_result(&script);
    size_t whole = script.size;
    for (size_t size = 1; size < whole; size++) {
        struct qn_pg *pg = NULL;
        script.size = size;
        struct answer answer = converse(&script, 0, &pg);
        assert_int_equal(answer.status, QN_ERR_CONNECTION);
        assert_true(answer.err.retryable);
        assert_true(pg->broken);
        answer_free(&answer);
        qn_pg_close(pg);
    }
    script.size = whole;
}

static int notices;
static void count_notice(void *context, enum qn_log_level level, const char *area, const char *message)
{
    (void)context;
    (void)level;
    (void)area;
    notices += strstr(message, "be warned") != NULL;
}

static void put_asynchronous(struct qn_buffer *out)
{
    static const char notice[] = "SWARNING\0VWARNING\0C01000\0Mbe warned\0";
    static const char parameter[] = "application_name\0x";
    static const char notification[] = "\0\0\0\7news\0text";
    put(out, 'N', notice, sizeof notice);
    put(out, 'S', parameter, sizeof parameter);
    put(out, 'A', notification, sizeof notification);
}

static void channel__asynchronous_messages_between_all_others(void **state)
{
    (void)state;
    qn_auto_buffer script = QN_BUFFER_INIT;
    put_asynchronous(&script);
    put_prepared(&script);
    put_asynchronous(&script);
    put(&script, '2', "", 0);
    for (int i = 0; i < 5; i++) {
        PUT(&script, 'D', INT16(2), INT32(4), INT32(i), INT32(0));
        put_asynchronous(&script);
    }
    put(&script, 'C', "SELECT 5", 9);
    put_asynchronous(&script);
    put_ready(&script);
    notices = 0;
    qn_log_set(count_notice, NULL, QN_LOG_WARNING);
    struct qn_pg *pg = NULL;
    struct answer answer = converse(&script, 3, &pg);
    qn_log_set(NULL, NULL, QN_LOG_ERROR);
    assert_int_equal(answer.status, QN_OK);
    assert_string_equal(qn_buffer_text(&answer.rows), "0|\"\"\n1|\"\"\n2|\"\"\n3|\"\"\n4|\"\"\n");
    assert_int_equal(notices, 8);
    assert_int_equal(pg->n_notifications, 8);
    assert_int_equal(pg->notifications->server_pid, 7);
    assert_string_equal(pg->notifications->channel, "news");
    assert_string_equal(pg->notifications->payload, "text");
    answer_free(&answer);
    qn_pg_close(pg);
}

static void channel__notifications_have_a_limit(void **state)
{
    (void)state;
    qn_auto_buffer script = QN_BUFFER_INIT;
    for (int i = 0; i < QN_PG_MAX_QUEUED + 5; i++) {
        PUT(&script, 'A', INT32(i), 'n', 0, 0);
    }
    put_prepared(&script);
    put_result(&script);
    struct qn_pg *pg = NULL;
    struct answer answer = converse(&script, 0, &pg);
    assert_int_equal(answer.status, QN_OK);
    assert_int_equal(pg->n_notifications, QN_PG_MAX_QUEUED);
    assert_int_equal(pg->notifications->server_pid, 5);
    answer_free(&answer);
    qn_pg_close(pg);
}

/* ---- lies ---- */

static void channel__refuses_bad_lengths(void **state)
{
    (void)state;
    qn_auto_buffer script = QN_BUFFER_INIT;
    qn_buffer_append(&script, "1\0\0\0\3", 5); /* shorter than itself */
    expect_broken(&script, QN_ERR_PROTOCOL);
    qn_buffer_append(&script, "1\xff\xff\xff\xff", 5);
    expect_broken(&script, QN_ERR_PROTOCOL);
    qn_buffer_append(&script, "Z\0\x20\0\0", 5); /* 2 MiB of ReadyForQuery */
    expect_broken(&script, QN_ERR_PROTOCOL);
    qn_buffer_append(&script, "T\x7f\xff\xff\xff", 5); /* 2 GiB of row description */
    expect_broken(&script, QN_ERR_PROTOCOL);
    qn_buffer_append(&script,
                     "E\0\0\0\x08"
                     "abcd",
                     9);
    expect_broken(&script, QN_ERR_PROTOCOL);
}

static void channel__refuses_bad_rows(void **state)
{
    (void)state;
    const struct {
        const char *body;
        size_t size;
    } rows[] = {
        { "", 0 },                                                              /* no count */
        { (const char[]){ INT16(1), INT32(-1) }, 6 },                           /* one column too few */
        { (const char[]){ INT16(3), INT32(-1), INT32(-1), INT32(-1) }, 14 },    /* one too many */
        { (const char[]){ INT16(2), INT32(-1) }, 6 },                           /* ends before the second */
        { (const char[]){ INT16(2), INT32(3), 0, 0, 0, INT32(-1) }, 13 },       /* an int4 of three bytes */
        { (const char[]){ INT16(2), INT32(-1), INT32(4), 'a', 'b', 'c' }, 13 }, /* text past the end */
        { (const char[]){ INT16(2), INT32(-1), INT32(-2) }, 10 },               /* a length below null's */
        { (const char[]){ INT16(2), INT32(-1), INT32(0x7fffffff) }, 10 },
        { (const char[]){ INT16(2), INT32(-1), INT32(-1), 'x' }, 11 }, /* a byte too many */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        qn_auto_buffer script = QN_BUFFER_INIT;
        put_prepared(&script);
        put(&script, '2', "", 0);
        put(&script, 'D', rows[i].body, rows[i].size);
        put(&script, 'C', "SELECT 1", 9);
        put_ready(&script);
        expect_broken(&script, QN_ERR_PROTOCOL);
    }
}

static void channel__refuses_bad_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = { "\xc3", "\xff", "\xed\xa0\x80", "a long text and then \xc0\x80 in it" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        qn_auto_buffer script = QN_BUFFER_INIT;
        qn_auto_buffer row = QN_BUFFER_INIT;
        put_prepared(&script);
        put(&script, '2', "", 0);
        qn_buffer_append_be16(&row, 2);
        qn_buffer_append_be32(&row, UINT32_MAX);
        qn_buffer_append_be32(&row, (uint32_t)strlen(bad[i]));
        qn_buffer_append_text(&row, bad[i]);
        put(&script, 'D', row.data, row.size);
        put(&script, 'C', "SELECT 1", 9);
        put_ready(&script);
        struct qn_pg *pg = NULL;
        struct answer answer = converse(&script, 0, &pg);
        assert_int_equal(answer.status, QN_ERR_DATA);
        assert_int_equal(answer.err.row, 0);
        assert_string_equal(answer.err.column_name, "t");
        assert_false(pg->broken);
        answer_free(&answer);
        qn_pg_close(pg);
    }
}

static void channel__refuses_bad_descriptions(void **state)
{
    (void)state;
    qn_auto_buffer script = QN_BUFFER_INIT;
    put(&script, '1', "", 0);
    PUT(&script, 't', INT16(1)); /* a parameter without its type */
    expect_broken(&script, QN_ERR_PROTOCOL);
    PUT(&script, 'T', INT16(1), 'n', 'o', ' ', 'e', 'n', 'd', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    expect_broken(&script, QN_ERR_PROTOCOL);
    PUT(&script, 'T', INT16(-1));
    expect_broken(&script, QN_ERR_PROTOCOL);
    PUT(&script, 'T', INT16(1), '\xff', 0, INT32(0), INT16(0), INT32(23), INT16(4), INT32(-1), INT16(0));
    expect_broken(&script, QN_ERR_PROTOCOL);
    put_ready(&script); /* no description at all */
    expect_broken(&script, QN_ERR_PROTOCOL);
    put(&script, 'R', "\0\0\0\0", 4); /* an authentication request, now */
    expect_broken(&script, QN_ERR_PROTOCOL);
}

static void channel__refuses_rows_nobody_asked_for(void **state)
{
    (void)state;
    qn_auto_buffer script = QN_BUFFER_INIT;
    put(&script, '1', "", 0);
    PUT(&script, 't', INT16(0));
    put(&script, 'n', "", 0);
    put_ready(&script);
    put(&script, '2', "", 0);
    PUT(&script, 'D', INT16(0));
    expect_broken(&script, QN_ERR_PROTOCOL);
    put_prepared(&script);
    put(&script, '2', "", 0);
    put(&script, 'Z', "X", 1); /* no such state */
    expect_broken(&script, QN_ERR_PROTOCOL);
    put_prepared(&script);
    put(&script, 'V', "", 0); /* the answer to a call nobody made */
    expect_broken(&script, QN_ERR_PROTOCOL);
}

/* ---- errors ---- */

static void channel__fatal_error_ends_the_connection(void **state)
{
    (void)state;
    static const char fatal[] = "SFATAL\0VFATAL\0C57P01\0Mterminating connection\ndue to command\0";
    qn_auto_buffer script = QN_BUFFER_INIT;
    put_prepared(&script);
    put(&script, 'E', fatal, sizeof fatal);
    struct qn_pg *pg = NULL;
    struct answer answer = converse(&script, 0, &pg);
    assert_int_equal(answer.status, QN_ERR_CONNECTION);
    assert_string_equal(answer.err.sqlstate, "57P01");
    assert_string_equal(answer.err.message, "terminating connection due to command");
    assert_true(answer.err.retryable);
    assert_true(pg->broken);
    answer_free(&answer);
    qn_pg_close(pg);
}

static void channel__error_fields_are_kept_and_cut(void **state)
{
    (void)state;
    static const char error[] =
        "SERROR\0VERROR\0C23505\0Mduplicate\0DKey (a)=(1)\0Hdo not\0nkey\0ssch\0ttab\0ccol\0P12\0";
    struct conversation talk = { 0 };
    struct qn_pg *pg = conversation_open(&talk);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_pg_error_from_message(pg, error, sizeof error, NULL, &err), QN_ERR_CONSTRAINT);
    assert_string_equal(err.sqlstate, "23505");
    assert_string_equal(err.message, "duplicate");
    assert_string_equal(err.detail, "Key (a)=(1)");
    assert_string_equal(err.hint, "do not");
    assert_string_equal(err.constraint_name, "key");
    assert_string_equal(err.schema_name, "sch");
    assert_string_equal(err.table_name, "tab");
    assert_string_equal(err.column_name, "col");
    assert_int_equal(err.position, 12);
    qn_auto_buffer body = QN_BUFFER_INIT;
    qn_buffer_append(&body, "C40001\0M", 8);
    for (int i = 0; i < 3000; i++) {
        qn_buffer_append_text(&body, "é");
    }
    qn_buffer_append(&body, "\0", 2);
    assert_int_equal(qn_pg_error_from_message(pg, body.data, body.size, NULL, &err), QN_ERR_QUERY);
    assert_true(err.retryable);
    assert_int_equal(strlen(err.message) % 2, 0); /* no character is cut */
    assert_true(strlen(err.message) > 1000);
    assert_false(pg->broken);
    qn_pg_close(pg);
}

/* The whole conversation with a fault armed; returns how often the fault point was met. */
static int64_t converse_with_fault(struct qn_buffer *script, enum qn_fault_kind kind, int64_t n, enum qn_status *out)
{
    struct conversation talk = { .bytes = script->data, .size = script->size };
    struct qn_pg *pg = conversation_open(&talk);
    assert_non_null(pg);
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_cursor cursor = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowSchema schema = { 0 };
    struct ArrowArray array = { 0 };
    (void)qn_fault_arm(kind, n, QN_FAULT_ONCE);
    enum qn_status status = start(pg, "select", &options, &cursor, &err);
    if (status == QN_OK) {
        status = cursor.ops->schema(cursor.self, &schema, &err);
        while (status == QN_OK) {
            status = cursor.ops->next(cursor.self, &array, &err);
            if (status != QN_OK || array.release == NULL) {
                break;
            }
            array.release(&array);
        }
        cursor.ops->close(cursor.self);
    }
    int64_t met = qn_fault_count(kind);
    (void)qn_fault_arm(kind, 0, QN_FAULT_ONCE);
    assert_true(pg->broken || pg->ready_expected == 0);
    qn_schema_release(&schema);
    qn_pg_close(pg);
    *out = status;
    return met;
}

static void channel__any_allocation_may_fail(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points (-Dfaults=true)\n");
        skip();
    }
    qn_auto_buffer script = QN_BUFFER_INIT;
    put_asynchronous(&script);
    put_prepared(&script);
    put_result(&script);
    enum qn_status status = QN_OK;
    int64_t n = 1;
    for (; converse_with_fault(&script, QN_FAULT_ALLOC, n, &status) >= n; n++) {
        assert_int_equal(status, QN_ERR_NO_MEMORY);
        assert_true(n < 1000);
    }
    assert_int_equal(status, QN_OK);
    assert_true(n > 20); /* it was met: buffers, the description, the plan, the batch, a notification */
}

static void channel__states_map_by_meaning(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum qn_status status;
        bool retryable;
    } cases[] = {
        { "08006", QN_ERR_CONNECTION, true },  { "08P01", QN_ERR_PROTOCOL, false },
        { "28P01", QN_ERR_CONNECTION, false }, { "23505", QN_ERR_CONSTRAINT, false },
        { "23P01", QN_ERR_CONSTRAINT, false }, { "40001", QN_ERR_QUERY, true },
        { "40P01", QN_ERR_QUERY, true },       { "53300", QN_ERR_CONNECTION, true },
        { "53100", QN_ERR_QUERY, true },       { "57014", QN_ERR_CANCELLED, false },
        { "57P01", QN_ERR_CONNECTION, true },  { "57P03", QN_ERR_CONNECTION, true },
        { "55P03", QN_ERR_QUERY, true },       { "0A000", QN_ERR_UNSUPPORTED, false },
        { "22012", QN_ERR_DATA, false },       { "42P01", QN_ERR_QUERY, false },
        { "XX000", QN_ERR_QUERY, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool retryable = !cases[i].retryable;
        assert_int_equal(qn_pg_status_of(cases[i].sqlstate, &retryable), cases[i].status);
        assert_int_equal(retryable, cases[i].retryable);
    }
}

static void channel__counts_of_tags(void **state)
{
    (void)state;
    assert_int_equal(qn_pg_tag_rows("INSERT 0 5"), 5);
    assert_int_equal(qn_pg_tag_rows("SELECT 9223372036854775807"), INT64_MAX);
    assert_int_equal(qn_pg_tag_rows("UPDATE 0"), 0);
    assert_int_equal(qn_pg_tag_rows("COPY 12"), 12);
    assert_int_equal(qn_pg_tag_rows("CREATE TABLE"), -1);
    assert_int_equal(qn_pg_tag_rows("INSERT 0 x"), -1);
    assert_int_equal(qn_pg_tag_rows(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channel__bytes_in_pieces_of_any_size),
        cmocka_unit_test(channel__cut_anywhere_is_never_an_end),
        cmocka_unit_test(channel__asynchronous_messages_between_all_others),
        cmocka_unit_test(channel__notifications_have_a_limit),
        cmocka_unit_test(channel__refuses_bad_lengths),
        cmocka_unit_test(channel__refuses_bad_rows),
        cmocka_unit_test(channel__refuses_bad_utf8),
        cmocka_unit_test(channel__refuses_bad_descriptions),
        cmocka_unit_test(channel__refuses_rows_nobody_asked_for),
        cmocka_unit_test(channel__fatal_error_ends_the_connection),
        cmocka_unit_test(channel__error_fields_are_kept_and_cut),
        cmocka_unit_test(channel__any_allocation_may_fail),
        cmocka_unit_test(channel__states_map_by_meaning),
        cmocka_unit_test(channel__counts_of_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
