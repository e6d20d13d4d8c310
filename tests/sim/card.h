/* card: the score card: every message that the model clients published and every copy of it that
 * they saw. It is the specification of what a queue does, as clients can know it.
 *
 * A copy is one message in one queue:
 *
 *     unseen -> held (delivered, unacked) -> settled
 *                 |         ^     \-> unsure: acked, but the channel ended before that was certain
 *                 v         |                   |
 *              released ----+-------------------+    (requeued, or its channel ended)
 */
#ifndef SIM_CARD_H
#define SIM_CARD_H

#include "base/base.h"

struct world;
struct lane;

enum { LETTERS_MAX = 4096, QUEUES_MAX = 96, STABLE_MAX = 4, LANE_UIDS_MAX = 512 };

enum letter_fate {
    LETTER_SENT, /* the broker may have it */
    LETTER_SURE, /* the broker has taken it */
    LETTER_KEPT, /* in a transaction that is not committed */
    LETTER_DEAD  /* rolled back, returned or refused: must not arrive anywhere */
};

/* A published message. Its number is in its message_id and decides its body. */
struct letter {
    uint32_t life; /* of the broker that it was sent to */
    bool persistent;
    bool firm;        /* confirmed, or committed: it survives in durable queues */
    bool in_tx;       /* published in a transaction */
    uint64_t sent_at; /* the card's clock */
    uint32_t size;
    uint32_t lane; /* uid of the channel that published it */
    char exchange[24];
    char key[96];
    char copy_to[2][8]; /* one more key each in CC and BCC, or "" */
    uint8_t fate;
    uint8_t targets; /* stable queues that it is routed to, a bit each */
    bool mandatory;
    bool unroutable; /* for certain */
    bool returned;
    bool asks;          /* for an answer by direct reply-to */
    uint32_t answer_to; /* uid of the channel whose reply key it was sent to, plus 1 */
};

enum copy_state {
    COPY_UNSEEN,
    COPY_HELD,
    COPY_RELEASED,
    COPY_UNSURE,
    COPY_SETTLED,
    COPY_GONE /* was not there after a crash, which may be */
};

struct copy {
    uint32_t holder; /* lane uid */
    uint8_t state;
    bool confused;   /* where it is cannot be known */
    bool seen;       /* somebody was given it */
    bool carried;    /* through a crash: it was there afterwards */
    bool flagged;    /* and had been given to somebody before: the flag must say so */
    bool unreadable; /* given up in this life, */
    bool pinned;     /* and its file stays: it must be back in the next */
    bool sealing;    /* that it is settled will be stable soon, and */
    bool sealed;     /* that it is settled is stable */
};

struct card_queue {
    char name[64];
    bool stable;
    bool durable;  /* of stable ones */
    bool declared; /* for certain */
    bool blind;    /* its journal had no place: nobody will know what was delivered */
    bool exclusive;
    bool auto_delete;
    bool consumed;       /* had a consumer */
    bool leaky;          /* a no-ack consumer ended roughly, or a purge is in doubt */
    bool shaken;         /* somebody who had deliveries under way has left or handed back */
    uint64_t purged_at;  /* messages that were sent before this clock may be gone */
    struct copy *copies; /* [LETTERS_MAX], made on use */
};

/* A reply key that somebody has seen. */
struct reply_key {
    char key[96];
    uint32_t lane; /* uid of the channel it leads to */
};

#define CARD_REPLY_QUEUE "amq.rabbitmq.reply-to"

enum { REPLY_KEYS_MAX = 8 };

struct card {
    struct world *world;
    uint64_t clock;
    uint32_t life; /* counts the broker's */
    struct letter *letters;
    uint32_t letter_count;
    struct card_queue queues[QUEUES_MAX];
    uint32_t queue_count;
    struct reply_key reply_keys[REPLY_KEYS_MAX]; /* the latest ones */
    uint32_t reply_key_count;
    uint32_t lane_count;
    struct lane *lanes[LANE_UIDS_MAX]; /* by uid; NULL once the channel has ended */
};

struct card *card_new(struct world *world);
void card_free(struct card *card);

/* The queue of that name; made when it is new. NULL when there are too many. */
struct card_queue *card_queue(struct card *card, const char *name);

/* As above, or NULL. */
struct card_queue *card_find_queue(struct card *card, struct bytes name);

/* A message about to be published, or NULL when there have been enough. */
struct letter *card_letter(struct card *card);
uint32_t card_number(const struct card *card, const struct letter *letter);
struct letter *card_find(struct card *card, struct bytes message_id);
struct copy *card_copy(struct card *card, struct card_queue *queue, const struct letter *letter);

/* Fills or compares the body of a message. */
void card_body(const struct card *card, const struct letter *letter, uint8_t *body);
void card_check_body(struct card *card, const struct letter *letter, struct bytes body);

/* The stable queues that (exchange, key) leads to. */
uint8_t card_route(const struct card *card, const char *exchange, const char *key);

/* What a delivery says. */
struct sighting {
    struct lane *lane;
    struct card_queue *queue;
    struct letter *letter;
    bool redelivered;
    bool no_ack;
    bool given_back; /* it arrives on a channel that has already given everything back */
};

/* Checks a delivery against the card and notes it. */
void card_deliver(struct card *card, const struct sighting *sighting);

/* What its holder did with a copy: RELEASED, UNSURE or SETTLED. Nothing when it is not the holder
 * any more. */
void card_leave(struct card *card, struct card_queue *queue, const struct letter *letter,
    const struct lane *holder, enum copy_state state);

/* All that was done is stable: what was taken is there after a crash, what was settled is not. */
void card_settle(struct card *card);

/* The broker has died; everybody has left. */
void card_crash(struct card *card);

/* After that: whether a letter is in this stable queue. */
void card_recovered(struct card *card, struct card_queue *queue, struct letter *letter, bool there);

/* The same for a queue that comes and goes, of which it is not known what must be there. */
void card_recovered_elsewhere(
    struct card *card, struct card_queue *queue, struct letter *letter, bool there);

/* Messages that must be ready in a stable queue, and how many more may be. */
void card_ready(struct card *card, uint32_t queue, uint32_t *ret_least, uint32_t *ret_most);

/* After the last drain: nothing that had to be delivered is missing. */
void card_check_lost(struct card *card);

#endif
