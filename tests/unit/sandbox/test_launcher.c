/*
 * test_launcher.c: what the launcher builds around an interpreter (namespaces, root, rights, environment), what it
 * says where it cannot, and what it finds a machine to have.
 */
#include "jail_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void zygote__stands_in_namespaces_of_its_own(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_REDUCED) {
        return; /* has none */
    }
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "", "", &outcome);
    static const char *const OWN[] = { "user", "mnt", "net", "ipc", "uts" };
    for (size_t i = 0; i < sizeof OWN / sizeof *OWN; i++) {
        char path[64];
        char target[64] = "ns ";
        (void)snprintf(path, sizeof path, "/proc/self/ns/%s", OWN[i]);
        assert_true(readlink(path, target + 3, sizeof target - 4) > 0);
        assert_false(has_line(&outcome, target)); /* ours */
        (void)snprintf(path, sizeof path, "\nns %s:[", OWN[i]);
        assert_non_null(strstr(qn_buffer_text(&outcome.said), path)); /* but one was told */
    }
    assert_true(has_line(&outcome, "host sandbox"));
}

static void zygote__sees_no_file_but_the_readable_ones(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_REDUCED) {
        return; /* Landlock is put on in each run */
    }
    static const char TRIED[] =
        "open_passwd,open_proc,open_null,mkdir,open_new,open_readable,open_writing,mount,hostname,"
        "unshare_user";
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", TRIED, readable_file, &outcome);
    assert_int_equal(said(&outcome, "open_passwd"), ENOENT);
    assert_int_equal(said(&outcome, "open_proc"), ENOENT);
    assert_int_equal(said(&outcome, "open_null"), ENOENT);
    assert_int_equal(said(&outcome, "mkdir"), EROFS);
    assert_int_equal(said(&outcome, "open_new"), EROFS);
    assert_int_equal(said(&outcome, "open_readable"), 0);
    assert_int_equal(said(&outcome, "open_writing"), EROFS);
    assert_int_equal(said(&outcome, "mount"), EPERM);
    assert_int_equal(said(&outcome, "hostname"), EPERM);
    for (const char *at = qn_buffer_text(&outcome.said); (at = strstr(at, "\nroot ")) != NULL; at += 6) {
        bool known = false;
        static const char *const ROOT[] = { ".", "..", "usr", "lib", "lib64", "tmp" };
        for (size_t i = 0; i < sizeof ROOT / sizeof *ROOT; i++) {
            known = known || (strncmp(at + 6, ROOT[i], strlen(ROOT[i])) == 0 && at[6 + strlen(ROOT[i])] == '\n');
        }
        assert_true(known);
    }
}

/* Root whose interpreter nobody else can reach: it stays root in the reduced tier, without any capability. */
static void zygote__stays_root_only_where_it_has_to(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        return; /* is not root */
    }
    assert_int_equal(chmod(folder, 0700), 0);
    auto_outcome zygote;
    auto_outcome run;
    run_jail("zygote", "off", "strict", "", "", &zygote);
    run_jail("try", "none", "strict", "open_passwd,open_root,open_new,hostname,setgroups,raise_limit", "", &run);
    assert_int_equal(chmod(folder, 0755), 0);
    bool may_mount = tier == QN_SANDBOX_FULL && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 1;
    assert_int_equal(said(&zygote, "uid"), may_mount ? NOBODY : 0);
    assert_int_equal(said(&zygote, "capabilities"), 0);
    assert_int_equal(said(&run, "open_passwd"), tier == QN_SANDBOX_FULL ? ENOENT : EACCES);
    assert_int_equal(said(&run, "open_root"), EACCES);
    assert_int_equal(said(&run, "open_new"), tier == QN_SANDBOX_FULL ? EROFS : EACCES);
    assert_int_equal(said(&run, "hostname"), EPERM);
    assert_int_equal(said(&run, "setgroups"), EPERM);
    assert_int_equal(said(&run, "raise_limit"), EPERM);
}

/* READ_IMPLIES_EXEC would make every page that can be read executable. */
static void zygote__has_the_usual_personality(void **state)
{
    (void)state;
    int ours = personality(UINT32_MAX);
    assert_true(personality((unsigned long)ours | READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE) >= 0);
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "", "", &outcome);
    assert_true(personality((unsigned long)ours) >= 0);
    assert_int_equal(said(&outcome, "personality"), PER_LINUX);
}

static void zygote__has_no_rights_and_only_its_descriptors(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "become_root,setgroups", "", &outcome);
    assert_int_equal(said(&outcome, "capabilities"), 0);
    assert_int_equal(said(&outcome, "no_new_privs"), 1);
    assert_int_equal(said(&outcome, "core"), 0);
    assert_int_equal(said(&outcome, "stack"), 8 << 20);
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(said(&outcome, "nofile"), (long)files.rlim_max);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "bounding"), 0);
        assert_int_equal(said(&outcome, "securebits"), 0xef);
    }
    assert_int_equal(said(&outcome, "uid"), geteuid() == 0 ? NOBODY : geteuid());
    assert_int_equal(said(&outcome, "become_root"), tier == QN_SANDBOX_FULL ? EINVAL : EPERM);
    assert_int_equal(said(&outcome, "setgroups"), EPERM);
    assert_int_equal(said(&outcome, "groups"), geteuid() == 0 ? 0 : getgroups(0, NULL));
    assert_non_null(strstr(qn_buffer_text(&outcome.said), "\ndevice 0\ndevice 1\ndescriptor 2\ndescriptor 3\n"
                                                          "descriptor 5\ndescriptor 6\ndescriptor 7\ndumpable"));
    assert_non_null(strstr(qn_buffer_text(&outcome.said), "\nenv LANG=C.UTF-8\nhost "));
}

/* ---- what the launcher says where it cannot ---- */

static void expect_launch_failure(const char *records, size_t size, const char *message)
{
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    const struct qn_buffer bytes = { .data = (char *)(uintptr_t)records, .size = size };
    start_policy(memfd_of(&bytes), &started);
    finish(&started, &outcome);
    assert_true(outcome.how.exited);
    assert_int_equal(outcome.how.code, 71);
    assert_int_equal(outcome.said.size, 0);
    assert_string_equal(qn_buffer_text(&outcome.errors), message);
}
#define EXPECT_LAUNCH_FAILURE(records, message) expect_launch_failure(records, sizeof(records), message)

static void launcher__refuses_a_broken_policy(void **state)
{
    (void)state;
    EXPECT_LAUNCH_FAILURE("tier=full", "sandbox: sandbox policy: the interpreter's path is missing or not absolute\n");
    EXPECT_LAUNCH_FAILURE("arg=/bin/true", "sandbox: sandbox policy: no tier\n");
    EXPECT_LAUNCH_FAILURE("tier=full\0tier=reduced\0arg=/bin/true",
                          "sandbox: sandbox policy: record \"tier=reduced\" is not known\n");
    EXPECT_LAUNCH_FAILURE("tier=full\0readable=/usr/../etc\0arg=/bin/true",
                          "sandbox: sandbox policy: \"readable=/usr/../etc\" is not allowed\n");
    EXPECT_LAUNCH_FAILURE("tier=full\0readable=/dev/null\0arg=/bin/true",
                          "sandbox: sandbox policy: \"readable=/dev/null\" is not allowed\n");
    expect_launch_failure("tier=full", 9, "sandbox: sandbox policy: it is cut off\n");
    expect_launch_failure("", 0, "sandbox: sandbox policy: it is cut off\n");
}

static void launcher__names_the_path_that_is_not_there(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_FULL) {
        EXPECT_LAUNCH_FAILURE("tier=full\0readable=/no/such/folder\0arg=/bin/true",
                              "sandbox: root: readable path \"/no/such/folder\": No such file or directory\n");
        EXPECT_LAUNCH_FAILURE("tier=full\0arg=/bin/true",
                              "sandbox: executing \"/bin/true\": No such file or directory\n");
    } else {
        EXPECT_LAUNCH_FAILURE("tier=reduced\0arg=/no/such/program",
                              "sandbox: executing \"/no/such/program\": No such file or directory\n");
    }
}

/* In a user namespace whose administrator has forbidden more of them. */
static void launcher__names_the_missing_layer_and_the_remedy(void **state)
{
    (void)state;
    if (in_container) {
        assert_string_equal(support.missing, "user namespaces");
        assert_non_null(strstr(support.cause, "user namespaces: unshare: Operation not permitted"));
        assert_non_null(strstr(support.remedy, "docker run --security-opt seccomp=unconfined"));
        assert_non_null(strstr(support.remedy, "QANAT_SANDBOX=reduced"));
        return;
    }
    if (!support.has[QN_LAYER_USER_NAMESPACE]) {
        print_message("skipped: %s\n", support.remedy);
        return;
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (unshare(CLONE_NEWUSER) != 0) {
            _exit(2);
        }
        int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1) {
            _exit(3);
        }
        (void)close(fd);
        struct qn_sandbox_support found;
        struct qn_error err = QN_ERROR_INIT;
        if (qn_sandbox_support_probe(launcher, &found, &err) != QN_OK) {
            (void)fprintf(stderr, "%s\n", err.message);
            _exit(4);
        }
        bool right = found.missing == qn_sandbox_layer_name(QN_LAYER_USER_NAMESPACE) &&
                     !found.has[QN_LAYER_USER_NAMESPACE] && found.has[QN_LAYER_LANDLOCK] &&
                     found.has[QN_LAYER_SECCOMP] &&
                     strstr(found.remedy, "user.max_user_namespaces is 0: set it to") != NULL &&
                     strstr(found.remedy, "QANAT_SANDBOX=reduced") != NULL;
        _exit(right ? 0 : 5);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

static void probe__finds_every_layer_or_names_one(void **state)
{
    (void)state;
    struct qn_sandbox_support found;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_sandbox_support_probe(launcher, &found, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    bool all = true;
    for (int layer = 0; layer < QN_LAYERS; layer++) {
        all = all && found.has[layer];
    }
    /* Where all can be had at once, none may be called missing: the tests of the full tier would not run. */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool had = (geteuid() != 0 || become_nobody()) && unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID |
                                                                  CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
        _exit(had ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how == 0, found.has[QN_LAYER_USER_NAMESPACE] && found.has[QN_LAYER_MOUNT_NAMESPACE] &&
                                   found.has[QN_LAYER_PID_NAMESPACE] && found.has[QN_LAYER_NETWORK_NAMESPACE]);
    assert_int_equal(all, found.missing == NULL);
    assert_int_equal(all, found.remedy[0] == '\0');
    assert_int_equal(found.has[QN_LAYER_LANDLOCK], found.landlock_abi > 0);
}

static void probe__says_so_where_the_launcher_is_none(void **state)
{
    (void)state;
    struct qn_sandbox_support found = { .landlock_abi = -7 };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_sandbox_support_probe("/no/launcher", &found, &err), QN_ERR_IO);
    assert_string_equal(err.message, "starting \"/no/launcher\": No such file or directory");
    assert_int_equal(qn_sandbox_support_probe("/bin/true", &found, &err), QN_ERR_INTERNAL);
    assert_string_equal(err.message,
                        "asking the sandbox's launcher \"/bin/true\": it ended with 0 and told of 0 layers");
    assert_int_equal(found.landlock_abi, -7); /* untouched */
}

static int run_group(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zygote__stands_in_namespaces_of_its_own),
        cmocka_unit_test(zygote__sees_no_file_but_the_readable_ones),
        cmocka_unit_test(zygote__stays_root_only_where_it_has_to),
        cmocka_unit_test(zygote__has_the_usual_personality),
        cmocka_unit_test(zygote__has_no_rights_and_only_its_descriptors),
        cmocka_unit_test(launcher__refuses_a_broken_policy),
        cmocka_unit_test(launcher__names_the_path_that_is_not_there),
        cmocka_unit_test(launcher__names_the_missing_layer_and_the_remedy),
        cmocka_unit_test(probe__finds_every_layer_or_names_one),
        cmocka_unit_test(probe__says_so_where_the_launcher_is_none),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_in_every_role(argc, argv, run_group);
}
