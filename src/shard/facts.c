/* facts: saying again what of a queue is settled, before a file goes that may have said so. */
#include "shard/facts.h"

#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/queue_host.h"
#include "store/le.h"
#include "store/ledger.h"

enum {
    SPANS_MAX = 256, /* in one record: what goes into any file, as a SETTLED does */
    WORD_PLACES = RECORD_SETTLED_PLACES,
    WINDOW_WORDS = 8, /* so many words are said in one way or the other */
    WINDOW_PLACES = WINDOW_WORDS * WORD_PLACES,
    WORDS_MAX = RECORD_SETTLED_BYTES_MAX / 8,
    WORDS_MIN = WINDOW_WORDS, /* that there is room for at first */
    LOST_PER_STEP = 16,       /* each is looked up */
};

#define NO_RUN UINT64_MAX

static_assert(WORDS_MAX % WINDOW_WORDS == 0, "a record of bits has whole windows");

void facts_init(struct facts *facts, struct keeper *keeper) {
    *facts = (struct facts){.keeper = keeper, .run = NO_RUN};
}

void facts_drop(struct facts *facts) {
    facts->begun = false;
    facts->span_count = 0;
    facts->word_count = 0;
}

void facts_deinit(struct facts *facts) {
    mem_free(facts->spans);
    mem_free(facts->words);
    facts->spans = NULL;
    facts->words = NULL;
}

/* ---- records ---- */

/* The record is in the file that is current then or in one behind it: whoever empties the former
 * says again what the latter has, and they go in order. */
static void stage(
    struct facts *facts, const struct queue_slot *slot, const struct record *record, void *memory) {
    struct keeper *keeper = facts->keeper;
    uint64_t bytes = record_size(record);
    shelf_touch(slot->shelf, keeper->archives[0].current, keeper->shard->number);
    facts->position = keeper_stage(keeper, record, memory);
    facts->ahead += bytes;
    counter_add(&keeper->shard->counters.facts_bytes, bytes);
}

static void stage_qstate(struct facts *facts, const struct queue_slot *slot) {
    struct record_target target = {.queue = slot->shelf->id, .seq = facts->low};
    uint8_t *head = mem_raw(LEDGER_QSTATE_HEAD_BYTES);
    le_put_u64(head, queue_next_seq(slot->queue));
    le_put_u64(head + 8, slot->shelf->delivered);
    struct record record = {.type = RECORD_QSTATE,
        .target_count = 1,
        .targets = &target,
        .head = bytes_of(head, LEDGER_QSTATE_HEAD_BYTES)};
    stage(facts, slot, &record, head);
}

static void stage_spans(struct facts *facts, const struct queue_slot *slot) {
    if (facts->span_count == 0) return;
    struct record record = {
        .type = RECORD_ACK, .target_count = (uint16_t)facts->span_count, .targets = facts->spans};
    stage(facts, slot, &record, facts->spans);
    facts->spans = NULL;
    facts->span_count = facts->span_capacity = 0;
}

static void stage_words(struct facts *facts, const struct queue_slot *slot) {
    if (facts->word_count == 0) return;
    struct record_target target = {.queue = slot->shelf->id, .seq = facts->words_seq};
    struct record record = {.type = RECORD_SETTLED,
        .target_count = 1,
        .targets = &target,
        .body = bytes_of(facts->words, (size_t)facts->word_count * 8)};
    stage(facts, slot, &record, facts->words);
    facts->words = NULL;
    facts->word_count = facts->word_capacity = 0;
}

/* Everything from `seq` up to `end` is settled. */
static void put_span(
    struct facts *facts, const struct queue_slot *slot, uint64_t seq, uint64_t end) {
    if (seq >= end) return;
    if (facts->span_count == SPANS_MAX) stage_spans(facts, slot);
    if (facts->span_count == facts->span_capacity) {
        uint64_t capacity = facts->span_capacity ? 4 * (uint64_t)facts->span_capacity : 4;
        facts->span_capacity = (uint32_t)min_u64(capacity, SPANS_MAX);
        facts->spans = mem_resize(facts->spans, facts->span_capacity * sizeof *facts->spans);
    }
    facts->spans[facts->span_count++] =
        (struct record_target){.queue = slot->shelf->id, .seq = seq, .count = end - seq};
}

/* The run that is open ends. */
static void end_run(struct facts *facts, const struct queue_slot *slot, uint64_t end) {
    if (facts->run != NO_RUN) put_span(facts, slot, facts->run, end);
    facts->run = NO_RUN;
}

/* Whether bits that begin at `seq` go on where those before end. */
static bool words_go_on(const struct facts *facts, uint64_t seq) {
    return facts->word_count != 0 && facts->word_count != WORDS_MAX &&
           facts->words_seq + (uint64_t)facts->word_count * WORD_PLACES == seq;
}

static void put_words(struct facts *facts, const struct queue_slot *slot, const uint64_t *settled) {
    if (!words_go_on(facts, facts->seq)) stage_words(facts, slot);
    if (facts->word_count == 0) facts->words_seq = facts->seq;
    if (facts->word_count + WINDOW_WORDS > facts->word_capacity) {
        uint64_t capacity = facts->word_capacity ? 4 * (uint64_t)facts->word_capacity : WORDS_MIN;
        facts->word_capacity = (uint32_t)min_u64(capacity, WORDS_MAX);
        facts->words = mem_resize(facts->words, (size_t)facts->word_capacity * 8);
    }
    for (uint32_t i = 0; i < WINDOW_WORDS; i++)
        le_put_u64(facts->words + (size_t)facts->word_count++ * 8, settled[i]);
}

/* ---- places ---- */

static uint64_t window_of(uint64_t seq) {
    return seq - seq % WINDOW_PLACES;
}

/* The first place from `seq` on of which it cannot be said that it is settled, or one before it up
 * to which all are: the queue looks only so far at once. */
static uint64_t next_unsettled(const struct queue_slot *slot, uint64_t seq, uint64_t end) {
    uint64_t number = seq / WORD_PLACES;
    uint64_t there = 0;
    uint64_t next = end;
    if (queue_next_places(slot->queue, &number, &there)) {
        uint64_t first = number * WORD_PLACES;
        uint64_t before = first < seq ? UINT64_MAX >> (WORD_PLACES - (seq - first)) : 0;
        bool any = (there & ~before) != 0;
        next = any          ? first + (uint64_t)__builtin_ctzll(there & ~before)
               : there != 0 ? first + WORD_PLACES
                            : max_u64(first, seq);
    }
    return min_u64(end, min_u64(next, shelf_next_lost(slot->shelf, seq)));
}

/* A step towards the first message that lives. Transient ones count as others do: what is said of
 * their places means nothing, since they are on no disk. */
static void find_low(struct facts *facts, const struct queue_slot *slot) {
    uint64_t from = facts->seq;
    uint64_t next = next_unsettled(slot, from, facts->end);
    uint64_t again = next_unsettled(slot, next, facts->end);
    facts->seq = next;
    if (next != again) return;
    facts->low = next;
    facts->has_low = true;
    stage_qstate(facts, slot);
    facts->seq = next == facts->end ? next : window_of(next);
}

/* Where a run of the shelf of which everything lives ends, if the place is in one. */
static uint64_t end_of_living(const struct queue_slot *slot, uint64_t seq, uint64_t end) {
    const struct shelf *shelf = slot->shelf;
    if (shelf->count == 0 || shelf->stays[0].first_seq > seq) return seq;
    uint32_t at = shelf_find(shelf, seq);
    uint64_t stay_end = min_u64(shelf_end(shelf, at), queue_next_seq(slot->queue));
    bool all = shelf->stays[at].live == stay_end - shelf->stays[at].first_seq;
    return all ? min_u64(stay_end, end) : seq;
}

/* The bits of the window that begins at facts->seq. Gives how many of them are lost ones. */
static uint32_t look(const struct facts *facts, const struct queue_slot *slot, uint64_t *settled) {
    uint64_t from = facts->seq;
    uint64_t first = from / WORD_PLACES;
    for (uint32_t i = 0; i < WINDOW_WORDS; i++)
        settled[i] = UINT64_MAX;
    uint64_t number = first;
    uint64_t there = 0;
    while (number < first + WINDOW_WORDS && queue_next_places(slot->queue, &number, &there)) {
        if (number < first + WINDOW_WORDS) settled[number - first] = ~there;
        number += there != 0;
    }
    uint32_t lost_count = 0;
    uint64_t lost = shelf_next_lost(slot->shelf, from);
    for (; lost < from + WINDOW_PLACES; lost = shelf_next_lost(slot->shelf, lost + 1), lost_count++)
        settled[lost / WORD_PLACES - first] &= ~((uint64_t)1 << (lost % WORD_PLACES));
    for (uint32_t i = 0; i < WINDOW_WORDS; i++) {
        uint64_t seq = (first + i) * WORD_PLACES;
        if (facts->low >= seq + WORD_PLACES || facts->end <= seq) {
            settled[i] = 0;
            continue;
        }
        if (facts->low > seq) settled[i] &= UINT64_MAX << (facts->low - seq);
        if (facts->end - seq < WORD_PLACES) settled[i] &= ~(UINT64_MAX << (facts->end - seq));
    }
    return lost_count;
}

/* How many runs begin in the window. */
static uint32_t count_runs(const uint64_t *settled, bool open) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < WINDOW_WORDS; i++) {
        count += (uint32_t)__builtin_popcountll(settled[i] & ~(settled[i] << 1 | open));
        open = settled[i] >> (WORD_PLACES - 1);
    }
    return count;
}

/* The window's runs; the last one stays open if it may go on. */
static void put_runs(struct facts *facts, const struct queue_slot *slot, const uint64_t *settled) {
    for (uint32_t at = 0; at < WINDOW_PLACES;) {
        bool open = facts->run != NO_RUN;
        uint64_t word = settled[at / WORD_PLACES];
        uint64_t changes = (open ? ~word : word) >> (at % WORD_PLACES);
        if (changes == 0) {
            at = (at / WORD_PLACES + 1) * WORD_PLACES;
            continue;
        }
        at += (uint32_t)__builtin_ctzll(changes);
        if (open)
            end_run(facts, slot, facts->seq + at);
        else
            facts->run = facts->seq + at;
    }
}

/* One window, or all of those up to where something changes. Gives the steps that it took. */
static uint32_t put_window(struct facts *facts, const struct queue_slot *slot) {
    uint64_t living = window_of(end_of_living(slot, facts->seq, facts->end));
    if (living > facts->seq) {
        end_run(facts, slot, facts->seq);
        facts->seq = living;
        return 1;
    }
    uint64_t next = next_unsettled(slot, facts->seq, facts->end);
    if (next == facts->end || window_of(next) > facts->seq) {
        if (facts->run == NO_RUN) facts->run = max_u64(facts->seq, facts->low);
        facts->seq = next == facts->end ? next : window_of(next);
        return 1;
    }
    uint64_t settled[WINDOW_WORDS];
    uint32_t lost = look(facts, slot, settled);
    uint64_t span_bytes = count_runs(settled, facts->run != NO_RUN) * (uint64_t)RECORD_SPAN_BYTES;
    uint64_t word_bytes = WINDOW_WORDS * 8;
    if (!words_go_on(facts, facts->seq)) word_bytes += RECORD_HEADER_BYTES + RECORD_POINT_BYTES;
    if (span_bytes > word_bytes) {
        end_run(facts, slot, facts->seq);
        put_words(facts, slot, settled);
    } else {
        put_runs(facts, slot, settled);
    }
    facts->seq += WINDOW_PLACES;
    return 1 + lost / LOST_PER_STEP;
}

void facts_begin(struct facts *facts, const struct queue_slot *slot) {
    facts_drop(facts);
    facts->begun = true;
    facts->has_low = false;
    facts->seq = 1;
    facts->end = queue_next_seq(slot->queue);
    facts->run = NO_RUN;
}

bool facts_put(struct facts *facts, const struct queue_slot *slot, uint32_t *steps) {
    check(facts->begun);
    while (!facts->has_low || facts->seq < facts->end) {
        if (*steps == 0) return false;
        uint32_t taken = 1;
        if (facts->has_low) {
            taken = put_window(facts, slot);
        } else {
            find_low(facts, slot);
        }
        *steps -= taken < *steps ? taken : *steps;
    }
    end_run(facts, slot, facts->end);
    stage_spans(facts, slot);
    stage_words(facts, slot);
    facts->begun = false;
    return true;
}
