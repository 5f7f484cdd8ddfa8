/*
 * discover.c: locations asked for, judged and handed on.
 *
 * What is handed on has a name, once (unless the caller wants to hear it again): names are kept as 128-bit digests with
 * a random key, so that their number costs 24 bytes each whatever their length. Where discovery is asked again after a
 * failure, what was handed on before is not handed on again. Threads: one per call.
 */
#include "connector/discover.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "connector/connector_private.h"

#include <qanat/plugin/driver.h>
#include <string.h>
#include <sys/random.h>

#define MAX_NAME    (64u << 10) /* bytes of a location's name (docs/protocol/connector.md, "Limits") */
#define FIRST_SLOTS 64

/* ---- names that have been seen ---- */

struct digest {
    uint64_t words[2];
    uint32_t attempt; /* in which it was seen last; 0: the slot is free */
};

struct names {
    struct digest *slots; /* a power of two of them */
    size_t n_slots, n;
    uint64_t key[2];
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Two multiplications of 64 bits for 8 bytes of text, with keys that nobody outside knows. */
static struct digest digest_of(const struct names *names, const char *text, size_t size)
{
    uint64_t a = names->key[0] ^ size;
    uint64_t b = names->key[1];
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = 0;
        memcpy(&word, text + at, size - at < 8 ? size - at : 8);
        a = mix(a ^ word, UINT64_C(0x9e3779b97f4a7c15) ^ names->key[1]) + at;
        b = mix(b ^ word, UINT64_C(0xd6e8feb86659fd93) ^ names->key[0]) ^ a;
    }
    return (struct digest){ { mix(a, b ^ names->key[0]), mix(b, a ^ names->key[1]) }, 0 };
}

static struct digest *slot_of(const struct names *names, const struct digest *wanted)
{
    size_t at = (size_t)wanted->words[0] & (names->n_slots - 1);
    for (;; at = (at + 1) & (names->n_slots - 1)) {
        struct digest *slot = &names->slots[at];
        if (slot->attempt == 0 || (slot->words[0] == wanted->words[0] && slot->words[1] == wanted->words[1])) {
            return slot;
        }
    }
}

static bool make_room(struct names *names)
{
    if (names->n_slots > 0 && names->n < names->n_slots / 4 * 3) {
        return true;
    }
    struct names larger = *names;
    larger.n_slots = names->n_slots > 0 ? names->n_slots * 2 : FIRST_SLOTS;
    larger.slots = qn_calloc(larger.n_slots, sizeof *larger.slots);
    if (larger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < names->n_slots; i++) {
        if (names->slots[i].attempt != 0) {
            *slot_of(&larger, &names->slots[i]) = names->slots[i];
        }
    }
    qn_free(names->slots);
    *names = larger;
    return true;
}

enum seen { SEEN_NEVER, SEEN_BEFORE, SEEN_NOW, SEEN_NO_MEMORY };

static enum seen see(struct names *names, const char *text, uint32_t attempt)
{
    if (!make_room(names)) {
        return SEEN_NO_MEMORY;
    }
    struct digest digest = digest_of(names, text, strlen(text));
    struct digest *slot = slot_of(names, &digest);
    if (slot->attempt == attempt) {
        return SEEN_NOW;
    }
    enum seen seen = slot->attempt == 0 ? SEEN_NEVER : SEEN_BEFORE;
    names->n += seen == SEEN_NEVER;
    digest.attempt = attempt;
    *slot = digest;
    return seen;
}

/* ---- discovery ---- */

struct discovery {
    const struct qn_connector *connector;
    qn_location_callback each;
    void *context;
    struct names names;
    uint32_t attempt;
    bool refused; /* by the caller's callback: its error is the caller's own */
    bool twice;   /* the caller judges what is said more than once */
};

static enum qn_status check_location(const struct qn_location *location, struct qn_error *err)
{
    const char *name = location->location;
    if (name == NULL || name[0] == '\0') {
        return qn_error_set(err, QN_ERR_CONNECTOR, "a location without a name");
    }
    size_t size = strnlen(name, MAX_NAME + 1);
    if (size > MAX_NAME) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "a location's name is longer than %u bytes", MAX_NAME);
    }
    if (!qn_utf8_valid(name, size)) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "a location's name is not valid UTF-8");
    }
    if (location->num_rows < -1) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "a location of %lld rows", (long long)location->num_rows);
    }
    return QN_OK;
}

static enum qn_status found(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct discovery *discovery = context;
    QN_TRY(check_location(location, err));
    switch (see(&discovery->names, location->location, discovery->attempt)) {
    case SEEN_NO_MEMORY:
        return qn__no_memory(err);
    case SEEN_NOW: {
        if (discovery->twice) {
            break;
        }
        char shown[QN__SHOWN_NAME];
        qn__shown_name(location->location, shown);
        return qn_error_set(err, QN_ERR_CONNECTOR, "location \"%s\" is there more than once", shown);
    }
    case SEEN_BEFORE:
        return QN_OK;
    case SEEN_NEVER:
        break;
    }
    struct qn_location told = *location;
    told.format = location->format != NULL ? location->format : "parquet";
    told.version = location->version != NULL ? location->version : "";
    enum qn_status status = discovery->each(discovery->context, &told, err);
    discovery->refused = status != QN_OK;
    return status;
}

static enum qn_status discover(struct qn_connector *connector, const char *const *attached, size_t n, bool twice,
                               qn_location_callback each, void *context, struct qn_error *err)
{
    struct qn_error local = QN_ERROR_INIT;
    struct qn__retries retries = { 0 };
    struct discovery discovery = { .connector = connector, .each = each, .context = context, .twice = twice };
    enum qn_status status;
    err = err != NULL ? err : &local;
    QN_TRY(qn__connector_usable(connector, err));
    if (getrandom(discovery.names.key, sizeof discovery.names.key, 0) != (ssize_t)sizeof discovery.names.key) {
        return qn_error_set(err, QN_ERR_IO, "no random numbers: %m");
    }
    for (;;) {
        discovery.attempt++;
        qn_error_clear(err);
        status = qn__connector_begin(connector, err);
        if (status != QN_OK) {
            break;
        }
        status = connector->runtime->discover(connector->self, attached, n, found, &discovery, err);
        qn__connector_end(connector);
        if (status == QN_OK || discovery.refused) {
            break;
        }
        err->status = status;
        if (!qn__connector_retry(connector, &retries, err)) {
            status = qn__connector_failed(connector, NULL, err->status, err);
            break;
        }
    }
    qn_free(discovery.names.slots);
    return status;
}

enum qn_status qn_connector_discover(struct qn_connector *connector, const char *const *attached, size_t n,
                                     qn_location_callback each, void *context, struct qn_error *err)
{
    return discover(connector, attached, n, false, each, context, err);
}

enum qn_status qn__connector_discover_twice(struct qn_connector *connector, const char *const *attached, size_t n,
                                            qn_location_callback each, void *context, struct qn_error *err)
{
    return discover(connector, attached, n, true, each, context, err);
}
