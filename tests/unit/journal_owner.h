/* journal_owner: somebody with a journal on a simulated disk to whom nothing may go wrong. */
#ifndef TESTS_JOURNAL_OWNER_H
#define TESTS_JOURNAL_OWNER_H

#include "tests/store/disk_sim.h"
#include "unit.h"

#include "store/journal.h"

struct owner {
    struct platter platter;
    struct journal *journal;
    uint64_t stable;
    uint64_t seq; /* the last that was put, for who counts them */
    uint64_t now_ms;
};

static inline void owner_on_stable(void *context, uint64_t position) {
    ((struct owner *)context)->stable = position;
}

static inline void owner_on_file_left(void *context, uint64_t file_no, uint64_t position) {
    (void)context;
    (void)file_no;
    (void)position;
}

static inline void owner_on_trouble(void *context, enum journal_trouble trouble, int error) {
    (void)context;
    fail_msg("trouble %d, errno %d", trouble, error);
}

static inline void owner_on_request(void *context, struct disk_request *request) {
    (void)context;
    assert_int_equal(request->status, 0);
}

static const struct journal_calls OWNER_CALLS = {
    owner_on_stable, owner_on_file_left, owner_on_trouble, owner_on_request};

/* An owner with an empty disk, and no journal yet. */
static inline struct owner *owner_with_disk(void) {
    struct owner *owner = test_malloc(sizeof *owner);
    memset(owner, 0, sizeof *owner);
    platter_init(&owner->platter, 1);
    return owner;
}

/* So many turns of the journal, and all that they ask of the disk. */
static inline void owner_turns(struct owner *owner, int count) {
    for (int i = 0; i < count; i++) {
        journal_turn(owner->journal, ++owner->now_ms, 1);
        platter_complete_all(&owner->platter);
    }
    journal_turn(owner->journal, owner->now_ms, 1);
}

/* The power is lost, and the owner with it. */
static inline void owner_free(struct owner *owner) {
    platter_power_loss(&owner->platter);
    journal_close(owner->journal);
    platter_deinit(&owner->platter);
    test_free(owner);
}

#endif
