/* confirms: which publishes of a channel in confirm mode are safe, and which of that was said.
 *
 *      said         first                              next
 *   ...........|  +  +  +  -  o  +  s  o  o  ......      + safe  - refused  o open  s said
 *               \__________/     \_ above an open one: said one by one
 *                 said as ranges: multiple never reaches over an open or a refused one
 *
 * A publish that goes to n queues needs n confirms. An empty window holds no memory, and a publish
 * that stays open for long costs only itself: what was said above it is dropped from the ring. */
#ifndef SESSION_CONFIRMS_H
#define SESSION_CONFIRMS_H

#include "base/base.h"

struct confirm_entry;

struct confirms {
    uint64_t next;              /* the next publish's number; the first is 1 */
    struct confirm_entry *ring; /* sorted by number; capacity is a power of two, or 0 */
    uint32_t capacity;
    uint32_t first;
    uint32_t size;
    uint32_t settled;      /* how many from the first on are not open: the next ranges */
    uint32_t unsaid_count; /* publishes that are open or not said yet */
    uint32_t above_next;   /* of above[], the next to say */
    uint32_t above_count;
    uint32_t above_capacity;
    uint64_t *above; /* numbers that were settled above an open one, not said yet */
};

/* What to tell the client: basic.ack or basic.nack of this number. */
struct confirm_word {
    uint64_t seqno;
    bool multiple;
    bool ok;
};

/* An empty window whose first number is 1. */
void confirms_init(struct confirms *confirms);
void confirms_deinit(struct confirms *confirms);

/* The number that the next confirms_put gives. */
static inline uint64_t confirms_next_seqno(const struct confirms *confirms) {
    return confirms->next;
}

/* Adds a publish that needs this many confirms; with 0 it is safe now. */
void confirms_put(struct confirms *confirms, uint32_t count);

/* One confirm came. Refused once is refused. False when nobody waits for it. */
bool confirms_settle(struct confirms *confirms, uint64_t seqno, bool ok);

/* Gives the next thing to say, in the order of numbers for what lies below the lowest open one;
 * false when all is said. To be called until then. */
bool confirms_next(struct confirms *confirms, struct confirm_word *ret_word) MUST_USE;

/* Publishes that are open or not said yet. */
static inline uint64_t confirms_count(const struct confirms *confirms) {
    return confirms->unsaid_count;
}

/* Checks every invariant: O(n). */
void confirms_check(const struct confirms *confirms);

#endif
