/* exchange_topic: the patterns of a topic exchange as a trie of words, matched by a set of states.
 */
#include "core/exchange_topic.h"

#include "base/memory.h"

enum node_kind { NODE_ROOT, NODE_WORD, NODE_STAR, NODE_HASH };

/* A place in some pattern: what stands before it is on the way from the root. */
struct topic_node {
    struct topic_node *parent;
    struct topic_node *star;
    struct topic_node *hash;
    struct targets targets; /* the patterns that end here */
    uint32_t word_count;    /* children by literal words; they are in topic->edges */
    uint8_t kind;           /* enum node_kind */
    uint8_t word_size;
    uint8_t word[]; /* NODE_WORD: the last word before this place */
};

/* Takes the words of a key one by one. The empty key has none; otherwise there is one more than
 * there are dots. */
struct words {
    const uint8_t *at;
    const uint8_t *end;
    bool more;
};

static struct words words_of(struct bytes key) {
    return (struct words){key.data, key.size ? key.data + key.size : NULL, key.size != 0};
}

static bool words_next(struct words *words, struct bytes *ret_word) {
    if (!words->more) return false;
    size_t left = (size_t)(words->end - words->at);
    const uint8_t *dot = left ? memchr(words->at, '.', left) : NULL;
    const uint8_t *stop = dot ? dot : words->end;
    *ret_word = bytes_of(words->at, (size_t)(stop - words->at));
    words->more = dot != NULL;
    words->at = dot ? dot + 1 : words->end;
    return true;
}

static enum node_kind kind_of(struct bytes word) {
    if (word.size != 1) return NODE_WORD;
    if (word.data[0] == '*') return NODE_STAR;
    return word.data[0] == '#' ? NODE_HASH : NODE_WORD;
}

/* The hash of an edge: its parent's address spreads the hash of the word. */
static uint64_t edge_hash(const struct topic_node *parent, uint64_t word_hash) {
    uint64_t hash = (word_hash ^ (uintptr_t)parent) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 32);
}

static struct topic_node *find_word(const struct topic *topic, const struct topic_node *parent,
    struct bytes word, uint64_t word_hash) {
    if (parent->word_count == 0) return NULL;
    struct map_probe probe = map_probe(&topic->edges, edge_hash(parent, word_hash));
    struct topic_node *node;
    while ((node = map_probe_next(&probe)) != NULL) {
        if (node->parent != parent) continue;
        if (bytes_equal(bytes_of(node->word, node->word_size), word)) return node;
    }
    return NULL;
}

static struct topic_node *node_new(
    struct topic_node *parent, enum node_kind kind, struct bytes word) {
    check(word.size <= UINT8_MAX);
    uint32_t size = kind == NODE_WORD ? word.size : 0;
    struct topic_node *node = mem_new(sizeof *node + size);
    node->parent = parent;
    node->kind = (uint8_t)kind;
    node->word_size = (uint8_t)size;
    bytes_copy(node->word, word.data, size);
    return node;
}

void topic_init(struct topic *topic, uint64_t hash_seed) {
    *topic = (struct topic){.hash_seed = hash_seed};
    topic->root = node_new(NULL, NODE_ROOT, bytes_of(NULL, 0));
}

/* True when nothing leads through or ends at this place any more. */
static bool idle(const struct topic_node *node) {
    return node->targets.count == 0 && node->word_count == 0 && !node->star && !node->hash;
}

void topic_deinit(struct topic *topic) {
    check(idle(topic->root));
    check(topic->edges.count == 0);
    mem_free(topic->root);
    map_deinit(&topic->edges);
}

/* ---- changes ---- */

/* The place one word on from `node`, or NULL. */
static struct topic_node *find_next(
    const struct topic *topic, struct topic_node *node, struct bytes word) {
    switch (kind_of(word)) {
    case NODE_STAR: return node->star;
    case NODE_HASH: return node->kind == NODE_HASH ? node : node->hash;
    case NODE_WORD: return find_word(topic, node, word, map_hash(word, topic->hash_seed));
    case NODE_ROOT: break;
    }
    unreachable_here();
}

static struct topic_node *make_next(
    struct topic *topic, struct topic_node *node, struct bytes word) {
    enum node_kind kind = kind_of(word);
    struct topic_node *next = node_new(node, kind, word);
    if (kind == NODE_STAR) node->star = next;
    if (kind == NODE_HASH) node->hash = next;
    if (kind == NODE_WORD) {
        map_put(&topic->edges, edge_hash(node, map_hash(word, topic->hash_seed)), next);
        node->word_count++;
    }
    return next;
}

void topic_add(struct topic *topic, struct binding *binding) {
    struct topic_node *node = topic->root;
    struct words words = words_of(binding_key(binding));
    struct bytes word;
    while (words_next(&words, &word)) {
        struct topic_node *next = find_next(topic, node, word);
        node = next ? next : make_next(topic, node, word);
    }
    targets_add(&node->targets, binding);
}

static void unlink_node(struct topic *topic, struct topic_node *node) {
    struct topic_node *parent = node->parent;
    if (parent->star == node) {
        parent->star = NULL;
    } else if (parent->hash == node) {
        parent->hash = NULL;
    } else {
        uint64_t word_hash = map_hash(bytes_of(node->word, node->word_size), topic->hash_seed);
        check(parent->word_count > 0);
        map_remove_only(&topic->edges, edge_hash(parent, word_hash), node);
        parent->word_count--;
    }
}

void topic_remove(struct topic *topic, struct binding *binding) {
    struct topic_node *node = CONTAINER_OF(binding->targets, struct topic_node, targets);
    targets_remove(&node->targets, binding);
    while (node != topic->root && idle(node)) {
        struct topic_node *parent = node->parent;
        unlink_node(topic, node);
        mem_free(node);
        node = parent;
    }
}

/* ---- matching ---- */

/* The set of states. Nodes are entered from their parent alone, so each is entered once if its
 * parent is; only a '#' also stays from word to word, and may be entered again from its parent at a
 * later word. The '#' nodes are therefore kept apart, in a list that only grows and that knows what
 * it holds; the other nodes are new at every word. */
struct states {
    struct routes sets[2];
    struct routes *now;    /* nodes entered by the last word, without '#' */
    struct routes *next;   /* nodes entered by the word being taken */
    struct routes staying; /* '#' nodes; they stay */
};

static void states_init(struct states *states) {
    routes_init(&states->sets[0]);
    routes_init(&states->sets[1]);
    routes_init(&states->staying);
    states->now = &states->sets[0];
    states->next = &states->sets[1];
}

static void states_deinit(struct states *states) {
    routes_deinit(&states->sets[0]);
    routes_deinit(&states->sets[1]);
    routes_deinit(&states->staying);
}

static const struct topic_node *node_at(const struct routes *set, uint32_t at) {
    return (const struct topic_node *)(uintptr_t)set->queues[at];
}

/* A '#' after the node may stand for no word at all, so it is entered together with it. */
static void enter(struct states *states, const struct topic_node *node) {
    routes_append(states->next, (uintptr_t)node);
    if (node->hash) (void)routes_add(&states->staying, (uintptr_t)node->hash);
}

static void take_word(const struct topic *topic, struct states *states,
    const struct topic_node *node, struct bytes word, uint64_t word_hash) {
    const struct topic_node *child = find_word(topic, node, word, word_hash);
    if (child) enter(states, child);
    if (node->star) enter(states, node->star);
}

static void follow_states(const struct routes *set, struct walk *walk) {
    for (uint32_t i = 0; i < set->count; i++) {
        walk_follow_all(walk, &node_at(set, i)->targets);
    }
}

static void swap_sets(struct states *states) {
    struct routes *now = states->now;
    states->now = states->next;
    states->next = now;
}

void topic_match(const struct topic *topic, struct bytes routing_key, struct walk *walk) {
    struct states states;
    struct words words = words_of(routing_key);
    struct bytes word;
    states_init(&states);
    enter(&states, topic->root);
    swap_sets(&states);
    while (states.now->count + states.staying.count != 0 && words_next(&words, &word)) {
        uint64_t word_hash = map_hash(word, topic->hash_seed);
        uint32_t staying_count = states.staying.count; /* those entered now wait for a word */
        routes_reset(states.next);
        for (uint32_t i = 0; i < states.now->count; i++) {
            take_word(topic, &states, node_at(states.now, i), word, word_hash);
        }
        for (uint32_t i = 0; i < staying_count; i++) {
            take_word(topic, &states, node_at(&states.staying, i), word, word_hash);
        }
        swap_sets(&states);
    }
    follow_states(states.now, walk);
    follow_states(&states.staying, walk);
    states_deinit(&states);
}

/* ---- checking ---- */

void topic_check(const struct topic *topic, const struct binding *binding) {
    struct topic_node *node = topic->root;
    struct words words = words_of(binding_key(binding));
    struct bytes word;
    while (words_next(&words, &word)) {
        struct topic_node *next = find_next(topic, node, word);
        check(next != NULL);
        check(next == node || next->parent == node);
        check(!(next->kind == NODE_HASH && next->hash));
        node = next;
    }
    check(binding->targets == &node->targets);
}

size_t topic_bytes(const struct topic *topic) {
    size_t bytes = map_bytes(&topic->edges);
    for (uint32_t at = 0; at < map_slot_count(&topic->edges); at++) {
        const struct topic_node *node = map_item_at(&topic->edges, at);
        if (node) bytes += sizeof *node + node->word_size;
    }
    return bytes;
}
