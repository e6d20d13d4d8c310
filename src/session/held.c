/* held: what a channel has said and its client may not hear yet. */
#include "session/held.h"

#include "base/memory.h"

struct held_mark {
    struct list_node in_held;
    uint64_t ticket; /* what is said from here on waits for */
    uint64_t at;     /* bytes that were held before it, since the first */
};

static struct held_mark *first_mark(const struct held *held) {
    return LIST_ENTRY(list_first(&held->marks), struct held_mark, in_held);
}

static struct held_mark *last_mark(const struct held *held) {
    return LIST_ENTRY(held->marks.head.prev, struct held_mark, in_held);
}

static struct held *begin(struct channel *channel) {
    struct session *session = channel->session;
    struct held *held = NEW(struct held);
    held->channel = channel;
    outbox_init(
        &held->outbox, session->outbox.chunks, session->outbox.messages, &session->unwritten_bytes);
    list_init(&held->marks);
    list_put_last(&session->held, &held->in_session);
    channel->held = held;
    return held;
}

static void end(struct held *held) {
    list_remove(&held->in_session);
    held->channel->held = NULL;
    for (struct list_node *node; (node = list_take_first(&held->marks));)
        mem_free(LIST_ENTRY(node, struct held_mark, in_held));
    outbox_deinit(&held->outbox);
    mem_free(held);
}

void held_wait(struct channel *channel, uint64_t ticket) {
    if (ticket <= channel->session->stable_ticket) return;
    struct held *held = channel->held;
    if (!held) {
        held = begin(channel);
    } else if (last_mark(held)->ticket >= ticket) {
        return;
    }
    struct held_mark *mark = NEW(struct held_mark);
    mark->ticket = ticket;
    mark->at = held->released + held->outbox.size;
    list_put_last(&held->marks, &mark->in_held);
}

bool held_release(struct held *held, uint64_t ticket) {
    struct session *session = held->channel->session;
    while (!list_empty(&held->marks) && first_mark(held)->ticket <= ticket) {
        struct held_mark *mark = first_mark(held);
        list_remove(&mark->in_held);
        mem_free(mark);
    }
    bool all = list_empty(&held->marks);
    uint64_t size = all ? held->outbox.size : first_mark(held)->at - held->released;
    if (size != 0) session->said_ms = session->now_ms;
    outbox_move(&session->outbox, &held->outbox, size);
    held->released += size;
    if (all) end(held);
    return all;
}

void held_hand_on(struct channel *old, struct channel *channel) {
    check(old->held != NULL);
    check(!channel->held);
    check(old->number == channel->number);
    channel->held = old->held;
    channel->held->channel = channel;
    old->held = NULL;
}

void held_drop_all(struct session *session) {
    list_for_safe (struct held, held, &session->held, in_session)
        end(held);
    if (!session->farewell) return;
    outbox_deinit(session->farewell);
    mem_free(session->farewell);
    session->farewell = NULL;
}

static void check_one(const struct held *held) {
    const struct session *session = held->channel->session;
    check(held->channel->held == held);
    check(!list_empty(&held->marks));
    check(first_mark(held)->at == held->released);
    uint64_t ticket = session->stable_ticket;
    uint64_t at = held->released;
    list_for (struct held_mark, mark, &held->marks, in_held) {
        check(mark->ticket > ticket);
        check(mark->at >= at);
        ticket = mark->ticket;
        at = mark->at;
    }
    check(at <= held->released + held->outbox.size);
}

void held_check(const struct session *session) {
    uint64_t unwritten_bytes = session->outbox.size;
    uint32_t count = 0;
    list_for (struct held, held, &session->held, in_session) {
        check(held->channel->session == session);
        check_one(held);
        unwritten_bytes += held->outbox.size;
        count++;
    }
    for (uint32_t i = 0; i < session->channel_count; i++)
        count -= session->channels[i]->held != NULL;
    check(count == 0); /* each is of a channel that is still there */
    if (session->farewell) {
        check(session->state == CONNECTION_LEAVING || session->state == CONNECTION_CLOSING);
        check(!list_empty(&session->held));
        unwritten_bytes += session->farewell->size;
    }
    check(unwritten_bytes == session->unwritten_bytes);
    check(session->state != CONNECTION_CLOSED || list_empty(&session->held));
}
