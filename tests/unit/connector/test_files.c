/* test_files.c: the built-in connector `files`: which files it finds, what it reads, and that it stays in its folder. */
#include "builtin_fixture.h"

#include "connector/files_private.h"
#include "connector/reference.h"

#include <sys/socket.h>
#include <sys/time.h>

static char arguments[2048];

/* {"path": folder/NAME, ...more} */
static const char *with(const char *name, const char *more)
{
    (void)snprintf(arguments, sizeof arguments, "{\"path\": \"%s%s%s\"%s%s}", folder, name[0] != '\0' ? "/" : "", name,
                   more[0] != '\0' ? ", " : "", more);
    return arguments;
}

static struct qn_connector *opened(const char *name, const char *more)
{
    struct qn_connector *connector = NULL;
    ok(open_with("files", with(name, more), &connector));
    return connector;
}

static void finds(const char *name, const char *more, const char *wanted)
{
    struct qn_connector *connector = opened(name, more);
    discovers(connector, wanted);
    qn_connector_free(connector);
}

/* ---- patterns ---- */

static void pattern__matches_parts(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool match;
    } cases[] = {
        { "*.csv", "a.csv", true },
        { "*.csv", "a.csvx", false },
        { "*.csv", "b/a.csv", false },
        { "**/*.csv", "a.csv", true },
        { "**/*.csv", "b/c/a.csv", true },
        { "b/**", "b/c/a", true },
        { "b/**", "c/a", false },
        { "**", "x/y", true },
        { "a?c",
          "a\xc3\xa9"
          "c",
          true },
        { "[a-c]x", "bx", true },
        { "[!a-c]x", "bx", false },
        { "[]]", "]", true },
        { "[", "[", true },
        { "*", ".hidden", false },
        { ".*", ".hidden", true },
        { "**/a", ".hidden/a", false },
        { "a/**/b", "a/b", true },
        { "a/**/b", "a/x/y/b", true },
        { "a/**/b/**/c", "a/b/b/c", true },
        { "a/**/b", "a/x/c", false },
        { "[a", "[a", true },
        { "*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (qn__pattern_matches(cases[i].pattern, cases[i].path, false) != cases[i].match) {
            fail_msg("%s and %s", cases[i].pattern, cases[i].path);
        }
    }
    assert_true(qn__pattern_matches("*", ".hidden", true));
}

/* ---- discovery ---- */

static void make_tree(void)
{
    assert_int_equal(mkdir(path_of("sub"), 0777), 0);
    assert_int_equal(mkdir(path_of("sub/deep"), 0777), 0);
    assert_int_equal(mkdir(path_of(".git"), 0777), 0);
    write_arrow("b.arrow", 1, 10);
    write_arrow("a.arrow", 11, 20);
    write_arrow("sub/c.arrow", 21, 30);
    write_arrow("sub/deep/d.arrow", 31, 40);
    write_arrow(".git/e.arrow", 41, 50);
    write_arrow("sub/.f.arrow", 51, 60);
    write_bytes(path_of("notes.txt"), "hello", 5);
}

static void discover__takes_what_is_asked_for(void **state)
{
    (void)state;
    make_tree();
    finds("", "", "a.arrow\nb.arrow\nnotes.txt\n");
    finds("", "\"pattern\": \"*.arrow\"", "a.arrow\nb.arrow\n");
    finds("", "\"pattern\": \"*.arrow\", \"recursive\": \"true\"", "a.arrow\nb.arrow\nsub/c.arrow\nsub/deep/d.arrow\n");
    finds("", "\"pattern\": \"**/*.arrow\"", "a.arrow\nb.arrow\nsub/c.arrow\nsub/deep/d.arrow\n");
    finds("", "\"pattern\": \"**/*.arrow\", \"hidden\": \"true\"",
          ".git/e.arrow\na.arrow\nb.arrow\nsub/.f.arrow\nsub/c.arrow\nsub/deep/d.arrow\n");
    finds("", "\"pattern\": \"sub/*.arrow\"", "sub/c.arrow\n");
    finds("sub/**/*.arrow", "", "c.arrow\ndeep/d.arrow\n"); /* relative to what comes before the pattern */
    finds("a.arrow", "", "a.arrow\n");
    finds("*.parquet", "", "");
}

static void discover__tells_format_version_rows_and_copy(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct stat found;
    char version[QN_FILE_VERSION_SIZE];
    write_arrow("a.arrow", 1, 250);
    assert_int_equal(stat(path_of("a.arrow"), &found), 0);
    (void)snprintf(version, sizeof version, "%lld-%lld.%09ld", (long long)found.st_size,
                   (long long)found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
    struct qn_connector *connector = opened("", "\"count\": \"true\", \"copy\": \"false\"");
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(seen.format, "arrow");
    assert_string_equal(seen.version, version);
    assert_int_equal(seen.rows, 250);
    assert_false(seen.must_copy);
    struct qn_location location = QN_LOCATION_INIT;
    char *url = NULL;
    char wanted[256];
    location.location = "a.arrow";
    ok(qn_connector_stable_url(connector, &location, &url, &error));
    (void)snprintf(wanted, sizeof wanted, "file://%s/a.arrow", folder);
    assert_string_equal(url, wanted);
    qn_text_free(url);
    qn_connector_free(connector);

    connector = opened("", "\"version\": \"content\"");
    discover_given(connector, NULL, 0, &seen);
    assert_int_equal(strncmp(seen.version, "sha256:", 7), 0);
    assert_int_equal(strlen(seen.version), 7 + 64);
    assert_int_equal(seen.rows, -1);
    assert_true(seen.must_copy);
    ok(qn_connector_stable_url(connector, &location, &url, &error));
    assert_null(url);
    qn_connector_free(connector);
    qn_buffer_dispose(&seen.text);
}

static void discover__refuses_a_name_that_is_no_text(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    write_arrow("a\xff\n.arrow", 1, 2);
    struct qn_connector *connector = opened("", "");
    refused(qn_connector_discover(connector, NULL, 0, see, &seen, &error), QN_ERR_DATA, "a\\xff\\x0a.arrow");
    qn_connector_free(connector);
    finds("", "\"pattern\": \"b*\"", ""); /* what is not asked for does not matter */
    qn_buffer_dispose(&seen.text);
}

static void discover__passes_over_what_is_no_file(void **state)
{
    (void)state;
    write_arrow("a.arrow", 1, 2);
    assert_int_equal(mkfifo(path_of("b.arrow"), 0600), 0);
    finds("", "", "a.arrow\n");
    struct qn_connector *connector = opened("", "");
    struct total total = { 0 };
    refused(read_location(connector, "b.arrow", "", NULL, &total), QN_ERR_IO,
            "a pipe, a socket or a device, not a file");
    qn_connector_free(connector);
}

/* ---- data ---- */

static void data__gives_all_rows_of_a_file(void **state)
{
    (void)state;
    struct total total = { 0 };
    write_arrow("new\nline.arrow", 1, 1000);
    struct qn_connector *connector = opened("", "");
    discovers(connector, "new\nline.arrow\n");
    ok(read_location(connector, "new\nline.arrow", "", NULL, &total));
    assert_int_equal(total.rows, 1000);
    assert_int_equal(total.sum, 500500);

    const char *columns[] = { "name" };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    request.columns = columns;
    request.n_columns = 1;
    request.skip_rows = 998;
    ok(read_location(connector, "new\nline.arrow", "", &request, &total));
    assert_string_equal(qn_buffer_text(&total.text), "\"name 999\"\n\"name 1000\"\n");
    request = (struct qn_data_request)QN_DATA_REQUEST_INIT;
    request.skip_rows = 998;
    ok(read_location(connector, "new\nline.arrow", "", &request, &total));
    assert_string_equal(qn_buffer_text(&total.text), "999,\"name 999\"\n1000,\"name 1000\"\n");
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

static void data__knows_a_format_by_its_bytes(void **state)
{
    (void)state;
    struct total total = { 0 };
    write_arrow("data.bin", 1, 3);
    write_bytes(path_of("notes"), "hello", 5);
    write_bytes(path_of("x.csv"), "a\n1\n", 4);
    struct qn_connector *connector = opened("", "");
    ok(read_location(connector, "data.bin", "", NULL, &total));
    assert_int_equal(total.sum, 6);
    refused(read_location(connector, "notes", "", NULL, &total), QN_ERR_DATA, "tell the format");
    assert_non_null(strstr(error.hint, "\"format\""));
    refused(read_location(connector, "x.csv", "", NULL, &total), QN_ERR_UNSUPPORTED, "comes with the Python package");
    qn_connector_free(connector);
    connector = opened("", "\"format\": \"arrow\"");
    refused(read_location(connector, "notes", "", NULL, &total), QN_ERR_DATA, "notes");
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

static void data__refuses_another_version(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct total total = { 0 };
    static const char *const kinds[] = { "\"version\": \"time\"", "\"version\": \"content\"" };
    for (int i = 0; i < 2; i++) {
        write_arrow("a.arrow", 1, 3);
        struct qn_connector *connector = opened("", kinds[i]);
        discover_given(connector, NULL, 0, &seen);
        ok(read_location(connector, "a.arrow", seen.version, NULL, &total));
        write_arrow("a.arrow", 1, 4);
        refused(read_location(connector, "a.arrow", seen.version, NULL, &total), QN_ERR_IO,
                "changed since it was discovered");
        assert_false(error.retryable);
        assert_int_equal(unlink(path_of("a.arrow")), 0);
        refused(read_location(connector, "a.arrow", seen.version, NULL, &total), QN_ERR_IO,
                "connector \"acme.test\": location \"a.arrow\": \"a.arrow\" cannot be opened: No such file");
        qn_connector_free(connector);
    }
    write_arrow("a.arrow", 1, 3);
    struct qn_connector *connector = opened("", "\"version\": \"none\"");
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(seen.version, "");
    bool can = true;
    ok(qn_connector_can(connector, QN_CAN_RESUME, &can, &error));
    assert_false(can);
    qn_connector_free(connector);
    qn_buffer_dispose(&seen.text);
    qn_buffer_dispose(&total.text);
}

/* What of a file that changes has been handed out is of one state; then comes an error, never rows of another. */
static void data__refuses_a_file_that_changes_while_it_is_read(void **state)
{
    (void)state;
    write_arrow("a.arrow", 1, 10000);
    struct qn_connector *connector = opened("", "");
    for (int how = 0; how < 3; how++) {
        struct qn_location location = QN_LOCATION_INIT;
        qn_auto_stream stream = { 0 };
        qn_auto_array batch = { 0 };
        struct total total = { 0 };
        write_arrow("a.arrow", 1, 10000);
        location.location = "a.arrow";
        ok(qn_connector_data(connector, &location, NULL, &stream, &error));
        ok(qn_stream_next(&stream, &batch, &error));
        assert_int_equal(batch.length, 100);
        if (how == 0) { /* other bytes */
            int fd = open(path_of("a.arrow"), O_WRONLY);
            assert_int_equal(pwrite(fd, "XXXXXXXX", 8, 100000), 8);
            assert_int_equal(close(fd), 0);
        } else if (how == 1) {
            assert_int_equal(truncate(path_of("a.arrow"), 2000), 0);
        } else { /* the same bytes, at another time */
            struct timeval times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
            assert_int_equal(utimes(path_of("a.arrow"), times), 0);
        }
        refused(add_batches(&stream, &total), QN_ERR_IO, "\"a.arrow\" changed while it was read");
        assert_false(error.retryable);
        qn_buffer_dispose(&total.text);
    }
    qn_connector_free(connector);
}

/* A file that is replaced as a whole is read to its end: nothing of it has changed. */
static void data__goes_on_with_a_file_that_was_replaced(void **state)
{
    (void)state;
    struct qn_location location = QN_LOCATION_INIT;
    qn_auto_stream stream = { 0 };
    struct total total = { 0 };
    write_arrow("a.arrow", 1, 10000);
    write_arrow("b.arrow", 5, 6);
    struct qn_connector *connector = opened("", "");
    location.location = "a.arrow";
    ok(qn_connector_data(connector, &location, NULL, &stream, &error));
    assert_int_equal(rename(path_of("b.arrow"), path_of("a.arrow")), 0);
    ok(add_batches(&stream, &total));
    assert_int_equal(total.rows, 10000);
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

/* ---- staying in the folder ---- */

static void data__never_leaves_the_folder(void **state)
{
    (void)state;
    struct total total = { 0 };
    static const char *const outside[] = {
        "../secret.arrow", "/etc/passwd", "sub/../../secret.arrow", "./a.arrow", "sub//a.arrow", "sub/", "", "..",
        "sub/../a.arrow"
    };
    write_arrow("secret.arrow", 1, 3);
    assert_int_equal(mkdir(path_of("in"), 0777), 0);
    assert_int_equal(mkdir(path_of("in/sub"), 0777), 0);
    write_arrow("in/a.arrow", 1, 3);
    struct qn_connector *connector = opened("in", "");
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        refused(read_location(connector, outside[i], "", NULL, &total), QN_ERR_ARGUMENT,
                "not the path of a file below the folder");
    }
    ok(read_location(connector, "a.arrow", "", NULL, &total));
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

static void links__lead_out_only_where_they_are_followed(void **state)
{
    (void)state;
    struct total total = { 0 };
    struct seen seen = { 0 };
    assert_int_equal(mkdir(path_of("in"), 0777), 0);
    assert_int_equal(mkdir(path_of("out"), 0777), 0);
    write_arrow("out/secret.arrow", 1, 3);
    write_arrow("in/a.arrow", 4, 6);
    assert_int_equal(symlink("../out/secret.arrow", path_of("in/b.arrow")), 0);
    assert_int_equal(symlink("a.arrow", path_of("in/c.arrow")), 0);
    assert_int_equal(symlink("../out", path_of("in/d")), 0);
    assert_int_equal(symlink(".", path_of("in/e")), 0);
    assert_int_equal(symlink("nowhere", path_of("in/f.arrow")), 0);
    struct qn_connector *connector = opened("in", "\"recursive\": \"true\", \"copy\": \"false\"");
    discovers(connector, "a.arrow\nb.arrow\nc.arrow\nf.arrow\n");
    ok(read_location(connector, "c.arrow", "", NULL, &total));
    assert_int_equal(total.sum, 15);
    refused(read_location(connector, "b.arrow", "", NULL, &total), QN_ERR_IO, "a link that leads out of the folder");
    assert_non_null(strstr(error.hint, "follow_links"));
    refused(read_location(connector, "d/secret.arrow", "", NULL, &total), QN_ERR_IO, "leads out of the folder");
    refused(read_location(connector, "f.arrow", "", NULL, &total), QN_ERR_IO, "No such file");
    qn_connector_free(connector);

    connector = opened("in", "\"pattern\": \"b*\", \"copy\": \"false\"");
    discover_given(connector, NULL, 0, &seen); /* no reference to what cannot be read: its data says why */
    assert_true(seen.must_copy);
    qn_connector_free(connector);

    connector = opened("in", "\"recursive\": \"true\", \"follow_links\": \"true\"");
    discovers(connector, "a.arrow\nb.arrow\nc.arrow\nd/secret.arrow\nf.arrow\n"); /* "e" is a circle */
    ok(read_location(connector, "b.arrow", "", NULL, &total));
    assert_int_equal(total.sum, 6);
    ok(read_location(connector, "d/secret.arrow", "", NULL, &total));
    qn_connector_free(connector);
    qn_buffer_dispose(&seen.text);
    qn_buffer_dispose(&total.text);
}

/* ---- arguments ---- */

static void open__refuses_wrong_arguments(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    write_arrow("a.arrow", 1, 3);
    refused(open_with("files", "{}", &connector), QN_ERR_CONFIG, "argument \"path\" is missing");
    refused(open_with("files", with("", "\"patern\": \"*\""), &connector), QN_ERR_CONFIG,
            "argument \"patern\" is not known; known are path, pattern");
    refused(open_with("files", with("", "\"cvs.delimiter\": \";\""), &connector), QN_ERR_CONFIG, "cvs.delimiter");
    refused(open_with("files", with("", "\"recursive\": \"maybe\""), &connector), QN_ERR_CONFIG, "neither true nor");
    refused(open_with("files", with("", "\"version\": \"x\""), &connector), QN_ERR_CONFIG, "time, content and none");
    refused(open_with("files", with("", "\"format\": \"excel\""), &connector), QN_ERR_UNSUPPORTED,
            "no format \"excel\"");
    refused(open_with("files", with("missing", ""), &connector), QN_ERR_IO, "No such file");
    refused(open_with("files", with("a.arrow", "\"pattern\": \"*\""), &connector), QN_ERR_CONFIG, "is a file");
    refused(open_with("files", with("*.arrow", "\"pattern\": \"*\""), &connector), QN_ERR_CONFIG, "besides");
    refused(open_with("files", with("", "\"pattern\": \"/etc/*\""), &connector), QN_ERR_CONFIG, "not below the folder");
    assert_null(connector);
}

static void open__takes_relative_paths_from_the_folder(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    write_arrow("a.arrow", 1, 3);
    connector_options.folder = folder;
    ok(open_with("files", "{\"path\": \".\"}", &connector));
    discovers(connector, "a.arrow\n");
    qn_connector_free(connector);
    ok(open_with("files::*.arrow", NULL, &connector));
    discovers(connector, "a.arrow\n");
    qn_connector_free(connector);
    connector_options.folder = NULL;
}

/* ---- references ---- */

static void reference__opens_files(void **state)
{
    (void)state;
    char url[256];
    int fd = -1;
    char bytes[6] = "";
    struct qn_reference_facts facts;
    write_bytes(path_of("a b.txt"), "hello", 5);
    (void)snprintf(url, sizeof url, "file://localhost%s/a%%20b.txt", folder);
    ok(qn_reference_open(url, NULL, 0, &fd, &facts, &error));
    assert_int_equal(read(fd, bytes, 5), 5);
    assert_string_equal(bytes, "hello");
    assert_int_equal(facts.size, 5);
    assert_int_equal(strncmp(facts.version, "5-", 2), 0);
    assert_int_equal(close(fd), 0);
    ok(qn_reference_open("a b.txt", folder, 0, &fd, NULL, &error));
    assert_int_equal(close(fd), 0);
    refused(qn_reference_open("file://other/x", NULL, 0, &fd, NULL, &error), QN_ERR_UNSUPPORTED, "another machine");
    refused(qn_reference_open("file:///x%zz", NULL, 0, &fd, NULL, &error), QN_ERR_CONFIG, "not a byte");
    refused(qn_reference_open("file:///x%00", NULL, 0, &fd, NULL, &error), QN_ERR_CONFIG, "not a byte");
    refused(qn_reference_open("s3://bucket/x", NULL, 0, &fd, NULL, &error), QN_ERR_UNSUPPORTED, "s3://");
    refused(qn_reference_open("missing", folder, 0, &fd, NULL, &error), QN_ERR_IO, "No such file");
    refused(qn_reference_open(folder, NULL, 0, &fd, NULL, &error), QN_ERR_IO, "is a folder");
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern__matches_parts),
        in_folder(discover__takes_what_is_asked_for),
        in_folder(discover__tells_format_version_rows_and_copy),
        in_folder(discover__refuses_a_name_that_is_no_text),
        in_folder(discover__passes_over_what_is_no_file),
        in_folder(data__gives_all_rows_of_a_file),
        in_folder(data__knows_a_format_by_its_bytes),
        in_folder(data__refuses_another_version),
        in_folder(data__refuses_a_file_that_changes_while_it_is_read),
        in_folder(data__goes_on_with_a_file_that_was_replaced),
        in_folder(data__never_leaves_the_folder),
        in_folder(links__lead_out_only_where_they_are_followed),
        in_folder(open__refuses_wrong_arguments),
        in_folder(open__takes_relative_paths_from_the_folder),
        in_folder(reference__opens_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
