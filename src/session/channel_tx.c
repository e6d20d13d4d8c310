/* channel_tx: the classes tx and confirm. Publishes and acks wait for tx.commit; commit-ok waits
 * for every queue's word that it has its messages, and for a fence behind what was settled.
 *
 *   tx.select -> publishes and acks are kept -> tx.commit: all handed over -> confirms -> commit-ok
 *                                    |                               \----> fence ----/
 *                                    \-------> tx.rollback: publishes dropped, acks undone
 *
 * Where a publish goes is decided when it comes, as in RabbitMQ. What was acked stays unacked below
 * until commit, and in the ledger, marked: a second ack of the same tag is refused. */
#include "session/channel_tx.h"

#include "base/memory.h"
#include "session/channel_basic.h"
#include "session/confirms.h"
#include "session/consuming.h"
#include "session/message_rules.h"
#include "session/settling.h"

/* RabbitMQ has no limit here; this one is far above what anybody does, and keeps one client from
 * taking all memory with messages that no queue's limit can count. */
static const uint64_t TX_BYTES_MAX = 1024u * 1024 * 1024;

struct kept_publish {
    struct message *message;
    struct held_route *held; /* owned */
    bool mandatory;
};

struct tx {
    struct kept_publish *publishes;
    uint32_t publish_count;
    uint32_t publish_capacity;
    uint64_t bytes;              /* what the publishes cost */
    struct kept_settled settled; /* marked in the ledger */
    uint64_t commit_seqno;       /* of the commit under way, or the last one */
    uint32_t missing_count;      /* confirms of it */
    bool fenced;                 /* the fence behind its settlements is not back */
    bool refused;                /* a queue said no */
};

/* ---- keeping ---- */

bool channel_tx_keep_publish(
    struct channel *channel, const struct parcel *parcel, struct held_route *held) {
    struct tx *tx = channel->tx;
    uint64_t cost = message_cost(parcel->message) + held->count * sizeof held->queues[0] +
                    sizeof *held + sizeof *tx->publishes;
    if (cost > TX_BYTES_MAX - tx->bytes) return false;
    tx->bytes += cost;
    if (tx->publish_count == tx->publish_capacity) {
        tx->publish_capacity = tx->publish_capacity ? tx->publish_capacity * 2 : 16;
        tx->publishes = mem_resize(tx->publishes, tx->publish_capacity * sizeof *tx->publishes);
    }
    struct kept_publish *kept = &tx->publishes[tx->publish_count++];
    *kept = (struct kept_publish){
        .message = parcel->message, .held = held, .mandatory = parcel->mandatory};
    return true;
}

void channel_tx_keep_settled(
    struct channel *channel, const struct delivery *delivery, enum settle_how how) {
    kept_settled_put(&channel->tx->settled, delivery, how);
}

static void drop_publishes(struct tx *tx, struct message_pool *pool) {
    for (uint32_t i = 0; i < tx->publish_count; i++) {
        message_unref(pool, tx->publishes[i].message);
        mem_free(tx->publishes[i].held);
    }
    mem_free(tx->publishes);
    tx->publishes = NULL;
    tx->publish_count = tx->publish_capacity = 0;
    tx->bytes = 0;
}

/* Nothing was acked. The ledger is there if anything ever was in it. */
static void undo_settled(struct channel *channel) {
    if (channel->unacked) unacked_unmark_all(channel->unacked);
    kept_settled_clear(&channel->tx->settled);
}

void channel_tx_deinit(struct channel *channel) {
    if (!channel->tx) return;
    undo_settled(channel);
    drop_publishes(channel->tx, channel->session->pool);
    mem_free(channel->tx);
    channel->tx = NULL;
}

/* ---- commit ---- */

static void publish_kept(struct channel *channel, const struct kept_publish *kept) {
    struct tx *tx = channel->tx;
    struct parcel parcel = {
        .message = kept->message, .held = kept->held, .mandatory = kept->mandatory};
    struct publish_result result;
    publish_hand_over(channel, &parcel, tx->commit_seqno, &result);
    check(result.code == REPLY_OK); /* a refusal came when it was kept */
    tx->missing_count += result.confirms;
}

static void settle_kept(struct channel *channel) {
    channel_say_settled(channel);
    if (channel->unacked) unacked_drop_marked(channel->unacked);
    settling_put_kept(channel->session, &channel->tx->settled);
    channel_lend_tokens(channel);
}

static void refuse_plain(struct channel *channel) {
    channel_fault(channel, REPLY_PRECONDITION_FAILED, "channel is not transactional");
}

static void finish_commit(struct channel *channel) {
    if (channel->tx->refused) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "partial tx completion");
        return;
    }
    channel_reply(channel, &(struct method){.kind = METHOD_tx_commit_ok});
}

static bool commit_waits(const struct tx *tx) {
    return tx->missing_count != 0 || tx->fenced;
}

void channel_on_tx_commit(struct channel *channel, const struct amqp_tx_commit *arguments) {
    (void)arguments;
    struct session *session = channel->session;
    struct tx *tx = channel->tx;
    if (!tx) {
        refuse_plain(channel);
        return;
    }
    tx->commit_seqno++;
    tx->missing_count = 0;
    tx->refused = false;
    for (uint32_t i = 0; i < tx->publish_count; i++)
        publish_kept(channel, &tx->publishes[i]);
    drop_publishes(tx, session->pool);
    tx->fenced = tx->settled.count != 0;
    settle_kept(channel);
    uint32_t request = connection_next_id(session);
    if (tx->fenced) settling_then(session, THEN_STABLE_FENCE, channel->number, request);
    if (commit_waits(tx)) {
        channel_park(channel, WAIT_COMMIT, request);
    } else {
        finish_commit(channel);
    }
}

/* The fence is back. The channel waits on if confirms are missing. */
void channel_tx_on_answer(struct channel *channel, const struct answer *answer) {
    (void)answer;
    struct tx *tx = channel->tx;
    check(tx->fenced);
    tx->fenced = false;
    if (commit_waits(tx)) {
        channel_park(channel, WAIT_COMMIT, connection_next_id(channel->session));
    } else {
        finish_commit(channel);
    }
}

void channel_tx_on_confirm(struct channel *channel, uint64_t seqno, bool ok) {
    struct tx *tx = channel->tx;
    if (!tx || seqno != tx->commit_seqno || tx->missing_count == 0) return;
    tx->missing_count--;
    if (!ok) tx->refused = true;
    if (commit_waits(tx)) return;
    check(channel->wait == WAIT_COMMIT);
    struct session *session = channel->session;
    uint16_t number = channel->number;
    channel_unpark(channel);
    finish_commit(channel);
    connection_replay(session, number);
    connection_drained(session);
}

/* ---- select and rollback ---- */

void channel_on_tx_select(struct channel *channel, const struct amqp_tx_select *arguments) {
    (void)arguments;
    if (channel->mode == MODE_CONFIRM) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "cannot switch from confirm to tx mode");
        return;
    }
    if (!channel->tx) channel->tx = NEW(struct tx);
    channel->mode = MODE_TX;
    channel_reply(channel, &(struct method){.kind = METHOD_tx_select_ok});
}

void channel_on_tx_rollback(struct channel *channel, const struct amqp_tx_rollback *arguments) {
    (void)arguments;
    if (!channel->tx) {
        refuse_plain(channel);
        return;
    }
    drop_publishes(channel->tx, channel->session->pool);
    undo_settled(channel);
    channel_reply(channel, &(struct method){.kind = METHOD_tx_rollback_ok});
}

void channel_on_confirm_select(
    struct channel *channel, const struct amqp_confirm_select *arguments) {
    if (channel->mode == MODE_TX) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "cannot switch from tx to confirm mode");
        return;
    }
    if (!channel->confirms) {
        channel->confirms = NEW(struct confirms);
        confirms_init(channel->confirms);
    }
    channel->mode = MODE_CONFIRM;
    if (arguments->no_wait) return;
    channel_reply(channel, &(struct method){.kind = METHOD_confirm_select_ok});
}
