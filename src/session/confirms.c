/* confirms: which publishes of a channel in confirm mode are safe, and which of that was said. */
#include "session/confirms.h"

#include "base/memory.h"

enum { RING_MIN = 16 };

struct confirm_entry {
    uint64_t seqno;
    uint32_t left; /* confirms that are missing; open while not 0 */
    bool refused;
    bool said;
};

static struct confirm_entry *entry_at(const struct confirms *confirms, uint32_t index) {
    return &confirms->ring[(confirms->first + index) & (confirms->capacity - 1)];
}

void confirms_init(struct confirms *confirms) {
    *confirms = (struct confirms){.next = 1};
}

static void drop_ring(struct confirms *confirms) {
    mem_free(confirms->ring);
    confirms->ring = NULL;
    confirms->capacity = confirms->first = confirms->size = 0;
}

static void drop_above(struct confirms *confirms) {
    mem_free(confirms->above);
    confirms->above = NULL;
    confirms->above_capacity = confirms->above_count = confirms->above_next = 0;
}

void confirms_deinit(struct confirms *confirms) {
    drop_ring(confirms);
    drop_above(confirms);
    confirms_init(confirms);
}

/* Copies what is not said into a ring with as much room again: a publish that stays open does not
 * keep those above it. */
static void rewrite(struct confirms *confirms) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < confirms->size; i++)
        kept += !entry_at(confirms, i)->said;
    uint32_t capacity = RING_MIN;
    while (capacity < (kept + 1) * 2)
        capacity *= 2;
    struct confirm_entry *ring = mem_raw(capacity * sizeof *ring);
    uint32_t size = 0;
    uint32_t settled = 0;
    for (uint32_t i = 0; i < confirms->size; i++) {
        const struct confirm_entry *entry = entry_at(confirms, i);
        if (entry->said) continue;
        ring[size++] = *entry;
        settled += i < confirms->settled;
    }
    mem_free(confirms->ring);
    confirms->ring = ring;
    confirms->capacity = capacity;
    confirms->first = 0;
    confirms->size = size;
    confirms->settled = settled;
}

/* The entry at `settled` is not open any more: nor are those behind it, up to the next open one. */
static void advance(struct confirms *confirms) {
    while (confirms->settled < confirms->size && entry_at(confirms, confirms->settled)->left == 0)
        confirms->settled++;
}

static void put_above(struct confirms *confirms, uint64_t seqno) {
    if (confirms->above_count == confirms->above_capacity) {
        confirms->above_capacity = confirms->above_capacity ? confirms->above_capacity * 2 : 8;
        confirms->above =
            mem_resize(confirms->above, confirms->above_capacity * sizeof *confirms->above);
    }
    confirms->above[confirms->above_count++] = seqno;
}

void confirms_put(struct confirms *confirms, uint32_t count) {
    if (confirms->size == confirms->capacity) rewrite(confirms);
    uint64_t seqno = confirms->next++;
    uint32_t index = confirms->size++;
    *entry_at(confirms, index) = (struct confirm_entry){.seqno = seqno, .left = count};
    confirms->unsaid_count++;
    if (count != 0) return;
    if (index == confirms->settled) {
        confirms->settled++;
    } else {
        put_above(confirms, seqno);
    }
}

/* The index of the entry with that number, or size. Numbers without gaps are found in one step. */
static uint32_t find(const struct confirms *confirms, uint64_t seqno) {
    if (confirms->size == 0) return 0;
    uint64_t first_seqno = entry_at(confirms, 0)->seqno;
    if (seqno < first_seqno) return confirms->size;
    uint64_t distance = seqno - first_seqno;
    uint32_t low = 0;
    uint32_t high = confirms->size;
    if (distance < high) {
        if (entry_at(confirms, (uint32_t)distance)->seqno == seqno) return (uint32_t)distance;
        high = (uint32_t)distance;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint64_t there = entry_at(confirms, middle)->seqno;
        if (there == seqno) return middle;
        if (there < seqno) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return confirms->size;
}

bool confirms_settle(struct confirms *confirms, uint64_t seqno, bool ok) {
    uint32_t index = find(confirms, seqno);
    if (index == confirms->size) return false;
    struct confirm_entry *entry = entry_at(confirms, index);
    if (entry->left == 0) return false;
    entry->left--;
    if (!ok) entry->refused = true;
    if (entry->left != 0) return true;
    if (index == confirms->settled) {
        advance(confirms);
    } else {
        put_above(confirms, seqno);
    }
    return true;
}

static struct confirm_entry take_first(struct confirms *confirms) {
    struct confirm_entry entry = *entry_at(confirms, 0);
    confirms->first = (confirms->first + 1) & (confirms->capacity - 1);
    confirms->size--;
    confirms->settled--;
    return entry;
}

/* The next range of equal verdicts below the lowest open number. What was said one by one before
 * may lie in between; false when nothing else is there. */
static bool next_range(struct confirms *confirms, struct confirm_word *ret_word) {
    uint32_t count = 0;
    while (confirms->settled != 0) {
        const struct confirm_entry *first = entry_at(confirms, 0);
        bool ok = !first->refused;
        if (count != 0 && !first->said && ok != ret_word->ok) break;
        struct confirm_entry taken = take_first(confirms);
        if (taken.said) continue;
        *ret_word = (struct confirm_word){.seqno = taken.seqno, .multiple = count != 0, .ok = ok};
        count++;
    }
    confirms->unsaid_count -= count;
    if (confirms->size == 0) drop_ring(confirms);
    return count != 0;
}

bool confirms_next(struct confirms *confirms, struct confirm_word *ret_word) {
    if (confirms->settled != 0 && next_range(confirms, ret_word)) return true;
    while (confirms->above_next < confirms->above_count) {
        uint32_t index = find(confirms, confirms->above[confirms->above_next++]);
        if (index == confirms->size) continue; /* was said in a range */
        struct confirm_entry *entry = entry_at(confirms, index);
        check(entry->left == 0);
        check(!entry->said);
        entry->said = true;
        confirms->unsaid_count--;
        *ret_word = (struct confirm_word){.seqno = entry->seqno, .ok = !entry->refused};
        return true;
    }
    if (confirms->above) drop_above(confirms);
    return false;
}

void confirms_check(const struct confirms *confirms) {
    check(confirms->size <= confirms->capacity);
    check(confirms->settled <= confirms->size);
    check((confirms->size == 0) == (confirms->ring == NULL));
    uint32_t unsaid = 0;
    for (uint32_t i = 0; i < confirms->size; i++) {
        const struct confirm_entry *entry = entry_at(confirms, i);
        check(entry->seqno < confirms->next);
        check(i == 0 || entry_at(confirms, i - 1)->seqno < entry->seqno);
        if (i < confirms->settled) check(entry->left == 0);
        if (i == confirms->settled) check(entry->left != 0);
        if (entry->left != 0) check(!entry->said);
        unsaid += !entry->said;
    }
    check(unsaid == confirms->unsaid_count);
}
