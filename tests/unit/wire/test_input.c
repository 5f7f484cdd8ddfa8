/* Lines and lengths out of bytes in pieces, and descriptors that stay silent or go away. */
#include "base/fault.h"
#include "fixture.h"
#include "os/clock.h"
#include "os/poll.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static struct qn_wire_input of(struct memory *memory)
{
    struct qn_wire_input input;
    qn_wire_input_init(&input, memory_read, memory, "the peer");
    return input;
}

static void next_is(struct qn_wire_input *input, const char *wanted)
{
    const char *line;
    size_t size;
    ok(qn_wire_read_line(input, 100, &line, &size, &error));
    if (wanted == NULL) {
        assert_null(line);
        return;
    }
    assert_non_null(line);
    assert_int_equal(size, strlen(wanted));
    assert_memory_equal(line, wanted, size);
}

static void lines__come_whole_whatever_the_pieces(void **state)
{
    (void)state;
    static const char text[] = "first\n\nthird, a longer one\n";
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        struct memory memory = { .bytes = text, .size = sizeof text - 1, .piece = piece };
        struct qn_wire_input input = of(&memory);
        next_is(&input, "first");
        next_is(&input, "");
        next_is(&input, "third, a longer one");
        next_is(&input, NULL);
        next_is(&input, NULL);
        qn_wire_input_dispose(&input);
    }
}

static void lines__of_the_limit_are_read_and_longer_ones_refused(void **state)
{
    (void)state;
    static const size_t limits[] = { 1, 100, QN_WIRE_STAGE - 1, QN_WIRE_STAGE, QN_WIRE_STAGE + 1, 1 << 20 };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        size_t limit = limits[i];
        char *text = malloc(2 * limit + 4);
        assert_non_null(text);
        memset(text, 'x', 2 * limit + 4);
        text[limit] = '\n';
        struct memory memory = { .bytes = text, .size = 2 * limit + 4, .piece = 4096 };
        struct qn_wire_input input = of(&memory);
        const char *line;
        size_t size;
        ok(qn_wire_read_line(&input, limit, &line, &size, &error));
        assert_int_equal(size, limit);
        refused(qn_wire_read_line(&input, limit, &line, &size, &error), QN_ERR_PROTOCOL, "a line is longer than");
        assert_true(input.capacity <= limit + 1 + QN_WIRE_STAGE);
        qn_wire_input_dispose(&input);
        free(text);
    }
}

static void lines__give_the_memory_of_a_long_one_back(void **state)
{
    (void)state;
    const size_t size = 4u << 20;
    char *text = malloc(size + 6);
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text + size, "\nnext\n", 6);
    struct memory memory = { .bytes = text, .size = size + 1 };
    struct qn_wire_input input = of(&memory);
    const char *line;
    size_t got;
    ok(qn_wire_read_line(&input, QN_WIRE_MAX_LINE, &line, &got, &error));
    assert_int_equal(got, size);
    memory.size = size + 6;
    next_is(&input, "next");
    assert_int_equal(input.capacity, QN_WIRE_STAGE);
    qn_wire_input_dispose(&input);
    free(text);
}

static void lines__cut_by_the_end_are_a_lost_connection(void **state)
{
    (void)state;
    struct memory memory = { .bytes = "whole\nhalf", .size = 10 };
    struct qn_wire_input input = of(&memory);
    const char *line;
    size_t size;
    next_is(&input, "whole");
    refused(qn_wire_read_line(&input, 100, &line, &size, &error), QN_ERR_CONNECTION, "the peer ended in the middle");
    qn_wire_input_dispose(&input);
}

static void lines__survive_a_wait_that_failed(void **state)
{
    (void)state;
    struct memory memory = { .bytes = "one line\n", .size = 9, .piece = 4, .stall = 6 };
    struct qn_wire_input input = of(&memory);
    const char *line;
    size_t size;
    refused(qn_wire_read_line(&input, 100, &line, &size, &error), QN_ERR_TIMEOUT, "time limit");
    next_is(&input, "one line");
    qn_wire_input_dispose(&input);
}

static void looking__uses_nothing_up(void **state)
{
    (void)state;
    struct memory memory = { .bytes = "abcdef", .size = 6, .piece = 1, .stall = 2 };
    struct qn_wire_input input = of(&memory);
    const char *bytes;
    char rest[4];
    size_t got;
    refused(qn_wire_look(&input, 4, "a header", &bytes, &error), QN_ERR_TIMEOUT, "time limit");
    ok(qn_wire_look(&input, 4, "a header", &bytes, &error));
    assert_memory_equal(bytes, "abcd", 4);
    qn_wire_skip(&input, 3);
    assert_int_equal(qn_wire_input_pending(&input), 1);
    ok(qn_wire_read_some(&input, rest, sizeof rest, &got, &error));
    assert_int_equal(got, 1);
    assert_int_equal(rest[0], 'd');
    refused(qn_wire_look(&input, 3, "a header", &bytes, &error), QN_ERR_CONNECTION,
            "the peer ended in the middle of a header");
    qn_wire_input_dispose(&input);
}

/* ---- descriptors ---- */

static void make_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
}

static void descriptors__read_what_is_there_and_then_wait(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    struct qn_wire_fd from = { .fd = ends[0], .what = "the peer", .deadline = QN_NO_DEADLINE };
    struct qn_wire_input input;
    const char *line;
    size_t size;
    qn_wire_input_init(&input, qn_wire_fd_read, &from, "the peer");
    assert_int_equal(write(ends[1], "one\ntw", 6), 6);
    next_is(&input, "one");
    from.silence_ms = 20;
    refused(qn_wire_read_line(&input, 100, &line, &size, &error), QN_ERR_TIMEOUT,
            "the peer gave no sign of life for 0.02 s");
    from.silence_ms = 0;
    from.deadline = qn_deadline_after_ms(20);
    refused(qn_wire_read_line(&input, 100, &line, &size, &error), QN_ERR_TIMEOUT, "the peer: the time limit");
    from.deadline = QN_NO_DEADLINE;
    assert_int_equal(write(ends[1], "o\n", 2), 2);
    next_is(&input, "two");
    close(ends[1]);
    next_is(&input, NULL);
    qn_wire_input_dispose(&input);
    close(ends[0]);
}

static void descriptors__that_never_stop_keep_to_the_deadline(void **state)
{
    (void)state;
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    assert_true(zero >= 0);
    struct qn_wire_fd from = { .fd = zero, .what = "the peer", .deadline = qn_deadline_after_ms(20) };
    char bytes[16];
    size_t got;
    enum qn_status status;
    do {
        status = qn_wire_fd_read(&from, bytes, sizeof bytes, &got, &error);
    } while (status == QN_OK);
    assert_int_equal(status, QN_ERR_TIMEOUT);
    close(zero);
}

static int waits;

/* A wait that drains the other end, as a host looks after standard error meanwhile. */
static enum qn_status drain(void *context, int fd, short events, int64_t deadline, struct qn_error *err)
{
    char bytes[8192];
    waits++;
    while (read(*(int *)context, bytes, sizeof bytes) > 0) {
    }
    return qn_poll_one(fd, events, deadline, err);
}

static void writing__waits_for_room_by_the_owners_hand(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    char *much = calloc(1, 1 << 20);
    assert_non_null(much);
    struct qn_wire_fd to = { .fd = ends[1], .what = "the peer", .deadline = QN_NO_DEADLINE, .silence_ms = 20 };
    refused(qn_wire_fd_write(&to, much, 1 << 20, &error), QN_ERR_TIMEOUT, "no sign of life");
    to.wait = drain;
    to.wait_context = &ends[0];
    waits = 0;
    ok(qn_wire_fd_write(&to, much, 1 << 20, &error));
    assert_true(waits > 1);
    free(much);
    close(ends[0]);
    close(ends[1]);
}

static void writing__to_nobody_raises_no_signal(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    close(ends[0]);
    struct sigaction act = { .sa_handler = SIG_DFL };
    struct sigaction before;
    assert_int_equal(sigaction(SIGPIPE, &act, &before), 0);
    struct qn_wire_fd to = { .fd = ends[1], .what = "the peer", .deadline = QN_NO_DEADLINE };
    refused(qn_wire_fd_write(&to, "x", 1, &error), QN_ERR_CONNECTION, "the peer no longer reads");
    sigset_t pending, blocked;
    sigpending(&pending);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
    assert_int_equal(sigismember(&blocked, SIGPIPE), 0);
    sigaction(SIGPIPE, &before, NULL);
    close(ends[1]);
}

static void faults__of_reads_writes_and_memory_are_typed(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_READ, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    int ends[2];
    make_pipe(ends);
    struct qn_wire_fd from = { .fd = ends[0], .what = "the peer", .deadline = QN_NO_DEADLINE };
    struct qn_wire_fd to = { .fd = ends[1], .what = "the peer", .deadline = QN_NO_DEADLINE };
    struct qn_wire_input input;
    const char *line;
    size_t size;
    qn_wire_input_init(&input, qn_wire_fd_read, &from, "the peer");
    qn_fault_arm(QN_FAULT_WRITE, 1, QN_FAULT_ONCE);
    refused(qn_wire_fd_write(&to, "line\n", 5, &error), QN_ERR_IO, "writing to the peer");
    qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE);
    ok(qn_wire_fd_write(&to, "line\n", 5, &error));
    qn_fault_arm(QN_FAULT_ALLOC, 1, QN_FAULT_ONCE);
    refused(qn_wire_read_line(&input, 100, &line, &size, &error), QN_ERR_NO_MEMORY, "memory");
    qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
    qn_fault_arm(QN_FAULT_READ, 1, QN_FAULT_ONCE);
    refused(qn_wire_read_line(&input, 100, &line, &size, &error), QN_ERR_IO, "reading from the peer");
    qn_fault_arm(QN_FAULT_READ, 0, QN_FAULT_ONCE);
    next_is(&input, "line");
    qn_wire_input_dispose(&input);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines__come_whole_whatever_the_pieces),
        cmocka_unit_test(lines__of_the_limit_are_read_and_longer_ones_refused),
        cmocka_unit_test(lines__give_the_memory_of_a_long_one_back),
        cmocka_unit_test(lines__cut_by_the_end_are_a_lost_connection),
        cmocka_unit_test(lines__survive_a_wait_that_failed),
        cmocka_unit_test(looking__uses_nothing_up),
        cmocka_unit_test(descriptors__read_what_is_there_and_then_wait),
        cmocka_unit_test(descriptors__that_never_stop_keep_to_the_deadline),
        cmocka_unit_test(writing__waits_for_room_by_the_owners_hand),
        cmocka_unit_test(writing__to_nobody_raises_no_signal),
        cmocka_unit_test(faults__of_reads_writes_and_memory_are_typed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
