/* facts: saying again what of a queue is settled, before a file goes that may have said so.
 *
 *     QSTATE    everything below the first message that lives is settled
 *     ACK       runs of settled ones behind it, where they are few or long
 *     SETTLED   a bit for each message, where that is shorter
 *
 * It is done in slices of places, and between two of them anything may happen to the queue. What is
 * put is right all the same, wherever the slices fall:
 *
 * - Never too little. All files that go were left before it began. What had been settled by then is
 *   not in the queue any more, so that whichever slice gets there finds the place empty; and what
 * is settled later is said by records of its own, in files that do not go.
 * - Never too much. A settlement is never taken back, and a place is never used twice. A message
 *   that could not be read leaves its queue without being settled, but the shelf lists it in the
 *   same step: no slice comes between.
 * - A queue that is dropping still holds what is settled. Then, and when the queue is gone, the
 *   owner gives up what was begun; what of it was staged is true and does no harm.
 *
 * Messages that come meanwhile are not looked at: nothing in a file that goes is about them. The
 * file goes only when the position of the last record is stable. */
#ifndef SHARD_FACTS_H
#define SHARD_FACTS_H

#include "base/base.h"

struct keeper;
struct queue_slot;
struct record_target;

struct facts {
    struct keeper *keeper;
    bool begun;   /* for some queue, and not ended */
    bool has_low; /* the first message that lives has been found, */
    uint64_t low; /* and it is this one */
    uint64_t seq; /* all places before have been looked at */
    uint64_t end; /* and none from here on will be */
    uint64_t run; /* from here up to seq everything is settled; UINT64_MAX: it is not */
    struct record_target *spans;
    uint32_t span_count;
    uint32_t span_capacity;
    uint8_t *words; /* bits from words_seq on */
    uint64_t words_seq;
    uint32_t word_count;
    uint32_t word_capacity;
    uint64_t position; /* of what was staged last */
    uint64_t ahead;    /* bytes that have been staged since the owner saw all of it stable */
};

void facts_init(struct facts *facts, struct keeper *keeper);
void facts_deinit(struct facts *facts);

/* Begins with what is known of the queue now. */
void facts_begin(struct facts *facts, const struct queue_slot *slot);

/* Goes on with the queue that was begun, for at most *steps steps of a bounded time, which it takes
 * off. True when all is staged: facts->position is where. */
bool facts_put(struct facts *facts, const struct queue_slot *slot, uint32_t *steps);

/* What was begun is not gone on with. */
void facts_drop(struct facts *facts);

#endif
