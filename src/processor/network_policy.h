/*
 * network_policy.h: where runs may connect to: nowhere, the public internet, or a list of host and port.
 *
 * Owns the list and the classes of addresses; dials nothing, resolves nothing. What a name stands for is decided by the
 * engine's own answers (names.h), which the broker remembers for one execution; the decision is made on the address that
 * is dialled. Threads: a policy does not change once made; any number may read it.
 *
 * "public"  addresses of the public internet, any port. Everything else is refused: see enum qn_address_class.
 * a list    exactly its entries: "host:port", "192.0.2.1:443", "[2001:db8::1]:443", port a number or *. No wildcards in
 *           hosts. An address stands for itself, of whatever class it is that can be connected to. A name stands for what
 *           the engine resolves it to: public and private addresses; of loopback only where the name is localhost (or
 *           below it); of link-local, metadata and the rest never.
 */
#ifndef QN_PROCESSOR_NETWORK_POLICY_H
#define QN_PROCESSOR_NETWORK_POLICY_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define QN_NETWORK_MAX_ENTRIES 256
#define QN_NETWORK_MAX_HOST    253 /* bytes of a name, RFC 1035 */

enum qn_network_mode { QN_NETWORK_OFF = 0, QN_NETWORK_PUBLIC, QN_NETWORK_LIST };

/* In the order in which they are looked for. */
enum qn_address_class {
    QN_ADDRESS_PUBLIC = 0,
    QN_ADDRESS_UNSPECIFIED, /* 0.0.0.0/8, :: */
    QN_ADDRESS_LOOPBACK,    /* 127.0.0.0/8, ::1; the machine's own addresses (the broker finds those) */
    QN_ADDRESS_METADATA,    /* of clouds: 169.254.169.254, fd00:ec2::254, 168.63.129.16, 100.100.100.200 ... */
    QN_ADDRESS_LINK_LOCAL,  /* 169.254.0.0/16, fe80::/10 */
    QN_ADDRESS_PRIVATE,     /* RFC 1918, 100.64.0.0/10, fc00::/7, fec0::/10 */
    QN_ADDRESS_MULTICAST,   /* 224.0.0.0/4, ff00::/8 */
    QN_ADDRESS_BROADCAST,   /* 255.255.255.255 */
    QN_ADDRESS_MAPPED,      /* IPv4 in IPv6: ::ffff:0:0/96, ::/96, ::ffff:0:0:0/96 */
    QN_ADDRESS_TUNNEL,      /* IPv4 by somebody else's relay: 6to4, Teredo, NAT64 of local use or to what is refused */
    QN_ADDRESS_RESERVED,    /* documentation, benchmarking, protocol assignments, and what nobody has been given */
};

struct qn_network_address {
    int family;        /* AF_INET or AF_INET6 */
    uint8_t bytes[16]; /* network order; 4 of them for AF_INET, the others 0 */
};

struct qn_network_policy;

/* Make a policy; entries are for QN_NETWORK_LIST (at least one). A wrong one is QN_ERR_CONFIG and names it. Any thread. */
enum qn_status qn_network_policy_new(enum qn_network_mode mode, const char *const *entries, size_t n_entries,
                                     struct qn_network_policy **out, struct qn_error *err) QN_MUST_CHECK;
void qn_network_policy_free(struct qn_network_policy *policy); /* NULL is allowed */

/* May be asked of NULL, which is off. */
enum qn_network_mode qn_network_policy_mode(const struct qn_network_policy *policy);

/* ---- addresses ---- */

enum qn_address_class qn_network_classify(const struct qn_network_address *address);
const char *qn_address_class_name(enum qn_address_class class); /* "a private address"; static */

/* "192.0.2.1:80", "[::1]:80" */
#define QN_NETWORK_TEXT 64
void qn_network_address_text(const struct qn_network_address *address, uint16_t port, char out[QN_NETWORK_TEXT]);
void qn_network_host_text(const struct qn_network_address *address, char out[QN_NETWORK_TEXT]); /* without the port */

/* A socket address of IPv4 or IPv6 as ours (the port apart); false where it is another or too short. */
bool qn_network_address_from(const struct sockaddr *from, size_t size, struct qn_network_address *out,
                             uint16_t *port_out);

/* ---- decisions ---- */

/* A connection to a literal address: allowed by the class (public) or by an entry that is this very address (list).
 * `class` is that of qn_network_classify, or LOOPBACK for an address of the machine's own. */
bool qn_network_allows_address(const struct qn_network_policy *policy, const struct qn_network_address *address,
                               enum qn_address_class class, uint16_t port);

/* May the name be asked for: any of proper form (public), one of the list (list). Names compare without case, and
 * without a dot at the end. */
bool qn_network_allows_name(const struct qn_network_policy *policy, const char *name);

/* May a connection to `port` go to an address that the engine got for `name`? */
bool qn_network_allows_resolved(const struct qn_network_policy *policy, const char *name,
                                const struct qn_network_address *address, enum qn_address_class class, uint16_t port);

/* May an address of this class that was resolved for `name` be told to the run? */
bool qn_network_allows_answer(const struct qn_network_policy *policy, const char *name, enum qn_address_class class);

/* Letters, digits, hyphens and underscores in labels of 1 to 63, none of them a number at the end; 253 bytes at most. */
bool qn_network_name_is_proper(const char *name);

#endif
