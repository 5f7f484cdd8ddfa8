/*
 * digest.c: SHA-256 by libcrypto, and its hexadecimal text.
 *
 * Failures of libcrypto are those of memory or of a build without SHA-256; both are reported, none is ignored.
 */
#include "bundle/digest.h"

#include "base/fault.h"
#include "base/memory.h"

#include <errno.h>
#include <openssl/evp.h>
#include <qanat/plugin/driver.h>
#include <unistd.h>

#define READ_STEP ((size_t)256 << 10)

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

/* Put what is left of a file, from *size on, into a digest. */
static enum qn_status read_file(int fd, const char *what, struct evp_md_ctx_st *digest, int64_t *size,
                                struct qn_error *err)
{
    qn_auto_free char *room = qn_malloc(READ_STEP);
    if (room == NULL) {
        return qn__no_memory(err);
    }
    for (;;) {
        ssize_t got = qn_fault_hit(QN_FAULT_READ) ? (errno = EIO, -1) : pread(fd, room, READ_STEP, *size);
        if (got == 0) {
            return QN_OK;
        }
        if (got > 0) {
            *size += got;
            QN_TRY(qn_digest_update(digest, room, (size_t)got, err));
        } else if (errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "reading %s: %m", what);
        }
        QN_TRY(qn_interrupt_poll(err));
    }
}

enum qn_status qn_digest_file(int fd, const char *what, struct qn_sha256 *hash_out, int64_t *size_out,
                              struct qn_error *err)
{
    struct evp_md_ctx_st *digest = NULL;
    int64_t size = 0;
    QN_TRY(qn_digest_new(&digest, err));
    enum qn_status status = read_file(fd, what, digest, &size, err);
    if (status == QN_OK) {
        status = qn_digest_finish(digest, hash_out, err);
    }
    qn_digest_free(digest);
    if (status == QN_OK) {
        *size_out = size;
    }
    return status;
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
