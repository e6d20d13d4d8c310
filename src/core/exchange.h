/* exchange: what a message is published to: a kind, flags, and the bindings it routes by.
 *
 * The kinds keep their bindings each in its own way, behind three verbs: attach, detach, visit.
 *     direct   a map from routing key to targets
 *     fanout   one list of targets
 *     topic    a trie of patterns (core/exchange_topic.h)
 *     headers  one list of targets that are compared one by one (core/exchange_headers.h) */
#ifndef CORE_EXCHANGE_H
#define CORE_EXCHANGE_H

#include "base/map.h"
#include "core/binding.h"
#include "core/exchange_headers.h"
#include "core/exchange_topic.h"
#include "core/topology.h"

enum exchange_kind { EXCHANGE_DIRECT, EXCHANGE_FANOUT, EXCHANGE_TOPIC, EXCHANGE_HEADERS };

struct exchange {
    struct bytes name;
    enum exchange_kind kind;
    bool durable;
    bool auto_delete;
    bool internal;
    bool has_alternate;
    struct bytes alternate; /* the argument alternate-exchange */
    struct bytes arguments; /* field table as declared */
    uint64_t hash_seed;
    struct list bindings;       /* from here; in the order of their making */
    struct list inbound;        /* to here, from other exchanges */
    struct list_node in_doomed; /* while a deletion cascades */
    struct list_node in_sparse; /* vhost->sparse: its table is larger than it need be */
    union {
        struct map direct; /* struct direct_targets by routing key */
        struct topic topic;
        struct targets targets; /* fanout, headers */
    };
    uint8_t data[]; /* name and arguments */
};

/* "direct" and so on; static text. */
const char *exchange_kind_name(enum exchange_kind kind);

/* False when there is no kind of that name. */
bool exchange_find_kind(struct bytes name, enum exchange_kind *ret_kind);

/* An exchange as a CHANGE_EXCHANGE_DECLARE asks for it; name and arguments are copied. */
struct exchange *exchange_new(
    const struct change *change, enum exchange_kind kind, uint64_t hash_seed);

/* Releases an exchange that has no bindings in either direction any more. */
void exchange_free(struct exchange *exchange);

/* Puts a binding whose source this is where the kind looks it up, or takes it out. */
void exchange_attach(struct exchange *exchange, struct binding *binding);
void exchange_detach(struct exchange *exchange, struct binding *binding);

/* The table that grows with the number of bindings; NULL for kinds without one. */
struct map *exchange_table(struct exchange *exchange);

/* What is being routed: the keys, at least one, and the headers. */
struct exchange_visit {
    const struct bytes *routing_keys;
    uint32_t routing_key_count;
    struct headers *headers;
};

/* Follows every binding that one of the keys or the headers match. */
void exchange_route(
    const struct exchange *exchange, const struct exchange_visit *visit, struct walk *walk);

/* Checks that every binding is where its kind would look it up. */
void exchange_check(const struct exchange *exchange);

#endif
