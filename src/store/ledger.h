/* ledger: which messages live, as the records of journals and segments say.
 *
 *      ledger_add          every queue there is
 *      ledger_take         every record of LEDGER_FACTS: what is settled, or may have been
 * delivered ledger_close        once ledger_lives        every place of every PUB, which may be
 * there twice
 *
 * Facts come first, whatever order they were written in: so nothing is kept of messages that are
 * settled. A place is never used twice, and a fact is never taken back. */
#ifndef STORE_LEDGER_H
#define STORE_LEDGER_H

#include "store/record.h"

#define LEDGER_FACTS                                                                               \
    (RECORD_BIT(RECORD_ACK) | RECORD_BIT(RECORD_PURGE) | RECORD_BIT(RECORD_QSTATE) |               \
        RECORD_BIT(RECORD_DELIVERED) | RECORD_BIT(RECORD_SETTLED))
#define LEDGER_MESSAGES (RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART))

enum {
    LEDGER_QSTATE_HEAD_BYTES = 16, /* {next seq u64, delivered u64} */
    LEDGER_BLOCK_WORDS = 64,       /* of bits that are kept together */
};

/* Settled: from `seq` up to `end`. */
struct ledger_span {
    uint64_t seq;
    uint64_t end;
};

/* Settled: those whose bits are set. Many files say nearly the same of a queue with many holes: as
 * bits that costs nothing but once. */
struct ledger_block {
    uint64_t number; /* of all places of the queue in blocks */
    uint64_t words[LEDGER_BLOCK_WORDS];
};

/* What is known of one queue. */
struct ledger_queue {
    size_t at;          /* its place among those that were added */
    uint64_t next_seq;  /* above all that was seen */
    uint64_t delivered; /* messages below may have been delivered */
    uint64_t below;     /* everything below is settled */
    struct ledger_span *spans;
    size_t span_count;
    size_t span_capacity;
    size_t span_at;               /* where the last look-up ended */
    struct ledger_block **blocks; /* ascending */
    size_t block_count;
    size_t block_capacity;
    size_t block_at; /* looked up last */
};

/* All zero is one without queues. */
struct ledger {
    uint64_t *ids;                /* rising */
    struct ledger_queue **queues; /* the same places; NULL until a record names it */
    size_t count;
    size_t capacity;
    size_t last; /* looked up last */
};

void ledger_deinit(struct ledger *ledger);

/* Adds a queue, whose id must be above those before. */
void ledger_add(struct ledger *ledger, uint64_t id);

/* What is known of a queue, or NULL when it was not added: then its messages do not count. */
struct ledger_queue *ledger_find(struct ledger *ledger, uint64_t id);

/* Takes one target of a fact, of this queue. */
void ledger_take(
    struct ledger_queue *queue, const struct record_view *view, const struct record_target *target);

/* All facts have been taken. */
void ledger_close(struct ledger *ledger);

/* A PUB has a message for this place: whether it is not settled. */
bool ledger_lives(struct ledger_queue *queue, uint64_t seq);

/* The first place with *seq <= its seq < end that lives, into *seq, and up to where those behind it
 * do as well; false when none does. For runs of messages that are known to be there. */
bool ledger_next_live(struct ledger_queue *queue, uint64_t *seq, uint64_t end, uint64_t *ret_end);

#endif
