/* inspect: what a recovered broker holds. */
#include "sim/inspect.h"

#include "sim/card.h"
#include "sim/world.h"

#include "amqp/properties.h"
#include "base/memory.h"
#include "core/message.h"
#include "shard/queue_host.h"

/* The letter that a message is. */
static struct letter *letter_of(struct card *card, const struct message *message) {
    struct properties properties;
    bool good = properties_decode(message_properties(message), &properties) &&
                properties.flags & PROPERTY_HAS_message_id;
    if (!good) world_fail(card->world, content, "a recovered message has lost its properties");
    struct letter *letter = card_find(card, properties.message_id);
    uint32_t number = card_number(card, letter);
    if (!bytes_equal(message_exchange(message), bytes_text(letter->exchange)) ||
        !bytes_equal(message_routing_key(message), bytes_text(letter->key)))
        world_fail(card->world, content, "message %u has another address since the crash", number);
    if (!message->persistent)
        world_fail(card->world, content, "message %u is transient since the crash", number);
    card_check_body(card, letter, message_body(message));
    return letter;
}

/* Which letters are there, in the order of each publisher. */
static void look_into(struct card *card, const struct card_queue *known, const struct queue *queue,
    bool *ret_there) {
    uint32_t *last = mem_new_array(LANE_UIDS_MAX, sizeof *last);
    const struct message *message = NULL;
    uint64_t seq = 0;
    for (; (message = queue_next_kept(queue, &seq, UINT64_MAX)) != NULL; seq++) {
        const struct letter *letter = letter_of(card, message);
        uint32_t number = card_number(card, letter);
        if (ret_there[number])
            world_fail(card->world, twice, "message %u is in %s twice since the crash", number,
                known->name);
        ret_there[number] = true;
        if (number + 1 <= last[letter->lane])
            world_fail(card->world, order, "message %u comes after %u in %s since the crash",
                number, last[letter->lane] - 1, known->name);
        last[letter->lane] = number + 1;
    }
    mem_free(last);
}

static void inspect_queue(struct world *world, uint32_t at) {
    struct card *card = world->card;
    struct card_queue *known = &card->queues[at];
    bool *there = mem_new_array(LETTERS_MAX, sizeof *there);
    const struct queue_entry *entry =
        vhost_find_queue(world->broker->vhost, bytes_text(known->name));
    if (entry) {
        struct shard *shard = world->broker->shards[ref_shard(entry->queue)];
        look_into(card, known, queue_host_slot(shard, entry->queue)->queue, there);
    }
    for (uint32_t i = 0; i < card->letter_count; i++)
        card_recovered(card, known, &card->letters[i], there[i]);
    mem_free(there);
    known->leaky = false;
    known->purged_at = 0;
}

void inspect_recovered(struct world *world) {
    struct card *card = world->card;
    for (uint32_t i = 0; i < card->queue_count; i++) {
        if (card->queues[i].stable) inspect_queue(world, i);
    }
}
