/* channel: one conversation within a connection: its state machine, faults and parking.
 *
 *   NEW -> OPEN -> CLOSING -> CLOSED         CLOSING: we have sent channel.close; everything but
 *            \_________________^             close and close-ok is ignored until close-ok
 *
 * A channel that waits for an answer is parked: its input is kept as bytes (bounded together with
 * all others of the connection) and replayed in order when channel_unpark was called. Other
 * channels go on. Answers find their channel by number and request, confirms by number and epoch,
 * so that what comes too late for a closed channel is recognised.
 *
 * Only the files of this folder include this header. */
#ifndef SESSION_CHANNEL_H
#define SESSION_CHANNEL_H

#include "session/connection.h"

enum channel_state {
    CHANNEL_NEW,
    CHANNEL_OPEN,
    CHANNEL_CLOSING, /* we have closed it; close-ok is awaited */
    CHANNEL_LEAVING, /* the client has closed it; its queues finish, parked for WAIT_CLOSE */
    CHANNEL_CLOSED,
    CHANNEL_STATE_COUNT
};

/* What a parked channel waits for; decides who gets the answer. */
enum channel_wait {
    WAIT_NOTHING,
    WAIT_CHANGE,  /* channel_topology.c */
    WAIT_PURGE,   /* channel_topology.c */
    WAIT_CONSUME, /* channel_basic.c, as the following */
    WAIT_CANCEL,
    WAIT_GET,
    WAIT_COMMIT,  /* channel_tx.c */
    WAIT_SETTLED, /* channel_basic.c: that queues have been told of what was given back */
    WAIT_CLOSE    /* channel.c */
};

/* What the next frame has to be: after basic.publish come a header and bodies. Set by publish.c. */
enum channel_expect { EXPECT_METHOD, EXPECT_HEADER, EXPECT_BODY };

enum channel_mode { MODE_PLAIN, MODE_CONFIRM, MODE_TX };

struct unacked;
struct settle_runs;
struct confirms;
struct content;
struct tx;
struct consuming;
struct parked_input;
struct held;

struct channel {
    struct session *session;
    uint16_t number;
    uint16_t method; /* enum method_kind being handled: faults name it */
    uint32_t epoch;  /* unique among the channels that this session has opened */

    uint8_t state;  /* enum channel_state; changed by channel_enter alone */
    uint8_t wait;   /* enum channel_wait; changed by channel_park and channel_unpark alone */
    uint8_t expect; /* enum channel_expect */
    uint8_t mode;   /* enum channel_mode */
    bool no_wait;   /* the method that parked the channel wants no reply */

    uint32_t request;            /* what the parked channel waits for */
    struct parked_input *parked; /* kept input, or NULL */
    struct list_node in_busy;    /* in session->busy, see channel_wake */
    struct held *held;           /* what the client may not hear yet (session/held.h), or NULL */

    struct effect *lost; /* kept by channel_lose_consumer, owned; NULL when there are none */
    uint32_t lost_count;

    char *last_queue; /* the queue declared last, zero-terminated, owned; NULL when there is none */

    /* Of channel_basic.c, channel_consume.c, publish.c and channel_tx.c; NULL until used. */
    struct unacked *unacked;
    struct settle_runs *settled; /* acks of this turn that were not said below yet */
    struct confirms *confirms;
    struct content *content; /* being assembled */
    struct tx *tx;
    struct consuming *consuming;
    struct list consumers;   /* struct channel_consumer (session/consuming.h) */
    uint32_t consumer_count; /* those that have been told consume-ok */
    uint16_t prefetch;       /* qos global=false: for new consumers; 0 is no limit */
    bool get_no_ack;         /* of the basic.get that the channel waits for */
    uint64_t next_delivery_tag;
};

/* ---- for every file of this folder ---- */

/* Raises a fault for the method being handled: channel.close or connection.close, as amqp/reply.h
 * says, with the text "CODE_NAME - ..." cut to 255 bytes and the method's ids. What the channel
 * held is given back. The caller returns right after it; the channel stays valid until then. */
void channel_fault(struct channel *channel, enum reply_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Sends a method on the channel. */
void channel_reply(struct channel *channel, const struct method *method);

/* Asks auth/access.h; when it says no, raises ACCESS_REFUSED and gives false. */
bool channel_authorize(struct channel *channel, enum access_operation operation,
    enum access_kind kind, struct bytes name) MUST_USE;

/* The queue that a method means: an empty name is the queue declared last on this channel. False
 * when there is none; the fault has been raised then. */
bool channel_name_queue(
    struct channel *channel, struct bytes name, struct bytes *ret_name) MUST_USE;

/* The channel's input waits until the answer to `request` has come. Called from a handler, after
 * the call that was not answered at once. */
void channel_park(struct channel *channel, enum channel_wait wait, uint32_t request);

/* Ends the waiting; connection_replay has to follow. Called before the answer's handler, which may
 * park again. */
void channel_unpark(struct channel *channel);

static inline bool channel_is_parked(const struct channel *channel) {
    return channel->wait != WAIT_NOTHING;
}

/* Makes session_flush call channel_flush for this channel once. */
void channel_wake(struct channel *channel);

/* ---- for connection.c and session.c ---- */

/* One of the channel's consumers has lost its queue. While the channel itself waits for the queue's
 * deletion, this is told behind the reply. */
void channel_lose_consumer(struct channel *channel, const struct effect *effect);

/* Tells what channel_lose_consumer has kept. */
void channel_tell_lost(struct channel *channel);

/* A channel in state NEW. channel_free wants it CLOSED, with nothing held. */
struct channel *channel_new(struct session *session, uint16_t number, uint32_t epoch);
void channel_free(struct channel *channel);

/* The only place that changes the state; checks that the edge exists. */
void channel_enter(struct channel *channel, enum channel_state state);

/* A frame for a channel that is not parked. Afterwards the channel may be CLOSED. */
void channel_on_frame(struct channel *channel, const struct frame *frame);

/* Input of a parked channel, from `at` on still to be replayed. */
struct parked_input {
    struct buffer bytes;
    size_t at;
};
void parked_input_free(struct parked_input *input);

/* Keeps a frame of a parked channel. */
void channel_keep_input(struct channel *channel, const struct frame *frame);

/* Gives back what the channel holds (channel_basic_deinit) and enters CLOSED. */
void channel_end(struct channel *channel);

/* ---- the handlers: a method that a client may send without one does not link ---- */

/* access.*, channel.*: channel.c. exchange.*, queue.*: channel_topology.c. basic.*: publish,
 * publish.c; consume, cancel, qos, channel_consume.c; else channel_basic.c. tx.*, confirm.*:
 * channel_tx.c.
 * connection.* have no handler here: they are refused on channels. */
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    void channel_on_##class##_##method(                                                            \
        struct channel *channel, const struct amqp_##class##_##method *arguments);
#include "amqp/methods.def"
#undef METHOD

/* What the client's channel.close let go is done: says close-ok. */
void channel_on_left(struct channel *channel);

/* The answer to what the channel was parked for (or to a call answered at once): WAIT_CHANGE and
 * WAIT_PURGE; WAIT_CONSUME, WAIT_CANCEL and WAIT_GET; WAIT_COMMIT. `wait` tells which. With code
 * REPLY_OK and for WAIT_GET, the reference to answer->message goes to the handler. */
void channel_topology_on_answer(
    struct channel *channel, enum channel_wait wait, const struct answer *answer);
void channel_basic_on_answer(
    struct channel *channel, enum channel_wait wait, const struct answer *answer);
void channel_tx_on_answer(struct channel *channel, const struct answer *answer);

/* ---- content: publish.c. The payloads of header and body frames, in an expected place. ---- */
void publish_on_header(struct channel *channel, struct bytes payload);
void publish_on_body(struct channel *channel, struct bytes payload);

/* ---- what comes from below: channel_basic.c and channel_consume.c, for an open channel ---- */

/* The message's reference comes with it. A delivery for a consumer that is gone is given back. */
void channel_on_deliver(struct channel *channel, queue_ref queue, const struct effect *effect);
void channel_on_consumer_lost(struct channel *channel, const struct effect *effect);
void channel_on_tokens(struct channel *channel, queue_ref queue, const struct effect *effect);
/* A message for the channel's direct reply-to consumer. The reference comes with it. */
void channel_on_reply(struct channel *channel, struct message *message);

/* True while the channel has a direct reply-to consumer with this key. */
bool channel_awaits_reply(const struct channel *channel, struct bytes key);
void channel_on_confirm(struct channel *channel, uint64_t seqno, bool ok);

/* What was given back has been said to all queues (THEN_GO_ON of settling.h): a channel that is
 * parked for this goes on, if there still is one. */
void channel_on_settled(struct session *session, uint16_t number, uint32_t request);

/* Says what was gathered since channel_wake: confirms, settlements. */
void channel_flush(struct channel *channel);

/* Cancels consumers, gives unacked messages back by calls->settle, drops a half-assembled content
 * and everything of tx and confirms; releases their memory. Afterwards the fields are NULL or 0.
 * Nothing may be written to the outbox. May be called twice. */
void channel_basic_deinit(struct channel *channel);

/* For facts: deliveries not yet acknowledged, publishes not yet confirmed. */
uint64_t channel_unacked_count(const struct channel *channel);
uint64_t channel_unconfirmed_count(const struct channel *channel);

/* Checks the invariants of what channel_basic.c and channel_tx.c keep. */
void channel_basic_check(const struct channel *channel);

#endif
