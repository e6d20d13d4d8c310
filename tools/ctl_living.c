/* ctl_living: the messages that live in a data directory, each once. */
#include "tools/ctl_living.h"

#include "base/memory.h"

enum { RUN_BYTES_MAX = 1 << 30, PLACES_MIN = 1024 };

/* A place that a message was given for. */
struct place {
    uint64_t queue; /* its id; 0: free */
    uint64_t seq;
};

/* Those places: what a crash has interrupted is there twice. Open addressing. */
struct places {
    struct place *slots;
    size_t slot_count; /* a power of two */
    size_t count;
};

struct walk {
    struct ctl_home *home;
    struct ledger ledger;
    struct pub_parts parts;
    struct places given;
    struct buffer run; /* of a message that has parts */
    ctl_living_fn each;
    void *context;
    bool ended;
    struct ctl_living_counts counts;
};

/* ---- places ---- */

static size_t slot_of(const struct places *places, const struct place *place) {
    uint64_t hash = place->seq * 0x9e3779b97f4a7c15u ^ place->queue * 0xc2b2ae3d27d4eb4fu;
    size_t at = (hash ^ hash >> 32) & (places->slot_count - 1);
    while (places->slots[at].queue != 0 &&
           (places->slots[at].queue != place->queue || places->slots[at].seq != place->seq))
        at = (at + 1) & (places->slot_count - 1);
    return at;
}

static void places_grow(struct places *places) {
    struct places old = *places;
    places->slot_count = old.slot_count ? 2 * old.slot_count : PLACES_MIN;
    places->slots = mem_new_array(places->slot_count, sizeof *places->slots);
    for (size_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i].queue != 0) places->slots[slot_of(places, &old.slots[i])] = old.slots[i];
    }
    mem_free(old.slots);
}

static bool places_have(const struct places *places, const struct place *place) {
    return places->count != 0 && places->slots[slot_of(places, place)].queue != 0;
}

/* True when the place is new. */
static bool places_put(struct places *places, const struct place *place) {
    if (places->count * 2 >= places->slot_count) places_grow(places);
    struct place *slot = &places->slots[slot_of(places, place)];
    if (slot->queue != 0) return false;
    *slot = *place;
    places->count++;
    return true;
}

/* ---- records ---- */

static void on_fact(void *context, const struct recover_record *record) {
    struct walk *walk = context;
    const struct record_view *view = record->view;
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct ledger_queue *facts = ledger_find(&walk->ledger, target.queue);
        if (facts) ledger_take(facts, view, &target);
    }
}

/* The whole run of a PUB; false when it is not whole. */
static bool find_run(struct walk *walk, const struct record_view *view, struct bytes *ret_run) {
    struct bytes parts;
    if (!pub_parts_find(&walk->parts, view, &parts)) return false;
    if (parts.size == 0) {
        *ret_run = view->body;
        return true;
    }
    walk->run.size = 0;
    if (!buffer_put(&walk->run, parts.data, parts.size) ||
        !buffer_put(&walk->run, view->body.data, view->body.size))
        return false;
    *ret_run = bytes_of(walk->run.data, walk->run.size);
    return true;
}

static struct ctl_living living_of(const struct record_view *view, struct bytes run) {
    struct pub pub = pub_of(view->message_id);
    struct reader reader = reader_over(run);
    struct ctl_living living = {.exchange = read_bytes(&reader, pub.exchange_size)};
    living.routing_key = read_bytes(&reader, pub.routing_key_size);
    living.properties = read_bytes(&reader, pub.properties_size);
    living.body = read_bytes(&reader, reader_left(&reader));
    return living;
}

/* One place of the message. */
static void give(struct walk *walk, struct ctl_living *living, const struct record_target *target) {
    struct ledger_queue *facts = ledger_find(&walk->ledger, target->queue);
    if (!facts) {
        walk->counts.ownerless++;
        return;
    }
    struct place place = {target->queue, target->seq};
    if (!ledger_lives(facts, target->seq) || !places_put(&walk->given, &place)) return;
    living->queue = &walk->home->queues[facts->at];
    living->seq = target->seq;
    living->redelivered = target->seq < facts->delivered;
    walk->counts.messages++;
    walk->ended = !walk->each(walk->context, living);
}

/* A message of which a part is missing, unless it is elsewhere as a whole. */
static void miss(struct walk *walk, const struct record_target *target) {
    struct ledger_queue *facts = ledger_find(&walk->ledger, target->queue);
    struct place place = {target->queue, target->seq};
    if (!facts || !ledger_lives(facts, target->seq)) return;
    if (!places_have(&walk->given, &place)) walk->counts.incomplete++;
}

static void on_message(void *context, const struct recover_record *record) {
    struct walk *walk = context;
    const struct record_view *view = record->view;
    if (walk->ended) return;
    if (view->type == RECORD_PART) {
        (void)pub_parts_take(&walk->parts, view);
        return;
    }
    struct bytes run = view->body;
    bool whole = find_run(walk, view, &run);
    struct ctl_living living = living_of(view, run);
    for (uint32_t i = 0; i < view->target_count && !walk->ended; i++) {
        struct record_target target = record_view_target(view, i);
        if (whole)
            give(walk, &living, &target);
        else
            miss(walk, &target);
    }
}

int ctl_living_walk(struct ctl_home *home, ctl_living_fn each, void *context,
    struct ctl_living_counts *ret_counts) {
    struct walk walk = {.home = home, .each = each, .context = context};
    *ret_counts = walk.counts;
    if (!home->recovery) return 0;
    for (size_t i = 0; i < home->queue_count; i++)
        ledger_add(&walk.ledger, home->queues[i].id);
    pub_parts_init(&walk.parts);
    buffer_init(&walk.run, RUN_BYTES_MAX);
    int status = recover_replay(home->recovery, LEDGER_FACTS, on_fact, &walk);
    ledger_close(&walk.ledger);
    if (status == 0) status = recover_replay(home->recovery, LEDGER_MESSAGES, on_message, &walk);
    *ret_counts = walk.counts;
    ledger_deinit(&walk.ledger);
    pub_parts_deinit(&walk.parts);
    buffer_deinit(&walk.run);
    mem_free(walk.given.slots);
    return status;
}
