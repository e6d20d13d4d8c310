/* ledger: which messages were put and settled, by whom, and whether a recovery gives back what it
 * must: the truth beside which the keepers (keeper.h) are tested.
 *
 * A message takes places in one to three queues; a place is a queue and a seq. What is confirmed
 * lives until every place of it is settled. Content follows from the message's id. */
#ifndef TESTS_STORE_LEDGER_H
#define TESTS_STORE_LEDGER_H

#include "base/prng.h"
#include "store/recover.h"

enum {
    LEDGER_WRITERS = 4,
    LEDGER_QUEUES = 5,
    LEDGER_PRIORITIES = 2,
    LEDGER_TARGETS_MAX = 3,
    LEDGER_PARTS_MAX = 4,
    LEDGER_FILES_MAX = 4096,
    LEDGER_TEXT = 256
};

struct ledger_message {
    uint64_t id;
    uint16_t home; /* the writer that has it */
    uint8_t part_count;
    uint16_t target_count;
    struct record_target targets[LEDGER_TARGETS_MAX];
    uint64_t first_position; /* of its records, in this life, or 0 */
    uint64_t last_position;
    uint64_t file_no;  /* of its first record, from former lives, and */
    bool straddles;    /* the last one is in another */
    uint64_t segment;  /* the number of the one that it is in, or 0; SEGMENT_REF_KEPT and a number
                          of a journal file that was kept */
    uint64_t at;       /* where its first record is in a segment or in a file of former lives */
    uint64_t moves_to; /* one that is being made or kept, or 0, and */
    uint64_t moves_at; /* where in it its first record is */
    bool gone;         /* given up: must never be seen again */
    bool stuck;        /* never to be settled */
    bool found;        /* in the recovery that is being looked at, and */
    uint64_t found_file;
    uint64_t found_segment;
    uint64_t found_at; /* in the segment, or else in the file */
    bool found_straddling;
};

enum ledger_state { LEDGER_LIVES, LEDGER_SETTLING, LEDGER_SETTLED };

struct ledger_place {
    struct ledger_message *message;
    enum ledger_state state;
    uint16_t writer;   /* who settled it, and */
    uint64_t position; /* when, in this life */
    bool found;        /* in the recovery: its message with this target, and */
    bool found_kept;   /* in a segment, and */
    bool found_settled;
};

struct ledger_lane {
    struct ledger_place *places; /* the first has seq 1 */
    uint64_t count;
    uint64_t capacity;
};

/* The earliest of a queue's settlements that a writer's chain holds and that it has not stated
 * again since. */
struct ledger_facts {
    uint64_t file_no;  /* in a file of former lives, or 0 */
    uint64_t position; /* in this life, or 0 */
};

struct ledger {
    struct ledger_message **messages;
    uint64_t count;
    uint64_t capacity;
    struct ledger_lane lanes[LEDGER_QUEUES][LEDGER_PRIORITIES];
    struct ledger_facts facts[LEDGER_WRITERS][LEDGER_QUEUES];
    uint64_t stable[LEDGER_WRITERS];
    uint8_t *noise;
    void **kept; /* memory that journals may still borrow */
    uint64_t kept_count;
    uint64_t kept_capacity;
    bool damage_allowed; /* messages may be missing: something was damaged on purpose */
    char *failure;       /* the world's, of LEDGER_TEXT bytes */
};

/* A ledger that knows nothing; `failure` is where the first failure is noted. */
void ledger_init(struct ledger *ledger, uint64_t seed, char *failure);

/* Frees all. */
void ledger_deinit(struct ledger *ledger);

/* Notes the first failure. */
void ledger_fails(struct ledger *ledger, const char *format, ...) PRINTF_LIKE(2, 3);

/* Memory that lives as long as the ledger. */
void *ledger_keep(struct ledger *ledger, size_t size);

/* A new message for queues that this one of so many writers has. */
struct ledger_message *ledger_publish(
    struct ledger *ledger, struct prng *prng, uint16_t writer, uint32_t running);

/* The message's records: parts 0 to part_count - 1, then the publish. `message` may be a copy with
 * other targets. Everything is borrowed from the ledger and from `message`. */
struct record ledger_record(
    const struct ledger *ledger, const struct ledger_message *message, uint32_t part);

/* The place that a target names; NULL when there never was one. */
struct ledger_place *ledger_place(struct ledger *ledger, uint64_t queue, uint64_t seq);

/* Whether this target still lives, as far as anybody has said; whether any of them does. */
bool ledger_target_lives(struct ledger *ledger, const struct record_target *target);
bool ledger_lives(struct ledger *ledger, const struct ledger_message *message);

/* Notes that a settlement was put; the place must live. */
void ledger_settle(
    struct ledger *ledger, const struct record_target *target, uint16_t writer, uint64_t position);

/* The state of a queue as a record: heads as targets, spans above them as the body. Kept. */
struct record ledger_state_record(struct ledger *ledger, uint64_t queue);

/* The same of one priority's places from *at on, as a SETTLED, and where the next one goes on;
 * false when there are no more. `at` begins with 0. */
bool ledger_settled_record(struct ledger *ledger, uint64_t queue, uint64_t priority, uint64_t *at,
    struct record *ret_record);

/* Replays all and compares: what was confirmed and is not settled is there, bit by bit; what was
 * settled and stable does not live; nothing else is there. */
void ledger_compare(struct ledger *ledger, struct recovery *recovery);

/* Takes what the last comparison found for the truth, and where it is. */
void ledger_begin_life(struct ledger *ledger);

#endif
