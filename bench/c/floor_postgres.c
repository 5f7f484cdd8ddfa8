/*
 * floor_postgres.c: the least that reading a query from PostgreSQL can cost. It asks for binary rows by the extended
 * protocol, drains the socket with large reads and only counts bytes: no row is looked at.
 *
 *   floor_postgres CONNINFO SQL     prints {"bytes": ..., "wall": seconds, "cpu": seconds}
 *
 * libpq connects; the bytes are read from its (unencrypted) socket. The end is the server's ReadyForQuery in an idle
 * transaction state as the last six bytes of what has arrived.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 20];

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

static size_t put_message(char *at, char type, const char *body, size_t size)
{
    uint32_t length = __builtin_bswap32((uint32_t)size + 4);
    at[0] = type;
    memcpy(at + 1, &length, 4);
    memcpy(at + 5, body, size);
    return size + 5;
}

/* Parse, Bind (all results binary), Execute, Sync for a statement without parameters. */
static size_t put_query(char *at, const char *sql)
{
    char body[16384];
    size_t sql_size = strlen(sql) + 1;
    body[0] = '\0';
    memcpy(body + 1, sql, sql_size);
    memcpy(body + 1 + sql_size, "\0", 2);
    size_t used = put_message(at, 'P', body, sql_size + 3);
    static const char bind[] = "\0\0\0\0\0\0\0\1\0\1";
    used += put_message(at + used, 'B', bind, sizeof bind - 1);
    used += put_message(at + used, 'E', "\0\0\0\0", 5);
    used += put_message(at + used, 'S', "", 0);
    return used;
}

static int drain(int fd, int64_t *bytes_out)
{
    static const char ready[] = { 'Z', 0, 0, 0, 5, 'I' };
    char tail[sizeof ready] = { 0 };
    for (;;) {
        ssize_t got = read(fd, buffer, sizeof buffer);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            struct pollfd entry = { .fd = fd, .events = POLLIN };
            (void)poll(&entry, 1, -1);
            continue;
        }
        if (got <= 0) {
            return 1;
        }
        *bytes_out += got;
        if (got >= (ssize_t)sizeof ready) {
            memcpy(tail, buffer + got - sizeof ready, sizeof ready);
        } else {
            memmove(tail, tail + got, sizeof tail - (size_t)got);
            memcpy(tail + sizeof tail - got, buffer, (size_t)got);
        }
        if (memcmp(tail, ready, sizeof ready) == 0) {
            return 0;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || strlen(argv[2]) > 16000) {
        (void)fprintf(stderr, "usage: %s CONNINFO SQL\n", argv[0]);
        return 2;
    }
    PGconn *connection = PQconnectdb(argv[1]);
    if (PQstatus(connection) != CONNECTION_OK) {
        (void)fprintf(stderr, "%s", PQerrorMessage(connection));
        return 1;
    }
    PQclear(PQexec(connection, ""));
    static char request[20000];
    size_t size = put_query(request, argv[2]);
    double wall_start = wall();
    double cpu_start = cpu();
    int64_t bytes = 0;
    if (write(PQsocket(connection), request, size) != (ssize_t)size || drain(PQsocket(connection), &bytes) != 0) {
        (void)fprintf(stderr, "the server closed the connection\n");
        return 1;
    }
    (void)printf("{\"bytes\": %lld, \"wall\": %.6f, \"cpu\": %.6f}\n", (long long)bytes, wall() - wall_start,
                 cpu() - cpu_start);
    PQfinish(connection);
    return 0;
}
