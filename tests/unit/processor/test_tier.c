/* Which tier runs are put into, by what the machine has and what the administrator says. fake_launcher.c plays the machines. */
#include "run_fixture.h"

#include <unistd.h>

static char folder[64];
static char machine[128]; /* the launcher of the machine that is played */

/* Play a machine without a layer (enum qn_sandbox_layer; -1: with all). */
static void play(int lacks)
{
    (void)snprintf(machine, sizeof machine, lacks >= 0 ? "%s/launcher-lacks-%d" : "%s/launcher", folder, lacks);
    assert_int_equal(setenv("QANAT_TEST_FAKE_LAUNCHER", machine, 1), 0);
}

static void say(const char *word)
{
    assert_int_equal(word != NULL ? setenv("QANAT_SANDBOX", word, 1) : unsetenv("QANAT_SANDBOX"), 0);
}

/* The tier of a run; NULL with the error. */
static const char *tier_of_run(struct qn_error *err)
{
    struct qn_processor *processor = processor_of("rows 1\ndone 0", "", "");
    struct qn_execution *execution = NULL;
    const char *tier = NULL;
    if (qn_execution_start(processor, NULL, NULL, &execution, err) == QN_OK) {
        assert_int_equal(take_all(execution), 1);
        tier = result_of(execution).tier;
        qn_execution_free(execution);
    }
    qn_processor_free(processor);
    return tier;
}

static void expect_tier(const char *tier)
{
    struct qn_error err = QN_ERROR_INIT;
    const char *found = tier_of_run(&err);
    if (found == NULL) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(found, tier);
}

static void expect_refusal(enum qn_status status, const char *part, const char *hint)
{
    struct qn_error err = QN_ERROR_INIT;
    assert_null(tier_of_run(&err));
    assert_int_equal(err.status, status);
    expect_text(err.message, part);
    expect_text(err.hint, hint);
}

static struct qn_sandbox_report report(void)
{
    struct qn_sandbox_report found = QN_SANDBOX_REPORT_INIT;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_sandbox_report(machine, &found, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return found;
}

static void tier__is_full_where_all_layers_are_there(void **state)
{
    (void)state;
    play(-1);
    expect_tier("full");
    qn_sandbox_allow_reduced(true); /* it may be, it need not */
    expect_tier("full");
    struct qn_sandbox_report found = report();
    assert_string_equal(found.tier, "full");
    assert_string_equal(found.message, "");
    assert_int_equal(found.landlock_abi, 5);
    assert_true(found.user_namespaces && found.mount_namespaces && found.pid_namespaces && found.network_namespaces &&
                found.landlock && found.seccomp);
    say("reduced"); /* for tests of it */
    expect_tier("reduced");
    assert_string_equal(report().tier, "reduced");
}

static void tier__is_never_reduced_without_a_word(void **state)
{
    (void)state;
    play(0);
    expect_refusal(QN_ERR_UNSUPPORTED,
                   "the sandbox needs user namespaces, which this machine does not give (unshare: no)",
                   "ask the administrator");
    struct qn_sandbox_report found = report();
    assert_null(found.tier);
    expect_text(found.message, "user namespaces: not given by this machine (unshare: no). ask the administrator");
    assert_false(found.user_namespaces);
    assert_true(found.seccomp);
}

static void tier__is_reduced_by_the_administrators_word(void **state)
{
    (void)state;
    play(0);
    qn_sandbox_allow_reduced(true);
    expect_tier("reduced");
    assert_string_equal(report().tier, "reduced");
    say("full"); /* takes it back */
    expect_refusal(QN_ERR_UNSUPPORTED, "the sandbox needs user namespaces", "ask the administrator");
    assert_null(report().tier);
    qn_sandbox_allow_reduced(false);
    say("reduced");
    expect_tier("reduced");
    say("");
    expect_refusal(QN_ERR_UNSUPPORTED, "the sandbox needs user namespaces", "ask the administrator");
}

static void tier__needs_landlock_and_seccomp_whoever_says_what(void **state)
{
    (void)state;
    static const struct {
        int layer;
        const char *name;
    } layers[] = { { 4, "Landlock" }, { 5, "seccomp" } };
    for (size_t i = 0; i < 2; i++) {
        char part[96];
        (void)snprintf(part, sizeof part, "the sandbox needs %s, which this machine does not give", layers[i].name);
        play(layers[i].layer);
        qn_sandbox_allow_reduced(true);
        expect_refusal(QN_ERR_UNSUPPORTED, part, "ask the administrator");
        say("reduced");
        expect_refusal(QN_ERR_UNSUPPORTED, part, "ask the administrator");
        assert_null(report().tier);
        say(NULL);
    }
}

static void tier__of_another_name_is_refused(void **state)
{
    (void)state;
    play(-1);
    say("none");
    expect_refusal(QN_ERR_CONFIG, "QANAT_SANDBOX is \"none\"; it must be \"full\" or \"reduced\"", "");
    struct qn_sandbox_report found = QN_SANDBOX_REPORT_INIT;
    assert_int_equal(qn_sandbox_report(machine, &found, NULL), QN_ERR_CONFIG);
}

static int make_machines(void **state)
{
    (void)state;
    const char *launcher = getenv("QANAT_TEST_FAKE_LAUNCHER");
    char target[4096];
    (void)snprintf(folder, sizeof folder, "/tmp/qanat-test-XXXXXX");
    if (launcher == NULL || mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(target, sizeof target, "%s", launcher); /* play() replaces it in the environment */
    for (int lacks = -1; lacks < 6; lacks++) {
        play(lacks);
        if (symlink(target, machine) != 0) {
            return -1;
        }
    }
    return 0;
}

static int remove_machines(void **state)
{
    (void)state;
    for (int lacks = -1; lacks < 6; lacks++) {
        play(lacks);
        (void)unlink(machine);
    }
    (void)rmdir(folder);
    return 0;
}

static int nothing_said(void **state)
{
    (void)state;
    qn_sandbox_allow_reduced(false);
    say(NULL);
    qn_processor_shutdown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tier__is_full_where_all_layers_are_there, nothing_said, nothing_said),
        cmocka_unit_test_setup_teardown(tier__is_never_reduced_without_a_word, nothing_said, nothing_said),
        cmocka_unit_test_setup_teardown(tier__is_reduced_by_the_administrators_word, nothing_said, nothing_said),
        cmocka_unit_test_setup_teardown(tier__needs_landlock_and_seccomp_whoever_says_what, nothing_said, nothing_said),
        cmocka_unit_test_setup_teardown(tier__of_another_name_is_refused, nothing_said, nothing_said),
    };
    return cmocka_run_group_tests(tests, make_machines, remove_machines);
}
