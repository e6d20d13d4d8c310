/* topic_oracle: what a pattern of a topic exchange matches, straight from the definition: word by
 * word, by recursion. Slow beyond use, and easy to believe. */
#ifndef TESTS_UNIT_TOPIC_ORACLE_H
#define TESTS_UNIT_TOPIC_ORACLE_H

#include "base/base.h"

/* The rest of `text` behind its first word; `data` NULL when that was the last one. */
static inline struct bytes topic_behind_word(struct bytes text, struct bytes *ret_word) {
    const uint8_t *dot = text.size ? memchr(text.data, '.', text.size) : NULL;
    if (!dot) {
        *ret_word = text;
        return bytes_of(NULL, 0);
    }
    size_t size = (size_t)(dot - text.data);
    *ret_word = bytes_of(text.data, size);
    return bytes_of(dot + 1, text.size - size - 1);
}

/* `data` NULL means that no word is left. */
static inline bool topic_rest_matches(struct bytes pattern, struct bytes key) {
    struct bytes pattern_word, key_word;
    if (!pattern.data) return !key.data;
    struct bytes pattern_rest = topic_behind_word(pattern, &pattern_word);
    if (bytes_equal(pattern_word, BYTES("#"))) {
        if (topic_rest_matches(pattern_rest, key)) return true;
        return key.data && topic_rest_matches(pattern, topic_behind_word(key, &key_word));
    }
    if (!key.data) return false;
    struct bytes key_rest = topic_behind_word(key, &key_word);
    bool same = bytes_equal(pattern_word, key_word) || bytes_equal(pattern_word, BYTES("*"));
    return same && topic_rest_matches(pattern_rest, key_rest);
}

/* The empty text has no words. */
static inline bool topic_oracle(struct bytes pattern, struct bytes key) {
    if (pattern.size == 0) pattern.data = NULL;
    if (key.size == 0) key.data = NULL;
    return topic_rest_matches(pattern, key);
}

#endif
