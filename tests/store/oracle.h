/* oracle: what was put into each journal, and whether a recovery gives back what it must.
 *
 * Every put and every settlement is an item, counted through all the lives of a shard. An item's
 * content follows from its id, so that it can be compared bit by bit. */
#ifndef TESTS_STORE_ORACLE_H
#define TESTS_STORE_ORACLE_H

#include "store/recover.h"

enum { ORACLE_TARGETS_MAX = 4, ORACLE_FILES_MAX = 4096, ORACLE_TEXT = 256, ORACLE_PLACES = 512 };

struct oracle_item {
    uint64_t id;     /* never given twice */
    bool settlement; /* of (ORACLE_SETTLED + shard, seq) */
    uint64_t seq;
    bool present;  /* in the recovery that is being looked at */
    uint64_t lsn;  /* of its frame, and */
    uint64_t file; /* its file, as the last good recovery said */
};

struct oracle_shard {
    struct oracle_item *items; /* item 1 is items[0] */
    uint64_t count;
    uint64_t capacity;
    uint64_t base;     /* items before the journal's first position */
    uint64_t stable;   /* the last item reported stable */
    uint64_t released; /* items up to here may be gone */
    uint64_t last_seq;
    uint64_t file_last[ORACLE_FILES_MAX]; /* the last item in a file and those before */
    uint64_t last_seen;                   /* the item replayed last, for the order */
};

struct oracle {
    struct oracle_shard shards[4];
    uint64_t last_id;
    uint8_t *noise;
    struct record_target places[ORACLE_PLACES]; /* targets are taken from here */
    bool bounded_records;                       /* small ones only */
    char failure[ORACLE_TEXT];
};

/* An oracle that knows nothing. */
void oracle_init(struct oracle *oracle, uint64_t seed);

/* Frees all. */
void oracle_deinit(struct oracle *oracle);

/* Notes the first failure. */
void oracle_fails(struct oracle *oracle, const char *format, ...) PRINTF_LIKE(2, 3);

/* The next record to be put to a shard; a new item. Borrowed from the oracle. */
struct record oracle_next_record(struct oracle *oracle, uint16_t shard, uint64_t choice);

/* The next settlement; a new item. `gap` keeps it from going on where the last one ended. */
struct record_target oracle_next_settlement(struct oracle *oracle, uint16_t shard, bool gap);

/* Replays all and compares: everything stable and not released is there bit by bit, in order,
 * nothing else, without holes. `lost` tells which items may be missing (NULL: none). */
typedef bool (*oracle_lost_fn)(void *context, uint16_t shard, const struct oracle_item *item);
void oracle_compare(
    struct oracle *oracle, struct recovery *recovery, oracle_lost_fn lost, void *context);

/* Takes what the recovery gave for the truth: what is not present never happened. */
void oracle_settle(struct oracle *oracle);

#endif
