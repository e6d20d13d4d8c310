/* content: what a model client thinks of a message that has arrived. */
#include "sim/guest.h"
#include "sim/world.h"

#include "base/memory.h"
#include "base/str.h"

static struct letter *read_letter(
    struct lane *lane, struct bytes exchange, struct bytes routing_key) {
    struct card *card = lane->guest->world->card;
    const struct incoming *incoming = &lane->incoming;
    struct letter *letter = card_find(card, bytes_text(incoming->message_id));
    if (!bytes_equal(exchange, bytes_text(letter->exchange)) ||
        !bytes_equal(routing_key, bytes_text(letter->key)))
        world_fail(card->world, content,
            "message %u was published to ('%s', '%s'), not ('%.*s', '%.*s')",
            card_number(card, letter), letter->exchange, letter->key, (int)exchange.size,
            (const char *)exchange.data, (int)routing_key.size, (const char *)routing_key.data);
    world_trace(card->world, "client %u.%u < message %u (channel #%u)", lane->guest->number,
        lane->number, card_number(card, letter), lane->uid);
    if (incoming->has_cc != (letter->copy_to[0][0] != 0))
        world_fail(card->world, content, "message %u has %s CC", card_number(card, letter),
            incoming->has_cc ? "a" : "no");
    card_check_body(card, letter, bytes_of(incoming->body.data, incoming->body.size));
    return letter;
}

/* Who asks has its reply_to replaced by a key, which is remembered for those who answer. */
static void look_at_reply_to(struct lane *lane, const struct letter *letter) {
    struct card *card = lane->guest->world->card;
    const struct incoming *incoming = &lane->incoming;
    if (incoming->has_bcc)
        world_fail(card->world, content, "message %u still has its BCC", card_number(card, letter));
    struct bytes reply_to = bytes_text(incoming->reply_to);
    bool is_key = bytes_start_with(reply_to, BYTES(CARD_REPLY_QUEUE "."));
    if (letter->asks != is_key || (!is_key && reply_to.size != 0))
        world_fail(card->world, content, "message %u is to be answered to '%s'",
            card_number(card, letter), incoming->reply_to);
    if (!is_key) return;
    struct reply_key *key = &card->reply_keys[card->reply_key_count++ % REPLY_KEYS_MAX];
    key->lane = letter->lane;
    str_format(key->key, sizeof key->key, "%s", incoming->reply_to);
}

/* Nobody can count on what comes after the broker was asked to take everything back. */
static bool given_back(const struct lane *lane) {
    return lane->recovering || lane->state == LANE_CLOSING || lane->guest->state == GUEST_CLOSING;
}

static void check_tag(struct lane *lane, uint64_t tag) {
    if (tag != lane->next_tag)
        world_fail(lane->guest->world, tag, "client %u.%u gets delivery tag %llu after %llu",
            lane->guest->number, lane->number, (unsigned long long)tag,
            (unsigned long long)lane->next_tag - 1);
    lane->next_tag++;
}

static void check_order(struct lane *lane, uint32_t *last, const struct letter *letter) {
    const struct card *card = lane->guest->world->card;
    uint32_t number = card_number(card, letter);
    if (number + 1 <= last[letter->lane])
        world_fail(card->world, order, "client %u.%u gets message %u of channel #%u after %u",
            lane->guest->number, lane->number, number, letter->lane, last[letter->lane] - 1);
    last[letter->lane] = number + 1;
}

static void check_prefetch(struct lane *lane, const struct model_consumer *consumer) {
    struct world *world = lane->guest->world;
    if (consumer->prefetch != 0 && consumer->unacked > consumer->prefetch)
        world_fail(world, prefetch, "client %u.%u holds %u messages, its consumer's prefetch is %u",
            lane->guest->number, lane->number, consumer->unacked, consumer->prefetch);
    if (lane->shared_strict && lane->shared != 0 && lane->shared_unacked > lane->shared)
        world_fail(world, prefetch, "client %u.%u holds %u messages, the channel's prefetch is %u",
            lane->guest->number, lane->number, lane->shared_unacked, lane->shared);
}

static void hold(struct lane *lane, const struct hold *held) {
    check(lane->hold_count < LANE_HELD_MAX);
    lane->holds[lane->hold_count++] = *held;
}

static struct model_consumer *find_consumer(
    struct lane *lane, struct bytes tag, uint32_t *ret_index) {
    uint64_t index = UINT64_MAX;
    bool known = tag.size > 1 && str_to_u64(bytes_of(tag.data + 1, tag.size - 1), &index) &&
                 index < lane->consumer_count && lane->consumers[index].active &&
                 !lane->consumers[index].over;
    if (!known)
        world_fail(lane->guest->world, tag, "client %u.%u: a delivery for the consumer '%.*s'",
            lane->guest->number, lane->number, (int)tag.size, (const char *)tag.data);
    *ret_index = (uint32_t)index;
    return &lane->consumers[index];
}

static void on_deliver(struct lane *lane, const struct amqp_basic_deliver *deliver) {
    uint32_t index = 0;
    struct model_consumer *consumer = find_consumer(lane, deliver->consumer_tag, &index);
    struct letter *letter = read_letter(lane, deliver->exchange, deliver->routing_key);
    look_at_reply_to(lane, letter);
    check_tag(lane, deliver->delivery_tag);
    struct sighting sighting = {
        lane, consumer->queue, letter, deliver->redelivered, consumer->no_ack, given_back(lane)};
    card_deliver(lane->guest->world->card, &sighting);
    if (!deliver->redelivered) check_order(lane, consumer->last, letter);
    if (sighting.no_ack || sighting.given_back) return;
    hold(lane, &(struct hold){.tag = deliver->delivery_tag,
                   .queue = consumer->queue,
                   .letter = letter,
                   .consumer = index});
    consumer->unacked++;
    lane->shared_unacked++;
    check_prefetch(lane, consumer);
}

static void on_got(
    struct lane *lane, const struct amqp_basic_get_ok *got, const struct expect *asked) {
    struct card *card = lane->guest->world->card;
    struct letter *letter = read_letter(lane, got->exchange, got->routing_key);
    look_at_reply_to(lane, letter);
    check_tag(lane, got->delivery_tag);
    if (card->world->drained) check_order(lane, card->world->drained, letter);
    struct sighting sighting = {
        lane, asked->queue, letter, got->redelivered, asked->flag, given_back(lane)};
    card_deliver(card, &sighting);
    if (!got->redelivered && asked->queue->stable)
        check_order(lane, lane->last_got[asked->queue - card->queues], letter);
    if (sighting.no_ack || sighting.given_back) return;
    hold(lane, &(struct hold){.tag = got->delivery_tag,
                   .queue = asked->queue,
                   .letter = letter,
                   .consumer = UINT32_MAX});
}

static void on_return(struct lane *lane, const struct amqp_basic_return *returned) {
    struct world *world = lane->guest->world;
    struct letter *letter = read_letter(lane, returned->exchange, returned->routing_key);
    uint32_t number = card_number(world->card, letter);
    if (letter->lane != lane->uid || !letter->mandatory || letter->targets != 0 || letter->returned)
        world_fail(world, returned, "message %u is returned%s", number,
            letter->returned       ? " twice"
            : letter->targets != 0 ? " though there is a queue for it"
                                   : " to somebody who did not ask");
    if (returned->reply_code != REPLY_NO_ROUTE)
        world_fail(world, returned, "message %u is returned with %u", number, returned->reply_code);
    if (letter->fate == LETTER_KEPT)
        world_fail(world, phantom, "message %u is returned before its commit", number);
    letter->returned = true;
    letter->fate = LETTER_DEAD;
}

void lane_on_content(struct lane *lane, const struct expect *asked) {
    const struct method *method = &lane->incoming.method;
    switch ((int)method->kind) {
    case METHOD_basic_deliver: on_deliver(lane, &method->basic_deliver); return;
    case METHOD_basic_get_ok: on_got(lane, &method->basic_get_ok, asked); return;
    case METHOD_basic_return: on_return(lane, &method->basic_return); return;
    default: unreachable_here();
    }
}
