/* acts: what a model client may do next, chosen by the seed. */
#include "sim/guest.h"
#include "sim/wire.h"
#include "sim/world.h"

#include "base/memory.h"
#include "base/str.h"

enum { VOLATILE_QUEUES = 5, VOLATILE_EXCHANGES = 3, ROOM_FOR_ACT = 4 };

/* Connections and channels that are left for the founder, who comes after each crash. */
enum { RESERVED = 32 };

static struct world *world_of(const struct lane *lane) {
    return lane->guest->world;
}

static uint64_t dice(const struct lane *lane, uint64_t bound) {
    return prng_below(&world_of(lane)->load, bound);
}

static bool chance(const struct lane *lane, unsigned percent) {
    return prng_chance(&world_of(lane)->load, percent);
}

/* ---- the founder ---- */

static void found_queue(struct lane *lane, uint32_t i) {
    char name[8];
    char key[2][8];
    str_format(name, sizeof name, "s%u", i);
    struct card_queue *queue = card_queue(world_of(lane)->card, name);
    queue->stable = true;
    queue->durable = world_of(lane)->swarm.durable & 1u << i;
    struct expect *expect = lane_ask(lane,
        &(struct method){.kind = METHOD_queue_declare,
            .queue_declare = {.queue = bytes_text(name), .durable = queue->durable}},
        METHOD_queue_declare_ok);
    expect->queue = queue;
    str_format(key[0], sizeof key[0], "k%u", i);
    str_format(key[1], sizeof key[1], "k%u", i + 1);
    struct amqp_queue_bind bind = {.queue = bytes_text(name), .exchange = BYTES("direct")};
    for (int k = 0; k < 2; k++) {
        bind.routing_key = bytes_text(key[k]);
        (void)lane_ask(lane, &(struct method){.kind = METHOD_queue_bind, .queue_bind = bind},
            METHOD_queue_bind_ok);
    }
    str_format(key[0], sizeof key[0], i % 2 == 0 ? "%u.*" : "*.%u", i);
    bind.routing_key = bytes_text(key[0]);
    bind.exchange = BYTES("topic");
    (void)lane_ask(lane, &(struct method){.kind = METHOD_queue_bind, .queue_bind = bind},
        METHOD_queue_bind_ok);
    if (i % 2 != 0) return;
    bind.routing_key = bytes_text("");
    bind.exchange = BYTES("fanout");
    (void)lane_ask(lane, &(struct method){.kind = METHOD_queue_bind, .queue_bind = bind},
        METHOD_queue_bind_ok);
}

void guest_found(struct guest *guest) {
    static const char *const kinds[] = {"direct", "fanout", "topic"};
    struct lane *lane = guest->lanes[0];
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        (void)lane_ask(lane,
            &(struct method){.kind = METHOD_exchange_declare,
                .exchange_declare = {.exchange = bytes_text(kinds[i]),
                    .type = bytes_text(kinds[i]),
                    .durable = guest->world->swarm.durable_exchanges}},
            METHOD_exchange_declare_ok);
    }
    for (uint32_t i = 0; i < guest->world->swarm.stable; i++)
        found_queue(lane, i);
}

/* ---- names ---- */

/* Where messages are hoarded, the first one is seldom looked at. */
static struct card_queue *choose_stable(const struct lane *lane) {
    const struct swarm *swarm = &world_of(lane)->swarm;
    uint64_t at = dice(lane, swarm->stable);
    if (at == 0 && swarm->hoards) at = dice(lane, 100) == 0 ? 0 : dice(lane, swarm->stable);
    return &world_of(lane)->card->queues[at];
}

/* A stable queue mostly; sometimes one that may not be there, which is risky. */
static struct card_queue *choose_queue(struct lane *lane, bool *ret_risky) {
    struct world *world = world_of(lane);
    struct card *card = world->card;
    uint32_t stable = world->swarm.stable;
    bool others = (world->swarm.volatile_queues || world->swarm.own_queues) && chance(lane, 35);
    *ret_risky = false;
    if (!others || card->queue_count == stable) return choose_stable(lane);
    *ret_risky = true;
    struct card_queue *queue = &card->queues[stable + dice(lane, card->queue_count - stable)];
    if (strcmp(queue->name, CARD_REPLY_QUEUE) != 0) return queue;
    *ret_risky = false;
    return &card->queues[0];
}

static struct card_queue *volatile_queue(struct lane *lane) {
    char name[8];
    str_format(name, sizeof name, "v%u", (unsigned)dice(lane, VOLATILE_QUEUES));
    return card_queue(world_of(lane)->card, name);
}

static const char *volatile_exchange(struct lane *lane) {
    static const char *const names[VOLATILE_EXCHANGES] = {"e0", "e1", "e2"};
    return names[dice(lane, VOLATILE_EXCHANGES)];
}

static const char *stable_exchange(struct lane *lane) {
    static const char *const names[] = {"direct", "fanout", "topic"};
    return names[dice(lane, COUNT_OF(names))];
}

/* A key that means something to one of the exchanges. */
static void choose_key(struct lane *lane, char key[64]) {
    if (chance(lane, 50))
        str_format(key, 64, "k%u", (unsigned)dice(lane, 6));
    else
        str_format(key, 64, "%u.%u", (unsigned)dice(lane, 5), (unsigned)dice(lane, 5));
}

/* ---- publishing ---- */

static bool address(struct lane *lane, struct letter *letter) {
    const struct swarm *swarm = &world_of(lane)->swarm;
    uint64_t where = dice(lane, 10);
    bool risky = false;
    if (where < 4) {
        str_format(letter->exchange, sizeof letter->exchange, "%s", stable_exchange(lane));
        choose_key(lane, letter->key);
        if (strcmp(letter->exchange, "topic") == 0)
            str_format(letter->key, sizeof letter->key, "%u.%u", (unsigned)dice(lane, 5),
                (unsigned)dice(lane, 5));
        else
            str_format(letter->key, sizeof letter->key, "k%u", (unsigned)dice(lane, 6));
    } else if (where < 5 && swarm->exchanges) {
        str_format(letter->exchange, sizeof letter->exchange, "%s", volatile_exchange(lane));
        choose_key(lane, letter->key);
        risky = true;
    } else if (where < 6) {
        str_format(letter->key, sizeof letter->key, "nowhere");
        letter->unroutable = true;
    } else {
        bool ignored = false;
        str_format(letter->key, sizeof letter->key, "%s", choose_queue(lane, &ignored)->name);
    }
    return risky;
}

/* Keys in CC and BCC lead to more queues, but to each of them once. */
static void copy_to_others(struct lane *lane, struct letter *letter) {
    for (int i = 0; i < 2; i++) {
        if (!chance(lane, 20)) continue;
        char *key = letter->copy_to[i];
        if (letter->exchange[0] == 0)
            str_format(key, 8, "s%u", (unsigned)dice(lane, STABLE_MAX));
        else if (strcmp(letter->exchange, "topic") == 0)
            str_format(key, 8, "%u.%u", (unsigned)dice(lane, 5), (unsigned)dice(lane, 5));
        else
            str_format(key, 8, "k%u", (unsigned)dice(lane, 6));
        letter->targets |= card_route(world_of(lane)->card, letter->exchange, key);
        letter->unroutable = false;
    }
}

/* Its reply consumer is there for certain. */
static bool may_ask(const struct lane *lane) {
    if (lane->reply_consumer == 0) return false;
    const struct model_consumer *consumer = &lane->consumers[lane->reply_consumer - 1];
    return consumer->active && !consumer->cancelling;
}

static void act_publish(struct lane *lane) {
    struct world *world = world_of(lane);
    struct letter *letter = card_letter(world->card);
    if (!letter) return;
    bool risky = address(lane, letter);
    letter->targets = card_route(world->card, letter->exchange, letter->key);
    if (world->swarm.copies) copy_to_others(lane, letter);
    letter->mandatory = world->swarm.mandatory && chance(lane, 40);
    letter->size = (uint32_t)dice(lane, world->swarm.body_bytes);
    if (world->swarm.large_bodies && chance(lane, 5)) letter->size = (uint32_t)dice(lane, 150000);
    /* The simulated disk has room for so much only. */
    uint32_t flood_bytes = world->vault ? 40000 : 300000;
    if (world->swarm.floods && chance(lane, 30)) letter->size = (uint32_t)dice(lane, flood_bytes);
    letter->asks = may_ask(lane) && chance(lane, 40);
    letter->in_tx = lane->tx;
    lane_published(lane, letter);
    if (risky) *(lane->tx ? &lane->tx_risky : &lane->risky) = true;
    /* A missing exchange is refused at once too. */
    if (risky) lane->risky = true;
    struct method method = {.kind = METHOD_basic_publish,
        .basic_publish = {.exchange = bytes_text(letter->exchange),
            .routing_key = bytes_text(letter->key),
            .mandatory = letter->mandatory}};
    guest_send_message(lane->guest, lane->number, &method, letter);
}

static void act_confirm_select(struct lane *lane) {
    if (lane->tx || lane->confirms) return;
    bool no_wait = world_of(lane)->swarm.no_wait && chance(lane, 30);
    struct method method = {.kind = METHOD_confirm_select, .confirm_select = {.no_wait = no_wait}};
    if (no_wait)
        lane_say(lane, &method);
    else
        (void)lane_ask(lane, &method, METHOD_confirm_select_ok);
    lane->confirms = true;
}

static void act_tx(struct lane *lane) {
    if (lane->confirms) return;
    if (!lane->tx) {
        (void)lane_ask(lane, &(struct method){.kind = METHOD_tx_select}, METHOD_tx_select_ok);
        lane->tx = true;
        lane->tx_mark = lane->sent_count;
        return;
    }
    bool commit = chance(lane, 60);
    lane->risky = lane->risky || lane->tx_risky;
    lane->tx_risky = false;
    if (commit)
        lane_commit(lane);
    else
        lane_roll_back(lane);
    (void)lane_ask(lane, &(struct method){.kind = commit ? METHOD_tx_commit : METHOD_tx_rollback},
        commit ? METHOD_tx_commit_ok : METHOD_tx_rollback_ok);
}

/* ---- consuming ---- */

static void act_consume(struct lane *lane) {
    const struct swarm *swarm = &world_of(lane)->swarm;
    if (lane->consumer_count == LANE_CONSUMERS_MAX) return;
    bool risky = false;
    struct card_queue *queue = choose_queue(lane, &risky);
    uint32_t index = lane->consumer_count++;
    struct model_consumer *consumer = &lane->consumers[index];
    *consumer = (struct model_consumer){.queue = queue,
        .prefetch = lane->prefetch,
        .no_ack = swarm->no_ack && chance(lane, 30),
        .last = mem_new_array(LANE_UIDS_MAX, sizeof(uint32_t))};
    for (uint32_t i = 0; i < lane->expect_count; i++) {
        /* The limit that will hold is still on its way. */
        const struct expect *expect = &lane->expects[i];
        if (expect->reply != METHOD_basic_qos_ok) continue;
        if (!expect->flag)
            consumer->prefetch = expect->value;
        else
            lane->shared_strict = false;
    }
    char tag[16];
    str_format(tag, sizeof tag, "c%u", index);
    bool no_wait = swarm->no_wait && chance(lane, 20);
    struct method method = {.kind = METHOD_basic_consume,
        .basic_consume = {.queue = bytes_text(queue->name),
            .consumer_tag = bytes_text(tag),
            .no_ack = consumer->no_ack,
            .exclusive = risky && chance(lane, 20),
            .no_wait = no_wait}};
    lane->risky = lane->risky || risky;
    consumer->active = no_wait;
    if (no_wait)
        lane_say(lane, &method);
    else
        lane_ask(lane, &method, METHOD_basic_consume_ok)->consumer = index;
    queue->consumed = true;
}

static void act_cancel(struct lane *lane) {
    if (lane->consumer_count == 0) return;
    uint32_t index = (uint32_t)dice(lane, lane->consumer_count);
    struct model_consumer *consumer = &lane->consumers[index];
    if (consumer->cancelling) return;
    consumer->cancelling = true;
    char tag[16];
    str_format(tag, sizeof tag, "c%u", index);
    bool no_wait = world_of(lane)->swarm.no_wait && chance(lane, 20);
    struct method method = {.kind = METHOD_basic_cancel,
        .basic_cancel = {.consumer_tag = bytes_text(tag), .no_wait = no_wait}};
    consumer->queue->shaken = true;
    if (!no_wait) {
        lane_ask(lane, &method, METHOD_basic_cancel_ok)->consumer = index;
        return;
    }
    lane_say(lane, &method);
    /* Nobody tells when it is over, and what it was sent meanwhile may be lost. */
    if (consumer->no_ack) consumer->queue->leaky = true;
}

static void act_get(struct lane *lane) {
    bool risky = false;
    struct card_queue *queue = choose_queue(lane, &risky);
    bool no_ack = world_of(lane)->swarm.no_ack && chance(lane, 40);
    lane->risky = lane->risky || risky;
    struct expect *expect = lane_ask(lane,
        &(struct method){.kind = METHOD_basic_get,
            .basic_get = {.queue = bytes_text(queue->name), .no_ack = no_ack}},
        METHOD_basic_get_ok);
    expect->queue = queue;
    expect->flag = no_ack;
}

static void act_settle(struct lane *lane) {
    const struct swarm *swarm = &world_of(lane)->swarm;
    if (lane->hold_count == 0) return;
    const struct hold *hold = &lane->holds[dice(lane, lane->hold_count)];
    if (hold->in_tx) return;
    uint64_t tag = hold->tag;
    bool multiple = chance(lane, 30);
    bool requeue = swarm->requeue && chance(lane, 30);
    bool reject = swarm->reject && chance(lane, 25);
    struct method method = {
        .kind = METHOD_basic_ack, .basic_ack = {.delivery_tag = tag, .multiple = multiple}};
    if ((requeue || reject) && chance(lane, 50)) {
        multiple = false;
        method = (struct method){
            .kind = METHOD_basic_reject, .basic_reject = {.delivery_tag = tag, .requeue = requeue}};
    } else if (requeue || reject) {
        method = (struct method){.kind = METHOD_basic_nack,
            .basic_nack = {.delivery_tag = tag, .multiple = multiple, .requeue = requeue}};
    }
    lane_say(lane, &method);
    lane_settle(lane, tag, multiple, requeue);
}

static void act_recover(struct lane *lane) {
    /* What a transaction holds back is not recovered. */
    if (lane->tx || lane->recovering) return;
    lane_release_all(lane);
    lane->recovering = true;
    (void)lane_ask(lane,
        &(struct method){.kind = METHOD_basic_recover, .basic_recover = {.requeue = true}},
        METHOD_basic_recover_ok);
}

static void act_qos(struct lane *lane) {
    bool shared = world_of(lane)->swarm.shared_prefetch && chance(lane, 50);
    uint32_t count = (uint32_t)dice(lane, 12);
    if (shared) {
        for (uint32_t i = 0; i < lane->expect_count; i++)
            if (lane->expects[i].reply == METHOD_basic_qos_ok) lane->shared_strict = false;
    }
    struct expect *expect = lane_ask(lane,
        &(struct method){.kind = METHOD_basic_qos,
            .basic_qos = {.prefetch_count = (uint16_t)count, .global = shared}},
        METHOD_basic_qos_ok);
    expect->value = count;
    expect->flag = shared;
}

/* ---- direct reply-to ---- */

static void act_take_replies(struct lane *lane) {
    if (lane->reply_consumer != 0 || lane->consumer_count == LANE_CONSUMERS_MAX) return;
    struct card_queue *queue = card_queue(world_of(lane)->card, CARD_REPLY_QUEUE);
    if (!queue) return;
    uint32_t index = lane->consumer_count++;
    lane->consumers[index] = (struct model_consumer){
        .queue = queue, .no_ack = true, .last = mem_new_array(LANE_UIDS_MAX, sizeof(uint32_t))};
    lane->reply_consumer = index + 1;
    char tag[16];
    str_format(tag, sizeof tag, "c%u", index);
    lane_ask(lane,
        &(struct method){.kind = METHOD_basic_consume,
            .basic_consume = {.queue = bytes_text(queue->name),
                .consumer_tag = bytes_text(tag),
                .no_ack = true}},
        METHOD_basic_consume_ok)
        ->consumer = index;
}

static void act_answer(struct lane *lane) {
    struct card *card = world_of(lane)->card;
    if (card->reply_key_count == 0) return;
    const struct reply_key *key =
        &card->reply_keys[dice(lane, min_u64(card->reply_key_count, REPLY_KEYS_MAX))];
    if (chance(lane, 20)) {
        lane->risky = true; /* whoever asked may be gone */
        lane_ask(lane,
            &(struct method){.kind = METHOD_queue_declare,
                .queue_declare = {.queue = bytes_text(key->key), .passive = true}},
            METHOD_queue_declare_ok)
            ->value = 1;
        return;
    }
    struct letter *letter = card_letter(card);
    if (!letter) return;
    str_format(letter->key, sizeof letter->key, "%s", key->key);
    letter->answer_to = key->lane + 1;
    letter->size = (uint32_t)dice(lane, world_of(lane)->swarm.body_bytes);
    lane_published(lane, letter);
    struct method method = {
        .kind = METHOD_basic_publish, .basic_publish = {.routing_key = bytes_text(letter->key)}};
    guest_send_message(lane->guest, lane->number, &method, letter);
}

/* ---- topology ---- */

static void act_purge(struct lane *lane) {
    bool risky = false;
    struct card_queue *queue = choose_queue(lane, &risky);
    lane->risky = lane->risky || risky;
    struct expect *expect = lane_ask(lane,
        &(struct method){
            .kind = METHOD_queue_purge, .queue_purge = {.queue = bytes_text(queue->name)}},
        METHOD_queue_purge_ok);
    expect->queue = queue;
}

static void act_inspect(struct lane *lane) {
    bool risky = false;
    struct card_queue *queue = choose_queue(lane, &risky);
    lane->risky = lane->risky || risky;
    struct expect *expect = lane_ask(lane,
        &(struct method){.kind = METHOD_queue_declare,
            .queue_declare = {.queue = bytes_text(queue->name), .passive = true}},
        METHOD_queue_declare_ok);
    expect->queue = queue;
}

static void ask_or_say(
    struct lane *lane, const struct method *method, enum method_kind reply, bool no_wait) {
    if (no_wait)
        lane_say(lane, method);
    else
        (void)lane_ask(lane, method, reply);
}

static void act_declare(struct lane *lane) {
    struct card_queue *queue = volatile_queue(lane);
    if (!queue) return;
    bool no_wait = world_of(lane)->swarm.no_wait && chance(lane, 20);
    struct method method = {.kind = METHOD_queue_declare,
        .queue_declare = {.queue = bytes_text(queue->name),
            .durable = chance(lane, 10),
            .auto_delete = chance(lane, 40) && queue->name[1] > '2',
            .no_wait = no_wait}};
    lane->risky = true;
    if (no_wait)
        lane_say(lane, &method);
    else
        lane_ask(lane, &method, METHOD_queue_declare_ok)->queue = queue;
}

static void act_delete(struct lane *lane) {
    struct card_queue *queue = volatile_queue(lane);
    if (!queue) return;
    bool no_wait = world_of(lane)->swarm.no_wait && chance(lane, 20);
    lane->risky = true;
    ask_or_say(lane,
        &(struct method){.kind = METHOD_queue_delete,
            .queue_delete = {.queue = bytes_text(queue->name),
                .if_unused = chance(lane, 20),
                .if_empty = chance(lane, 20),
                .no_wait = no_wait}},
        METHOD_queue_delete_ok, no_wait);
}

static void act_bind(struct lane *lane) {
    const struct swarm *swarm = &world_of(lane)->swarm;
    bool risky = false;
    struct card_queue *queue = choose_queue(lane, &risky);
    if (!risky) return; /* the founder's bindings are all that a stable queue has */
    char key[64];
    choose_key(lane, key);
    const char *exchange =
        swarm->exchanges && chance(lane, 40) ? volatile_exchange(lane) : stable_exchange(lane);
    lane->risky = true;
    if (chance(lane, 30)) {
        (void)lane_ask(lane,
            &(struct method){.kind = METHOD_queue_unbind,
                .queue_unbind = {.queue = bytes_text(queue->name),
                    .exchange = bytes_text(exchange),
                    .routing_key = bytes_text(key)}},
            METHOD_queue_unbind_ok);
        return;
    }
    bool no_wait = swarm->no_wait && chance(lane, 20);
    ask_or_say(lane,
        &(struct method){.kind = METHOD_queue_bind,
            .queue_bind = {.queue = bytes_text(queue->name),
                .exchange = bytes_text(exchange),
                .routing_key = bytes_text(key),
                .no_wait = no_wait}},
        METHOD_queue_bind_ok, no_wait);
}

static void act_own_queue(struct lane *lane) {
    struct guest *guest = lane->guest;
    bool named = chance(lane, 50);
    char name[24] = "";
    struct card_queue *queue = NULL;
    if (named) {
        str_format(name, sizeof name, "x%u-%u", guest->number, guest->own_count++ % 4);
        queue = card_queue(world_of(lane)->card, name);
        if (!queue) return;
        queue->exclusive = true;
        lane->risky = true; /* the one of an earlier connection may still be there */
    }
    struct expect *expect = lane_ask(lane,
        &(struct method){.kind = METHOD_queue_declare,
            .queue_declare = {.queue = bytes_text(name),
                .exclusive = true,
                .auto_delete = chance(lane, 30)}},
        METHOD_queue_declare_ok);
    expect->queue = queue;
}

static void act_exchange(struct lane *lane) {
    static const char *const kinds[] = {"direct", "fanout", "topic", "headers"};
    const char *name = volatile_exchange(lane);
    lane->risky = true;
    uint64_t what = dice(lane, 4);
    if (what == 0) {
        (void)lane_ask(lane,
            &(struct method){.kind = METHOD_exchange_delete,
                .exchange_delete = {.exchange = bytes_text(name), .if_unused = chance(lane, 30)}},
            METHOD_exchange_delete_ok);
    } else if (what == 1) {
        /* Only away from the stable ones: what they lead to is known. */
        (void)lane_ask(lane,
            &(struct method){.kind = METHOD_exchange_bind,
                .exchange_bind = {.destination = bytes_text(name),
                    .source = bytes_text(
                        chance(lane, 50) ? stable_exchange(lane) : volatile_exchange(lane)),
                    .routing_key = BYTES("k1")}},
            METHOD_exchange_bind_ok);
    } else {
        (void)lane_ask(lane,
            &(struct method){.kind = METHOD_exchange_declare,
                .exchange_declare = {.exchange = bytes_text(name),
                    .type = bytes_text(kinds[dice(lane, 10) < 8 ? (uint64_t)(name[1] - '0')
                                                                : dice(lane, COUNT_OF(kinds))]),
                    .auto_delete = name[1] == '1'}},
            METHOD_exchange_declare_ok);
    }
}

/* ---- the rest ---- */

static void act_flow(struct lane *lane) {
    (void)lane_ask(lane,
        &(struct method){.kind = METHOD_channel_flow, .channel_flow = {.active = true}},
        METHOD_channel_flow_ok);
}

static void act_close(struct lane *lane) {
    struct method method = {.kind = METHOD_channel_close,
        .channel_close = {.reply_code = 200, .reply_text = BYTES("done")}};
    for (uint32_t i = 0; i < lane->hold_count; i++)
        lane->holds[i].in_tx = false;
    lane_release_all(lane);
    (void)lane_ask(lane, &method, METHOD_channel_close_ok);
    lane->state = LANE_CLOSING;
}

static void act_mistake(struct lane *lane) {
    lane->risky = true;
    if (chance(lane, 50)) {
        lane_say(lane,
            &(struct method){.kind = METHOD_basic_ack, .basic_ack = {.delivery_tag = 1000000}});
        return;
    }
    (void)lane_ask(lane,
        &(struct method){.kind = METHOD_queue_declare,
            .queue_declare = {.queue = BYTES("missing"), .passive = true}},
        METHOD_queue_declare_ok);
}

struct act {
    void (*act)(struct lane *lane);
    uint32_t weight;
    bool on;
};

static void lane_act(struct lane *lane) {
    const struct swarm *swarm = &world_of(lane)->swarm;
    const struct act acts[] = {
        {act_publish, swarm->publish_weight, !lane->guest->blocked},
        {act_settle, 25, true},
        {act_consume, 6, true},
        {act_confirm_select, 4, swarm->confirms && lane->number != 2},
        {act_tx, 6, swarm->tx && lane->number != 1},
        {act_cancel, 3, swarm->cancel},
        {act_get, 6, swarm->get},
        {act_recover, 2, swarm->recover},
        {act_qos, 4, swarm->prefetch || swarm->shared_prefetch},
        {act_take_replies, 3, swarm->replies},
        {act_answer, 6, swarm->replies},
        {act_purge, 1, swarm->purge},
        {act_inspect, 2, true},
        {act_declare, 5, swarm->volatile_queues},
        {act_delete, 3, swarm->volatile_queues},
        {act_bind, 4, swarm->volatile_queues || swarm->own_queues},
        {act_own_queue, 2, swarm->own_queues},
        {act_exchange, 4, swarm->exchanges},
        {act_flow, 1, true},
        {act_close, 1, swarm->lane_close},
        {act_mistake, 1, swarm->mistakes},
    };
    uint32_t total = 0;
    for (size_t i = 0; i < COUNT_OF(acts); i++)
        total += acts[i].on ? acts[i].weight : 0;
    uint64_t chosen = dice(lane, total);
    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        if (!acts[i].on) continue;
        if (chosen < acts[i].weight) {
            acts[i].act(lane);
            return;
        }
        chosen -= acts[i].weight;
    }
}

static void send_garbage(struct guest *guest) {
    uint8_t bytes[64];
    struct prng *load = &guest->world->load;
    size_t size = 1 + (size_t)prng_below(load, sizeof bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)prng_next(load);
    guest->garbled = true;
    world_trace(guest->world, "client %u > %zu bytes of garbage", guest->number, size);
    wire_send(guest->wire, bytes_of(bytes, size));
}

void guest_act(struct guest *guest) {
    struct world *world = guest->world;
    const struct swarm *swarm = &world->swarm;
    struct prng *load = &world->load;
    uint64_t rare = prng_below(load, 1000);
    if (guest->state == GUEST_AWAY) {
        if (world->wire_count + RESERVED < WIRES_MAX) guest_connect(guest);
        return;
    }
    if (rare < 6 && swarm->drops) {
        guest_drop(guest);
        return;
    }
    if (guest->garbled || guest->wire->up.size > 256 * 1024) return;
    if (rare < 9 && swarm->garbage) {
        send_garbage(guest);
        return;
    }
    if (guest->state != GUEST_OPEN) return;
    if (rare < 14 && swarm->guest_close) {
        guest_close(guest);
        return;
    }
    struct lane *lane = guest->lanes[prng_below(load, guest->lane_count)];
    if (lane->state == LANE_SHUT) {
        if (world->card->lane_count + RESERVED < LANE_UIDS_MAX) lane_open(lane);
    } else if (lane->state == LANE_OPEN && lane->expect_count + ROOM_FOR_ACT < LANE_EXPECTS_MAX)
        lane_act(lane);
}
