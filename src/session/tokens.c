/* tokens: a channel's shared prefetch (qos with global set), lent in parts to the queues that ask.
 */
#include "session/tokens.h"

void tokens_init(struct tokens *tokens) {
    tokens->limit = 0;
    tokens->lent = 0;
    list_init(&tokens->waiting);
}

void tokens_ask(struct tokens *tokens, struct token_holder *holder, uint32_t count) {
    check(count != 0);
    if (!list_linked(&holder->in_waiting)) list_put_last(&tokens->waiting, &holder->in_waiting);
    holder->wanted = count;
}

struct token_holder *tokens_lend(struct tokens *tokens, uint64_t in_use, uint32_t *ret_count) {
    struct list_node *node = list_first(&tokens->waiting);
    if (!node) return NULL;
    struct token_holder *holder = LIST_ENTRY(node, struct token_holder, in_waiting);
    uint64_t taken = in_use + tokens->lent;
    uint64_t room = tokens->limit == 0 ? UINT32_MAX - tokens->lent : 0;
    if (taken < tokens->limit) room = tokens->limit - taken;
    uint32_t count = (uint32_t)min_u64(room, holder->wanted);
    if (count == 0) return NULL;
    list_remove(&holder->in_waiting);
    holder->wanted = 0;
    holder->held += count;
    tokens->lent += count;
    *ret_count = count;
    return holder;
}

void tokens_take(struct tokens *tokens, struct token_holder *holder, uint32_t count) {
    count = (uint32_t)min_u64(count, holder->held);
    check(tokens->lent >= count);
    holder->held -= count;
    tokens->lent -= count;
}

void tokens_leave(struct tokens *tokens, struct token_holder *holder) {
    tokens_take(tokens, holder, holder->held);
    list_remove_if_linked(&holder->in_waiting);
    holder->wanted = 0;
}
