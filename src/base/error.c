/*
 * error.c: filling the caller's error.
 *
 * Nothing here allocates. Texts are built in a local buffer first, since arguments may point into *err itself; what is
 * too long is cut at a UTF-8 border. A message is one line: line breaks become spaces. Threads: no state.
 */
#include "base/status.h"
#include "base/utf8.h"

#include <qanat/qanat.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A prefix may take this much of a message, so that what it stands before is not pushed out. */
#define PREFIX_SIZE (sizeof((struct qn_error *)0)->message / 2)

static void format_text(char *out, size_t out_size, const char *format, va_list args) QN_PRINTF(3, 0);

static void format_text(char *out, size_t out_size, const char *format, va_list args)
{
    int length = vsnprintf(out, out_size, format, args);
    if (length < 0) {
        out[0] = '\0';
    } else if ((size_t)length >= out_size) {
        out[qn_utf8_floor(out, out_size - 1)] = '\0';
    }
}

static void make_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n' || *text == '\r') {
            *text = ' ';
        }
    }
}

void qn__error_copy(char *field, size_t field_size, const char *text, size_t size)
{
    if (text == NULL) {
        field[0] = '\0';
        return;
    }
    size_t length = strnlen(text, size);
    if (length >= field_size) {
        length = qn_utf8_floor(text, field_size - 1);
    }
    memmove(field, text, length); /* it may be the field itself */
    field[length] = '\0';
}

enum qn_status qn__no_memory(struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
}

enum qn_status qn_error_set(struct qn_error *err, enum qn_status status, const char *format, ...)
{
    if (err == NULL) {
        return status;
    }
    char message[sizeof err->message];
    va_list args;
    va_start(args, format);
    format_text(message, sizeof message, format, args);
    va_end(args);
    make_one_line(message);
    *err = (struct qn_error)QN_ERROR_INIT;
    err->status = status;
    memcpy(err->message, message, strlen(message) + 1);
    return status;
}

void qn_error_prefix(struct qn_error *err, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    char message[sizeof err->message];
    va_list args;
    va_start(args, format);
    format_text(message, PREFIX_SIZE, format, args);
    va_end(args);
    make_one_line(message);
    size_t length = strlen(message);
    memcpy(message + length, ": ", sizeof ": ");
    length += 2;
    qn__error_copy(message + length, sizeof message - length, err->message, sizeof err->message);
    memcpy(err->message, message, strlen(message) + 1);
}

void qn_error_hint(struct qn_error *err, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    char hint[sizeof err->hint];
    va_list args;
    va_start(args, format);
    format_text(hint, sizeof hint, format, args);
    va_end(args);
    memcpy(err->hint, hint, strlen(hint) + 1);
}

void qn_error_place(struct qn_error *err, int64_t row, const char *column)
{
    if (err != NULL) {
        err->row = row;
        QN_ERROR_COPY(err->column_name, column, sizeof err->column_name);
    }
}

const char *qn_status_name(enum qn_status status)
{
    switch (status) {
#define QN_CASE(name)                                                                                                  \
    case name:                                                                                                         \
        return #name
        QN_CASE(QN_OK);
        QN_CASE(QN_ERR_NO_MEMORY);
        QN_CASE(QN_ERR_ARGUMENT);
        QN_CASE(QN_ERR_CONFIG);
        QN_CASE(QN_ERR_CONNECTION);
        QN_CASE(QN_ERR_CLOSED);
        QN_CASE(QN_ERR_BUSY);
        QN_CASE(QN_ERR_QUERY);
        QN_CASE(QN_ERR_CONSTRAINT);
        QN_CASE(QN_ERR_TIMEOUT);
        QN_CASE(QN_ERR_CANCELLED);
        QN_CASE(QN_ERR_DATA);
        QN_CASE(QN_ERR_IO);
        QN_CASE(QN_ERR_UNSUPPORTED);
        QN_CASE(QN_ERR_PROTOCOL);
        QN_CASE(QN_ERR_INTERNAL);
        QN_CASE(QN_ERR_CONFLICT);
        QN_CASE(QN_ERR_CONNECTOR);
        QN_CASE(QN_ERR_FORBIDDEN);
#undef QN_CASE
    }
    return "QN_ERR_UNKNOWN";
}
