/*
 * type_parse.h: what the files of this folder share about types. Not for other folders.
 */
#ifndef QN_ARROW_TYPE_PARSE_H
#define QN_ARROW_TYPE_PARSE_H

#include "arrow/type.h"

#define QN__QUOTED_SIZE 48
/* Text from outside made fit for a message: cut, and what is not printable ASCII replaced by '?'. */
void qn__type_quote(const char *text, char out[QN__QUOTED_SIZE]);

/* A decimal integer within [low, high] at *text, which moves past it. */
bool qn__type_int(const char **text, int32_t low, int32_t high, int32_t *out);

/* The three layouts of text, the three of binary. */
bool qn__type_is_text(enum qn_type_id id);
bool qn__type_is_binary(enum qn_type_id id);

/* Nesting that is accepted in schemas from outside. */
#define QN__MAX_NESTING  64
#define QN__MAX_CHILDREN (1 << 20)

/* QN_ERR_DATA where pointers that must be there are missing or a limit above is passed. */
enum qn_status qn__schema_check(const struct ArrowSchema *schema, struct qn_error *err) QN_MUST_CHECK;

/* Give a field the metadata that another has (NULL: none), as the C data interface encodes it. */
enum qn_status qn__schema_metadata_copy(struct ArrowSchema *field, const char *metadata,
                                        struct qn_error *err) QN_MUST_CHECK;

#endif
