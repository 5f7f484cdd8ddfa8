/*
 * fuzz_network.c: hosts as runs ask for them, entries of lists, and socket addresses out of a run's memory.
 *
 * The first byte chooses. What passes as a name must not be readable as a number: a resolver would turn it into an address
 * past the list. An entry is taken or refused with a message. No address is allowed that its class forbids.
 */
#include "processor/names.h"
#include "processor/network_policy.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void try_host(const char *text)
{
    struct qn_network_address address;
    if (qn_network_name_is_proper(text)) {
        must(!qn_names_parse_number(text, &address));
        must(strlen(text) <= QN_NETWORK_MAX_HOST + 1);
    }
}

static void try_entry(const char *text)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_network_policy *policy = NULL;
    if (qn_network_policy_new(QN_NETWORK_LIST, &text, 1, &policy, &err) != QN_OK) {
        must(err.status == QN_ERR_CONFIG && strncmp(err.message, "network entry \"", 15) == 0 && policy == NULL);
        return;
    }
    must(!qn_network_allows_name(policy, "name.that.nobody.lists.example"));
    qn_network_policy_free(policy);
}

static void try_address(const uint8_t *data, size_t size)
{
    struct sockaddr_storage copy;
    struct qn_network_address address;
    uint16_t port = 0;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_network_policy *policy = NULL;
    memset(&copy, 0, sizeof copy);
    size = size < sizeof copy ? size : sizeof copy;
    memcpy(&copy, data, size);
    if (!qn_network_address_from((struct sockaddr *)&copy, size, &address, &port)) {
        return;
    }
    char text[QN_NETWORK_TEXT];
    qn_network_address_text(&address, port, text);
    must(text[0] != '\0' && text[0] != '?');
    enum qn_address_class class = qn_network_classify(&address);
    must(qn_network_policy_new(QN_NETWORK_PUBLIC, NULL, 0, &policy, &err) == QN_OK);
    must(qn_network_allows_address(policy, &address, class, port) == (class == QN_ADDRESS_PUBLIC && port != 0));
    qn_network_policy_free(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char text[1024] = "";
    size_t length = size - 1 < sizeof text - 1 ? size - 1 : sizeof text - 1;
    memcpy(text, data + 1, length);
    switch (data[0] % 3) {
    case 0:
        try_host(text);
        break;
    case 1:
        try_entry(text);
        break;
    default:
        try_address(data + 1, size - 1);
        break;
    }
    return 0;
}
