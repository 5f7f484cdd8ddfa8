/*
 * zygote.c: starting and ending interpreters.
 *
 * The launcher gets two descriptors: its control socket and a memfd with its policy (src/sandbox/sandbox.h). What it, and
 * later the interpreter, writes to standard error is kept, the last of it, for the message of a start that fails.
 */
#include "processor/zygote.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/poll.h"
#include "processor/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_WAIT_MS 2000 /* for the exit status of one that said nothing */

/* ---- what the launcher and the interpreter are told ---- */

static bool add_texts(json_t *config, const char *key, const struct qn_texts *texts)
{
    json_t *array = json_array();
    for (size_t i = 0; i < texts->n; i++) {
        if (json_array_append_new(array, json_string(texts->items[i])) != 0) {
            json_decref(array);
            return false;
        }
    }
    return json_object_set_new(config, key, array) == 0;
}

static bool add_modules(json_t *config, const char *modules)
{
    json_t *array = json_array();
    while (*modules != '\0') {
        size_t size = strcspn(modules, "\n");
        if (size > 0 && json_array_append_new(array, json_stringn(modules, size)) != 0) {
            json_decref(array);
            return false;
        }
        modules += size + (modules[size] == '\n');
    }
    return json_object_set_new(config, "modules", array) == 0;
}

/* The argument of worker/zygote.py: {"tier", "paths", "readable", "worker", "extension", "version", "modules", "idle"}. By
 * free(). */
static char *config_text(const struct qn_zygote_spec *spec)
{
    const struct qn_runtime *runtime = spec->runtime;
    char *text = NULL;
    json_t *config = json_object();
    const char *tier = spec->tier == QN_SANDBOX_FULL ? "full" : "reduced";
    if (json_object_set_new(config, "tier", json_string(tier)) == 0 && add_texts(config, "paths", &runtime->paths) &&
        add_texts(config, "readable", &runtime->readable) &&
        json_object_set_new(config, "worker", json_string(runtime->worker)) == 0 &&
        json_object_set_new(config, "extension", json_string(runtime->extension)) == 0 &&
        json_object_set_new(config, "version", json_string(runtime->version)) == 0 &&
        json_object_set_new(config, "idle", json_integer(QN_ZYGOTE_IDLE_SECONDS)) == 0 &&
        add_modules(config, spec->modules)) {
        text = json_dumps(config, JSON_COMPACT);
    }
    json_decref(config);
    return text;
}

static enum qn_status write_policy(const struct qn_zygote_spec *spec, struct qn_buffer *out, struct qn_error *err)
{
    const struct qn_runtime *runtime = spec->runtime;
    qn_auto_buffer program = QN_BUFFER_INIT;
    qn_buffer_printf(&program, "%s/zygote.py", runtime->worker);
    QN_TRY(qn_buffer_check(&program, "the path of the worker", err));
    char *config = config_text(spec);
    if (config == NULL) {
        return qn__no_memory(err);
    }
    const char *const argv[] = { runtime->python, "-I", "-S", "-B", program.data, config, NULL };
    const struct qn_sandbox_policy policy = {
        .tier = spec->tier,
        .readable = (const char *const *)runtime->readable.items,
        .links = (const char *const *)runtime->links.items,
        .argv = argv,
        .environment = (const char *const *)runtime->environment.items,
    };
    enum qn_status status = qn_sandbox_policy_write(&policy, out, err);
    free(config);
    return status;
}

/* A sealed memfd with the policy. */
static enum qn_status policy_file(const struct qn_zygote_spec *spec, int *fd_out, struct qn_error *err)
{
    qn_auto_buffer policy = QN_BUFFER_INIT;
    QN_TRY(write_policy(spec, &policy, err));
    QN_TRY(qn_buffer_check(&policy, "the policy of a sandbox", err));
    int fd = memfd_create("qanat-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "making the policy of a sandbox: %m");
    }
    enum qn_status status = qn_fd_write_all(fd, policy.data, policy.size, "the policy of a sandbox", err);
    if (status == QN_OK && (lseek(fd, 0, SEEK_SET) != 0 ||
                            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)) {
        status = qn_error_set(err, QN_ERR_IO, "sealing the policy of a sandbox: %m");
    }
    if (status != QN_OK) {
        (void)close(fd);
        return status;
    }
    *fd_out = fd;
    return QN_OK;
}

/* ---- starting ---- */

static enum qn_status check_files(const struct qn_runtime *runtime, struct qn_error *err)
{
    const struct {
        const char *what, *path;
        int mode;
    } files[] = {
        { "interpreter", runtime->python, X_OK },
        { "worker", runtime->worker, R_OK },
        { "worker extension", runtime->extension, R_OK },
        { "launcher", runtime->launcher, X_OK },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (access(files[i].path, files[i].mode) != 0) {
            enum qn_status status = qn_error_set(err, QN_ERR_CONFIG, "the runtime \"%s\" is broken: its %s %s: %m",
                                                 runtime->name, files[i].what, files[i].path);
            qn_error_hint(err, "`qanat runtime check %s` says more", runtime->name);
            return status;
        }
    }
    return QN_OK;
}

enum qn_status qn_zygote_launch(const struct qn_zygote_spec *spec, struct qn_zygote *out, struct qn_error *err)
{
    QN_TRY(check_files(spec->runtime, err));
    int policy = -1;
    QN_TRY(policy_file(spec, &policy, err));
    int ends[2] = { -1, -1 };
    struct qn_zygote made = QN_ZYGOTE_INIT;
    enum qn_status status = qn_channel_pair(SOCK_SEQPACKET, ends, err);
    if (status == QN_OK) {
        const char *const argv[] = { spec->runtime->launcher, NULL };
        const char *const environment[] = { NULL };
        const int fds[] = { ends[1], policy }; /* QN_SANDBOX_FD_CONTROL, QN_SANDBOX_FD_POLICY */
        status = qn_process_start_with(argv, environment, fds, 2, &made.process, err);
        qn_channel_close(&ends[1]);
    }
    qn_channel_close(&policy);
    if (status != QN_OK) {
        qn_channel_close(&ends[0]);
        return status;
    }
    made.control = ends[0];
    qn_channel_close(&made.process.stdin_fd);
    qn_channel_close(&made.process.stdout_fd);
    (void)fcntl(made.process.stderr_fd, F_SETFL, O_NONBLOCK);
    *out = made;
    return QN_OK;
}

void qn_zygote_drain(struct qn_zygote *zygote)
{
    if (zygote->process.stderr_fd < 0) {
        return;
    }
    char bytes[QN_ZYGOTE_TAIL_SIZE];
    for (;;) {
        ssize_t got = read(zygote->process.stderr_fd, bytes, sizeof bytes);
        if (got == 0) {
            qn_channel_close(&zygote->process.stderr_fd);
        }
        if (got <= 0) {
            return; /* nothing there, the end, or an interruption: there is a next time */
        }
        size_t size = (size_t)got;
        size_t kept = zygote->tail_size + size > sizeof zygote->tail ? sizeof zygote->tail - size : zygote->tail_size;
        memmove(zygote->tail, zygote->tail + zygote->tail_size - kept, kept);
        memcpy(zygote->tail + kept, bytes, size);
        zygote->tail_size = kept + size;
    }
}

void qn_zygote_last_words(const struct qn_zygote *zygote, char *out, size_t size)
{
    const char *begin = zygote->tail;
    size_t length = zygote->tail_size;
    while (length > 0 && (unsigned char)begin[length - 1] <= ' ') {
        length--;
    }
    size_t skip = length >= size ? length - (size - 1) : 0;
    begin += skip;
    length -= skip;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)begin[i];
        out[i] = (char)(c < ' ' || c > '~' ? (c == '\n' ? ' ' : '?') : c);
    }
    out[length] = '\0';
}

/* It ended without a word of its own. */
static enum qn_status ended_early(struct qn_zygote *zygote, struct qn_error *err)
{
    struct qn_exit how = { 0 };
    bool known = qn_process_wait(&zygote->process, qn_deadline_after_ms(EXIT_WAIT_MS), &how, NULL) == QN_OK;
    qn_zygote_drain(zygote);
    char said[512];
    qn_zygote_last_words(zygote, said, sizeof said);
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "the sandbox cannot be started: %s (%s %d)",
                        said[0] != '\0' ? said : "its process ended", !known || how.exited ? "exit status" : "signal",
                        known ? how.code : -1);
}

static enum qn_status check_hello(struct qn_zygote_hello *hello, const struct qn_zygote_spec *spec,
                                  struct qn_error *err)
{
    hello->text[sizeof hello->text - 1] = '\0';
    if (hello->version != QN_WORKER_VERSION) {
        enum qn_status status = qn_error_set(err, QN_ERR_CONFIG,
                                             "the worker of the runtime \"%s\" is of another "
                                             "release (protocol %u; this one speaks %d)",
                                             spec->runtime->name, hello->version, QN_WORKER_VERSION);
        qn_error_hint(err, "`qanat runtime check %s` says what to do", spec->runtime->name);
        return status;
    }
    if (hello->failed != 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "the sandbox cannot be started: %s", hello->text);
    }
    char version[24];
    (void)snprintf(version, sizeof version, "%u.%u", hello->python >> 8, hello->python & 0xffU);
    if (spec->runtime->version[0] != '\0' && strcmp(version, spec->runtime->version) != 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "the runtime \"%s\" is described as Python %s; its interpreter is %s",
                            spec->runtime->name, spec->runtime->version, version);
    }
    return QN_OK;
}

enum qn_status qn_zygote_await(struct qn_zygote *zygote, const struct qn_zygote_spec *spec, struct qn_error *err)
{
    int64_t deadline = qn_deadline_after_ms(QN_ZYGOTE_START_MS);
    for (;;) {
        struct pollfd entries[] = { { .fd = zygote->control, .events = POLLIN },
                                    { .fd = zygote->process.stderr_fd, .events = POLLIN } };
        enum qn_status status = qn_poll_many(entries, 2, deadline, err);
        if (status == QN_ERR_TIMEOUT) {
            return qn_error_set(err, QN_ERR_TIMEOUT, "the interpreter of the runtime \"%s\" was not ready after %d s",
                                spec->runtime->name, QN_ZYGOTE_START_MS / 1000);
        }
        QN_TRY(status);
        qn_zygote_drain(zygote);
        if (entries[0].revents == 0) {
            continue;
        }
        struct qn_zygote_hello hello = { 0 };
        ssize_t got = qn_channel_receive(zygote->control, &hello, sizeof hello);
        if (got == (ssize_t)sizeof hello) {
            return check_hello(&hello, spec, err);
        }
        if (got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
            return ended_early(zygote, err);
        }
    }
}

bool qn_zygote_gone(const struct qn_zygote *zygote)
{
    struct pollfd entry = { .fd = zygote->control, .events = POLLIN };
    return poll(&entry, 1, 0) > 0; /* it says nothing after hello: what there is, is the end */
}

bool qn_zygote_was_idle(struct qn_zygote *zygote)
{
    struct qn_exit how;
    return qn_process_wait(&zygote->process, qn_clock_nanos(), &how, NULL) == QN_OK && how.exited && how.code == 0;
}

void qn_zygote_end(struct qn_zygote *zygote)
{
    qn_channel_close(&zygote->control);
    qn_process_end(&zygote->process, 0);
}
