/*
 * test_format.c: the table of formats, writers that keep their failure, projection, and Arrow files under faults. What the
 * values are is compared with pyarrow and polars, by check_arrow.py.
 */
#include "format/format.h"

#include "../arrow/fixture.h"
#include "arrow/stream.h"
#include "base/fault.h"

#include <sys/mman.h>
#include <unistd.h>

#define ROWS 1000

/* ---- a format of the test's own: it reads nothing ---- */

static int written, finished, freed;
static enum qn_status answer;

static enum qn_status nothing_read(void *context, const struct qn_format_input *input, struct ArrowArrayStream *out,
                                   bool *all_out, struct qn_error *err)
{
    (void)context, (void)out, (void)all_out;
    return qn_error_set(err, QN_ERR_DATA, "\"%s\": nothing is read", input->name);
}

static enum qn_status nothing_begun(void *context, const struct ArrowSchema *schema, const struct qn_format_sink *sink,
                                    void **out, struct qn_error *err)
{
    (void)schema, (void)sink, (void)err;
    *out = context;
    return QN_OK;
}

static enum qn_status nothing_written(void *writer, struct ArrowArray *batch, struct qn_error *err)
{
    (void)writer, (void)batch;
    written++;
    return answer == QN_OK ? QN_OK : qn_error_set(err, answer, "the disk is full");
}

static enum qn_status nothing_finished(void *writer, struct qn_error *err)
{
    (void)writer, (void)err;
    finished++;
    return QN_OK;
}

static void nothing_freed(void *writer)
{
    (void)writer;
    freed++;
}

static struct qn_format sample(const char *name)
{
    return (struct qn_format){ .struct_size = sizeof(struct qn_format),
                               .abi = QN_FORMAT_ABI,
                               .name = name,
                               .suffixes = "smp sample",
                               .content_types = "application/x-sample text/sample",
                               .magic = "SMP1",
                               .magic_size = 4,
                               .read = nothing_read,
                               .writer_new = nothing_begun,
                               .write = nothing_written,
                               .finish = nothing_finished,
                               .writer_free = nothing_freed };
}

static struct qn_format registered;

static void register__refuses_what_is_not_whole(void **state)
{
    (void)state;
    const char *const names[] = { NULL, "", "Sample", "a-b", "a_name_of_many_characters", "arrow" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct qn_format bad = sample(names[i]);
        refused(qn_format_register(&bad, &error), QN_ERR_ARGUMENT, i < 5 ? "name of a format" : "already");
    }
    struct qn_format bad = sample("bad");
    bad.abi = 2;
    refused(qn_format_register(&bad, &error), QN_ERR_ARGUMENT, "another version");
    bad = sample("bad");
    bad.read = NULL;
    refused(qn_format_register(&bad, &error), QN_ERR_ARGUMENT, "read is missing");
    bad = sample("bad");
    bad.finish = NULL;
    refused(qn_format_register(&bad, &error), QN_ERR_ARGUMENT, "writer_new, write, finish");
    bad = sample("bad");
    bad.suffixes = NULL;
    refused(qn_format_register(&bad, &error), QN_ERR_ARGUMENT, "suffixes");
    refused(qn_format_register(NULL, &error), QN_ERR_ARGUMENT, "another version");
    assert_null(qn_format_find("bad"));
}

static void find__gives_what_is_registered_and_says_what_is_not(void **state)
{
    (void)state;
    const struct qn_format *found;
    assert_ptr_equal(qn_format_find("sample"), &registered);
    ok(qn_format_get("arrow", &found, &error));
    assert_ptr_equal(found, &qn__format_arrow);
    refused(qn_format_get("parquet", &found, &error), QN_ERR_UNSUPPORTED, "comes with the Python package");
    assert_non_null(strstr(error.message, "registered: arrow, sample"));
    assert_non_null(strstr(error.hint, "qanat[bundles]"));
    refused(qn_format_get("xml", &found, &error), QN_ERR_UNSUPPORTED, "there is no format \"xml\"");
}

static void guess__asks_type_then_suffix_then_magic(void **state)
{
    (void)state;
    static const struct {
        const char *type, *name, *head;
        const char *format;
    } cases[] = {
        { "text/sample", "x.arrow", "ARROW1", "sample" },
        { "Text/Sample; charset=utf-8", NULL, NULL, "sample" },
        { "text/plain", "a/b.c/x.ARROW", NULL, "arrow" },
        { NULL, "x.feather", "SMP1", "arrow" },
        { "application/octet-stream", "x.bin", "SMP1 and more", "sample" },
        { NULL, NULL, "ARROW1", "arrow" },
        { NULL, "https://host/v1.sample/file", NULL, NULL },
        { NULL, "x.", "ARR", NULL },
        { "", "", "", NULL },
        { NULL, "arrow", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct qn_format *found = qn_format_guess(cases[i].type, cases[i].name, cases[i].head,
                                                        cases[i].head != NULL ? strlen(cases[i].head) : 0);
        assert_string_equal(found != NULL ? found->name : "none", cases[i].format != NULL ? cases[i].format : "none");
    }
}

static void writer__keeps_its_failure(void **state)
{
    (void)state;
    struct qn_format_writer *writer;
    struct qn_format_sink sink = { .struct_size = sizeof sink };
    struct ArrowSchema schema = { 0 };
    struct ArrowArray batch = { 0 };
    written = finished = freed = 0;
    ok(qn_format_writer_new(&registered, &schema, &sink, &writer, &error));
    answer = QN_ERR_IO;
    refused(qn_format_writer_write(writer, &batch, &error), QN_ERR_IO, "the disk is full");
    answer = QN_OK;
    refused(qn_format_writer_write(writer, &batch, &error), QN_ERR_IO, "the disk is full");
    refused(qn_format_writer_finish(writer, &error), QN_ERR_IO, "the disk is full");
    qn_format_writer_free(writer);
    assert_int_equal(written, 1);
    assert_int_equal(finished, 0);
    assert_int_equal(freed, 1);
    ok(qn_format_writer_new(&registered, &schema, &sink, &writer, &error));
    ok(qn_format_writer_finish(writer, &error));
    refused(qn_format_writer_write(writer, &batch, &error), QN_ERR_ARGUMENT, "is finished");
    qn_format_writer_free(writer);
    qn_format_writer_free(NULL);
    struct qn_format reads = sample("reads");
    reads.writer_new = NULL;
    refused(qn_format_writer_new(&reads, &schema, &sink, &writer, &error), QN_ERR_UNSUPPORTED, "not written");
}

/* ---- Arrow files ---- */

static struct ArrowSchema schema;
static struct ArrowArray batch;

/* id: Int64, and text: views, long ones */
static int set_up(void **state)
{
    (void)state;
    struct qn_batch made;
    ok(qn_schema_struct(&schema, 2, &error));
    ok(qn_schema_set_from_text(&schema, 0, "id", "Int64!", &error));
    ok(qn_schema_set_from_text(&schema, 1, "text", "Utf8", &error));
    ok(qn_batch_init(&made, &schema, &error));
    for (int64_t row = 0; row < ROWS; row++) {
        ok(qn_batch_reserve(&made, 1, &error));
        qn_column_put_int64(&made.columns[0], row);
        qn_column_put_bytes(&made.columns[1], "a text of more than twelve bytes", row % 2 == 0 ? 32 : 3);
    }
    ok(qn_batch_finish(&made, ROWS, &batch, &error));
    qn_batch_dispose(&made);
    registered = sample("sample");
    ok(qn_format_register(&registered, &error));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    qn_schema_release(&schema);
    qn_array_release(&batch);
    return 0;
}

static enum qn_status to_file(void *context, const void *bytes, size_t size, struct qn_error *err)
{
    if (qn_fault_hit(QN_FAULT_WRITE)) {
        return qn_error_set(err, QN_ERR_IO, "the disk is full");
    }
    assert_int_equal(write(*(const int *)context, bytes, size), size);
    return QN_OK;
}

static enum qn_status write_file(int fd, int batches)
{
    struct qn_format_writer *writer = NULL;
    struct qn_format_sink sink = { .struct_size = sizeof sink, .context = &fd, .write = to_file };
    error = (struct qn_error)QN_ERROR_INIT;
    enum qn_status status = qn_format_writer_new(&qn__format_arrow, &schema, &sink, &writer, &error);
    for (int i = 0; i < batches && status == QN_OK; i++) {
        status = qn_format_writer_write(writer, &batch, &error);
    }
    status = status != QN_OK ? status : qn_format_writer_finish(writer, &error);
    qn_format_writer_free(writer);
    return status;
}

static int make_file(void)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static struct qn_format_input input_of(int fd)
{
    return (struct qn_format_input){ .struct_size = sizeof(struct qn_format_input), .fd = fd, .name = "test.arrow" };
}

static enum qn_status read_file(const struct qn_format_input *input, int64_t *rows_out)
{
    qn_auto_stream stream = { 0 };
    error = (struct qn_error)QN_ERROR_INIT;
    QN_TRY(qn_format_read(&qn__format_arrow, input, &stream, &error));
    *rows_out = 0;
    for (;;) {
        qn_auto_array got = { 0 };
        QN_TRY(qn_stream_next(&stream, &got, &error));
        if (got.release == NULL) {
            return QN_OK;
        }
        *rows_out += got.length;
    }
}

static void arrow__batches_outlive_stream_and_descriptor(void **state)
{
    (void)state;
    int fd = make_file();
    ok(write_file(fd, 3));
    struct qn_format_input input = input_of(fd);
    qn_auto_stream stream = { 0 };
    struct ArrowArray kept[3];
    ok(qn_format_read(&qn__format_arrow, &input, &stream, &error));
    close(fd);
    for (int i = 0; i < 3; i++) {
        ok(qn_stream_next(&stream, &kept[i], &error));
    }
    qn_stream_release(&stream);
    for (int i = 0; i < 3; i++) {
        const int64_t *ids = kept[i].children[0]->buffers[1];
        assert_int_equal((uintptr_t)ids % 64, 0);
        assert_int_equal(ids[ROWS - 1], ROWS - 1);
        qn_array_release(&kept[i]);
    }
}

static void arrow__gives_exactly_the_columns_asked_for(void **state)
{
    (void)state;
    int fd = make_file();
    ok(write_file(fd, 1));
    static const char *const swapped[] = { "text", "id" }, *const one[] = { "id" }, *const none[] = { NULL };
    static const char *const missing[] = { "id", "price" }, *const twice[] = { "id", "id" };
    const struct {
        const char *const *columns;
        size_t n;
    } good[] = { { swapped, 2 }, { one, 1 }, { none, 0 } };
    struct qn_format_input input = input_of(fd);
    for (size_t i = 0; i < 3; i++) {
        qn_auto_stream stream = { 0 };
        qn_auto_schema got = { 0 };
        qn_auto_array rows = { 0 };
        input.columns = good[i].columns;
        input.n_columns = good[i].n;
        ok(qn_format_read(&qn__format_arrow, &input, &stream, &error));
        ok(qn_stream_schema(&stream, &got, &error));
        ok(qn_stream_next(&stream, &rows, &error));
        assert_int_equal(got.n_children, good[i].n);
        assert_int_equal(rows.n_children, good[i].n);
        assert_int_equal(rows.length, ROWS);
        for (size_t c = 0; c < good[i].n; c++) {
            assert_string_equal(got.children[c]->name, good[i].columns[c]);
            assert_int_equal(rows.children[c]->length, ROWS);
        }
    }
    struct ArrowArrayStream unused;
    input.n_columns = 2;
    input.columns = missing;
    refused(qn_format_read(&qn__format_arrow, &input, &unused, &error), QN_ERR_DATA, "no column \"price\"");
    input.columns = twice;
    refused(qn_format_read(&qn__format_arrow, &input, &unused, &error), QN_ERR_ARGUMENT, "asked for twice");
    input.columns = NULL;
    input.options = "{\"delimiter\": \";\"}";
    refused(qn_format_read(&qn__format_arrow, &input, &unused, &error), QN_ERR_CONFIG, "no options");
    close(fd);
}

static void arrow__a_file_that_shrinks_while_it_is_read_is_an_error(void **state)
{
    (void)state;
    int fd = make_file();
    ok(write_file(fd, 3));
    struct qn_format_input input = input_of(fd);
    qn_auto_stream stream = { 0 };
    qn_auto_array first = { 0 };
    struct ArrowArray second;
    ok(qn_format_read(&qn__format_arrow, &input, &stream, &error));
    ok(qn_stream_next(&stream, &first, &error));
    assert_int_equal(ftruncate(fd, 1000), 0);
    refused(qn_stream_next(&stream, &second, &error), QN_ERR_DATA, "\"test.arrow\": ");
    close(fd);
}

static void arrow__is_no_pipe(void **state)
{
    (void)state;
    int ends[2];
    int64_t rows;
    assert_int_equal(pipe(ends), 0);
    struct qn_format_input input = input_of(ends[0]);
    refused(read_file(&input, &rows), QN_ERR_IO, "it is no file");
    close(ends[0]);
    close(ends[1]);
}

static void faults__anywhere_are_typed(void **state)
{
    (void)state;
    int64_t rows;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: a build without fault points\n");
        skip();
    }
    static const struct {
        enum qn_fault_kind kind;
        enum qn_status status;
    } kinds[] = { { QN_FAULT_ALLOC, QN_ERR_NO_MEMORY }, { QN_FAULT_WRITE, QN_ERR_IO }, { QN_FAULT_READ, QN_ERR_IO } };
    int good = make_file();
    ok(write_file(good, 2));
    struct qn_format_input input = input_of(good);
    for (size_t i = 0; i < 3; i++) {
        for (int half = 0; half < 2; half++) {
            for (int64_t n = 1;; n++) {
                int fd = make_file();
                assert_true(qn_fault_arm(kinds[i].kind, n, QN_FAULT_ONCE));
                enum qn_status status = half == 0 ? write_file(fd, 2) : read_file(&input, &rows);
                int64_t hits = qn_fault_count(kinds[i].kind);
                (void)qn_fault_arm(kinds[i].kind, 0, QN_FAULT_ONCE);
                close(fd);
                if (hits < n) {
                    assert_int_equal(status, QN_OK);
                    break;
                }
                assert_int_equal(status, kinds[i].status);
                assert_int_not_equal(error.message[0], '\0');
            }
        }
    }
    close(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(register__refuses_what_is_not_whole),
        cmocka_unit_test(find__gives_what_is_registered_and_says_what_is_not),
        cmocka_unit_test(guess__asks_type_then_suffix_then_magic),
        cmocka_unit_test(writer__keeps_its_failure),
        cmocka_unit_test(arrow__batches_outlive_stream_and_descriptor),
        cmocka_unit_test(arrow__gives_exactly_the_columns_asked_for),
        cmocka_unit_test(arrow__a_file_that_shrinks_while_it_is_read_is_an_error),
        cmocka_unit_test(arrow__is_no_pipe),
        cmocka_unit_test(faults__anywhere_are_typed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
