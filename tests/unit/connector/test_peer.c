/*
 * test_peer.c: connectors in processes of their own that keep to the protocol, and such that do not.
 * usage: test_peer PYTHON ODD_CONNECTOR
 */
#include "../wire/fixture.h"
#include "connector/peer.h"

#include "base/text.h"
#include "os/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS  5
#define GRACE 5000 /* a peer that means well ends long before */

static const char *python, *script;
static char *stream_hex; /* ROWS rows, with the end of the stream */
static char lock_path[] = "/tmp/qanat-test-peer-XXXXXX";

struct heard {
    int logs, progress;
    int64_t rows, total;
    char last[64];
    bool forked, good_bye;
};

static void hear_log(void *context, const char *level, const char *message)
{
    struct heard *heard = context;
    heard->logs++;
    (void)snprintf(heard->last, sizeof heard->last, "%s: %s", level, message);
    heard->forked = heard->forked || qn_text_equal(message, "forked");
    heard->good_bye = heard->good_bye || qn_text_equal(message, "good bye");
}

static void hear_progress(void *context, int64_t rows, int64_t total, const char *text)
{
    struct heard *heard = context;
    assert_string_equal(text, total < 0 ? "going on" : "half");
    heard->progress++;
    heard->rows = rows;
    heard->total = total;
}

static struct heard heard;

static enum qn_status start_with(const char *mode, int64_t silence_ms, uint32_t slots, struct qn_peer **out)
{
    const char *const argv[] = { python, script, mode, stream_hex, lock_path, NULL };
    const struct qn_peer_options options = {
        .name = "connector odd",
        .argv = argv,
        .silence_ms = silence_ms,
        .slots = slots,
        .slot_size = 128,
        .events = { .context = &heard, .log = hear_log, .progress = hear_progress },
    };
    heard = (struct heard){ 0 };
    *out = NULL;
    return qn_peer_start(&options, out, &error);
}

static struct qn_peer *started(const char *mode)
{
    struct qn_peer *peer;
    ok(start_with(mode, 60000, 0, &peer));
    return peer;
}

static enum qn_status call(struct qn_peer *peer, const char *method, json_t **out)
{
    qn_auto_json *params = json_object();
    return qn_peer_call(peer, method, params, out, &error);
}

static void answers(struct qn_peer *peer)
{
    qn_auto_json *result = NULL;
    ok(call(peer, "ping", &result));
    assert_string_equal(json_string_value(result), "pong");
}

static enum qn_status ask_for_data(struct qn_peer *peer)
{
    qn_auto_json *params = json_pack("{s:{s:s}}", "location", "location", "a");
    qn_auto_json *result = NULL;
    return qn_peer_data(peer, params, &result, &error);
}

/* Read all of the data that was asked for. */
static enum qn_status read_data(struct qn_peer *peer, int64_t *rows_out)
{
    *rows_out = 0;
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_peer_next(peer, &batch, &error));
        if (batch.release == NULL) {
            return QN_OK;
        }
        *rows_out += batch.length;
    }
}

static void gives_its_rows(struct qn_peer *peer)
{
    int64_t rows;
    const struct ArrowSchema *schema;
    ok(ask_for_data(peer));
    ok(qn_peer_schema(peer, &schema, &error));
    assert_string_equal(schema->children[0]->name, "id");
    ok(read_data(peer, &rows));
    assert_int_equal(rows, ROWS);
}

/* ---- as it should be ---- */

static void version_1__without_a_handshake_is_spoken(void **state)
{
    (void)state;
    struct qn_peer *peer = started("v1");
    assert_int_equal(qn_peer_version(peer), 1);
    answers(peer);
    gives_its_rows(peer);
    gives_its_rows(peer);
    json_t *none = NULL;
    refused(call(peer, "describe", &none), QN_ERR_UNSUPPORTED, "connector odd, describe: no method describe");
    assert_int_equal(qn_peer_failure(peer)->code, QN_RPC_UNKNOWN_METHOD);
    answers(peer);
    qn_peer_end(peer, GRACE);
    assert_true(heard.good_bye); /* it ended by itself, at the end of its input */
}

static void version_1__may_have_no_data(void **state)
{
    (void)state;
    struct qn_peer *peer = started("no_data");
    const struct ArrowSchema *schema;
    int64_t rows;
    ok(ask_for_data(peer));
    ok(qn_peer_schema(peer, &schema, &error));
    assert_null(schema);
    ok(read_data(peer, &rows));
    answers(peer);
    qn_peer_end(peer, GRACE);
}

static void version_2__tells_and_streams(void **state)
{
    (void)state;
    struct qn_peer *peer = started("v2");
    assert_int_equal(qn_peer_version(peer), 2);
    assert_string_equal(heard.last, "info: up");
    gives_its_rows(peer);
    assert_int_equal(heard.progress, 1);
    assert_int_equal(heard.rows, 5);
    assert_int_equal(heard.total, 10);
    answers(peer);
    qn_peer_end(peer, GRACE);
    assert_true(heard.good_bye);
}

static void version_2__sends_by_the_ring(void **state)
{
    (void)state;
    struct qn_peer *peer;
    ok(start_with("v2", 60000, 2, &peer));
    gives_its_rows(peer); /* more pieces than slots: credits come back */
    gives_its_rows(peer);
    answers(peer);
    qn_peer_end(peer, GRACE);
}

static void version_2__fails_late_and_goes_on(void **state)
{
    (void)state;
    struct qn_peer *peer = started("fails_late");
    int64_t rows;
    ok(ask_for_data(peer));
    refused(read_data(peer, &rows), QN_ERR_QUERY, "connector odd, data: slow down");
    assert_true(error.retryable);
    assert_int_equal(qn_peer_failure(peer)->kind, QN_RPC_RATE_LIMITED);
    assert_false(qn_peer_lost(peer));
    answers(peer);
    qn_peer_end(peer, GRACE);
}

static void version_2__can_be_cancelled(void **state)
{
    (void)state;
    struct qn_peer *peer = started("endless");
    const struct ArrowSchema *schema;
    json_t *none = NULL;
    ok(ask_for_data(peer));
    ok(qn_peer_schema(peer, &schema, &error));
    refused(call(peer, "ping", &none), QN_ERR_BUSY, "in the middle of its data");
    qn_peer_cancel(peer, GRACE);
    assert_false(qn_peer_lost(peer));
    answers(peer);
    qn_peer_end(peer, GRACE);
}

static void version_1__that_is_cancelled_is_lost(void **state)
{
    (void)state;
    struct qn_peer *peer = started("hangs_in_frame");
    json_t *none = NULL;
    ok(ask_for_data(peer));
    qn_peer_cancel(peer, GRACE);
    assert_true(qn_peer_lost(peer));
    refused(call(peer, "ping", &none), QN_ERR_CLOSED, "no longer spoken to");
    qn_peer_end(peer, GRACE);
}

/* ---- as it should not be ---- */

static void a_program_that_is_missing__is_named(void **state)
{
    (void)state;
    const char *const argv[] = { "/nowhere/at/all", NULL };
    const struct qn_peer_options options = { .name = "connector odd", .argv = argv };
    struct qn_peer *peer = NULL;
    refused(qn_peer_start(&options, &peer, &error), QN_ERR_IO, "connector odd: starting \"/nowhere/at/all\"");
    assert_null(peer);
}

static void starts__that_fail_say_why(void **state)
{
    (void)state;
    struct qn_peer *peer;
    refused(start_with("exits", 60000, 0, &peer), QN_ERR_CONNECTION, "connector odd ended with status 3");
    assert_string_equal(error.detail, "no key: \xc3\xbc\nset one\n");
    assert_string_equal(heard.last, "stderr: set one");
    assert_null(peer);
    assert_string_equal(error.hint, "");
    refused(start_with("forgets_to_serve", 60000, 0, &peer), QN_ERR_CONNECTION, "ended with status 0: it ended its");
    assert_non_null(strstr(error.hint, "serve(YourConnector())"));
    refused(start_with("prints", 60000, 0, &peer), QN_ERR_PROTOCOL, "is not JSON");
    assert_non_null(strstr(error.message, "hello, world"));
    assert_non_null(strstr(error.hint, "print to standard error"));
    refused(start_with("wrong_id", 60000, 0, &peer), QN_ERR_PROTOCOL, "a reply to request 2 in place of 1");
    refused(start_with("strange_version", 60000, 0, &peer), QN_ERR_PROTOCOL, "a version that was not offered");
    refused(start_with("hangs_in_handshake", 300, 0, &peer), QN_ERR_TIMEOUT, "gave no sign of life for 0.3 s");
    assert_null(peer);
}

static void data__that_breaks_the_page_loses_the_peer(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        enum qn_status status;
        const char *text;
    } cases[] = {
        { "dies_in_frame", QN_ERR_CONNECTION, "connector odd ended with status 7: it ended in the middle of its data" },
        { "wrong_length", QN_ERR_PROTOCOL, "bytes follow the end of the Arrow stream" },
        { "corrupt", QN_ERR_PROTOCOL, "Arrow IPC: malformed message" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_peer *peer = started(cases[i].mode);
        int64_t rows;
        json_t *none = NULL;
        ok(ask_for_data(peer));
        refused(read_data(peer, &rows), cases[i].status, cases[i].text);
        assert_string_equal(error.detail, i == 0 ? "out of something\n" : "");
        assert_true(qn_peer_lost(peer));
        refused(call(peer, "ping", &none), QN_ERR_CLOSED, "no longer spoken to");
        refused(read_data(peer, &rows), QN_ERR_CLOSED, "no longer spoken to");
        qn_peer_end(peer, GRACE);
    }
    struct qn_peer *peer = started("not_ok");
    refused(ask_for_data(peer), QN_ERR_PROTOCOL, "is not {\"ok\": true}");
    qn_peer_end(peer, GRACE);
}

static void silence__is_not_waited_for_longer_than_allowed(void **state)
{
    (void)state;
    static const char *const modes[] = { "hangs", "ignores_term", "hangs_in_frame" };
    for (size_t i = 0; i < 3; i++) {
        struct qn_peer *peer = started(modes[i]);
        json_t *none = NULL;
        int64_t rows;
        qn_peer_set_silence(peer, 200);
        if (i < 2) {
            refused(call(peer, "ping", &none), QN_ERR_TIMEOUT, "connector odd: it gave no sign of life for 0.2 s");
        } else {
            qn_peer_set_silence(peer, 60000);
            ok(ask_for_data(peer));
            qn_peer_set_silence(peer, 200);
            refused(read_data(peer, &rows), QN_ERR_TIMEOUT, "connector odd: it gave no sign of life for 0.2 s");
        }
        assert_true(qn_peer_lost(peer));
        qn_peer_end(peer, 100); /* returns once it has been reaped, SIGTERM heeded or not */
    }
}

static void what_it_forked__ends_with_it(void **state)
{
    (void)state;
    struct qn_peer *peer = started("forks");
    while (!heard.forked) {
        answers(peer);
    }
    int held = open(lock_path, O_RDWR | O_CLOEXEC);
    assert_true(held >= 0);
    assert_int_equal(flock(held, LOCK_EX | LOCK_NB), -1); /* the process that was forked holds it */
    qn_peer_end(peer, 100);
    assert_int_equal(flock(held, LOCK_EX), 0); /* it is gone, or the test hangs */
    close(held);
}

static void standard_error__is_read_whatever_its_size(void **state)
{
    (void)state;
    struct qn_peer *peer = started("chatters");
    answers(peer);
    gives_its_rows(peer);
    qn_peer_end(peer, GRACE);
    assert_int_equal(heard.logs, 1 + 74 + 2); /* a line, a long one in pieces of 4096 bytes, "up" and "good bye" */
}

static void a_fork_of_ours__may_not_speak(void **state)
{
    (void)state;
    struct qn_peer *peer = started("v2");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        json_t *none = NULL;
        bool right = call(peer, "ping", &none) == QN_ERR_CLOSED;
        qn_peer_end(peer, GRACE);
        _exit(right ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    answers(peer);
    qn_peer_end(peer, GRACE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1__without_a_handshake_is_spoken),
        cmocka_unit_test(version_1__may_have_no_data),
        cmocka_unit_test(version_2__tells_and_streams),
        cmocka_unit_test(version_2__sends_by_the_ring),
        cmocka_unit_test(version_2__fails_late_and_goes_on),
        cmocka_unit_test(version_2__can_be_cancelled),
        cmocka_unit_test(version_1__that_is_cancelled_is_lost),
        cmocka_unit_test(a_program_that_is_missing__is_named),
        cmocka_unit_test(starts__that_fail_say_why),
        cmocka_unit_test(data__that_breaks_the_page_loses_the_peer),
        cmocka_unit_test(silence__is_not_waited_for_longer_than_allowed),
        cmocka_unit_test(what_it_forked__ends_with_it),
        cmocka_unit_test(standard_error__is_read_whatever_its_size),
        cmocka_unit_test(a_fork_of_ours__may_not_speak),
    };
    if (argc != 3) {
        print_error("usage: test_peer PYTHON ODD_CONNECTOR\n");
        return 2;
    }
    python = argv[1];
    script = argv[2];
    int held = mkstemp(lock_path);
    qn_auto_buffer arrow = QN_BUFFER_INIT;
    append_arrow(&arrow, true, "id", 0, ROWS);
    qn_ipc_encode_end(&arrow);
    stream_hex = calloc(1, 2 * arrow.size + 1);
    if (held < 0 || stream_hex == NULL) {
        return 2;
    }
    for (size_t i = 0; i < arrow.size; i++) {
        (void)snprintf(stream_hex + 2 * i, 3, "%02x", (unsigned char)arrow.data[i]);
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(stream_hex);
    close(held);
    unlink(lock_path);
    return failed;
}
