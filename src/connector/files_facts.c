/* files_facts.c: what a file is, and which version of it. Threads: no state. */
#include "connector/files_private.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <qanat/plugin/driver.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READ_STEP 65536

void qn__file_version(const struct stat *found, char out[QN_FILE_VERSION_SIZE])
{
    (void)snprintf(out, QN_FILE_VERSION_SIZE, "%lld-%lld.%09ld", (long long)found->st_size,
                   (long long)found->st_mtim.tv_sec, found->st_mtim.tv_nsec);
}

enum qn_status qn__file_check(int fd, const char *shown, struct stat *out, struct qn_error *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (fstat(fd, out) != 0 || flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        return qn_error_set(err, QN_ERR_IO, "\"%s\": %s", shown, strerror(errno));
    }
    if (!S_ISREG(out->st_mode)) {
        return qn_error_set(err, QN_ERR_IO, "\"%s\" is %s, not a file", shown,
                            S_ISDIR(out->st_mode) ? "a folder" : "a pipe, a socket or a device");
    }
    return QN_OK;
}

static enum qn_status digest_all(int fd, const char *shown, EVP_MD_CTX *digest, struct qn_error *err)
{
    char bytes[READ_STEP];
    ssize_t size;
    if (lseek(fd, 0, SEEK_SET) != 0) {
        return qn_error_set(err, QN_ERR_IO, "\"%s\": %s", shown, strerror(errno));
    }
    while ((size = read(fd, bytes, sizeof bytes)) != 0) {
        QN_TRY(qn_interrupt_poll(err));
        if (size < 0 && errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "\"%s\": %s", shown, strerror(errno));
        }
        if (size > 0 && EVP_DigestUpdate(digest, bytes, (size_t)size) != 1) {
            return qn_error_set(err, QN_ERR_INTERNAL, "libcrypto cannot make a SHA-256 digest");
        }
    }
    return lseek(fd, 0, SEEK_SET) == 0 ? QN_OK : qn_error_set(err, QN_ERR_IO, "\"%s\": %s", shown, strerror(errno));
}

enum qn_status qn__file_digest(int fd, const char *shown, char out[QN_FILE_VERSION_SIZE], struct qn_error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (digest == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1
                                ? digest_all(fd, shown, digest, err)
                                : qn_error_set(err, QN_ERR_INTERNAL, "libcrypto has no SHA-256");
    if (status == QN_OK && EVP_DigestFinal_ex(digest, bytes, &size) != 1) {
        status = qn_error_set(err, QN_ERR_INTERNAL, "libcrypto cannot make a SHA-256 digest");
    }
    EVP_MD_CTX_free(digest);
    if (status == QN_OK) {
        int used = snprintf(out, QN_FILE_VERSION_SIZE, "sha256:");
        for (unsigned i = 0; i < size; i++) {
            used += snprintf(out + used, QN_FILE_VERSION_SIZE - (size_t)used, "%02x", bytes[i]);
        }
    }
    return status;
}
