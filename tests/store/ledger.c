/* ledger: messages, their places, and what is true of them. */
#include "ledger.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/str.h"
#include "store/le.h"

enum { NOISE_BYTES = 256 * 1024, PART_BYTES_MAX = 3000, BODY_BYTES_MAX = 900 };

void ledger_init(struct ledger *ledger, uint64_t seed, char *failure) {
    memset(ledger, 0, sizeof *ledger);
    ledger->failure = failure;
    ledger->noise = malloc(NOISE_BYTES);
    check(ledger->noise != NULL);
    struct prng prng;
    prng_init(&prng, seed);
    for (size_t i = 0; i < NOISE_BYTES; i += 8)
        le_put_u64(ledger->noise + i, prng_next(&prng));
}

void ledger_deinit(struct ledger *ledger) {
    for (uint64_t i = 0; i < ledger->count; i++)
        free(ledger->messages[i]);
    for (uint64_t i = 0; i < ledger->kept_count; i++)
        free(ledger->kept[i]);
    for (int queue = 0; queue < LEDGER_QUEUES; queue++)
        for (int priority = 0; priority < LEDGER_PRIORITIES; priority++)
            free(ledger->lanes[queue][priority].places);
    free(ledger->messages);
    free(ledger->kept);
    free(ledger->noise);
}

void ledger_fails(struct ledger *ledger, const char *format, ...) {
    if (ledger->failure[0] != 0) return;
    va_list arguments;
    va_start(arguments, format);
    str_format_list(ledger->failure, LEDGER_TEXT, format, arguments);
    va_end(arguments);
}

/* Makes room for one more. */
static void *grown(void *array, uint64_t count, uint64_t *capacity, size_t size) {
    if (count < *capacity) return array;
    *capacity = *capacity ? *capacity * 2 : 64;
    void *larger = realloc(array, *capacity * size);
    check(larger != NULL);
    return larger;
}

void *ledger_keep(struct ledger *ledger, size_t size) {
    ledger->kept =
        grown(ledger->kept, ledger->kept_count, &ledger->kept_capacity, sizeof *ledger->kept);
    void *memory = calloc(1, size + 1);
    check(memory != NULL);
    ledger->kept[ledger->kept_count++] = memory;
    return memory;
}

static uint64_t mix(uint64_t id, uint64_t salt) {
    uint64_t z = (id + salt) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 31)) * 0xbf58476d1ce4e5b9u;
    return z ^ (z >> 29);
}

static struct bytes noise_of(const struct ledger *ledger, uint64_t id, uint64_t salt, size_t size) {
    return bytes_of(ledger->noise + mix(id, salt) % (NOISE_BYTES - size), size);
}

/* Queue ids are counted from 1. */
static struct ledger_lane *lane_of(struct ledger *ledger, uint64_t queue, uint64_t seq) {
    uint64_t priority = seq >> SEQ_PRIORITY_SHIFT;
    if (queue == 0 || queue > LEDGER_QUEUES || priority >= LEDGER_PRIORITIES) return NULL;
    return &ledger->lanes[queue - 1][priority];
}

static uint64_t number_of(uint64_t seq) {
    return seq & (((uint64_t)1 << SEQ_PRIORITY_SHIFT) - 1);
}

struct ledger_place *ledger_place(struct ledger *ledger, uint64_t queue, uint64_t seq) {
    struct ledger_lane *lane = lane_of(ledger, queue, seq);
    if (!lane || number_of(seq) == 0 || number_of(seq) > lane->count) return NULL;
    return &lane->places[number_of(seq) - 1];
}

/* Takes the next place of a queue. */
static void take_place(
    struct ledger *ledger, struct ledger_message *message, uint64_t queue, uint64_t priority) {
    struct ledger_lane *lane = &ledger->lanes[queue - 1][priority];
    lane->places = grown(lane->places, lane->count, &lane->capacity, sizeof *lane->places);
    lane->places[lane->count++] = (struct ledger_place){.message = message};
    uint64_t seq = priority << SEQ_PRIORITY_SHIFT | lane->count;
    message->targets[message->target_count++] = (struct record_target){queue, seq, 1};
}

struct ledger_message *ledger_publish(
    struct ledger *ledger, struct prng *prng, uint16_t writer, uint32_t running) {
    struct ledger_message *message = calloc(1, sizeof *message);
    check(message != NULL);
    ledger->messages =
        grown(ledger->messages, ledger->count, &ledger->capacity, sizeof *ledger->messages);
    ledger->messages[ledger->count++] = message;
    message->id = ledger->count;
    message->home = writer;
    if (prng_chance(prng, 10)) message->part_count = (uint8_t)(1 + prng_below(prng, 4));
    uint64_t priority = prng_below(prng, LEDGER_PRIORITIES);
    uint64_t first = prng_below(prng, LEDGER_QUEUES);
    uint16_t count = (uint16_t)(1 + prng_below(prng, LEDGER_TARGETS_MAX));
    for (uint64_t i = 0; i < LEDGER_QUEUES && message->target_count < count; i++) {
        uint64_t queue = 1 + (first + i) % LEDGER_QUEUES;
        if (queue % running == writer) take_place(ledger, message, queue, priority);
    }
    return message;
}

static size_t part_bytes(uint64_t id) {
    return 1 + mix(id, 7) % PART_BYTES_MAX;
}

struct record ledger_record(
    const struct ledger *ledger, const struct ledger_message *message, uint32_t part) {
    size_t each = part_bytes(message->id);
    size_t rest = mix(message->id, 8) % BODY_BYTES_MAX;
    struct bytes body =
        noise_of(ledger, message->id, 9, LEDGER_PARTS_MAX * (size_t)PART_BYTES_MAX + rest);
    if (part < message->part_count)
        return (struct record){.type = RECORD_PART,
            .target_count = 1,
            .targets = message->targets,
            .message_id = part * each,
            .body = bytes_of(body.data + part * each, each)};
    return (struct record){.type = RECORD_PUB,
        .flags = message->part_count,
        .target_count = message->target_count,
        .targets = message->targets,
        .message_id = message->id,
        .expiry_ms = mix(message->id, 10),
        .head = noise_of(ledger, message->id, 11, mix(message->id, 12) % 60),
        .body = bytes_of(body.data + message->part_count * each, rest)};
}

bool ledger_target_lives(struct ledger *ledger, const struct record_target *target) {
    const struct ledger_place *place = ledger_place(ledger, target->queue, target->seq);
    check(place != NULL);
    return place->state == LEDGER_LIVES && !place->message->gone;
}

bool ledger_lives(struct ledger *ledger, const struct ledger_message *message) {
    if (message->gone) return false;
    for (uint32_t i = 0; i < message->target_count; i++)
        if (ledger_target_lives(ledger, &message->targets[i])) return true;
    return false;
}

void ledger_settle(
    struct ledger *ledger, const struct record_target *target, uint16_t writer, uint64_t position) {
    struct ledger_place *place = ledger_place(ledger, target->queue, target->seq);
    check(place && place->state == LEDGER_LIVES);
    place->state = LEDGER_SETTLING;
    place->writer = writer;
    place->position = position;
    struct ledger_facts *facts = &ledger->facts[writer][target->queue - 1];
    if (facts->position == 0) facts->position = position;
}

static bool is_settled(const struct ledger_place *place) {
    return place->state != LEDGER_LIVES || place->message->gone;
}

struct record ledger_state_record(struct ledger *ledger, uint64_t queue) {
    struct record_target *heads = ledger_keep(ledger, LEDGER_PRIORITIES * sizeof *heads);
    uint64_t spans = 0;
    for (int priority = 0; priority < LEDGER_PRIORITIES; priority++)
        spans += ledger->lanes[queue - 1][priority].count;
    uint8_t *body = ledger_keep(ledger, spans * 16);
    size_t size = 0;
    for (uint64_t priority = 0; priority < LEDGER_PRIORITIES; priority++) {
        const struct ledger_lane *lane = &ledger->lanes[queue - 1][priority];
        uint64_t base = priority << SEQ_PRIORITY_SHIFT;
        uint64_t at = 0;
        while (at < lane->count && is_settled(&lane->places[at]))
            at++;
        heads[priority] = (struct record_target){queue, base | (at + 1), 1};
        while (at < lane->count) {
            uint64_t from = at;
            while (at < lane->count && is_settled(&lane->places[at]))
                at++;
            if (at != from) {
                le_put_u64(body + size, base | (from + 1));
                le_put_u64(body + size + 8, at - from);
                size += 16;
            }
            at += at < lane->count;
        }
    }
    return (struct record){.type = RECORD_QSTATE,
        .target_count = LEDGER_PRIORITIES,
        .targets = heads,
        .body = bytes_of(body, size)};
}

bool ledger_settled_record(struct ledger *ledger, uint64_t queue, uint64_t priority, uint64_t *at,
    struct record *ret_record) {
    enum { PLACES_MAX = RECORD_SETTLED_BYTES_MAX * 8 };
    const struct ledger_lane *lane = &ledger->lanes[queue - 1][priority];
    if (*at > lane->count) return false; /* the first place is 1 */
    struct record_target *target = ledger_keep(ledger, sizeof *target);
    *target = (struct record_target){queue, priority << SEQ_PRIORITY_SHIFT | *at, 1};
    uint64_t end = min_u64(lane->count + 1, *at + PLACES_MAX);
    size_t size = (end - *at + RECORD_SETTLED_PLACES - 1) / RECORD_SETTLED_PLACES * 8;
    uint8_t *bits = ledger_keep(ledger, size);
    memset(bits, 0, size);
    for (uint64_t i = *at; i < end; i++)
        if (i != 0 && is_settled(&lane->places[i - 1]))
            bits[(i - *at) / 8] |= (uint8_t)(1u << (i - *at) % 8);
    *at = *at + PLACES_MAX;
    *ret_record = (struct record){
        .type = RECORD_SETTLED, .target_count = 1, .targets = target, .body = bytes_of(bits, size)};
    return true;
}
