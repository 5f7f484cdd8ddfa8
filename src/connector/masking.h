/*
 * masking.h: secrets kept out of what is recorded (docs/formats/cassette.md, "Secrets").
 *
 * An argument is secret where its name looks it; so is the password of a URL, whatever the name. Its value is written as
 * "***", and wherever it turns up in another text of the recording that part is masked too. What is in the data itself, and
 * a secret in another form (encoded, cut), is not found. Threads: no state; a mask never changes.
 */
#ifndef QN_CONNECTOR_MASKING_H
#define QN_CONNECTOR_MASKING_H

#include "wire/rpc.h"

#define QN_MASK_TEXT "***"

/* Bytes that the value of a secret argument must have to be searched for in other texts. */
#define QN_MASK_LEAST      4
#define QN_MASK_LEAST_WORD 16 /* where the name may as well mean something else: a `key` may be a column */

/* QN_MASK_LEAST or QN_MASK_LEAST_WORD where an argument of that name is held for a secret, else 0. */
size_t qn_mask_name(const char *name);

struct qn_mask {
    char **secrets; /* those that are searched for */
    size_t n;
};

/* The secrets among the arguments, and a copy of these with the secrets masked: the caller's. */
enum qn_status qn_mask_init(struct qn_mask *mask, const json_t *arguments, json_t **masked_out,
                            struct qn_error *err) QN_MUST_CHECK;
void qn_mask_dispose(struct qn_mask *mask);

/* Mask the texts of a JSON value, names of members excepted, in place. */
enum qn_status qn_mask_json(const struct qn_mask *mask, json_t *value, struct qn_error *err) QN_MUST_CHECK;

#endif
