/*
 * floor_sqlite.c: the least that reading a query through SQLite's own interface can cost: step to every row, fetch every
 * value in its own type, add up, build nothing.
 *
 *   floor_sqlite FILE SQL     prints {"rows": ..., "wall": seconds, "cpu": seconds}
 */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

static double wall(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
    if (argc != 3 || sqlite3_open_v2(argv[1], &database, flags, NULL) != SQLITE_OK ||
        sqlite3_exec(database, "pragma mmap_size = 1073741824", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(database, argv[2], -1, &statement, NULL) != SQLITE_OK) {
        (void)fprintf(stderr, "usage: %s FILE SQL\n", argv[0]);
        return 2;
    }
    double wall_start = wall();
    double cpu_start = cpu();
    int columns = sqlite3_column_count(statement);
    int64_t rows = 0;
    int64_t sum = 0;
    while (sqlite3_step(statement) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++) {
            sqlite3_value *value = sqlite3_column_value(statement, i);
            switch (sqlite3_value_type(value)) {
            case SQLITE_INTEGER:
                sum += sqlite3_value_int64(value);
                break;
            case SQLITE_FLOAT:
                sum += (int64_t)sqlite3_value_double(value);
                break;
            case SQLITE_TEXT:
                sum += sqlite3_value_text(value)[0] + sqlite3_value_bytes(value);
                break;
            default:
                sum++;
                break;
            }
        }
        rows++;
    }
    (void)printf("{\"rows\": %lld, \"sum\": %lld, \"wall\": %.6f, \"cpu\": %.6f}\n", (long long)rows, (long long)sum,
                 wall() - wall_start, cpu() - cpu_start);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(database);
    return 0;
}
