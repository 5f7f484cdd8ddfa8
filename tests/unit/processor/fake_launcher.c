/*
 * A launcher that starts no sandbox and no interpreter: it serves the protocol of src/processor/protocol.h itself, with
 * runs whose statement is a script of what they send, one command a line. So tests see what the engine makes of runs that
 * break every rule. What the runtime's environment says under FAKE= is how the start itself goes. Called by a name that ends
 * in "-lacks-N" it plays a machine without the layer N (enum qn_sandbox_layer), when asked to probe and when it starts.
 */
#include "arrow/column.h"
#include "arrow/ipc.h"
#include "base/memory.h"
#include "processor/protocol.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_RUNS 256
#define IDLE_MS  20

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "fake launcher: %s\n", what);
    _exit(99);
}

/* ---- the run's side of the channel ---- */

static int channel;

static void put(const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(channel, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            _exit(71); /* the engine has had enough */
        }
        at += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
    }
}

static void put_head(uint32_t kind, uint64_t size)
{
    const struct qn_frame head = { .kind = kind, .size = size };
    put(&head, sizeof head);
}

static void put_frame(uint32_t kind, const void *bytes, size_t size)
{
    put_head(kind, size);
    put(bytes, size);
}

static bool get(void *bytes, size_t size)
{
    char *at = bytes;
    while (size > 0) {
        ssize_t got = recv(channel, at, size, 0);
        if (got <= 0) {
            return false;
        }
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static void put_log(uint32_t level, uint32_t line, int64_t row, const char *text, size_t size)
{
    const struct qn_frame_log head = { .level = level, .line = line, .row = row };
    put_head(QN_FRAME_LOG, sizeof head + size);
    put(&head, sizeof head);
    put(text, size);
}

static void put_done(uint32_t kind, const char *text)
{
    const struct qn_frame_done head = { .kind = kind, .line = 2, .column = 3, .row = 4, .rows_in = 5, .rows_out = 6 };
    put_head(QN_FRAME_DONE, sizeof head + strlen(text));
    put(&head, sizeof head);
    put(text, strlen(text));
}

/* ---- what START says ---- */

struct start {
    char *payload;
    const char *parts[QN_PART_OUTPUT_TYPES + 1];
    size_t sizes[QN_PART_OUTPUT_TYPES + 1];
    struct qn_run_options_part options;
    int input_fd;
};

static void split(struct start *start, size_t size)
{
    for (size_t at = 0; at < size;) {
        struct qn_part head;
        memcpy(&head, start->payload + at, sizeof head);
        at += sizeof head;
        if (head.kind == 0 || head.kind > QN_PART_OUTPUT_TYPES || head.size > size - at || start->parts[head.kind]) {
            die("START is not made of parts");
        }
        start->parts[head.kind] = start->payload + at;
        start->sizes[head.kind] = (size_t)head.size;
        at += (size_t)(head.size + 7) / 8 * 8;
    }
    if (start->sizes[QN_PART_OPTIONS] != sizeof start->options) {
        die("START has no options");
    }
    memcpy(&start->options, start->parts[QN_PART_OPTIONS], sizeof start->options);
}

static bool get_start(struct start *start)
{
    struct qn_frame head;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } room;
    struct iovec piece = { &head, sizeof head };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room };
    if (recvmsg(channel, &message, MSG_WAITALL) != (ssize_t)sizeof head) {
        return false;
    }
    *start = (struct start){ .input_fd = -1, .payload = malloc((size_t)head.size) };
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    if (control != NULL) {
        memcpy(&start->input_fd, CMSG_DATA(control), sizeof(int));
    }
    if (head.kind != QN_FRAME_START || start->payload == NULL || !get(start->payload, (size_t)head.size)) {
        return false;
    }
    split(start, (size_t)head.size);
    return true;
}

/* ---- rows ---- */

/* A batch of n rows whose first column, an Int64, counts from `first`; n of them null where `nulls` says so. */
static void put_rows(const struct start *start, int64_t n, bool nulls)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_ipc_decoder *decoder = NULL;
    struct qn_ipc_encoder *encoder = NULL;
    struct qn_batch batch = { 0 };
    struct ArrowArray array = { 0 };
    qn_auto_schema schema = { 0 }; /* all may be null: nobody keeps us from sending what is not allowed */
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    if (qn_ipc_decoder_new(0, &decoder, &err) != QN_OK ||
        qn_ipc_decode_schema(decoder, start->parts[QN_PART_OUTPUT_SCHEMA], start->sizes[QN_PART_OUTPUT_SCHEMA], &err) !=
            QN_OK ||
        qn_schema_copy(qn_ipc_decoder_schema(decoder), &schema, &err) != QN_OK) {
        die(err.message);
    }
    for (int64_t i = 0; i < schema.n_children; i++) {
        schema.children[i]->flags |= ARROW_FLAG_NULLABLE;
    }
    if (qn_ipc_encoder_new(&schema, &encoder, &err) != QN_OK || qn_batch_init(&batch, &schema, &err) != QN_OK ||
        qn_batch_reserve(&batch, n, &err) != QN_OK) {
        die(err.message);
    }
    static int64_t first;
    for (int64_t row = 0; row < n; row++) {
        for (int64_t i = 0; i < batch.n_columns; i++) {
            if (i > 0 || (nulls && row == n - 1)) {
                qn_column_put_null(&batch.columns[i]);
            } else {
                qn_column_put_int64(&batch.columns[i], first++);
            }
        }
    }
    if (qn_batch_finish(&batch, n, &array, &err) != QN_OK ||
        qn_ipc_encode_batch(encoder, &array, &bytes, &err) != QN_OK) {
        die(err.message);
    }
    put_frame(QN_FRAME_BATCH, bytes.data, bytes.size);
    qn_array_release(&array);
    qn_batch_dispose(&batch);
    qn_ipc_encoder_free(encoder);
    qn_ipc_decoder_free(decoder);
}

/* ---- the input, counted ---- */

struct count {
    struct qn_ipc_decoder *decoder;
    int64_t rows, messages;
    bool ended;
};

static void count_message(struct count *count, const char *bytes, size_t size)
{
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_array batch = { 0 };
    if (qn_ipc_decode_batch(count->decoder, bytes, size, (struct qn_ipc_owner){ 0 }, &batch, &err) != QN_OK) {
        die(err.message);
    }
    count->rows += batch.length;
    count->messages++;
}

static void count_file(struct count *count, const struct start *start)
{
    struct qn_error err = QN_ERROR_INIT;
    size_t size = (size_t)start->options.input_bytes;
    char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, start->input_fd, 0);
    if (map == MAP_FAILED || qn_ipc_decoder_new(0, &count->decoder, &err) != QN_OK) {
        die("the input cannot be mapped");
    }
    if (fcntl(start->input_fd, F_GET_SEALS) != (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)) {
        die("the input is not sealed");
    }
    for (size_t at = 0; at < size;) {
        uint64_t length = 0;
        if (qn_ipc_message_size(count->decoder, map + at, size - at, &length, &count->ended, &err) != QN_OK) {
            die(err.message);
        }
        if (count->ended) {
            break;
        }
        if (qn_ipc_decoder_schema(count->decoder) == NULL) {
            if (qn_ipc_decode_schema(count->decoder, map + at, (size_t)length, &err) != QN_OK) {
                die(err.message);
            }
        } else {
            count_message(count, map + at, (size_t)length);
        }
        at += (size_t)length;
    }
}

/* Read all of the input and log how much it was. */
static void count_input(const struct start *start)
{
    struct count count = { .ended = start->input_fd < 0 };
    if (start->input_fd >= 0) {
        count_file(&count, start);
    }
    while (!count.ended) {
        struct qn_frame head;
        put_head(QN_FRAME_NEED, 0);
        if (!get(&head, sizeof head)) {
            _exit(71);
        }
        char *payload = malloc((size_t)head.size + 1);
        if (payload == NULL || !get(payload, (size_t)head.size)) {
            _exit(71);
        }
        count.ended = head.kind == QN_FRAME_INPUT_END;
        if (!count.ended) {
            count_message(&count, payload, (size_t)head.size);
        }
        free(payload);
    }
    char text[96];
    int size = snprintf(text, sizeof text, "rows %lld messages %lld checkpoint %zu", (long long)count.rows,
                        (long long)count.messages, start->sizes[QN_PART_CHECKPOINT]);
    put_log(QN_RUN_INFO, 1, -1, text, (size_t)size);
    qn_ipc_decoder_free(count.decoder);
}

/* ---- the script ---- */

static void put_junk(size_t size)
{
    char bytes[4096];
    memset(bytes, 0xA5, sizeof bytes);
    while (size > 0) {
        size_t piece = size < sizeof bytes ? size : sizeof bytes;
        put(bytes, piece);
        size -= piece;
    }
}

static _Noreturn void hang(void)
{
    for (;;) {
        (void)pause();
    }
}

/* Commands that end the process, or send what no run may send. */
static bool misbehave(const char *line, long long a, long long b)
{
    if (strncmp(line, "head ", 5) == 0) {
        put_head((uint32_t)a, (uint64_t)b);
    } else if (strncmp(line, "junk ", 5) == 0) {
        put_junk((size_t)a);
    } else if (strncmp(line, "junkbatch ", 10) == 0) {
        put_head(QN_FRAME_BATCH, (uint64_t)a);
        put_junk((size_t)a);
    } else if (strncmp(line, "needs ", 6) == 0) {
        for (long long i = 0; i < a; i++) {
            put_head(QN_FRAME_NEED, 0);
        }
    } else if (strcmp(line, "flood") == 0) {
        for (;;) {
            put_log(QN_RUN_INFO, 1, 0, "", 0);
        }
    } else if (strcmp(line, "badlog") == 0) {
        put_log(99, UINT32_MAX, INT64_MIN, "x", 1);
    } else if (strcmp(line, "badtext") == 0) {
        put_log(QN_RUN_WARN, UINT32_MAX, INT64_MIN, "a\xff\0b\xe2\x82", 6);
    } else if (strncmp(line, "exit ", 5) == 0) {
        _exit((int)a);
    } else if (strncmp(line, "kill ", 5) == 0) {
        (void)signal((int)a, SIG_DFL); /* sanitizers catch some */
        (void)kill(getpid(), (int)a);
    } else if (strcmp(line, "close") == 0) {
        (void)close(channel);
    } else if (strcmp(line, "hang") == 0) {
        hang();
    } else {
        return false;
    }
    return true;
}

static void run_line(const struct start *start, char *line)
{
    long long a = 0;
    long long b = 0;
    (void)sscanf(line, "%*s %lld %lld", &a, &b);
    char *rest = strchr(line, ' ') != NULL ? strchr(line, ' ') + 1 : line + strlen(line);
    if (misbehave(line, a, b)) {
        return;
    }
    if (strncmp(line, "rows ", 5) == 0) {
        put_rows(start, a, false);
    } else if (strncmp(line, "nulls ", 6) == 0) {
        put_rows(start, a, true);
    } else if (strcmp(line, "count") == 0) {
        count_input(start);
    } else if (strncmp(line, "info ", 5) == 0) {
        put_log(QN_RUN_INFO, 7, 8, rest, strlen(rest));
    } else if (strncmp(line, "error ", 6) == 0) {
        put_log(QN_RUN_ERROR, 7, 8, rest, strlen(rest));
    } else if (strncmp(line, "done ", 5) == 0) {
        put_done((uint32_t)a, strchr(rest, ' ') != NULL ? strchr(rest, ' ') + 1 : "");
    } else if (line[0] != '\0' && line[0] != '#') {
        die(line);
    }
}

/* A check says CHECKED, unless the script begins with "# check COMMAND". */
static void run_script(const struct start *start)
{
    char *script = strndup(start->parts[QN_PART_STATEMENT], start->sizes[QN_PART_STATEMENT]);
    if (start->options.flags & QN_RUN_CHECK_ONLY) {
        if (script != NULL && strncmp(script, "# check ", 8) == 0) {
            script[strcspn(script, "\n")] = '\0';
            run_line(start, script + 8);
        }
        put_done(QN_DONE_CHECKED, "json\npandas\nnumpy\nnot.allowed");
        _exit(0);
    }
    for (char *line = script; line != NULL;) {
        char *next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        run_line(start, line);
        line = next;
    }
    _exit(0);
}

/* ---- the zygote's side ---- */

struct run {
    pid_t pid;
    int pid_fd, report;
    bool claimed;
};

static struct run runs[MAX_RUNS];
static size_t n_runs;

static void send_report(int report_fd, const struct qn_run_report *report, int attach)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } room = { .bytes = { 0 } };
    struct iovec piece = { (void *)(uintptr_t)report, sizeof *report };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
    if (attach >= 0) {
        message.msg_control = &room;
        message.msg_controllen = sizeof room;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        *head =
            (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(head), &attach, sizeof attach);
    }
    (void)sendmsg(report_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static _Noreturn void be_run(int channel_fd, const char *mode)
{
    channel = channel_fd;
    for (size_t i = 0; i < n_runs; i++) {
        (void)close(runs[i].report);
    }
    (void)close(QN_SANDBOX_FD_CONTROL);
    if (strcmp(mode, "unready") == 0) {
        put_frame(QN_FRAME_FAILED, "seccomp: not there", 18);
        _exit(70);
    }
    if (strcmp(mode, "stillborn") == 0) {
        _exit(73);
    }
    put_head(QN_FRAME_READY, 0);
    struct start start;
    if (!get_start(&start)) {
        _exit(72);
    }
    run_script(&start);
    _exit(0);
}

static void fork_run(const int fds[2], const char *mode)
{
    if (strcmp(mode, "unforked") == 0) {
        const struct qn_run_report report = { .kind = QN_RUN_NOT_FORKED, .code = EAGAIN };
        send_report(fds[1], &report, -1);
        (void)close(fds[0]);
        (void)close(fds[1]);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[1]);
        be_run(fds[0], mode);
    }
    (void)close(fds[0]);
    int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    const struct qn_run_report report = { .kind = QN_RUN_FORKED };
    send_report(fds[1], &report, pid_fd);
    if (n_runs == MAX_RUNS) {
        die("too many runs");
    }
    runs[n_runs++] = (struct run){ .pid = pid, .pid_fd = pid_fd, .report = fds[1] };
}

static void take_request(const char *mode)
{
    struct qn_fork_request request;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } room;
    struct iovec piece = { &request, sizeof request };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room };
    ssize_t got = recvmsg(QN_SANDBOX_FD_CONTROL, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0) {
        for (size_t i = 0; i < n_runs; i++) {
            (void)kill(runs[i].pid, SIGKILL);
        }
        _exit(0);
    }
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (got != (ssize_t)sizeof request || head == NULL || head->cmsg_len != CMSG_LEN(2 * sizeof(int))) {
        die("not a request");
    }
    if (strcmp(mode, "once") == 0) { /* ends as soon as something is asked of it */
        _exit(5);
    }
    int fds[2];
    memcpy(fds, CMSG_DATA(head), sizeof fds);
    fork_run(fds, mode);
}

static void take_claim(struct run *run)
{
    char byte;
    run->claimed = recv(run->report, &byte, 1, MSG_DONTWAIT) > 0 || run->claimed;
}

static void reap(size_t i)
{
    int status = 0;
    struct rusage usage;
    if (wait4(runs[i].pid, &status, WNOHANG, &usage) != runs[i].pid) {
        return;
    }
    const struct qn_run_report report = { .kind = QN_RUN_ENDED,
                                          .code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                                          .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                                          .peak_memory = (uint64_t)usage.ru_maxrss * 1024 };
    take_claim(&runs[i]); /* a socket that is closed with something unread takes what it sent along */
    send_report(runs[i].report, &report, -1);
    (void)close(runs[i].report);
    (void)close(runs[i].pid_fd);
    runs[i] = runs[--n_runs];
}

static bool is_claimed(struct run *run)
{
    (void)shutdown(run->report, SHUT_RD);
    take_claim(run);
    return run->claimed;
}

/* As an idle zygote does: what has not been claimed goes; where that is all, the zygote. */
static void be_idle(void)
{
    bool all = true;
    for (size_t i = 0; i < n_runs; i++) {
        if (is_claimed(&runs[i])) {
            all = false;
        } else {
            (void)kill(runs[i].pid, SIGKILL);
        }
    }
    if (all) {
        _exit(0);
    }
}

static _Noreturn void serve(const char *mode)
{
    bool idles = strcmp(mode, "idles") == 0;
    for (;;) {
        struct pollfd entries[1 + 2 * MAX_RUNS] = { { .fd = QN_SANDBOX_FD_CONTROL, .events = POLLIN } };
        size_t n = n_runs;
        for (size_t i = 0; i < n; i++) {
            entries[1 + 2 * i] = (struct pollfd){ .fd = runs[i].pid_fd, .events = POLLIN };
            entries[2 + 2 * i] = (struct pollfd){ .fd = runs[i].report };
        }
        int ready = poll(entries, 1 + 2 * n, idles ? IDLE_MS : -1);
        if (ready < 0) {
            die("poll");
        }
        if (ready == 0) {
            be_idle();
        }
        for (size_t i = n; i-- > 0;) {
            if (entries[2 + 2 * i].revents != 0) {
                (void)kill(runs[i].pid, SIGKILL); /* the engine has given it up */
            }
            if (entries[1 + 2 * i].revents != 0 || entries[2 + 2 * i].revents != 0) {
                reap(i);
            }
        }
        if (entries[0].revents != 0) {
            take_request(mode);
        }
    }
}

static char policy[1 << 16];
static size_t policy_size;

static void read_policy(void)
{
    ssize_t size = pread(QN_SANDBOX_FD_POLICY, policy, sizeof policy - 1, 0);
    policy_size = size > 0 ? (size_t)size : 0;
}

/* The value of FAKE= in the policy; "". */
static const char *read_mode(void)
{
    const char *found = memmem(policy, policy_size, "FAKE=", 5);
    return found != NULL ? found + 5 : "";
}

/* The layer that this machine lacks; -1: none. */
static int lacking(const char *name)
{
    const char *found = strstr(name, "-lacks-");
    return found != NULL ? atoi(found + 7) : -1;
}

static int probe(int lacks)
{
    for (int layer = 0; layer < QN_LAYERS; layer++) {
        printf("layer %d %s\n", layer, layer == lacks ? "no" : "ok");
    }
    printf("landlock 5\n%s", lacks >= 0 ? "cause unshare: no\nremedy ask the administrator\n" : "");
    return 0;
}

/* The walls of the tier that the policy asks for cannot be built. */
static bool cannot_start(int lacks)
{
    bool full = memmem(policy, policy_size, "tier=full", 9) != NULL;
    return lacks >= 0 && (full || lacks >= QN_LAYER_LANDLOCK);
}

int main(int argc, char **argv)
{
    int lacks = lacking(argv[0]);
    if (argc > 1 && strcmp(argv[1], "--probe") == 0) {
        return probe(lacks);
    }
    read_policy();
    const char *mode = read_mode();
    if (cannot_start(lacks)) {
        fprintf(stderr, "it cannot be set up: Operation not permitted\n");
        return 71;
    }
    struct qn_zygote_hello hello = { .version = QN_WORKER_VERSION, .python = 0x030b };
    if (strcmp(mode, "silent") == 0) {
        fprintf(stderr, "Traceback: something\nImportError: no module named 'x'\n");
        return 3;
    }
    if (strcmp(mode, "crash") == 0) {
        (void)raise(SIGKILL);
    }
    if (strcmp(mode, "noisy") == 0) { /* more than a pipe holds */
        for (int i = 0; i < 20000; i++) {
            fprintf(stderr, "a warning of a module that is imported\n");
        }
    }
    hello.version += strcmp(mode, "version") == 0;
    hello.python += strcmp(mode, "python") == 0;
    if (strcmp(mode, "failed") == 0) {
        hello.failed = 1;
        (void)snprintf(hello.text, sizeof hello.text, "ImportError: numpy is broken");
    }
    if (send(QN_SANDBOX_FD_CONTROL, &hello, sizeof hello, MSG_NOSIGNAL) != (ssize_t)sizeof hello) {
        return 4;
    }
    serve(mode);
}
