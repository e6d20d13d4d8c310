/* inspect: what a recovered broker holds. */
#include "sim/inspect.h"

#include "sim/card.h"
#include "sim/fetch.h"
#include "sim/vault.h"
#include "sim/world.h"

#include "amqp/properties.h"
#include "base/memory.h"
#include "base/str.h"
#include "core/message.h"
#include "shard/keeper.h"
#include "shard/piece.h"
#include "shard/queue_host.h"

/* The letter that a message is. */
static struct letter *letter_of(struct card *card, const struct message *message) {
    struct properties properties;
    bool good = properties_decode(message_properties(message), &properties) &&
                properties.flags & PROPERTY_HAS_message_id;
    if (!good) world_fail(card->world, content, "a kept message has lost its properties");
    return card_find(card, properties.message_id);
}

/* A message that has come back is what was published. */
static void check_content(
    struct card *card, const struct letter *letter, const struct message *message) {
    uint32_t number = card_number(card, letter);
    if (!bytes_equal(message_exchange(message), bytes_text(letter->exchange)) ||
        !bytes_equal(message_routing_key(message), bytes_text(letter->key)))
        world_fail(card->world, content, "message %u has another address since the crash", number);
    if (!message->persistent)
        world_fail(card->world, content, "message %u is transient since the crash", number);
    card_check_body(card, letter, message_body(message));
}

static const struct queue_slot *find_slot(struct world *world, const struct card_queue *known) {
    const struct queue_entry *entry =
        vhost_find_queue(world->broker->vhost, bytes_text(known->name));
    if (!entry) return NULL;
    return queue_host_slot(world->broker->shards[ref_shard(entry->queue)], entry->queue);
}

/* The queue as the broker has it, or NULL. */
static const struct queue *find(struct world *world, const struct card_queue *known) {
    const struct queue_slot *slot = find_slot(world, known);
    return slot ? slot->queue : NULL;
}

/* Which letters are there, in the order of each publisher. */
static void look_into(struct card *card, const struct card_queue *known,
    const struct queue_slot *slot, bool recovered, bool *ret_there) {
    uint32_t *last = mem_new_array(LANE_UIDS_MAX, sizeof *last);
    uint64_t seq = 0;
    for (; queue_next_kept(slot->queue, &seq, UINT64_MAX, NULL); seq++) {
        struct message *message = fetch_message(card->world, slot, seq);
        if (!message)
            world_fail(card->world, lost, "message %llu of %s is not where it should be",
                (unsigned long long)seq, known->name);
        const struct letter *letter = letter_of(card, message);
        uint32_t number = card_number(card, letter);
        if (recovered) check_content(card, letter, message);
        if (ret_there[number])
            world_fail(card->world, twice, "message %u is in %s twice since the crash", number,
                known->name);
        ret_there[number] = true;
        if (number + 1 <= last[letter->lane])
            world_fail(card->world, order, "message %u comes after %u in %s since the crash",
                number, last[letter->lane] - 1, known->name);
        last[letter->lane] = number + 1;
        fetch_release(card->world, slot, message);
    }
    mem_free(last);
}

uint64_t inspect_waiting(
    struct world *world, const struct card_queue *known, const struct letter *letter) {
    const struct queue_slot *slot = find_slot(world, known);
    uint64_t seq = 0;
    if (!slot || queue_is_dropping(slot->queue)) return 0;
    for (; queue_next_kept(slot->queue, &seq, UINT64_MAX, NULL); seq++) {
        struct message *message = fetch_message(world, slot, seq);
        bool found = message && letter_of(world->card, message) == letter;
        fetch_release(world, slot, message);
        if (found) return slot->id;
    }
    return 0;
}

/* ---- what was given up ---- */

static const struct queue_slot *slot_of(const struct world *world, const struct queue *queue) {
    queue_ref ref = queue_self(queue);
    const struct queue_slot *slot = queue_host_slot(world->broker->shards[ref_shard(ref)], ref);
    check(slot != NULL);
    return slot;
}

static struct card_queue *find_known(struct world *world, const struct queue_slot *slot) {
    return card_find_queue(world->card, name_bytes(slot->name));
}

/* Three failures of reads of one file, of which nothing is sick, are bad luck. */
static bool had_bad_luck(struct world *world, const struct sim_file *file) {
    enum { FAILURES = 3 };
    return world->swarm.disk_faults && file && file->failures >= FAILURES;
}

/* Its file stays, unless it is being emptied already, or its last message ends in the next one.
 * That is not known of the current one yet. */
static bool is_pinned(const struct kept_file *file) {
    return !file->retiring && (file->segment || (file->number != 0 && file->whole));
}

static void note_lost_file(struct world *world, const struct sim_file *file) {
    struct vault *vault = world->vault;
    if (!file || vault->lost_count == LOST_FILES_MAX) return;
    vault->lost[vault->lost_count++] = (struct lost_file){file, file->uses};
}

static void note_lost(
    struct world *world, const struct queue_slot *slot, uint64_t seq, bool pinned) {
    struct card_queue *known = find_known(world, slot);
    struct message *message = fetch_message(world, slot, seq);
    check(message != NULL);
    const struct letter *letter = letter_of(world->card, message);
    world_trace(world, "message %u is given up", card_number(world->card, letter));
    fetch_release(world, slot, message);
    if (!known) return;
    struct copy *copy = card_copy(world->card, known, letter);
    copy->unreadable = true;
    copy->pinned = pinned;
}

void inspect_lost(struct world *world, const struct queue *queue) {
    const struct queue_slot *slot = slot_of(world, queue);
    uint64_t seq = queue_next_ready(queue);
    bool spilled = queue_is_spilled(queue, seq);
    const struct stay *stay = spilled ? NULL : &slot->shelf->stays[shelf_find(slot->shelf, seq)];
    struct piece_place place;
    bool known = spilled || piece_locate(stay, &place);
    if (spilled) place = spill_find(slot, seq)->file->place;
    const struct sim_file *file = known ? platter_find(&world->vault->platter, place.name) : NULL;
    if (fetch_is_readable(world, slot, seq) && !had_bad_luck(world, file))
        world_fail(world, lost, "message %llu of queue %llu is given up, but can be read",
            (unsigned long long)seq, (unsigned long long)slot->id);
    bool pinned = stay && is_pinned(stay->file);
    if (pinned) note_lost_file(world, file);
    note_lost(world, slot, seq, pinned);
}

void inspect_lost_files(struct world *world) {
    const struct vault *vault = world->vault;
    for (uint32_t i = 0; i < vault->lost_count; i++) {
        const struct sim_file *file = vault->lost[i].file;
        if (!file->used || file->removed || file->uses != vault->lost[i].uses)
            world_fail(world, lost, "a file is given back in which something could not be read");
    }
}

static void inspect_queue(struct world *world, uint32_t at) {
    struct card *card = world->card;
    struct card_queue *known = &card->queues[at];
    bool *there = mem_new_array(LETTERS_MAX, sizeof *there);
    const struct queue *queue = find(world, known);
    if (queue) look_into(card, known, find_slot(world, known), true, there);
    if (!queue && known->durable && known->declared)
        world_fail(world, lost, "the durable queue %s is gone after the crash", known->name);
    if (queue && !known->durable)
        world_fail(world, resurrected, "the queue %s has survived the crash", known->name);
    for (uint32_t i = 0; i < card->letter_count; i++)
        card_recovered(card, known, &card->letters[i], there[i]);
    mem_free(there);
    known->leaky = false;
    known->purged_at = 0;
}

/* Queues that come and go: what is there must be right; what is not may have been deleted. */
static void inspect_elsewhere(struct world *world, struct card_queue *known) {
    struct card *card = world->card;
    const struct queue *queue = find(world, known);
    if (queue && known->exclusive)
        world_fail(world, resurrected, "the queue %s has survived the crash", known->name);
    bool *there = mem_new_array(LETTERS_MAX, sizeof *there);
    if (queue) look_into(card, known, find_slot(world, known), true, there);
    for (uint32_t i = 0; i < card->letter_count; i++)
        card_recovered_elsewhere(card, known, &card->letters[i], there[i]);
    mem_free(there);
}

/* ---- what was settled for good ---- */

static void note_departed(struct world *world, uint32_t at) {
    struct card *card = world->card;
    struct card_queue *known = &card->queues[at];
    const struct queue *queue = find(world, known);
    /* What a stopped journal is told has no position. */
    if (!queue || world->broker->shards[ref_shard(queue_self(queue))]->keeper->stopped) return;
    bool *there = mem_new_array(LETTERS_MAX, sizeof *there);
    look_into(card, known, find_slot(world, known), false, there);
    for (uint32_t i = 0; i < card->letter_count; i++) {
        const struct letter *letter = &card->letters[i];
        if (there[i] || !(letter->targets & 1u << at) || letter->fate != LETTER_SURE) continue;
        struct copy *copy = card_copy(card, known, letter);
        copy->sealing = !copy->unreadable;
    }
    mem_free(there);
}

void inspect_departed(struct world *world) {
    if (!mesh_all_quiet(world->broker->mesh)) return;
    inspect_stable(world);
    if (world->sealing) return;
    world->sealing = true;
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        world->seal_positions[i] = world->broker->shards[i]->keeper->last_position;
    for (uint32_t i = 0; i < world->card->queue_count; i++) {
        if (world->card->queues[i].stable && world->card->queues[i].durable)
            note_departed(world, i);
    }
}

void inspect_blind(struct world *world) {
    for (uint32_t i = 0; i < world->card->queue_count; i++) {
        struct card_queue *known = &world->card->queues[i];
        const struct queue *queue = find(world, known);
        known->blind = queue && world->starved[ref_shard(queue_self(queue))];
    }
}

void inspect_stable(struct world *world) {
    if (!world->sealing) return;
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        if (world->broker->shards[i]->keeper->stable < world->seal_positions[i]) return;
    }
    world->sealing = false;
    for (uint32_t i = 0; i < world->card->queue_count; i++) {
        struct copy *copies = world->card->queues[i].copies;
        for (uint32_t k = 0; copies && k < world->card->letter_count; k++) {
            copies[k].sealed = copies[k].sealed || copies[k].sealing;
            copies[k].sealing = false;
        }
    }
}

/* ---- after a crash ---- */

/* The founder's bindings of this queue: see card_route(). */
static void inspect_bindings(struct world *world, uint32_t at) {
    const struct card *card = world->card;
    static const char *const exchanges[] = {"direct", "fanout", "topic"};
    char keys[3][16] = {"", "k0"};
    const struct queue_entry *entry =
        vhost_find_queue(world->broker->vhost, bytes_text(card->queues[at].name));
    str_format(keys[0], sizeof keys[0], "k%u", at);
    str_format(keys[2], sizeof keys[2], "%u.%u", at, at);
    for (size_t i = 0; i < COUNT_OF(exchanges); i++) {
        bool by_headers = false;
        struct routes routes;
        routes_init(&routes);
        (void)vhost_route(world->broker->vhost, bytes_text(exchanges[i]), bytes_text(keys[i]),
            bytes_of(NULL, 0), &routes, &by_headers);
        bool found = !(card_route(card, exchanges[i], keys[i]) & 1u << at);
        for (uint32_t k = 0; k < routes.count; k++)
            found = found || routes.queues[k] == entry->queue;
        if (!found)
            world_fail(world, lost, "the durable binding of %s to %s is gone after the crash",
                card->queues[at].name, exchanges[i]);
        routes_deinit(&routes);
    }
}

void inspect_recovered(struct world *world) {
    struct card *card = world->card;
    for (uint32_t i = 0; i < card->queue_count; i++) {
        if (!card->queues[i].stable) {
            inspect_elsewhere(world, &card->queues[i]);
            continue;
        }
        inspect_queue(world, i);
        if (world->founded && card->queues[i].durable && world->swarm.durable_exchanges)
            inspect_bindings(world, i);
    }
}
