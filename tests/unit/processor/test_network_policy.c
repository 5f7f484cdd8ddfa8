/*
 * test_network_policy.c: entries of a list, classes of addresses, and what each policy lets through.
 */
#include "processor/network_policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct qn_network_address parse(const char *text)
{
    struct qn_network_address out = { .family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET };
    if (inet_pton(out.family, text, out.bytes) != 1) {
        fail_msg("%s is not an address", text);
    }
    return out;
}

static struct qn_network_policy *make(enum qn_network_mode mode, const char *const *entries, size_t n_entries)
{
    struct qn_network_policy *policy = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_network_policy_new(mode, entries, n_entries, &policy, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return policy;
}

static struct qn_network_policy *make_list(const char *entry)
{
    return make(QN_NETWORK_LIST, &entry, 1);
}

static bool allows(const struct qn_network_policy *policy, const char *text, uint16_t port)
{
    struct qn_network_address address = parse(text);
    return qn_network_allows_address(policy, &address, qn_network_classify(&address), port);
}

static bool allows_resolved(const struct qn_network_policy *policy, const char *name, const char *text, uint16_t port)
{
    struct qn_network_address address = parse(text);
    return qn_network_allows_resolved(policy, name, &address, qn_network_classify(&address), port);
}

static const struct {
    const char *text;
    enum qn_address_class class;
} classes[] = {
    { "8.8.8.8", QN_ADDRESS_PUBLIC },
    { "1.0.0.0", QN_ADDRESS_PUBLIC },
    { "9.255.255.255", QN_ADDRESS_PUBLIC },
    { "11.0.0.0", QN_ADDRESS_PUBLIC },
    { "100.63.255.255", QN_ADDRESS_PUBLIC },
    { "100.128.0.0", QN_ADDRESS_PUBLIC },
    { "126.255.255.255", QN_ADDRESS_PUBLIC },
    { "128.0.0.0", QN_ADDRESS_PUBLIC },
    { "169.253.255.255", QN_ADDRESS_PUBLIC },
    { "169.255.0.0", QN_ADDRESS_PUBLIC },
    { "172.15.255.255", QN_ADDRESS_PUBLIC },
    { "172.32.0.0", QN_ADDRESS_PUBLIC },
    { "192.167.255.255", QN_ADDRESS_PUBLIC },
    { "192.169.0.0", QN_ADDRESS_PUBLIC },
    { "198.17.255.255", QN_ADDRESS_PUBLIC },
    { "198.20.0.0", QN_ADDRESS_PUBLIC },
    { "223.255.255.255", QN_ADDRESS_PUBLIC },
    { "0.0.0.0", QN_ADDRESS_UNSPECIFIED },
    { "0.1.2.3", QN_ADDRESS_UNSPECIFIED },
    { "127.0.0.1", QN_ADDRESS_LOOPBACK },
    { "127.255.255.255", QN_ADDRESS_LOOPBACK },
    { "169.254.169.254", QN_ADDRESS_METADATA },
    { "169.254.170.2", QN_ADDRESS_METADATA },
    { "100.100.100.200", QN_ADDRESS_METADATA },
    { "168.63.129.16", QN_ADDRESS_METADATA },
    { "192.0.0.192", QN_ADDRESS_METADATA },
    { "169.254.0.1", QN_ADDRESS_LINK_LOCAL },
    { "169.254.255.255", QN_ADDRESS_LINK_LOCAL },
    { "10.0.0.0", QN_ADDRESS_PRIVATE },
    { "10.255.255.255", QN_ADDRESS_PRIVATE },
    { "172.16.0.0", QN_ADDRESS_PRIVATE },
    { "172.31.255.255", QN_ADDRESS_PRIVATE },
    { "192.168.0.0", QN_ADDRESS_PRIVATE },
    { "192.168.255.255", QN_ADDRESS_PRIVATE },
    { "100.64.0.0", QN_ADDRESS_PRIVATE },
    { "100.127.255.255", QN_ADDRESS_PRIVATE },
    { "224.0.0.0", QN_ADDRESS_MULTICAST },
    { "239.255.255.255", QN_ADDRESS_MULTICAST },
    { "255.255.255.255", QN_ADDRESS_BROADCAST },
    { "192.0.0.1", QN_ADDRESS_RESERVED },
    { "192.0.2.1", QN_ADDRESS_RESERVED },
    { "198.51.100.1", QN_ADDRESS_RESERVED },
    { "203.0.113.1", QN_ADDRESS_RESERVED },
    { "198.18.0.0", QN_ADDRESS_RESERVED },
    { "198.19.255.255", QN_ADDRESS_RESERVED },
    { "240.0.0.0", QN_ADDRESS_RESERVED },
    { "255.255.255.254", QN_ADDRESS_RESERVED },
    { "192.88.99.1", QN_ADDRESS_TUNNEL },
    { "2606:4700:4700::1111", QN_ADDRESS_PUBLIC },
    { "2001:200::", QN_ADDRESS_PUBLIC },
    { "3ffe::1", QN_ADDRESS_PUBLIC },
    { "64:ff9b::8.8.8.8", QN_ADDRESS_PUBLIC },
    { "::", QN_ADDRESS_UNSPECIFIED },
    { "::1", QN_ADDRESS_LOOPBACK },
    { "::2", QN_ADDRESS_MAPPED },
    { "::127.0.0.1", QN_ADDRESS_MAPPED },
    { "::8.8.8.8", QN_ADDRESS_MAPPED },
    { "::ffff:127.0.0.1", QN_ADDRESS_MAPPED },
    { "::ffff:8.8.8.8", QN_ADDRESS_MAPPED },
    { "::ffff:0:127.0.0.1", QN_ADDRESS_MAPPED },
    { "64:ff9b::127.0.0.1", QN_ADDRESS_TUNNEL },
    { "64:ff9b::169.254.169.254", QN_ADDRESS_TUNNEL },
    { "64:ff9b::10.1.2.3", QN_ADDRESS_TUNNEL },
    { "64:ff9b:1::8.8.8.8", QN_ADDRESS_TUNNEL },
    { "2002:7f00:1::", QN_ADDRESS_TUNNEL },
    { "2002:a9fe:a9fe::1", QN_ADDRESS_TUNNEL },
    { "2002:808:808::1", QN_ADDRESS_TUNNEL },
    { "2001:0:4136:e378:8000:63bf:3fff:fdd2", QN_ADDRESS_TUNNEL },
    { "2001:0:7f00:1::", QN_ADDRESS_TUNNEL },
    { "fd00:ec2::254", QN_ADDRESS_METADATA },
    { "fd20:ce::254", QN_ADDRESS_METADATA },
    { "fe80::1", QN_ADDRESS_LINK_LOCAL },
    { "febf::1", QN_ADDRESS_LINK_LOCAL },
    { "fc00::1", QN_ADDRESS_PRIVATE },
    { "fdff:ffff::1", QN_ADDRESS_PRIVATE },
    { "fec0::1", QN_ADDRESS_PRIVATE },
    { "feff::1", QN_ADDRESS_PRIVATE },
    { "ff00::", QN_ADDRESS_MULTICAST },
    { "ff02::1", QN_ADDRESS_MULTICAST },
    { "2001:db8::1", QN_ADDRESS_RESERVED },
    { "2001:2::1", QN_ADDRESS_RESERVED },
    { "2001:10::1", QN_ADDRESS_RESERVED },
    { "3fff::1", QN_ADDRESS_RESERVED },
    { "100::1", QN_ADDRESS_RESERVED },
    { "5f00::1", QN_ADDRESS_RESERVED },
    { "4000::1", QN_ADDRESS_RESERVED },
    { "fe00::1", QN_ADDRESS_RESERVED },
    { "::1:0:0:0", QN_ADDRESS_RESERVED },
};

static void policy__every_address_has_its_class(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        struct qn_network_address address = parse(classes[i].text);
        enum qn_address_class class = qn_network_classify(&address);
        if (class != classes[i].class) {
            fail_msg("%s: %s, not %s", classes[i].text, qn_address_class_name(class),
                     qn_address_class_name(classes[i].class));
        }
    }
}

static void policy__public_is_public_addresses_only(void **state)
{
    (void)state;
    struct qn_network_policy *policy = make(QN_NETWORK_PUBLIC, NULL, 0);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        assert_int_equal(allows(policy, classes[i].text, 443), classes[i].class == QN_ADDRESS_PUBLIC);
        /* A name makes nothing better: rebinding to an address of the house gets no further. */
        assert_int_equal(allows_resolved(policy, "example.com", classes[i].text, 443),
                         classes[i].class == QN_ADDRESS_PUBLIC);
    }
    assert_false(allows(policy, "8.8.8.8", 0));
    assert_true(qn_network_allows_name(policy, "example.com"));
    assert_false(qn_network_allows_answer(policy, "localhost", QN_ADDRESS_LOOPBACK));
    assert_false(qn_network_allows_answer(policy, "example.com", QN_ADDRESS_PRIVATE));
    assert_true(qn_network_allows_answer(policy, "example.com", QN_ADDRESS_PUBLIC));
    qn_network_policy_free(policy);
}

static void policy__off_allows_nothing(void **state)
{
    (void)state;
    struct qn_network_policy *policy = make(QN_NETWORK_OFF, NULL, 0);
    assert_false(allows(policy, "8.8.8.8", 443));
    assert_false(qn_network_allows_name(policy, "example.com"));
    assert_false(allows_resolved(policy, "example.com", "8.8.8.8", 443));
    assert_int_equal(qn_network_policy_mode(policy), QN_NETWORK_OFF);
    assert_int_equal(qn_network_policy_mode(NULL), QN_NETWORK_OFF);
    qn_network_policy_free(policy);
}

static void policy__a_listed_address_is_itself_and_no_other(void **state)
{
    (void)state;
    struct qn_network_policy *policy = make_list("127.0.0.1:8080");
    assert_true(allows(policy, "127.0.0.1", 8080));
    assert_false(allows(policy, "127.0.0.1", 8081));
    assert_false(allows(policy, "127.0.0.2", 8080));
    assert_false(allows(policy, "::1", 8080));
    assert_false(allows(policy, "::ffff:127.0.0.1", 8080));
    assert_false(allows(policy, "::127.0.0.1", 8080));
    assert_false(allows(policy, "0.0.0.0", 8080));
    assert_false(allows(policy, "8.8.8.8", 8080));
    assert_false(qn_network_allows_name(policy, "localhost"));
    qn_network_policy_free(policy);

    policy = make_list("[fd00::1]:*");
    assert_true(allows(policy, "fd00::1", 1));
    assert_true(allows(policy, "fd00::1", 65535));
    assert_false(allows(policy, "fd00::1", 0));
    assert_false(allows(policy, "fd00::2", 1));
    qn_network_policy_free(policy);

    policy = make_list("169.254.169.254:80"); /* said in so many words */
    assert_true(allows(policy, "169.254.169.254", 80));
    qn_network_policy_free(policy);
}

static void policy__a_listed_name_is_what_it_resolves_to_within_bounds(void **state)
{
    (void)state;
    struct qn_network_policy *policy = make_list("db.Example.com:5432");
    assert_true(qn_network_allows_name(policy, "DB.example.COM"));
    assert_true(qn_network_allows_name(policy, "db.example.com."));
    assert_false(qn_network_allows_name(policy, "example.com"));
    assert_false(qn_network_allows_name(policy, "x.db.example.com"));
    assert_false(qn_network_allows_name(policy, "db.example.com.evil.net"));
    assert_true(allows_resolved(policy, "db.example.com", "8.8.8.8", 5432));
    assert_true(allows_resolved(policy, "db.example.com", "10.0.0.5", 5432));
    assert_true(allows_resolved(policy, "db.example.com", "fd00::5", 5432));
    assert_false(allows_resolved(policy, "db.example.com", "10.0.0.5", 5433));
    assert_false(allows_resolved(policy, "other.example.com", "10.0.0.5", 5432));
    assert_false(allows_resolved(policy, "db.example.com", "127.0.0.1", 5432));
    assert_false(allows_resolved(policy, "db.example.com", "::1", 5432));
    assert_false(allows_resolved(policy, "db.example.com", "169.254.169.254", 5432));
    assert_false(allows_resolved(policy, "db.example.com", "fd00:ec2::254", 5432));
    assert_false(allows_resolved(policy, "db.example.com", "::ffff:10.0.0.5", 5432));
    assert_false(allows_resolved(policy, "db.example.com", "224.0.0.1", 5432));
    assert_false(allows(policy, "8.8.8.8", 5432)); /* not asked for */
    qn_network_policy_free(policy);
}

static void policy__loopback_is_named_as_such(void **state)
{
    (void)state;
    struct qn_network_policy *policy = make_list("localhost:8080");
    assert_true(allows_resolved(policy, "localhost", "127.0.0.1", 8080));
    assert_true(allows_resolved(policy, "LocalHost.", "::1", 8080));
    assert_false(allows_resolved(policy, "localhost", "127.0.0.1", 8081));
    assert_false(allows_resolved(policy, "localhost", "169.254.169.254", 8080));
    assert_false(allows_resolved(policy, "notlocalhost", "127.0.0.1", 8080));
    qn_network_policy_free(policy);

    policy = make_list("api.localhost:8080");
    assert_true(allows_resolved(policy, "api.localhost", "127.0.0.1", 8080));
    qn_network_policy_free(policy);

    policy = make_list("notlocalhost:8080");
    assert_false(allows_resolved(policy, "notlocalhost", "127.0.0.1", 8080));
    qn_network_policy_free(policy);
}

static void policy__wrong_entries_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *message;
    } cases[] = {
        { "", "network entry \"\" is not of the form host:port" },
        { "example.com", "network entry \"example.com\" is not of the form host:port" },
        { "http://127.0.0.1:80",
          "network entry \"http://127.0.0.1:80\" is a URL: write its host and port, as in example.org:443" },
        { "https://example.com",
          "network entry \"https://example.com\" is a URL: write its host and port, as in example.org:443" },
        { "[::1:80", "network entry \"[::1:80\" is not of the form host:port" },
        { ":80", "network entry \":80\": the host has to be of 1 to 253 characters" },
        { "example.com:", "network entry \"example.com:\": the port has to be a number from 1 to 65535, or *" },
        { "example.com:0", "network entry \"example.com:0\": the port has to be a number from 1 to 65535, or *" },
        { "example.com:65536",
          "network entry \"example.com:65536\": the port has to be a number from 1 to 65535, or *" },
        { "example.com:+80", "network entry \"example.com:+80\": the port has to be a number from 1 to 65535, or *" },
        { "example.com: 80", "network entry \"example.com: 80\": the port has to be a number from 1 to 65535, or *" },
        { "example.com:80 ", "network entry \"example.com:80 \": the port has to be a number from 1 to 65535, or *" },
        { "example.com:http", "network entry \"example.com:http\": the port has to be a number from 1 to 65535, or *" },
        { "*.example.com:80",
          "network entry \"*.example.com:80\": hosts are named one by one, there are no wildcards" },
        { "*:80", "network entry \"*:80\": hosts are named one by one, there are no wildcards" },
        { "::1:80", "network entry \"::1:80\": an IPv6 address is written as [2001:db8::1]:443" },
        { "[example.com]:80", "network entry \"[example.com]:80\": an IPv6 address is written as [2001:db8::1]:443" },
        { "[fe80::1%eth0]:80", "network entry \"[fe80::1%eth0]:80\": an IPv6 address is written as [2001:db8::1]:443" },
        { "[fe80::1]:80",
          "network entry \"[fe80::1]:80\": link-local addresses of IPv6 need an interface, which an entry "
          "cannot name" },
        { "[::ffff:10.0.0.1]:80", "network entry \"[::ffff:10.0.0.1]:80\": write the IPv4 address as such" },
        { "0.0.0.0:80", "network entry \"0.0.0.0:80\": an address that stands for none cannot be connected to" },
        { "[::]:80", "network entry \"[::]:80\": an address that stands for none cannot be connected to" },
        { "224.0.0.1:80", "network entry \"224.0.0.1:80\": a multicast address cannot be connected to" },
        { "255.255.255.255:80", "network entry \"255.255.255.255:80\": a broadcast address cannot be connected to" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_network_policy *policy = NULL;
        struct qn_error err = QN_ERROR_INIT;
        assert_int_equal(qn_network_policy_new(QN_NETWORK_LIST, &cases[i].entry, 1, &policy, &err), QN_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
        assert_null(policy);
    }
}

/* Whatever might be read as an address by somebody else is no name. */
static void policy__names_that_are_numbers_or_no_names_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "127.1:80",    "2130706433:80",  "0x7f000001:80", "0177.0.0.1:80", "1.2.3.4.5:80", "0x7f.1:80",    "a.0x1:80",
        "a..b:80",     ".a:80",          "a.:b:80",       "-a:80",         "a b:80",       "a/b:80",       "user@a:80",
        "http://a:80", "\xc3\xbc.de:80", "a\n:80",        "a%25:80",       ".:80",         "10.0.0.1.:80",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct qn_network_policy *policy = NULL;
        struct qn_error err = QN_ERROR_INIT;
        if (qn_network_policy_new(QN_NETWORK_LIST, &wrong[i], 1, &policy, &err) != QN_ERR_CONFIG) {
            fail_msg("%s was taken", wrong[i]);
        }
        assert_non_null(strstr(err.message, "network entry \""));
    }
    static const char *const right[] = { "a:1", "a_b.c-d:65535", "xn--bcher-kva.example:443", "1a.2b:80",
                                         "3com.com.:*" };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        qn_network_policy_free(make_list(right[i]));
    }
    char label[66];
    memset(label, 'a', sizeof label);
    memcpy(label + 63, "\0", 1);
    assert_true(qn_network_name_is_proper(label));
    memcpy(label + 63, "a", 2);
    assert_false(qn_network_name_is_proper(label));
}

static void policy__a_list_has_bounds(void **state)
{
    (void)state;
    const char *entries[QN_NETWORK_MAX_ENTRIES + 1];
    for (size_t i = 0; i <= QN_NETWORK_MAX_ENTRIES; i++) {
        entries[i] = "example.com:443";
    }
    struct qn_network_policy *policy = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_network_policy_new(QN_NETWORK_LIST, entries, 0, &policy, &err), QN_ERR_CONFIG);
    assert_string_equal(err.message, "network: a list has 1 to 256 entries, not 0; write \"off\" for none");
    assert_int_equal(qn_network_policy_new(QN_NETWORK_LIST, entries, QN_NETWORK_MAX_ENTRIES + 1, &policy, &err),
                     QN_ERR_CONFIG);
    qn_network_policy_free(make(QN_NETWORK_LIST, entries, QN_NETWORK_MAX_ENTRIES));
}

static void policy__socket_addresses_are_read_only_when_whole(void **state)
{
    (void)state;
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(443), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0x7f000001) };
    struct qn_network_address address = { 0 };
    uint16_t port = 0;
    char text[QN_NETWORK_TEXT];
    for (size_t size = 0; size < sizeof in6; size++) {
        assert_false(qn_network_address_from((struct sockaddr *)&in6, size, &address, &port));
        if (size < sizeof in) {
            assert_false(qn_network_address_from((struct sockaddr *)&in, size, &address, &port));
        }
    }
    assert_true(qn_network_address_from((struct sockaddr *)&in6, sizeof in6, &address, &port));
    qn_network_address_text(&address, port, text);
    assert_string_equal(text, "[::1]:443");
    assert_true(qn_network_address_from((struct sockaddr *)&in, sizeof in, &address, &port));
    qn_network_address_text(&address, port, text);
    assert_string_equal(text, "127.0.0.1:80");
    in.sin_family = AF_UNIX;
    assert_false(qn_network_address_from((struct sockaddr *)&in, sizeof in, &address, &port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy__every_address_has_its_class),
        cmocka_unit_test(policy__public_is_public_addresses_only),
        cmocka_unit_test(policy__off_allows_nothing),
        cmocka_unit_test(policy__a_listed_address_is_itself_and_no_other),
        cmocka_unit_test(policy__a_listed_name_is_what_it_resolves_to_within_bounds),
        cmocka_unit_test(policy__loopback_is_named_as_such),
        cmocka_unit_test(policy__wrong_entries_are_named),
        cmocka_unit_test(policy__names_that_are_numbers_or_no_names_are_refused),
        cmocka_unit_test(policy__a_list_has_bounds),
        cmocka_unit_test(policy__socket_addresses_are_read_only_when_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
