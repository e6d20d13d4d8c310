/* oracle: items, their content, and the comparison with what was replayed. */
#include "oracle.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/prng.h"
#include "base/str.h"

enum { NOISE_BYTES = 1024 * 1024, SHARDS = 4 };

#define QUEUE_SETTLED 1000u
#define QUEUE_OTHER   2000u

void oracle_init(struct oracle *oracle, uint64_t seed) {
    memset(oracle, 0, sizeof *oracle);
    oracle->noise = malloc(NOISE_BYTES);
    check(oracle->noise != NULL);
    struct prng prng;
    prng_init(&prng, seed);
    for (size_t i = 0; i < NOISE_BYTES; i += 8) {
        uint64_t noise = prng_next(&prng);
        memcpy(oracle->noise + i, &noise, 8);
    }
    for (int i = 0; i < ORACLE_PLACES; i++)
        oracle->places[i] = (struct record_target){
            QUEUE_OTHER + prng_below(&prng, 50), prng_next(&prng), 1 + prng_below(&prng, 9)};
}

void oracle_deinit(struct oracle *oracle) {
    for (int i = 0; i < SHARDS; i++)
        free(oracle->shards[i].items);
    free(oracle->noise);
}

void oracle_fails(struct oracle *oracle, const char *format, ...) {
    if (oracle->failure[0] != 0) return;
    va_list arguments;
    va_start(arguments, format);
    str_format_list(oracle->failure, sizeof oracle->failure, format, arguments);
    va_end(arguments);
}

static struct oracle_item *item_add(struct oracle *oracle, struct oracle_shard *shard) {
    if (shard->count == shard->capacity) {
        shard->capacity = shard->capacity ? shard->capacity * 2 : 256;
        shard->items = realloc(shard->items, shard->capacity * sizeof *shard->items);
        check(shard->items != NULL);
    }
    struct oracle_item *item = &shard->items[shard->count++];
    *item = (struct oracle_item){.id = ++oracle->last_id};
    return item;
}

static uint64_t mix(uint64_t id, uint64_t salt) {
    uint64_t z = (id + salt) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 31)) * 0xbf58476d1ce4e5b9u;
    return z ^ (z >> 29);
}

static struct bytes noise_of(const struct oracle *oracle, uint64_t id, uint64_t salt, size_t size) {
    uint64_t from = mix(id, salt) % (NOISE_BYTES - size);
    return bytes_of(oracle->noise + from, size);
}

/* The record with this id, whenever it is asked for. */
static struct record record_of(const struct oracle *oracle, uint64_t id) {
    static const enum record_type TYPES[] = {RECORD_PUB, RECORD_PUB, RECORD_PUB, RECORD_PUB,
        RECORD_PUB, RECORD_PUB, RECORD_RQ, RECORD_PURGE, RECORD_QDEL, RECORD_QSTATE,
        RECORD_DELIVERED};
    struct record record = {
        .type = TYPES[mix(id, 1) % COUNT_OF(TYPES)],
        .flags = (uint8_t)mix(id, 2),
        .message_id = id,
        .expiry_ms = mix(id, 3),
        .target_count = 1,
        .targets = &oracle->places[mix(id, 5) % (ORACLE_PLACES - ORACLE_TARGETS_MAX)],
    };
    /* Some claim to have parts, which then are nowhere. */
    if (record.type == RECORD_PUB && mix(id, 6) % 8 != 0) record.flags = 0;
    if (record.type == RECORD_PUB)
        record.target_count = (uint16_t)(1 + mix(id, 4) % ORACLE_TARGETS_MAX);
    uint64_t kind = mix(id, 14) % 100;
    size_t size_max = oracle->bounded_records || kind < 90 ? 900 : kind < 98 ? 9000 : 40000;
    record.head = noise_of(oracle, id, 15, mix(id, 16) % 100);
    record.body = noise_of(oracle, id, 17, mix(id, 18) % size_max);
    return record;
}

struct record oracle_next_record(struct oracle *oracle, uint16_t at, uint64_t choice) {
    struct oracle_shard *shard = &oracle->shards[at];
    /* The choice skips ids, so that runs with other decisions see other content. */
    oracle->last_id += choice % 7;
    struct record record = record_of(oracle, item_add(oracle, shard)->id);
    return record;
}

struct record_target oracle_next_settlement(struct oracle *oracle, uint16_t at, bool gap) {
    struct oracle_shard *shard = &oracle->shards[at];
    struct oracle_item *item = item_add(oracle, shard);
    shard->last_seq += gap ? 2 : 1;
    item->settlement = true;
    item->seq = shard->last_seq;
    return (struct record_target){QUEUE_SETTLED + at, item->seq, 1};
}

/* The item with this id, or with this seq for settlements: both grow. */
static struct oracle_item *item_find(struct oracle_shard *shard, uint64_t id) {
    uint64_t low = 0, high = shard->count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (shard->items[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < shard->count && shard->items[low].id == id;
    return found && !shard->items[low].settlement ? &shard->items[low] : NULL;
}

static struct oracle_item *settlement_find(struct oracle_shard *shard, uint64_t seq) {
    for (uint64_t i = shard->count; i-- > 0;) {
        struct oracle_item *item = &shard->items[i];
        if (!item->settlement) continue;
        if (item->seq == seq) return item;
        if (item->seq < seq) return NULL;
    }
    return NULL;
}

static void mark_present(
    struct oracle *oracle, struct oracle_item *item, const struct recover_record *record) {
    if (item->present)
        oracle_fails(oracle, "item %llu appears twice", (unsigned long long)item->id);
    item->present = true;
    item->lsn = record->lsn;
    item->file = record->file_no;
}

static bool same_record(const struct record *a, const struct record_view *b) {
    bool same = a->type == b->type && a->flags == b->flags && a->target_count == b->target_count &&
                a->expiry_ms == b->expiry_ms && bytes_equal(a->head, b->head) &&
                bytes_equal(a->body, b->body);
    for (uint32_t i = 0; same && i < a->target_count; i++) {
        struct record_target target = record_view_target(b, i);
        same = target.queue == a->targets[i].queue && target.seq == a->targets[i].seq;
        if (b->type == RECORD_RQ) same = same && target.count == a->targets[i].count;
    }
    return same;
}

static void on_settled(struct oracle *oracle, const struct recover_record *record) {
    struct oracle_shard *shard = &oracle->shards[record->shard];
    for (uint32_t i = 0; i < record->view->target_count; i++) {
        struct record_target span = record_view_target(record->view, i);
        for (uint64_t j = 0; j < span.count && oracle->failure[0] == 0; j++) {
            struct oracle_item *item = settlement_find(shard, span.seq + j);
            if (!item || span.queue != QUEUE_SETTLED + record->shard) {
                oracle_fails(oracle, "a settlement of %llu that nobody made",
                    (unsigned long long)(span.seq + j));
            } else {
                mark_present(oracle, item, record);
            }
        }
    }
}

static void on_record(void *context, const struct recover_record *record) {
    struct oracle *oracle = context;
    /* Nobody keeps files here; where there is damage, what was released is given in doubt. */
    if (oracle->failure[0] != 0 || record->kept) return;
    if (record->shard >= SHARDS) {
        oracle_fails(oracle, "a record of shard %u", record->shard);
        return;
    }
    if (record->view->type == RECORD_ACK) {
        on_settled(oracle, record);
        return;
    }
    struct oracle_shard *shard = &oracle->shards[record->shard];
    uint64_t id = record->view->message_id;
    struct oracle_item *item = item_find(shard, id);
    if (!item) {
        oracle_fails(oracle, "shard %u: item %llu, which nobody put or which was given up before",
            record->shard, (unsigned long long)id);
        return;
    }
    struct record expected = record_of(oracle, id);
    if (!same_record(&expected, record->view))
        oracle_fails(oracle, "item %llu has other content", (unsigned long long)id);
    mark_present(oracle, item, record);
}

/* Publishes come in one pass and the others in another; each in order. */
static void on_record_in_order(void *context, const struct recover_record *record) {
    struct oracle *oracle = context;
    if (record->kept) return;
    if (record->shard < SHARDS && record->view->type != RECORD_ACK) {
        struct oracle_shard *shard = &oracle->shards[record->shard];
        if (record->view->message_id <= shard->last_seen)
            oracle_fails(
                oracle, "item %llu out of order", (unsigned long long)record->view->message_id);
        shard->last_seen = record->view->message_id;
    }
    on_record(context, record);
}

static void compare_shard(struct oracle *oracle, uint16_t at, oracle_lost_fn lost, void *context) {
    struct oracle_shard *shard = &oracle->shards[at];
    uint64_t last = 0;
    for (uint64_t i = 0; i < shard->count; i++)
        if (shard->items[i].present) last = i + 1;
    /* Salvaging goes on behind damage wherever a good frame stands, perhaps behind the tail. */
    uint64_t must = lost ? shard->stable : max_u64(last, shard->stable);
    bool begun = false;
    for (uint64_t i = 0; i < must; i++) {
        const struct oracle_item *item = &shard->items[i];
        begun = begun || item->present;
        bool may_be_gone = !begun && i < shard->released;
        if (item->present || may_be_gone || (lost && lost(context, at, item))) continue;
        const char *what = i < shard->stable ? "stable" : "in the middle";
        oracle_fails(oracle, "shard %u: item %llu (number %llu of %llu, %s) is missing", at,
            (unsigned long long)item->id, (unsigned long long)(i + 1), (unsigned long long)must,
            what);
        return;
    }
}

void oracle_compare(
    struct oracle *oracle, struct recovery *recovery, oracle_lost_fn lost, void *context) {
    uint32_t others = ~RECORD_BIT(RECORD_PUB);
    for (int i = 0; i < SHARDS; i++) {
        oracle->shards[i].last_seen = 0;
        for (uint64_t j = 0; j < oracle->shards[i].count; j++)
            oracle->shards[i].items[j].present = false;
    }
    others &= ~(RECORD_BIT(RECORD_INDEX) | RECORD_BIT(RECORD_SEAL));
    int status = recover_replay(recovery, RECORD_BIT(RECORD_PUB), on_record_in_order, oracle);
    for (int i = 0; i < SHARDS; i++)
        oracle->shards[i].last_seen = 0;
    if (status == 0) status = recover_replay(recovery, others, on_record_in_order, oracle);
    if (status != 0) oracle_fails(oracle, "replay gave %d", status);
    for (uint16_t i = 0; i < SHARDS && oracle->failure[0] == 0; i++)
        compare_shard(oracle, i, lost, context);
}

void oracle_settle(struct oracle *oracle) {
    for (int i = 0; i < SHARDS; i++) {
        struct oracle_shard *shard = &oracle->shards[i];
        uint64_t last = 0;
        for (uint64_t j = 0; j < shard->count; j++)
            if (shard->items[j].present) last = j + 1;
        /* All may have been released. */
        shard->count = max_u64(last, min_u64(shard->released, shard->count));
        shard->base = shard->count;
        shard->stable = shard->count;
        for (uint64_t j = 0; j < shard->count; j++) {
            uint64_t file = shard->items[j].file;
            if (file < ORACLE_FILES_MAX) shard->file_last[file] = j + 1;
        }
    }
}
