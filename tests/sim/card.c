/* card: the score card of all messages and copies. */
#include "sim/card.h"

#include "sim/lane.h"
#include "sim/world.h"

#include <stdio.h>

#include "base/memory.h"
#include "base/str.h"

struct card *card_new(struct world *world) {
    struct card *card = NEW(struct card);
    card->world = world;
    card->clock = 1;
    card->letters = mem_new_array(LETTERS_MAX, sizeof *card->letters);
    return card;
}

void card_free(struct card *card) {
    if (!card) return;
    for (uint32_t i = 0; i < card->queue_count; i++)
        mem_free(card->queues[i].copies);
    mem_free(card->letters);
    mem_free(card);
}

struct card_queue *card_find_queue(struct card *card, struct bytes name) {
    for (uint32_t i = 0; i < card->queue_count; i++) {
        if (bytes_equal(bytes_text(card->queues[i].name), name)) return &card->queues[i];
    }
    return NULL;
}

struct card_queue *card_queue(struct card *card, const char *name) {
    struct card_queue *queue = card_find_queue(card, bytes_text(name));
    if (queue || card->queue_count == QUEUES_MAX) return queue;
    queue = &card->queues[card->queue_count++];
    str_format(queue->name, sizeof queue->name, "%s", name);
    return queue;
}

/* ---- letters ---- */

struct letter *card_letter(struct card *card) {
    if (card->letter_count == LETTERS_MAX) return NULL;
    struct letter *letter = &card->letters[card->letter_count++];
    letter->sent_at = ++card->clock;
    letter->life = card->life;
    letter->persistent = prng_chance(&card->world->load, card->world->swarm.persistent);
    card->world->verdict->letters++;
    return letter;
}

uint32_t card_number(const struct card *card, const struct letter *letter) {
    return (uint32_t)(letter - card->letters);
}

struct letter *card_find(struct card *card, struct bytes message_id) {
    uint64_t number = 0;
    if (!str_to_u64(message_id, &number) || number >= card->letter_count)
        world_fail(card->world, phantom, "a message with the id '%.*s' was never published",
            (int)message_id.size, (const char *)message_id.data);
    return &card->letters[number];
}

static uint8_t body_byte(uint32_t number, uint32_t at) {
    return (uint8_t)(number * 31 + at * 7 + (at >> 8));
}

void card_body(const struct card *card, const struct letter *letter, uint8_t *body) {
    uint32_t number = card_number(card, letter);
    for (uint32_t i = 0; i < letter->size; i++)
        body[i] = body_byte(number, i);
}

void card_check_body(struct card *card, const struct letter *letter, struct bytes body) {
    uint32_t number = card_number(card, letter);
    if (body.size != letter->size)
        world_fail(card->world, content, "message %u has %u bytes, %u were published", number,
            body.size, letter->size);
    for (uint32_t i = 0; i < body.size; i++) {
        if (body.data[i] != body_byte(number, i))
            world_fail(card->world, content, "byte %u of message %u has changed", i, number);
    }
}

/* ---- routes: the founder's bindings, which nobody changes ----
 *
 * Queue i is bound to "direct" with the keys k<i> and k<i+1>, to "fanout" when i is even, and to
 * "topic" with the pattern "<i>.*" or, every other one, "*.<i>". */

uint8_t card_route(const struct card *card, const char *exchange, const char *key) {
    uint8_t targets = 0;
    for (uint32_t i = 0; i < card->world->swarm.stable; i++) {
        bool leads = false;
        if (exchange[0] == 0)
            leads = key[0] == 's' && (uint32_t)(key[1] - '0') == i && !key[2];
        else if (strcmp(exchange, "direct") == 0)
            leads = key[0] == 'k' &&
                    ((uint32_t)(key[1] - '0') == i || (uint32_t)(key[1] - '0') == i + 1);
        else if (strcmp(exchange, "fanout") == 0)
            leads = i % 2 == 0;
        else if (strcmp(exchange, "topic") == 0)
            leads = (uint32_t)(key[i % 2 == 0 ? 0 : 2] - '0') == i;
        if (leads) targets |= (uint8_t)(1u << i);
    }
    return targets;
}

/* ---- copies ---- */

struct copy *card_copy(struct card *card, struct card_queue *queue, const struct letter *letter) {
    if (!queue->copies) queue->copies = mem_new_array(LETTERS_MAX, sizeof *queue->copies);
    return &queue->copies[card_number(card, letter)];
}

/* Letters that no crash leaves. */
static bool is_perished(
    const struct card *card, const struct card_queue *queue, const struct letter *letter) {
    if (letter->life == card->life) return false;
    return !letter->persistent || (queue->stable && !queue->durable);
}

static void check_crashes(
    struct card *card, const struct sighting *sighting, const struct copy *copy) {
    uint32_t number = card_number(card, sighting->letter);
    const char *name = sighting->queue->name;
    if (is_perished(card, sighting->queue, sighting->letter))
        world_fail(card->world, resurrected,
            "message %u of %s, which nothing keeps, has survived a crash", number, name);
    if (copy->state == COPY_GONE)
        world_fail(card->world, resurrected,
            "message %u of %s comes, though it was not there after the crash", number, name);
    if (copy->flagged && !sighting->redelivered)
        world_fail(card->world, unflagged,
            "message %u of %s comes again after a crash without the flag", number, name);
}

static void check_route(struct card *card, const struct sighting *sighting) {
    const struct letter *letter = sighting->letter;
    const struct card_queue *queue = sighting->queue;
    uint32_t number = card_number(card, letter);
    if (letter->fate == LETTER_DEAD || letter->fate == LETTER_KEPT)
        world_fail(card->world, phantom, "message %u comes from %s but was %s", number, queue->name,
            letter->fate == LETTER_KEPT ? "never committed" : "rolled back or returned");
    bool routed = true;
    if (queue->stable)
        routed = letter->targets & 1u << (queue - card->queues);
    else if (letter->answer_to != 0)
        routed = letter->answer_to == sighting->lane->uid + 1 &&
                 strcmp(queue->name, CARD_REPLY_QUEUE) == 0;
    else if (letter->exchange[0] == 0)
        routed = strcmp(letter->key, queue->name) == 0 ||
                 strcmp(letter->copy_to[0], queue->name) == 0 ||
                 strcmp(letter->copy_to[1], queue->name) == 0;
    if (!routed)
        world_fail(card->world, route, "message %u ('%s', '%s') comes from %s", number,
            letter->exchange, letter->key, queue->name);
}

/* The copy is where the card says it cannot be. That is right only if the broker has closed a
 * channel and that news is still under way: the holder's, who was given it before, or the
 * receiver's, who is told so next. That channel must turn out to be closed. True when the delivery
 * is to be ignored. */
static bool contest(struct card *card, const struct sighting *sighting, struct copy *copy) {
    struct lane *lane = sighting->lane;
    struct lane *holder = copy->state == COPY_HELD ? card->lanes[copy->holder] : NULL;
    bool holder_may = holder && holder != lane && lane_may_be_closed(holder);
    bool lane_may = lane_may_be_closed(lane);
    if (holder_may && lane_may) {
        copy->confused = true;
        return true;
    }
    if (holder_may) {
        holder->doomed = true;
        return false;
    }
    if (lane_may) {
        lane->doomed = true;
        return true;
    }
    uint32_t number = card_number(card, sighting->letter);
    const char *name = sighting->queue->name;
    if (copy->state == COPY_SETTLED)
        world_fail(
            card->world, settled, "message %u of %s comes back after it was settled", number, name);
    if (copy->state == COPY_HELD)
        world_fail(card->world, twice, "message %u of %s is delivered while channel #%u holds it",
            number, name, copy->holder);
    world_fail(
        card->world, redelivered, "message %u of %s comes again without the flag", number, name);
}

/* Does the broker have reasons of its own to close channels, of which others hear first? */
static bool tame(const struct swarm *swarm) {
    return !swarm->mistakes && !swarm->volatile_queues && !swarm->own_queues && !swarm->exchanges &&
           !swarm->heartbeats && !swarm->garbage && !swarm->replies;
}

void card_deliver(struct card *card, const struct sighting *sighting) {
    struct card_queue *queue = sighting->queue;
    card->world->verdict->deliveries++;
    check_route(card, sighting);
    struct copy *copy = card_copy(card, queue, sighting->letter);
    check_crashes(card, sighting, copy);
    copy->seen = true;
    if (sighting->given_back && !sighting->no_ack) {
        /* Old news: others may have got it since, and even settled it. */
        if (copy->state != COPY_UNSEEN) return;
        copy->state = COPY_RELEASED;
        return;
    }
    bool seen = copy->state != COPY_UNSEEN;
    bool odd =
        copy->state == COPY_SETTLED || copy->state == COPY_HELD || (seen && !sighting->redelivered);
    if (copy->state == COPY_UNSURE && lane_may_be_closed(sighting->lane)) copy->confused = true;
    if (copy->confused || (odd && contest(card, sighting, copy))) return;
    if (!seen && sighting->redelivered && !queue->shaken && tame(&card->world->swarm))
        world_fail(card->world, redelivered, "message %u of %s is new but has the flag",
            card_number(card, sighting->letter), queue->name);
    copy->state = sighting->no_ack ? COPY_SETTLED : COPY_HELD;
    copy->holder = sighting->lane->uid;
}

static const char *const state_names[] = {
    "unseen", "held", "released", "unsure", "settled", "gone"};

void card_leave(struct card *card, struct card_queue *queue, const struct letter *letter,
    const struct lane *holder, enum copy_state state) {
    struct copy *copy = card_copy(card, queue, letter);
    if (copy->state != COPY_HELD || copy->holder != holder->uid) return;
    world_trace(card->world, "message %u of %s: channel #%u leaves it %s",
        card_number(card, letter), queue->name, holder->uid, state_names[state]);
    copy->state = (uint8_t)state;
    if (state != COPY_SETTLED) queue->shaken = true;
}

/* ---- crashes ---- */

void card_crash(struct card *card) {
    card->life++;
    card->reply_key_count = 0;
    for (uint32_t i = 0; i < card->queue_count; i++) {
        struct card_queue *queue = &card->queues[i];
        queue->shaken = true;
        if (queue->stable || !queue->copies) continue;
        /* It may be durable, and may have been deleted meanwhile. */
        for (uint32_t k = 0; k < card->letter_count; k++)
            queue->copies[k].confused = true;
    }
}

void card_settle(struct card *card) {
    for (uint32_t i = 0; i < card->letter_count; i++)
        card->letters[i].firm = card->letters[i].firm || card->letters[i].fate == LETTER_SURE;
    for (uint32_t i = 0; i < card->queue_count; i++) {
        struct copy *copies = card->queues[i].copies;
        for (uint32_t k = 0; copies && k < card->letter_count; k++)
            copies[k].sealed = copies[k].sealed || copies[k].state == COPY_SETTLED;
    }
}

static bool excused(
    const struct card_queue *queue, const struct letter *letter, const struct copy *copy);

/* Must the letter have survived in this queue, or must it not? */
static void check_survival(struct card *card, const struct card_queue *queue,
    const struct letter *letter, const struct copy *copy, bool there) {
    uint32_t number = card_number(card, letter);
    bool kept =
        letter->targets & 1u << (queue - card->queues) && letter->persistent && queue->durable;
    bool firm = kept && (letter->firm || copy->carried) && copy->state < COPY_UNSURE &&
                !excused(queue, letter, copy) && (!copy->unreadable || copy->pinned);
    bool dead = letter->fate == LETTER_DEAD || letter->fate == LETTER_KEPT;
    if (there && dead)
        world_fail(card->world, phantom, "message %u is in %s after the crash, but was %s", number,
            queue->name, letter->fate == LETTER_KEPT ? "never committed" : "rolled back");
    if (there && (!kept || copy->sealed || copy->state == COPY_GONE))
        world_fail(card->world, resurrected, "message %u is in %s after the crash, though %s",
            number, queue->name,
            !kept                      ? "nothing keeps it"
            : copy->state == COPY_GONE ? "it was not there after an earlier one"
                                       : "it was settled for good");
    if (!there && firm && !dead)
        world_fail(card->world, lost, "message %u, confirmed and %s, is not in %s after the crash",
            number, state_names[copy->state], queue->name);
}

void card_recovered_elsewhere(
    struct card *card, struct card_queue *queue, struct letter *letter, bool there) {
    if (!there && !queue->copies) return;
    struct copy *copy = card_copy(card, queue, letter);
    uint32_t number = card_number(card, letter);
    if (there && (!letter->persistent || copy->state == COPY_GONE))
        world_fail(card->world, resurrected, "message %u is in %s after the crash, though %s",
            number, queue->name,
            letter->persistent ? "it was not there after an earlier one" : "nothing keeps it");
    if (there && (letter->fate == LETTER_DEAD || letter->fate == LETTER_KEPT))
        world_fail(
            card->world, phantom, "message %u is in %s after the crash", number, queue->name);
    copy->confused = copy->unreadable = copy->pinned = false;
    copy->carried = there;
    copy->seen = copy->seen && (copy->flagged || !queue->blind);
    copy->flagged = there && copy->seen;
    if (there) letter->fate = LETTER_SURE;
    copy->state = !there ? COPY_GONE : copy->seen ? COPY_RELEASED : COPY_UNSEEN;
}

void card_recovered(
    struct card *card, struct card_queue *queue, struct letter *letter, bool there) {
    if (!there && !(letter->targets & 1u << (queue - card->queues))) return;
    struct copy *copy = card_copy(card, queue, letter);
    check_survival(card, queue, letter, copy, there);
    copy->confused = copy->sealing = copy->unreadable = copy->pinned = false;
    copy->carried = there;
    copy->seen = copy->seen && (copy->flagged || !queue->blind);
    copy->flagged = there && copy->seen;
    if (!there) {
        copy->state = COPY_GONE;
        return;
    }
    letter->fate = LETTER_SURE;
    copy->state = copy->seen ? COPY_RELEASED : COPY_UNSEEN;
}

/* ---- the end ---- */

/* May the copy have left the queue in a way that nobody saw? */
static bool excused(
    const struct card_queue *queue, const struct letter *letter, const struct copy *copy) {
    /* When it was given back cannot be known: its channel may have been closed before that. */
    return queue->leaky || copy->confused || copy->state == COPY_GONE ||
           letter->sent_at < queue->purged_at || copy->state == COPY_UNSURE ||
           (copy->state == COPY_UNSEEN && letter->fate != LETTER_SURE);
}

void card_ready(struct card *card, uint32_t at, uint32_t *ret_least, uint32_t *ret_most) {
    struct card_queue *queue = &card->queues[at];
    *ret_least = *ret_most = 0;
    for (uint32_t i = 0; i < card->letter_count; i++) {
        const struct letter *letter = &card->letters[i];
        if (!(letter->targets & 1u << at)) continue;
        if (letter->fate == LETTER_DEAD || letter->fate == LETTER_KEPT) continue;
        if (is_perished(card, queue, letter)) continue;
        const struct copy *copy = card_copy(card, queue, letter);
        if (copy->state == COPY_HELD || copy->state >= COPY_SETTLED) continue;
        ++*ret_most;
        bool must = !excused(queue, letter, copy) && !copy->unreadable;
        *ret_least += must;
        if (must)
            world_trace(card->world, "message %u must be ready in %s, it is %s", i, queue->name,
                state_names[copy->state]);
    }
}

void card_check_lost(struct card *card) {
    for (uint32_t at = 0; at < card->world->swarm.stable; at++) {
        struct card_queue *queue = &card->queues[at];
        for (uint32_t i = 0; i < card->letter_count; i++) {
            const struct letter *letter = &card->letters[i];
            if (!(letter->targets & 1u << at)) continue;
            if (letter->fate == LETTER_DEAD || letter->fate == LETTER_KEPT) continue;
            const struct copy *copy = card_copy(card, queue, letter);
            if (is_perished(card, queue, letter)) continue;
            if (copy->state == COPY_SETTLED || excused(queue, letter, copy)) continue;
            if (copy->unreadable) continue;
            world_fail(card->world, lost, "message %u, which %s has taken, was never delivered%s",
                i, queue->name, copy->state == COPY_UNSEEN ? "" : " again");
        }
    }
}
