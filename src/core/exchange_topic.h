/* exchange_topic: the patterns of a topic exchange as a trie of words, matched by a set of states.
 *
 *     a.*.c   a.#   #.c          root --a--> . --*--> . --c--> [a.*.c]
 *                                  |          `--#--> [a.#]
 *                                  `--#--> . --c--> [#.c]
 *
 * A key's words are taken one by one; the state is the set of nodes where the words so far can have
 * led. Each node is in the set once, so the work is at most words times live nodes, whatever the
 * patterns. A '#' that follows a '#' adds nothing and is left out. Words may be empty: "a." has
 * two, the empty key has none. */
#ifndef CORE_EXCHANGE_TOPIC_H
#define CORE_EXCHANGE_TOPIC_H

#include "base/map.h"
#include "core/binding.h"

struct topic_node;

struct topic {
    struct topic_node *root;
    struct map edges; /* nodes reached by a literal word, by their parent and word */
    uint64_t hash_seed;
};

void topic_init(struct topic *topic, uint64_t hash_seed);

/* Every binding must have been removed. */
void topic_deinit(struct topic *topic);

/* Adds or removes a binding under its key as the pattern. */
void topic_add(struct topic *topic, struct binding *binding);
void topic_remove(struct topic *topic, struct binding *binding);

/* Follows every binding whose pattern matches the key. Keys are at most 255 bytes. */
void topic_match(const struct topic *topic, struct bytes routing_key, struct walk *walk);

/* Checks the nodes on the way to a binding: O(words). */
void topic_check(const struct topic *topic, const struct binding *binding);

/* Nodes without the root, and the bytes of memory of the trie without its bindings: O(nodes) for
 * literal ones. */
size_t topic_bytes(const struct topic *topic);

#endif
