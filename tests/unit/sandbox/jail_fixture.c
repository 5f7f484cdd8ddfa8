/*
 * jail_fixture.c: see jail_fixture.h.
 */
#include "jail_fixture.h"

#include "os/clock.h"
#include "os/file.h"
#include "os/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

char folder[64];
char launcher[PATH_MAX], jail[PATH_MAX], readable_file[PATH_MAX];
enum qn_sandbox_tier tier;
struct qn_sandbox_support support;
bool in_container;

/* ---- starting the jail ---- */

void outcome_dispose(struct outcome *outcome)
{
    qn_buffer_dispose(&outcome->said);
    qn_buffer_dispose(&outcome->errors);
}

/* The folders of the system's libraries, as this system has them: a folder or a link. */
static void add_libraries(const char **readable, const char **links)
{
    static const char *const FOLDERS[] = { "/lib", "/lib64", "/usr/lib", "/usr/lib64" };
    static char texts[4][PATH_MAX];
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        char target[PATH_MAX / 2] = "";
        struct stat about;
        if (lstat(FOLDERS[i], &about) != 0) {
            continue;
        }
        if (S_ISLNK(about.st_mode)) {
            assert_true(readlink(FOLDERS[i], target, sizeof target - 1) > 0);
            (void)snprintf(texts[i], sizeof texts[i], "%s=%s", FOLDERS[i], target);
            *links++ = texts[i];
        } else {
            *readable++ = FOLDERS[i];
        }
    }
    *readable++ = jail;
    *readable++ = readable_file;
    *readable = NULL;
    *links = NULL;
}

int memfd_of(const struct qn_buffer *bytes)
{
    int fd = memfd_create("policy", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(qn_fd_write_all(fd, bytes->data, bytes->size, "policy", NULL), QN_OK);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

void start_policy(int policy_fd, struct started *out)
{
    int sockets[2];
    const char *const argv[] = { launcher, NULL };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    const int fds[] = { sockets[1], policy_fd };
    out->process = (struct qn_process)QN_PROCESS_INIT;
    if (qn_process_start_with(argv, NULL, fds, 2, &out->process, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    (void)close(sockets[1]);
    (void)close(policy_fd);
    out->control = sockets[0];
}

void start(const char *mode, const char *filter, const char *rules, const char *what, const char *argument,
           struct started *out)
{
    const char *readable[8];
    const char *links[5];
    add_libraries(readable, links);
    const char *argv[16] = { jail, mode, tier == QN_SANDBOX_FULL ? "full" : "reduced", filter, rules, what, argument };
    for (size_t i = 0; readable[i] != NULL; i++) {
        argv[7 + i] = readable[i];
    }
    const char *const environment[] = { "LANG=C.UTF-8", NULL };
    const struct qn_sandbox_policy policy = {
        .tier = tier, .readable = readable, .links = links, .argv = argv, .environment = environment
    };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_sandbox_policy_write(&policy, &bytes, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    start_policy(memfd_of(&bytes), out);
}

void read_until(int fd, const char *until, struct qn_buffer *out)
{
    int64_t deadline = qn_deadline_after_ms(DEADLINE_MS);
    char piece[4096];
    struct qn_error err = QN_ERROR_INIT;
    while (until == NULL || strstr(qn_buffer_text(out), until) == NULL) {
        if (qn_poll_one(fd, POLLIN, deadline, &err) != QN_OK) {
            fail_msg("%s", err.message);
        }
        ssize_t got = read(fd, piece, sizeof piece);
        assert_true(got >= 0);
        if (got == 0) {
            assert_null(until);
            return;
        }
        qn_buffer_append(out, piece, (size_t)got);
    }
}

void finish(struct started *started, struct outcome *out)
{
    read_until(started->control, NULL, &out->said);
    read_until(started->process.stderr_fd, NULL, &out->errors);
    assert_int_equal(qn_process_wait(&started->process, qn_deadline_after_ms(DEADLINE_MS), &out->how, NULL), QN_OK);
    qn_process_end(&started->process, 0);
    (void)close(started->control);
}

void run_jail(const char *mode, const char *filter, const char *rules, const char *what, const char *argument,
              struct outcome *out)
{
    struct started started;
    *out = (struct outcome){ .how = { false, 0 } };
    qn_buffer_append_byte(&out->said, '\n');
    start(mode, filter, rules, what, argument, &started);
    finish(&started, out);
    if (out->errors.size > 0 || strstr(qn_buffer_text(&out->said), "\nfailed") != NULL) {
        fail_msg("%s%s", qn_buffer_text(&out->said), qn_buffer_text(&out->errors));
    }
}

long said(const struct outcome *outcome, const char *name)
{
    char line[128];
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *found = strstr(qn_buffer_text(&outcome->said), line);
    if (found == NULL) {
        fail_msg("nothing was said of \"%s\": %s", name, qn_buffer_text(&outcome->said));
    }
    return strtol(found + strlen(line), NULL, 10);
}

bool has_line(const struct outcome *outcome, const char *line)
{
    char whole[256];
    (void)snprintf(whole, sizeof whole, "\n%s\n", line);
    return strstr(qn_buffer_text(&outcome->said), whole) != NULL;
}

void expect_all(const char *filter, const char *rules, const char *argument, const struct expectation *list,
                size_t count)
{
    qn_auto_buffer names = QN_BUFFER_INIT;
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(&names, "%s%s", i > 0 ? "," : "", list[i].name);
    }
    auto_outcome outcome;
    run_jail("try", filter, rules, qn_buffer_text(&names), argument, &outcome);
    int wrong = 0;
    for (size_t i = 0; i < count; i++) {
        long why = said(&outcome, list[i].name);
        int expected = tier == QN_SANDBOX_FULL ? list[i].full : list[i].reduced;
        if (why != expected) {
            print_error("%s: %ld (%s), not %d\n", list[i].name, why, strerror((int)why), expected);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(said(&outcome, "exited"), 0);
}

/* ---- who runs the tests ---- */

static bool copy_program(const char *from, const char *name, char *to)
{
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    (void)snprintf(to, PATH_MAX, "%s/%s", folder, name);
    return qn_file_read(AT_FDCWD, from, (size_t)1 << 28, &bytes, NULL) == QN_OK &&
           qn_file_replace(AT_FDCWD, to, bytes.data, bytes.size, 0755, NULL) == QN_OK && chmod(to, 0755) == 0;
}

static bool make_file(const char *name, char *path)
{
    static const char CONTENT[8192] = "content";
    (void)snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return qn_file_replace(AT_FDCWD, path, CONTENT, sizeof CONTENT, 0666, NULL) == QN_OK && chmod(path, 0666) == 0;
}

/* What the jail makes where a wall is missing. */
static void remove_traces(void)
{
    (void)unlink("/tmp/qanat-jail");
    (void)rmdir("/tmp/qanat-jail");
}

bool prepare_folder(char **argv)
{
    char other[PATH_MAX];
    remove_traces();
    (void)snprintf(folder, sizeof folder, "/tmp/qanat-sandbox-XXXXXX");
    return mkdtemp(folder) != NULL && chmod(folder, 0755) == 0 && copy_program(argv[1], "launcher", launcher) &&
           copy_program(argv[2], "jail", jail) && make_file("readable", readable_file) && make_file("other", other);
}

void remove_folder(void)
{
    remove_traces();
    static const char *const NAMES[] = { "launcher", "jail", "readable", "other" };
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, NAMES[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static int run_all(const char *who, int (*run_group)(const char *name))
{
    struct qn_error err = QN_ERROR_INIT;
    int failed = 0;
    if (qn_sandbox_support_probe(launcher, &support, &err) != QN_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    for (int i = QN_SANDBOX_FULL; i <= QN_SANDBOX_REDUCED; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s, %s tier", who, i == QN_SANDBOX_FULL ? "full" : "reduced");
        if (!support.has[QN_LAYER_LANDLOCK] || !support.has[QN_LAYER_SECCOMP] ||
            (i == QN_SANDBOX_FULL && support.missing != NULL)) {
            (void)fprintf(stderr, "skipped: %s: %s\n", name, support.remedy);
            continue;
        }
        tier = (enum qn_sandbox_tier)i;
        failed += run_group(name);
    }
    return failed > 0;
}

/* As root of a container has it: namespaces may be had, but only as an ordinary user has them. */
static bool lose_admin(void)
{
    return prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) == 0;
}

bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
           setresuid(NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

/* No namespaces, no mounts, and no clone3, as container engines have it for who has no CAP_SYS_ADMIN. */
static bool enter_container(void)
{
    const uint32_t namespaces = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, namespaces, 2, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog filter = { .len = sizeof program / sizeof *program, .filter = program };
    in_container = true;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

/* Run them all once more, after a step that cannot be taken back. */
static int run_all_after(bool (*step)(void), const char *who, int (*run_group)(const char *name))
{
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!step()) {
            (void)fprintf(stderr, "skipped: %s: %s\n", who, strerror(errno));
            _exit(0);
        }
        int failed = run_all(who, run_group);
        (void)fflush(NULL);
        _exit(failed);
    }
    int how = 1;
    return waitpid(child, &how, 0) == child && how == 0 ? 0 : 1;
}

int run_in_every_role(int argc, char **argv, int (*run_group)(const char *name))
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s LAUNCHER JAIL\n", argv[0]);
        return 2;
    }
    int failed = prepare_folder(argv) ? 0 : 1;
    if (failed == 0) {
        const char *who = geteuid() == 0 ? "root" : "an ordinary user";
        failed = run_all(who, run_group);
        failed |= run_all_after(enter_container, "in a container", run_group);
        if (geteuid() == 0) {
            failed |= run_all_after(become_nobody, "an ordinary user", run_group);
            failed |= run_all_after(lose_admin, "root without CAP_SYS_ADMIN", run_group);
        }
    }
    remove_folder();
    return failed;
}
