/*
 * digest.c: SHA-256 by libcrypto, and its hexadecimal text.
 *
 * Failures of libcrypto are those of memory or of a build without SHA-256; both are reported, none is ignored.
 */
#include "bundle/digest.h"

#include <openssl/evp.h>

static enum qn_status digest_failed(struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_INTERNAL, "computing a SHA-256: libcrypto failed");
}

enum qn_status qn_digest_new(struct evp_md_ctx_st **out, struct qn_error *err)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (digest == NULL) {
        return qn__no_memory(err);
    }
    if (EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(digest);
        return digest_failed(err);
    }
    *out = digest;
    return QN_OK;
}

enum qn_status qn_digest_update(struct evp_md_ctx_st *digest, const void *bytes, size_t size, struct qn_error *err)
{
    return EVP_DigestUpdate(digest, bytes, size) == 1 ? QN_OK : digest_failed(err);
}

enum qn_status qn_digest_finish(struct evp_md_ctx_st *digest, struct qn_sha256 *out, struct qn_error *err)
{
    struct qn_sha256 result;
    if (EVP_DigestFinal_ex(digest, result.bytes, NULL) != 1) {
        return digest_failed(err);
    }
    *out = result;
    return QN_OK;
}

void qn_digest_free(struct evp_md_ctx_st *digest)
{
    EVP_MD_CTX_free(digest);
}

enum qn_status qn_sha256_of(const void *bytes, size_t size, struct qn_sha256 *out, struct qn_error *err)
{
    struct qn_sha256 result;
    if (EVP_Digest(bytes, size, result.bytes, NULL, EVP_sha256(), NULL) != 1) {
        return digest_failed(err);
    }
    *out = result;
    return QN_OK;
}

void qn_sha256_format(const struct qn_sha256 *digest, char out[QN_SHA256_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < QN_SHA256_SIZE; i++) {
        out[2 * i] = digits[digest->bytes[i] >> 4];
        out[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    out[2 * QN_SHA256_SIZE] = '\0';
}

/* A digit's value plus one; 0: no digit. */
static const uint8_t digit_values[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

bool qn_sha256_parse(const char *text, struct qn_sha256 *out)
{
    struct qn_sha256 result;
    for (size_t i = 0; i < QN_SHA256_SIZE; i++) {
        unsigned high = digit_values[(unsigned char)text[2 * i]];
        unsigned low = high > 0 ? digit_values[(unsigned char)text[2 * i + 1]] : 0;
        if (low == 0) {
            return false;
        }
        result.bytes[i] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    if (text[2 * QN_SHA256_SIZE] != '\0') {
        return false;
    }
    if (out != NULL) {
        *out = result;
    }
    return true;
}
