/*
 * fuzz_uri.c: URIs. What parses can be written and parses again to the same configuration; the masked form never shows the
 * password.
 */
#include "base/text.h"
#include "db/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void require_equal(const struct qn_config *a, const struct qn_config *b)
{
    const char *key, *value;
    size_t n = 0;
    for (; qn_config_at(a, n, &key, &value); n++) {
        const char *other = qn_config_get(b, key);
        require(other != NULL && qn_text_equal(other, value));
    }
    require(!qn_config_at(b, n, &key, &value));
}

static void check(const struct qn_config *config)
{
    char *uri = NULL, *masked = NULL;
    struct qn_config *again = NULL;
    struct qn_error err = QN_ERROR_INIT;
    require(qn_config_to_uri(config, QN_PASSWORD_SHOWN, &uri, &err) == QN_OK);
    /* Encoding can make it longer than a URI may be. */
    if (strlen(uri) <= QN_URI_MAX) {
        require(qn_config_from_uri(uri, &again, &err) == QN_OK);
        require_equal(config, again);
        qn_config_free(again);
    }
    require(qn_config_to_uri(config, QN_PASSWORD_MASKED, &masked, &err) == QN_OK);
    require(qn_config_get(config, "password") == NULL || strstr(masked, "***") != NULL);
    qn_free_text(uri);
    qn_free_text(masked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *uri = malloc(size + 1);
    require(uri != NULL);
    memcpy(uri, data, size);
    uri[size] = '\0';
    struct qn_config *config = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_config_from_uri(uri, &config, &err);
    if (status == QN_OK) {
        check(config);
        qn_config_free(config);
    } else {
        require(config == NULL && err.message[0] != '\0');
    }
    free(uri);
    return 0;
}
