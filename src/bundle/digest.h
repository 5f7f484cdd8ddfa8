/* digest.h: SHA-256, of bytes at hand and of bytes as they come. Threads: one at a time per digest. */
#ifndef QN_BUNDLE_DIGEST_H
#define QN_BUNDLE_DIGEST_H

#include "base/status.h"

#define QN_SHA256_SIZE      32
#define QN_SHA256_TEXT_SIZE 65 /* 64 lower-case hexadecimal digits and a NUL */

struct qn_sha256 {
    uint8_t bytes[QN_SHA256_SIZE];
};

enum qn_status qn_sha256_of(const void *bytes, size_t size, struct qn_sha256 *out, struct qn_error *err) QN_MUST_CHECK;

/* A running digest; libcrypto's EVP_MD_CTX. */
struct evp_md_ctx_st;
enum qn_status qn_digest_new(struct evp_md_ctx_st **out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_digest_update(struct evp_md_ctx_st *digest, const void *bytes, size_t size,
                                struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_digest_finish(struct evp_md_ctx_st *digest, struct qn_sha256 *out,
                                struct qn_error *err) QN_MUST_CHECK;
void qn_digest_free(struct evp_md_ctx_st *digest); /* NULL is allowed */

/* The digest and the size of a file, from its beginning; its offset stays where it is. `what` names it in errors. */
enum qn_status qn_digest_file(int fd, const char *what, struct qn_sha256 *hash_out, int64_t *size_out,
                              struct qn_error *err) QN_MUST_CHECK;

void qn_sha256_format(const struct qn_sha256 *digest, char out[QN_SHA256_TEXT_SIZE]);

/* Exactly 64 lower-case digits and the NUL; out may be NULL. */
bool qn_sha256_parse(const char *text, struct qn_sha256 *out);

static inline bool qn_sha256_equal(const struct qn_sha256 *a, const struct qn_sha256 *b)
{
    return __builtin_memcmp(a->bytes, b->bytes, QN_SHA256_SIZE) == 0;
}

#endif
