/* binding: a way from an exchange to a queue or to another exchange, and lists of such ways.
 *
 * A binding is in four places at once: in the virtual host's set of bindings (by what it says), in
 * its source's list, in its destination's list, and in the targets that its exchange's kind looks
 * keys up in. Each place is left in O(1). */
#ifndef CORE_BINDING_H
#define CORE_BINDING_H

#include "base/list.h"
#include "core/routes.h"

struct exchange;

/* How a binding of a headers exchange compares (its argument x-match). */
enum binding_match { MATCH_ALL, MATCH_ANY, MATCH_ALL_WITH_X, MATCH_ANY_WITH_X };

struct binding {
    struct exchange *source;
    void *destination;               /* struct bound_queue or struct exchange */
    queue_ref queue;                 /* of a queue; 0: the destination is an exchange */
    struct list_node in_source;      /* exchange->bindings */
    struct list_node in_destination; /* bound_queue->bindings or exchange->inbound */
    struct targets *targets;         /* where its exchange's kind keeps it */
    uint32_t target_at;              /* its place there */
    uint32_t arguments_size;
    uint8_t key_size;
    uint8_t match;  /* enum binding_match */
    uint8_t data[]; /* routing key, then the arguments in their canonical form (core/args.h) */
};

static inline struct bytes binding_key(const struct binding *binding) {
    return bytes_of(binding->data, binding->key_size);
}

static inline struct bytes binding_arguments(const struct binding *binding) {
    return bytes_of(binding->data + binding->key_size, binding->arguments_size);
}

/* A binding that is in no list yet. The key is at most 255 bytes; canonical arguments. */
struct binding *binding_new(struct bytes key, struct bytes canonical_arguments);

/* Releases a binding that is in no list any more. */
void binding_free(struct binding *binding);

/* One way out, with what a publish needs of it side by side. */
struct target {
    queue_ref queue; /* 0: an exchange, binding->destination */
    struct binding *binding;
};

/* Ways out in any order. A single one, the most usual case, takes no memory of its own. */
struct targets {
    uint32_t count;
    uint32_t capacity; /* 0: `one` is in use, else `many` */
    union {
        struct target one;
        struct target *many;
    };
};

static inline const struct target *targets_all(const struct targets *targets) {
    return targets->capacity ? targets->many : &targets->one;
}

/* Adds or removes a binding in O(1). */
void targets_add(struct targets *targets, struct binding *binding);
void targets_remove(struct targets *targets, struct binding *binding);

/* Where a publish has come to so far. */
struct walk {
    struct routes *queues;
    struct routes exchanges; /* struct exchange pointers, in the order of their visits */
    uint32_t found;          /* ways out that the exchange being visited has given */
};

/* Follows one way: its queue is added, or its exchange is put down for a visit. */
void walk_follow(struct walk *walk, const struct target *target);

/* Follows all ways of a list. */
void walk_follow_all(struct walk *walk, const struct targets *targets);

#endif
