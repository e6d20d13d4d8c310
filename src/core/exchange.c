/* exchange: what a message is published to: a kind, flags, and the bindings it routes by. */
#include "core/exchange.h"

#include "amqp/table.h"
#include "base/memory.h"

/* The bindings of one routing key; never empty, so the first one tells the key. */
struct direct_targets {
    struct targets targets;
};

static const char *const kind_names[] = {
    [EXCHANGE_DIRECT] = "direct",
    [EXCHANGE_FANOUT] = "fanout",
    [EXCHANGE_TOPIC] = "topic",
    [EXCHANGE_HEADERS] = "headers",
};

const char *exchange_kind_name(enum exchange_kind kind) {
    check(kind < COUNT_OF(kind_names));
    return kind_names[kind];
}

bool exchange_find_kind(struct bytes name, enum exchange_kind *ret_kind) {
    for (size_t i = 0; i < COUNT_OF(kind_names); i++) {
        if (!bytes_equal(name, bytes_text(kind_names[i]))) continue;
        *ret_kind = (enum exchange_kind)i;
        return true;
    }
    return false;
}

/* Only a long string names an alternate exchange; a declare with another type is refused, but
 * arguments may also come from elsewhere one day. */
static void find_alternate(struct exchange *exchange) {
    struct field field;
    if (!table_find(exchange->arguments, BYTES("alternate-exchange"), &field)) return;
    if (field.type != 'S') return;
    exchange->has_alternate = true;
    exchange->alternate = field.bytes;
}

struct exchange *exchange_new(
    const struct change *change, enum exchange_kind kind, uint64_t hash_seed) {
    size_t size = (size_t)change->name.size + change->arguments.size;
    struct exchange *exchange = mem_new(sizeof *exchange + size);
    bytes_copy(exchange->data, change->name.data, change->name.size);
    exchange->name = bytes_of(exchange->data, change->name.size);
    uint8_t *arguments = exchange->data + change->name.size;
    bytes_copy(arguments, change->arguments.data, change->arguments.size);
    exchange->arguments = bytes_of(arguments, change->arguments.size);
    exchange->kind = kind;
    exchange->durable = change->durable;
    exchange->auto_delete = change->auto_delete;
    exchange->internal = change->internal;
    exchange->hash_seed = hash_seed;
    find_alternate(exchange);
    list_init(&exchange->bindings);
    list_init(&exchange->inbound);
    if (kind == EXCHANGE_TOPIC) topic_init(&exchange->topic, hash_seed);
    return exchange;
}

void exchange_free(struct exchange *exchange) {
    check(list_empty(&exchange->bindings));
    check(list_empty(&exchange->inbound));
    check(!list_linked(&exchange->in_doomed));
    list_remove_if_linked(&exchange->in_sparse);
    if (exchange->kind == EXCHANGE_TOPIC) topic_deinit(&exchange->topic);
    if (exchange->kind == EXCHANGE_DIRECT) map_deinit(&exchange->direct);
    mem_free(exchange);
}

/* ---- direct ---- */

static struct direct_targets *find_key(const struct exchange *exchange, struct bytes routing_key) {
    uint64_t hash = map_hash(routing_key, exchange->hash_seed);
    struct map_probe probe = map_probe(&exchange->direct, hash);
    struct direct_targets *key;
    while ((key = map_probe_next(&probe)) != NULL) {
        const struct binding *first = targets_all(&key->targets)->binding;
        if (bytes_equal(binding_key(first), routing_key)) return key;
    }
    return NULL;
}

static void attach_direct(struct exchange *exchange, struct binding *binding) {
    struct direct_targets *key = find_key(exchange, binding_key(binding));
    if (!key) {
        key = NEW(struct direct_targets);
        map_put(&exchange->direct, map_hash(binding_key(binding), exchange->hash_seed), key);
    }
    targets_add(&key->targets, binding);
}

static void detach_direct(struct exchange *exchange, struct binding *binding) {
    struct direct_targets *key = CONTAINER_OF(binding->targets, struct direct_targets, targets);
    targets_remove(&key->targets, binding);
    if (key->targets.count != 0) return;
    map_remove_only(&exchange->direct, map_hash(binding_key(binding), exchange->hash_seed), key);
    mem_free(key);
}

/* ---- every kind ---- */

struct map *exchange_table(struct exchange *exchange) {
    if (exchange->kind == EXCHANGE_DIRECT) return &exchange->direct;
    return exchange->kind == EXCHANGE_TOPIC ? &exchange->topic.edges : NULL;
}

void exchange_attach(struct exchange *exchange, struct binding *binding) {
    check(binding->source == exchange);
    switch (exchange->kind) {
    case EXCHANGE_DIRECT: attach_direct(exchange, binding); break;
    case EXCHANGE_TOPIC: topic_add(&exchange->topic, binding); break;
    case EXCHANGE_HEADERS:
        binding->match = (uint8_t)headers_match_kind(binding_arguments(binding));
        targets_add(&exchange->targets, binding);
        break;
    case EXCHANGE_FANOUT: targets_add(&exchange->targets, binding); break;
    }
    list_put_last(&exchange->bindings, &binding->in_source);
}

void exchange_detach(struct exchange *exchange, struct binding *binding) {
    check(binding->source == exchange);
    list_remove(&binding->in_source);
    switch (exchange->kind) {
    case EXCHANGE_DIRECT: detach_direct(exchange, binding); break;
    case EXCHANGE_TOPIC: topic_remove(&exchange->topic, binding); break;
    case EXCHANGE_HEADERS:
    case EXCHANGE_FANOUT: targets_remove(&exchange->targets, binding); break;
    }
}

void exchange_route(
    const struct exchange *exchange, const struct exchange_visit *visit, struct walk *walk) {
    switch (exchange->kind) {
    case EXCHANGE_DIRECT:
        for (uint32_t i = 0; i < visit->routing_key_count; i++) {
            const struct direct_targets *key = find_key(exchange, visit->routing_keys[i]);
            if (key) walk_follow_all(walk, &key->targets);
        }
        break;
    case EXCHANGE_TOPIC:
        for (uint32_t i = 0; i < visit->routing_key_count; i++) {
            topic_match(&exchange->topic, visit->routing_keys[i], walk);
        }
        break;
    case EXCHANGE_HEADERS: headers_match(visit->headers, &exchange->targets, walk); break;
    case EXCHANGE_FANOUT: walk_follow_all(walk, &exchange->targets); break;
    }
}

void exchange_check(const struct exchange *exchange) {
    list_for (struct binding, binding, &exchange->bindings, in_source) {
        check(binding->source == exchange);
        check(binding->destination != NULL);
        const struct targets *targets = binding->targets;
        check(targets != NULL);
        check(binding->target_at < targets->count);
        const struct target *target = &targets_all(targets)[binding->target_at];
        check(target->binding == binding);
        check(target->queue == binding->queue);
        switch (exchange->kind) {
        case EXCHANGE_DIRECT:
            check(&find_key(exchange, binding_key(binding))->targets == targets);
            break;
        case EXCHANGE_TOPIC: topic_check(&exchange->topic, binding); break;
        case EXCHANGE_HEADERS:
        case EXCHANGE_FANOUT: check(targets == &exchange->targets); break;
        }
    }
}
