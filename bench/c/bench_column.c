/*
 * bench_column.c: what a put into a column costs, beside the memcpy of as many bytes of values. Not a test: it prints.
 *
 *   bench_column [ROWS_PER_BATCH]     one line a case: ns of CPU a value, the best of several rounds, and the floor
 *
 * Every round builds batches of 65,536 rows (or what is given) up to 4 million values: reserve, put, finish, release, as
 * a driver does. The floor copies the finished buffers' bytes into memory that is new for each batch too.
 */
#include "arrow/column.h"
#include "arrow/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VALUES INT64_C(4000000)
#define ROUNDS 7

static char text[64] = "a text that is longer than what fits inline, of sixty bytes.....";
static int64_t rows_per_batch = 65536;
static volatile uint64_t sink;

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "%s failed\n", what);
    exit(1);
}

typedef void (*put_rows)(struct qn_column *column, int64_t rows);

static void put_int64(struct qn_column *column, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++) {
        qn_column_put_int64(column, row);
    }
}

static void put_int64_some_null(struct qn_column *column, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++) {
        if (row % 10 == 9) {
            qn_column_put_null(column);
        } else {
            qn_column_put_int64(column, row);
        }
    }
}

static void put_bool(struct qn_column *column, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++) {
        qn_column_put_bool(column, row % 3 == 0);
    }
}

static void put_decimal(struct qn_column *column, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++) {
        qn_column_put_decimal128(column, row);
    }
}

/* 1 to 12 bytes: inline. */
static void put_short(struct qn_column *column, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++) {
        qn_column_put_bytes(column, text, (size_t)(row % 12) + 1);
    }
}

/* 13 to 60 bytes: copied into blocks. */
static void put_long(struct qn_column *column, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++) {
        qn_column_put_bytes(column, text, (size_t)(row % 48) + 13);
    }
}

static struct qn_column make_column(enum qn_type_id id)
{
    struct qn_type type = id == QN_TYPE_DECIMAL128 ? qn_type_decimal(38, 2) : qn_type_of(id);
    struct qn_column column;
    qn_auto_schema schema = { 0 };
    if (qn_schema_struct(&schema, 1, NULL) != QN_OK || qn_schema_set(&schema, 0, "c", &type, NULL) != QN_OK ||
        qn_column_init(&column, schema.children[0], NULL) != QN_OK) {
        die("a column");
    }
    return column;
}

static void copy_buffer(const void *buffer, int64_t size)
{
    char *copy = malloc((size_t)size);
    if (copy == NULL) {
        die("memory");
    }
    memcpy(copy, buffer, (size_t)size);
    sink += (uint64_t)copy[size / 2];
    free(copy);
}

/* The bytes of an array's buffers besides validity, into new memory. */
static double copy_floor(const struct ArrowArray *array, const struct qn_type *type, int64_t data_bytes)
{
    double begin = now();
    copy_buffer(array->buffers[1], data_bytes);
    if (type->id == QN_TYPE_STRING) {
        copy_buffer(array->buffers[2], ((const int32_t *)array->buffers[1])[array->length]);
    }
    if (array->n_buffers > 3) {
        const int64_t *sizes = array->buffers[array->n_buffers - 1];
        for (int64_t i = 0; i < array->n_buffers - 3; i++) {
            copy_buffer(array->buffers[2 + i], sizes[i]);
        }
    }
    return now() - begin;
}

static void measure(const char *name, enum qn_type_id id, put_rows put)
{
    struct qn_column column = make_column(id);
    double best = 1e18, best_floor = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double spent = 0, floor = 0;
        for (int64_t done = 0; done < VALUES; done += rows_per_batch) {
            struct ArrowArray array;
            double begin = now();
            if (qn_column_reserve(&column, rows_per_batch, NULL) != QN_OK) {
                die("reserve");
            }
            put(&column, rows_per_batch);
            int64_t bytes = column.layout == QN_LAYOUT_BITS ? rows_per_batch / 8 : rows_per_batch * column.width;
            if (qn_column_finish(&column, &array, NULL) != QN_OK) {
                die("finish");
            }
            spent += now() - begin;
            floor += copy_floor(&array, &column.type, bytes);
            begin = now();
            array.release(&array);
            spent += now() - begin;
        }
        best = spent < best ? spent : best;
        best_floor = floor < best_floor ? floor : best_floor;
    }
    double values = (double)((VALUES + rows_per_batch - 1) / rows_per_batch * rows_per_batch);
    (void)printf("%-28s %6.2f ns a value   memcpy %6.2f\n", name, best / values, best_floor / values);
    qn_column_dispose(&column);
}

/* Reading back: the generic getters over a bound column. */
static void measure_read(const char *name, enum qn_type_id id, put_rows put)
{
    struct qn_column column = make_column(id);
    struct qn_reader reader;
    struct ArrowArray array;
    char format[QN_TYPE_MAX_FORMAT];
    qn_type_to_format(&column.type, format);
    qn_auto_schema schema = { 0 };
    if (qn_column_reserve(&column, rows_per_batch, NULL) != QN_OK) {
        die("reserve");
    }
    put(&column, rows_per_batch);
    if (qn_schema_struct(&schema, 1, NULL) != QN_OK || qn_schema_set(&schema, 0, "c", &column.type, NULL) != QN_OK ||
        qn_column_finish(&column, &array, NULL) != QN_OK ||
        qn_reader_init(&reader, schema.children[0], NULL) != QN_OK || qn_reader_bind(&reader, &array, NULL) != QN_OK) {
        die("a reader");
    }
    double best = 1e18;
    for (int round = 0; round < ROUNDS * 10; round++) {
        double begin = now();
        uint64_t sum = 0;
        for (int64_t row = 0; row < rows_per_batch; row++) {
            const char *bytes;
            size_t size;
            if (qn_reader_is_null(&reader, row)) {
                continue;
            }
            if (id == QN_TYPE_INT64) {
                sum += (uint64_t)qn_reader_int64(&reader, row);
            } else if (qn_reader_bytes(&reader, row, &bytes, &size)) {
                sum += size + (unsigned char)bytes[0];
            }
        }
        sink += sum;
        double spent = now() - begin;
        best = spent < best ? spent : best;
    }
    (void)printf("%-28s %6.2f ns a value\n", name, best / (double)rows_per_batch);
    array.release(&array);
    qn_reader_dispose(&reader);
    qn_column_dispose(&column);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        rows_per_batch = strtoll(argv[1], NULL, 10);
        if (rows_per_batch < 8 || rows_per_batch > VALUES) {
            (void)fprintf(stderr, "usage: %s [ROWS_PER_BATCH]   (8 to %lld)\n", argv[0], (long long)VALUES);
            return 2;
        }
    }
    measure("int64", QN_TYPE_INT64, put_int64);
    measure("int64, a tenth null", QN_TYPE_INT64, put_int64_some_null);
    measure("bool", QN_TYPE_BOOL, put_bool);
    measure("decimal128", QN_TYPE_DECIMAL128, put_decimal);
    measure("view, 1 to 12 bytes", QN_TYPE_STRING_VIEW, put_short);
    measure("view, 13 to 60 bytes", QN_TYPE_STRING_VIEW, put_long);
    measure("offsets32, 1 to 12 bytes", QN_TYPE_STRING, put_short);
    measure("offsets32, 13 to 60 bytes", QN_TYPE_STRING, put_long);
    measure_read("read int64, a tenth null", QN_TYPE_INT64, put_int64_some_null);
    measure_read("read view, 1 to 12 bytes", QN_TYPE_STRING_VIEW, put_short);
    measure_read("read view, 13 to 60 bytes", QN_TYPE_STRING_VIEW, put_long);
    measure_read("read offsets32, 13 to 60", QN_TYPE_STRING, put_long);
    return 0;
}
