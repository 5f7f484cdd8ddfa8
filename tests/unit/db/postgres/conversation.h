/*
 * conversation.h: a connection whose server is a buffer in memory, and the messages that a server would put there
 * (PostgreSQL documentation, "Message Formats"). What is sent to it is thrown away.
 */
#ifndef QN_TESTS_UNIT_DB_POSTGRES_CONVERSATION_H
#define QN_TESTS_UNIT_DB_POSTGRES_CONVERSATION_H

#include "base/memory.h"
#include "db/postgres/postgres.h"

#define INT32(n) (char)((uint32_t)(n) >> 24), (char)((uint32_t)(n) >> 16), (char)((uint32_t)(n) >> 8), (char)(n)
#define INT16(n) (char)((uint16_t)(n) >> 8), (char)(n)

struct conversation {
    const char *bytes;
    size_t size, at;
    size_t step; /* bytes that one read gives at most; 0: all */
};

static inline enum qn_pg_io conversation_read(struct qn_pg *pg, char *bytes, size_t size, size_t *done_out)
{
    struct conversation *talk = pg->transport_context;
    size_t left = talk->size - talk->at;
    size = talk->step > 0 && size > talk->step ? talk->step : size;
    size = size > left ? left : size;
    if (size == 0) {
        return QN_PG_IO_END;
    }
    memcpy(bytes, talk->bytes + talk->at, size);
    talk->at += size;
    *done_out = size;
    return QN_PG_IO_DONE;
}

static inline enum qn_pg_io conversation_write(struct qn_pg *pg, const char *bytes, size_t size, size_t *done_out)
{
    (void)pg;
    (void)bytes;
    *done_out = size;
    return QN_PG_IO_DONE;
}

/* A connection to it; closed with qn_pg_close. NULL: no memory. */
static inline struct qn_pg *conversation_open(struct conversation *talk)
{
    static const struct qn_pg_transport memory = { .read = conversation_read, .write = conversation_write };
    struct qn_pg *pg = qn_calloc(1, sizeof *pg);
    if (pg != NULL) {
        pg->fd = -1;
        pg->transport = &memory;
        pg->transport_context = talk;
        pg->transaction_status = 'I';
        pg->deadline = QN_NO_DEADLINE;
    }
    return pg;
}

#endif
