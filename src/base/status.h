/*
 * status.h: passing failures up.
 *
 * QN_TRY returns a failure from the enclosing function; where something must be undone, functions use one forward
 * `goto out` or the qn_auto_ cleanup attributes of the types that they hold.
 */
#ifndef QN_BASE_STATUS_H
#define QN_BASE_STATUS_H

#include <qanat/error.h>

#define QN_TRY(expression)                                                                                             \
    do {                                                                                                               \
        enum qn_status qn_try_status_ = (expression);                                                                  \
        if (qn_try_status_ != QN_OK) {                                                                                 \
            return qn_try_status_;                                                                                     \
        }                                                                                                              \
    } while (0)

#define QN_LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define QN_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* QN_ERR_NO_MEMORY with "out of memory"; the one way this family is reported. */
enum qn_status qn__no_memory(struct qn_error *err);

/* Copy `text` (NULL: "") of at most `size` bytes into a field of a qn_error, cut at a UTF-8 border. */
void qn__error_copy(char *field, size_t field_size, const char *text, size_t size);
#define QN_ERROR_COPY(field, text, size) qn__error_copy((field), sizeof(field), (text), (size))

#endif
