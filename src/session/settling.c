/* settling: very many deliveries that are settled, or given back, a slice of a turn at a time. */
#include "session/settling.h"

#include "base/memory.h"
#include "session/channel.h"
#include "session/channel_basic.h"

/* What comes to a tenth of a millisecond here and as much at the queue. */
enum { SLICE_DELIVERIES = 4096 };

enum { KEPT_BLOCK = 64 };

struct kept_block {
    struct kept_block *next;
    uint32_t first;
    uint32_t end;
    struct {
        struct delivery delivery;
        enum settle_how how;
    } list[KEPT_BLOCK];
};

struct settling {
    struct list_node in_session;
    struct unacked unacked;
    enum settle_how how; /* of these */
    struct kept_settled kept;
    enum settling_then then;
    uint16_t channel;
    uint32_t request;
};

/* ---- what is kept ---- */

void kept_settled_put(
    struct kept_settled *kept, const struct delivery *delivery, enum settle_how how) {
    struct kept_block *block = kept->last;
    if (!block || block->end == KEPT_BLOCK) {
        block = mem_raw(sizeof *block);
        block->next = NULL;
        block->first = block->end = 0;
        if (kept->last)
            kept->last->next = block;
        else
            kept->first = block;
        kept->last = block;
    }
    block->list[block->end].delivery = *delivery;
    block->list[block->end].how = how;
    block->end++;
    kept->count++;
}

static void drop_first_block(struct kept_settled *kept) {
    struct kept_block *block = kept->first;
    kept->first = block->next;
    if (!kept->first) kept->last = NULL;
    mem_free(block);
}

void kept_settled_clear(struct kept_settled *kept) {
    while (kept->first)
        drop_first_block(kept);
    kept->count = 0;
}

/* ---- the line ---- */

uint32_t settling_slice(const struct session *session) {
    uint32_t slice = session->settings->settling_slice;
    return slice ? slice : SLICE_DELIVERIES;
}

static struct settling *settling_new(struct session *session) {
    struct settling *settling = NEW(struct settling);
    list_put_last(&session->settling, &settling->in_session);
    session->calls->wake(session->host);
    return settling;
}

static void settling_free(struct settling *settling) {
    list_remove(&settling->in_session);
    check(settling->unacked.count == 0);
    check(settling->kept.count == 0);
    mem_free(settling);
}

bool settling_busy(const struct session *session) {
    return !list_empty(&session->settling);
}

/* ---- saying ---- */

static void say_runs(const struct session *session, struct settle_runs *runs) {
    for (uint32_t i = 0; i < runs->count; i++)
        session->calls->settle(session->host, &runs->runs[i]);
    runs->count = 0;
}

static void say(const struct session *session, struct settle_runs *runs,
    const struct delivery *delivery, enum settle_how how) {
    if (settle_runs_put(runs, delivery, how)) return;
    say_runs(session, runs);
    bool put = settle_runs_put(runs, delivery, how);
    check(put);
}

/* Settles up to `budget` deliveries; gives how many are left of that. */
static uint32_t settle_ledger(const struct session *session, struct unacked *unacked,
    uint64_t tag_max, enum settle_how how, uint32_t budget) {
    struct settle_runs runs;
    runs.count = 0;
    struct delivery delivery;
    for (; budget != 0 && unacked_take_first(unacked, tag_max, &delivery); budget--)
        say(session, &runs, &delivery, how);
    say_runs(session, &runs);
    return budget;
}

static uint32_t settle_kept(
    const struct session *session, struct kept_settled *kept, uint32_t budget) {
    struct settle_runs runs;
    runs.count = 0;
    for (; budget != 0 && kept->count != 0; budget--) {
        struct kept_block *block = kept->first;
        say(session, &runs, &block->list[block->first].delivery, block->list[block->first].how);
        kept->count--;
        if (++block->first == block->end) drop_first_block(kept);
    }
    say_runs(session, &runs);
    return budget;
}

/* ---- putting ---- */

void settling_put(
    struct session *session, struct unacked *unacked, uint64_t tag_max, enum settle_how how) {
    /* Those that are marked stay: a transaction has settled them. */
    bool few = unacked->count <= settling_slice(session) || unacked->marked_count != 0;
    if (few) {
        (void)settle_ledger(session, unacked, tag_max, how, UINT32_MAX);
        return;
    }
    struct unacked split = unacked_split(unacked, tag_max);
    if (split.count <= settling_slice(session)) {
        (void)settle_ledger(session, &split, UINT64_MAX, how, UINT32_MAX);
        return;
    }
    struct settling *settling = settling_new(session);
    settling->unacked = split;
    settling->how = how;
}

void settling_put_kept(struct session *session, struct kept_settled *kept) {
    if (kept->count <= settling_slice(session)) {
        (void)settle_kept(session, kept, UINT32_MAX);
        return;
    }
    settling_new(session)->kept = *kept;
    *kept = (struct kept_settled){0};
}

/* ---- what comes then ---- */

static void do_then(
    struct session *session, enum settling_then then, uint16_t channel, uint32_t request) {
    const struct session_calls *calls = session->calls;
    switch (then) {
    case THEN_NOTHING: return;
    case THEN_FENCE:
    case THEN_STABLE_FENCE:
        calls->fence(session->host, channel, request, then == THEN_STABLE_FENCE);
        return;
    case THEN_GO_ON: channel_on_settled(session, channel, request); return;
    case THEN_LEAVE: calls->leave(session->host); return;
    }
    unreachable_here();
}

void settling_then(
    struct session *session, enum settling_then then, uint16_t channel, uint32_t request) {
    if (!settling_busy(session)) {
        do_then(session, then, channel, request);
        return;
    }
    struct settling *settling = settling_new(session);
    settling->then = then;
    settling->channel = channel;
    settling->request = request;
}

void settling_go_on(struct session *session) {
    uint32_t budget = settling_slice(session);
    struct list_node *node = NULL;
    while (budget != 0 && (node = list_first(&session->settling)) != NULL) {
        struct settling *settling = LIST_ENTRY(node, struct settling, in_session);
        budget = settle_ledger(session, &settling->unacked, UINT64_MAX, settling->how, budget);
        budget = settle_kept(session, &settling->kept, budget);
        if (settling->unacked.count != 0 || settling->kept.count != 0) break;
        struct settling done = *settling;
        settling_free(settling);
        do_then(session, done.then, done.channel, done.request);
    }
    if (settling_busy(session)) session->calls->wake(session->host);
}
