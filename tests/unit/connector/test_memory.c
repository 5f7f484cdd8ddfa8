/*
 * test_memory.c: the data of a location passes through in the memory of a batch, whatever its size, also where a frame of
 * version 1 is as long as one can be. QANAT_TORTURE=1: at full size.
 * usage: test_memory PYTHON HOSTILE_CONNECTOR
 */
#include "fixture.h"

#include "base/buffer.h"

#include <fcntl.h>
#include <unistd.h>

#define BATCH_ROWS   (128 * 1024) /* of 8 bytes */
#define BATCH_BYTES  (BATCH_ROWS * 8)
#define LONGEST      INT64_C(4294967295)
#define MAX_GROWTH   (64 << 20)
#define SAMPLE_BYTES (INT64_C(400) << 20)
#define WHOLE_BYTES  (INT64_C(6) << 30)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true /* memory that was freed is kept for a while */
#else
#define SANITIZED false
#endif

static const char *python, *script;
static char messages_path[] = "/tmp/qanat-test-memory-XXXXXX";

static bool torture(void)
{
    const char *value = getenv("QANAT_TORTURE");
    return value != NULL && qn_text_equal(value, "1");
}

/* A line of /proc/self/status in bytes. */
static int64_t status_of(const char *name)
{
    char line[256];
    long long kib = -1;
    FILE *file = fopen("/proc/self/status", "re");
    assert_non_null(file);
    while (kib < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            assert_int_equal(sscanf(line + strlen(name), ": %lld kB", &kib), 1);
        }
    }
    fclose(file);
    return kib * 1024;
}

static void forget_peak(void)
{
    int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(write(file, "5", 1), 1);
    close(file);
}

/* The schema, a large batch, one of `last` rows and the mark, as the connector reads them. */
static int64_t make_messages(int64_t last)
{
    int file = open(messages_path, O_TRUNC | O_WRONLY | O_CLOEXEC);
    int64_t others = 0;
    qn_auto_buffer with = QN_BUFFER_INIT;
    qn_auto_buffer batch = QN_BUFFER_INIT;
    qn_auto_buffer small = QN_BUFFER_INIT;
    qn_auto_buffer mark = QN_BUFFER_INIT;
    qn_auto_buffer schema = QN_BUFFER_INIT;
    append_arrow(&with, true, "id", 0, BATCH_ROWS);
    append_arrow(&batch, false, "id", 0, BATCH_ROWS);
    append_arrow(&small, false, "id", 0, last);
    qn_buffer_append(&schema, with.data, with.size - batch.size);
    qn_ipc_encode_end(&mark);
    const struct qn_buffer *const all[] = { &schema, &batch, &small, &mark };
    assert_true(file >= 0);
    for (int i = 0; i < 4; i++) {
        uint64_t size = all[i]->size;
        others += i == 1 ? 0 : (int64_t)size;
        assert_int_equal(write(file, &size, sizeof size), sizeof size);
        assert_int_equal(write(file, all[i]->data, size), (ssize_t)size);
    }
    close(file);
    return others;
}

static void set_number(const char *name, int64_t number)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)number);
    setenv(name, text, 1);
}

/* Read a location of `batches` large ones and a last of `last` rows. */
static void passes_through(const char *mode, int64_t batches, int64_t last)
{
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector;
    qn_auto_stream stream = { 0 };
    char uri[512];
    set_number("QANAT_TEST_BATCHES", batches);
    set_number("QANAT_TEST_ROWS", BATCH_ROWS);
    set_number("QANAT_TEST_LAST", last);
    (void)snprintf(uri, sizeof uri, "ipc::%s -S -E '%s' %s %s", python, script, mode, messages_path);
    options.allow_external_code = true;
    ok(qn_connector_open(uri, &options, &connector, &error));
    int64_t idle = status_of("VmRSS");
    forget_peak();
    ok(qn_connector_data(connector, &location_a, NULL, &stream, &error));
    int64_t rows = 0;
    for (;;) {
        qn_auto_array batch = { 0 };
        ok(qn_stream_next(&stream, &batch, &error));
        if (batch.release == NULL) {
            break;
        }
        rows += batch.length;
    }
    int64_t growth = status_of("VmHWM") - idle;
    assert_int_equal(rows, batches * BATCH_ROWS + last);
    print_message("%s: %lld MiB passed through, %lld KiB above idle\n", mode, (long long)(rows * 8 >> 20),
                  (long long)(growth >> 10));
    if (SANITIZED) {
        print_message("memory is not judged: a sanitizer keeps what was freed\n");
    } else {
        assert_true(growth < MAX_GROWTH);
    }
    qn_connector_free(connector);
}

/* trace: B5 */
static void version_2__passes_through_in_the_memory_of_a_batch(void **state)
{
    (void)state;
    (void)make_messages(7);
    passes_through("much", (torture() ? WHOLE_BYTES : SAMPLE_BYTES) / BATCH_BYTES, 7);
}

/* The last batch makes the frame as long as messages of whole 64 bytes can: 4 GiB - 1 in torture. */
static void version_1__passes_through_up_to_the_longest_frame(void **state)
{
    (void)state;
    int64_t wanted = torture() ? LONGEST : SAMPLE_BYTES - 1;
    qn_auto_buffer batch = QN_BUFFER_INIT;
    append_arrow(&batch, false, "id", 0, BATCH_ROWS);
    int64_t around = make_messages(8);
    int64_t batches = (wanted - around) / (int64_t)batch.size;
    int64_t last = 8 + (wanted - around - batches * (int64_t)batch.size) / 64 * 8;
    int64_t size = make_messages(last) + batches * (int64_t)batch.size;
    assert_true(size <= wanted && size > wanted - 64);
    passes_through("v1_much", batches, last);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2__passes_through_in_the_memory_of_a_batch),
        cmocka_unit_test(version_1__passes_through_up_to_the_longest_frame),
    };
    int file = mkstemp(messages_path);
    if (argc != 3 || file < 0) {
        print_error("usage: test_memory PYTHON HOSTILE_CONNECTOR\n");
        return 2;
    }
    close(file);
    python = argv[1];
    script = argv[2];
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(messages_path);
    return failed;
}
