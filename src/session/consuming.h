/* consuming: a channel's consumers, and what they share: the shared prefetch and direct reply-to.
 *
 *   consume -> ASKED -> CONSUMING -> cancel -> LEAVING -> gone
 *                            \______ queue deleted ______/
 *
 * A consumer is found by its tag_id when something comes from its queue, and by its tag when
 * something comes from the client. */
#ifndef SESSION_CONSUMING_H
#define SESSION_CONSUMING_H

#include "base/list.h"
#include "base/map.h"
#include "core/op.h"
#include "session/reply_to.h"
#include "session/tokens.h"

enum {
    CONSUMERS_PER_CHANNEL_MAX = 65535, /* more are a client's mistake, and each costs memory */
};

enum consumer_stage { CONSUMER_ASKED, CONSUMER_CONSUMING, CONSUMER_LEAVING };

struct channel_consumer {
    struct list_node in_channel; /* channel->consumers */
    struct token_holder tokens;
    queue_ref queue;        /* 0 while ASKED */
    consumer_handle handle; /* as is this */
    uint32_t tag_id;
    uint8_t stage; /* enum consumer_stage */
    bool no_ack;
    bool shared; /* its queue asks for tokens */
    uint8_t tag_size;
    uint8_t tag[];
};

struct consuming {
    struct map by_id;
    struct map by_tag;
    uint64_t seed; /* of by_tag */
    struct tokens tokens;
    struct channel_consumer *waiting; /* the one that the parked channel waits for, or NULL */

    bool has_reply; /* a direct reply-to consumer */
    uint8_t reply_tag_size;
    uint8_t reply_tag[255];
    uint8_t reply_key[REPLY_TO_KEY_BYTES];
};

static inline struct bytes channel_consumer_tag(const struct channel_consumer *consumer) {
    return bytes_of(consumer->tag, consumer->tag_size);
}

/* `seed` is unguessable: tags are chosen by clients. */
struct consuming *consuming_new(uint64_t seed);

/* There must be no consumers left. NULL is fine. */
void consuming_free(struct consuming *consuming);

/* A new consumer in stage ASKED, put into `consumers` too. The tag is new, and so is the id. */
struct channel_consumer *consuming_put(
    struct consuming *consuming, struct list *consumers, struct bytes tag, uint32_t tag_id);

/* Takes it out of everything and releases it; its tokens are free again. */
void consuming_remove(struct consuming *consuming, struct channel_consumer *consumer);

/* The consumer, or NULL. */
struct channel_consumer *consuming_find(const struct consuming *consuming, uint32_t tag_id);
struct channel_consumer *consuming_find_tag(const struct consuming *consuming, struct bytes tag);

/* Checks the invariants: O(n). */
void consuming_check(const struct consuming *consuming, const struct list *consumers);

#endif
