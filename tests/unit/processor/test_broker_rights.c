/*
 * test_broker_rights.c: whom the kernel lets look into a run, and what of this machine a run with "public" reaches.
 */
#include "broker_fixture.h"

#include <net/if.h>
#include <sched.h>

#define OWN_ADDRESS "8.8.4.4"

/* In a process of its own: a network with nothing but loopback, which has a second, public address. */
static bool make_network(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct ifreq request = { .ifr_name = "lo" };
    request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
    bool made = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "lo:1");
    (void)inet_pton(AF_INET, OWN_ADDRESS, &address.sin_addr);
    memcpy(&request.ifr_addr, &address, sizeof address);
    made = made && ioctl(fd, SIOCSIFADDR, &request) == 0;
    (void)inet_pton(AF_INET, "255.255.255.255", &address.sin_addr);
    memcpy(&request.ifr_netmask, &address, sizeof address);
    made = made && ioctl(fd, SIOCSIFNETMASK, &request) == 0;
    (void)close(fd);
    return made;
}

static void connect_to_own_address(const struct world *world)
{
    CHECK(try_text(OWN_ADDRESS, world->open) == EACCES);
    CHECK(try_text("8.8.8.8", 53) == ENETUNREACH); /* which was dialled, but there is nothing outside */
    CHECK(try_text("2606:4700:4700::1111", 443) == ENETUNREACH);
}

/* A public address of an interface leads to the services of this machine: "public" does not mean those. */
static void broker__public_is_not_the_machines_own_public_address(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct run run;
        if (!make_network()) {
            _exit(77);
        }
        run_open(&run);
        run.readable = true;
        run_fork(&run, QN_NETWORK_PUBLIC, NULL, 0, connect_to_own_address);
        run_join(&run);
        run_expect_end(&run, 0);
        char expected[128];
        (void)snprintf(expected, sizeof expected,
                       "connection to " OWN_ADDRESS ":%u is not allowed: an address of this machine\n",
                       (unsigned)run.world.open);
        _exit(strcmp(qn_buffer_text(&run.logs), expected) == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: this machine gives no network namespaces\n");
        skip();
    }
    assert_int_equal(status, 0);
}

/* ---- who may ---- */

#define RUN_CHANNEL 3 /* of a run that is executed, not only forked */

static void connect_once(const struct world *world)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect_to(fd, world->open) == 0);
    expect_hello(fd);
}

/* As an interpreter in the full tier is: its memory is of a user namespace that the engine's user owns, from its exec on. */
static int be_run_of_namespaces(const char *port_text)
{
    struct run run = { .channel = { -1, RUN_CHANNEL }, .open_fd = -1, .secret_fd = -1, .full_fd = -1 };
    run.world.open = (uint16_t)strtoul(port_text, NULL, 10);
    be_child(&run, -1, connect_once);
    return 1;
}

static void exec_run_of_namespaces(struct run *run)
{
    char port[16];
    char *const argv[] = { "test_broker_rights", "--run", port, NULL };
    char *const environment[] = { NULL };
    (void)snprintf(port, sizeof port, "%u", (unsigned)run->world.open);
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (self < 0 || unshare(CLONE_NEWUSER) != 0 || dup2(run->channel[1], RUN_CHANNEL) < 0) {
        _exit(77);
    }
    (void)fexecve(self, argv, environment);
    _exit(77); /* not a program for every user, where this stands */
}

static _Noreturn void be_ordinary_engine(void)
{
    struct run run;
    struct qn_error err = QN_ERROR_INIT;
    char entry[32];
    const char *entries[] = { entry };
    if (getuid() == 0 && (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)) {
        _exit(2);
    }
    run_open(&run);
    (void)snprintf(entry, sizeof entry, "127.0.0.1:%u", (unsigned)run.world.open);
    assert_int_equal(qn_network_policy_new(QN_NETWORK_LIST, entries, 1, &run.policy, &err), QN_OK);
    assert_int_equal(qn_broker_new(run.policy, keep_log, &run.logs, &run.broker, &err), QN_OK);
    run.pid = fork();
    if (run.pid == 0) {
        exec_run_of_namespaces(&run);
    }
    (void)close(run.channel[1]);
    run.pid_fd = (int)syscall(SYS_pidfd_open, run.pid, 0);
    struct pollfd entry_of_channel = { .fd = run.channel[0], .events = POLLIN };
    char byte;
    if (poll(&entry_of_channel, 1, PATIENCE_MS) == 1 && recv(run.channel[0], &byte, 1, MSG_PEEK) == 0) {
        _exit(77);
    }
    int listener = receive_fd(run.channel[0]);
    if (qn_broker_take_run(run.broker, listener, run.pid_fd, -1, &err) != QN_OK) {
        (void)dprintf(STDERR_FILENO, "%s\n", err.message);
        _exit(1);
    }
    while (!run_turn(&run)) {
    }
    int status = 0;
    (void)waitpid(run.pid, &status, 0);
    _exit(status == 0 && run.n_hellos == 1 ? 0 : 1);
}

static void broker__the_owner_of_the_runs_namespaces_may_look_in(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        be_ordinary_engine();
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: no user namespaces, or an ordinary user may not run this test's program\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void end_at_once(const struct world *world)
{
    (void)world;
    pause();
}

/* In a process of its own, which becomes an ordinary user: it owns no namespace of the child's and may not look into it. */
static void broker__where_the_kernel_denies_access_there_is_no_network(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct run run;
        struct qn_error err = QN_ERROR_INIT;
        if (getuid() == 0 && (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)) {
            _exit(2);
        }
        run_open(&run);
        run.readable = false;
        run_fork(&run, QN_NETWORK_PUBLIC, NULL, 0, end_at_once);
        int listener = receive_fd(run.channel[0]);
        enum qn_status status = qn_broker_take_run(run.broker, listener, run.pid_fd, run.names_fd, &err);
        bool told =
            status == QN_ERR_UNSUPPORTED && err.hint[0] != '\0' &&
            strcmp(err.message, "network: the run cannot be given one, its memory may not be read: Operation not "
                                "permitted") == 0;
        (void)kill(run.pid, SIGKILL);
        _exit(told ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--run") == 0) {
        return be_run_of_namespaces(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(broker__public_is_not_the_machines_own_public_address, before, after),
        cmocka_unit_test_setup_teardown(broker__the_owner_of_the_runs_namespaces_may_look_in, before, after),
        cmocka_unit_test_setup_teardown(broker__where_the_kernel_denies_access_there_is_no_network, before, after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
