/* tokens: a channel's shared prefetch (qos with global set), lent in parts to the queues that ask.
 *
 *      limit  =  in use (unacked at the client)  +  lent (held by queues)  +  free
 *
 * A queue asks for a consumer, is given what is free (at least one token) when its turn comes, and
 * uses one with each delivery. What a queue does not need comes back. */
#ifndef SESSION_TOKENS_H
#define SESSION_TOKENS_H

#include "base/list.h"

struct tokens {
    uint32_t limit; /* 0 is no limit: whoever asks is given all */
    uint32_t lent;
    struct list waiting; /* holders in the order in which they asked */
};

/* One consumer's part. All zero is a holder without tokens. */
struct token_holder {
    struct list_node in_waiting;
    uint32_t wanted; /* not 0 while in waiting */
    uint32_t held;
};

void tokens_init(struct tokens *tokens);

/* The holder asks for `count` tokens, not 0. */
void tokens_ask(struct tokens *tokens, struct token_holder *holder, uint32_t count);

/* Lends to the holder that has waited longest; gives it and how many, or NULL when nothing is free
 * or nobody waits. `in_use` is the number of the channel's unacked deliveries. Call until NULL. */
struct token_holder *tokens_lend(struct tokens *tokens, uint64_t in_use, uint32_t *ret_count);

/* `count` tokens of the holder are used, or came back. More than it holds are all that it holds. */
void tokens_take(struct tokens *tokens, struct token_holder *holder, uint32_t count);

/* The holder is gone, with what it held and wanted. */
void tokens_leave(struct tokens *tokens, struct token_holder *holder);

#endif
