/* lane: a model client's channel: what it has asked and not been answered, what it holds, what it
 * has published and not been confirmed. */
#ifndef SIM_LANE_H
#define SIM_LANE_H

#include "sim/card.h"

#include "amqp/method.h"
#include "amqp/properties.h"
#include "base/buffer.h"

struct guest;

enum { LANE_EXPECTS_MAX = 24, LANE_CONSUMERS_MAX = 24, LANE_HELD_MAX = LETTERS_MAX };

enum lane_state {
    LANE_SHUT,
    LANE_OPENING,
    LANE_OPEN,
    LANE_CLOSING /* we have said close */
};

/* A request that waits for its reply. */
struct expect {
    enum method_kind reply;
    uint32_t settled_mark; /* settlements made before it */
    uint32_t sent_mark;    /* publishes made before it */
    uint32_t consumer;     /* consume, cancel */
    struct card_queue *queue;
    uint32_t value; /* qos: the count */
    bool risky;     /* it, or something before it, may close the channel */
    bool flag;      /* get: no_ack; qos: shared; recover */
};

struct model_consumer {
    struct card_queue *queue;
    uint32_t prefetch; /* 0: no limit */
    uint32_t unacked;
    uint32_t *last; /* [LANE_UIDS_MAX]: last first-time message of each publisher, plus 1 */
    bool no_ack;
    bool active; /* consume-ok has come */
    bool over;   /* cancel-ok, or the server's cancel, has come */
    bool cancelling;
};

/* A delivery that this channel has not settled for certain. */
struct hold {
    uint64_t tag;
    struct card_queue *queue;
    struct letter *letter;
    uint32_t consumer; /* UINT32_MAX: basic.get */
    bool in_tx;        /* settled in a transaction that is not committed */
    bool requeue;      /* so */
};

/* A settlement that was sent; certain once a later request has been answered. */
struct settlement {
    struct card_queue *queue;
    struct letter *letter;
};

/* A delivery, get-ok or return whose content is arriving. */
struct incoming {
    bool expected;
    bool has_header;
    struct method method;
    uint8_t strings[1024]; /* the method's */
    char message_id[16];
    char reply_to[96];
    bool has_cc;
    bool has_bcc;
    uint64_t size;
    struct buffer body;
};

struct lane {
    struct guest *guest;
    uint16_t number;
    uint32_t uid; /* of this life */
    enum lane_state state;
    bool crossed; /* we closed, and so did the broker */
    bool doomed;  /* must turn out to be closed by the broker */
    bool risky;   /* something since the last request may close the channel */
    bool tx_risky;
    bool confirms;
    bool tx;
    struct expect expects[LANE_EXPECTS_MAX];
    uint32_t expect_count;
    struct model_consumer consumers[LANE_CONSUMERS_MAX];
    uint32_t consumer_count;
    struct hold *holds;
    uint32_t hold_count;
    uint64_t next_tag;
    struct settlement *settlements;
    uint32_t settlement_count;
    uint32_t settlement_sure;
    struct letter **sent; /* publishes, in order */
    uint32_t sent_count;
    uint32_t sent_sure;
    uint32_t tx_mark;            /* publishes whose fate a commit or rollback has decided */
    struct letter **unconfirmed; /* by seqno - 1; NULL once confirmed */
    uint64_t seqno;
    uint32_t prefetch; /* for the next consumer */
    uint32_t shared;   /* 0: no limit */
    uint32_t shared_unacked;
    bool shared_strict;      /* set before there was a consumer, not changed since */
    uint32_t reply_consumer; /* index plus 1 of the one that takes direct replies */
    bool recovering;         /* recover is under way */
    uint32_t last_got[STABLE_MAX][LANE_UIDS_MAX]; /* as model_consumer.last, for basic.get */
    uint32_t counted_messages;                    /* by the last declare-ok */
    uint32_t counted_consumers;
    struct incoming incoming;
};

struct lane *lane_new(struct guest *guest, uint16_t number);
void lane_free(struct lane *lane);

/* Sends channel.open, and begins a life. */
void lane_open(struct lane *lane);

/* Sends a method; lane_ask also remembers that a reply must come. */
void lane_say(struct lane *lane, const struct method *method);
struct expect *lane_ask(struct lane *lane, const struct method *method, enum method_kind reply);

/* From the wire. */
void lane_on_method(struct lane *lane, const struct method *method);
void lane_on_header(struct lane *lane, const struct content_header *header);
void lane_on_body(struct lane *lane, struct bytes body);

/* The channel ends. Gently: the broker has done all that was asked. */
void lane_end(struct lane *lane, bool gently);

/* The broker may have a reason to close it. */
bool lane_may_be_closed(const struct lane *lane);

/* The deliveries up to that one, or it alone, are settled. */
void lane_settle(struct lane *lane, uint64_t tag, bool multiple, bool requeue);

/* Gives everything that is held back, as recover does. */
void lane_release_all(struct lane *lane);

/* A publish has been sent. */
void lane_published(struct lane *lane, struct letter *letter);

/* What a transaction kept goes its way. */
void lane_commit(struct lane *lane);
void lane_roll_back(struct lane *lane);

/* ---- sim/content.c: messages that have arrived ---- */

/* All of the delivery, get-ok or return has come; `asked` is the request of a get-ok. */
void lane_on_content(struct lane *lane, const struct expect *asked);

#endif
