/* reckoning: the end of a seed. */
#include "sim/reckoning.h"

#include "sim/guest.h"
#include "sim/inspect.h"
#include "sim/lives.h"
#include "sim/vault.h"
#include "sim/witness.h"
#include "sim/world.h"

#include "base/memory.h"
#include "base/str.h"
#include "shard/client.h"
#include "shard/queue_host.h"

/* ---- liveness ---- */

static void check_quiet(struct world *world) {
    for (uint32_t i = 0; i < world->guest_count; i++) {
        const struct guest *guest = world->guests[i];
        if (guest_quiet(guest)) continue;
        for (uint32_t k = 0; k < guest->lane_count; k++) {
            const struct lane *lane = guest->lanes[k];
            if (lane->doomed)
                world_fail(world, twice, "client %u.%u still holds what others were given", i,
                    lane->number);
            if (lane->expect_count != 0)
                world_fail(world, liveness, "client %u.%u waits for %s", i, lane->number,
                    method_name(lane->expects[0].reply));
        }
        world_fail(world, liveness, "client %u waits for %s", i,
            guest->state == GUEST_OPEN ? "confirms" : "the end of a handshake");
    }
}

/* The heartbeats of the broker: half an interval apart at most. */
static void check_heartbeats(struct world *world) {
    enum { ROUNDS = 12, ROUND_MS = 250 };
    for (int round = 0; round < ROUNDS; round++) {
        world->now_ms += ROUND_MS;
        for (uint32_t i = 0; i < world->guest_count; i++)
            guest_tick(world->guests[i]);
        world_settle(world);
    }
    for (uint32_t i = 0; i < world->guest_count; i++) {
        const struct guest *guest = world->guests[i];
        uint64_t most = guest->heartbeat_s * 500u + ROUND_MS;
        if (guest->state != GUEST_OPEN || guest->garbled || guest->heartbeat_s == 0) continue;
        if (most >= ROUNDS * ROUND_MS || world->now_ms - guest->heard_ms <= most) continue;
        world_fail(world, heartbeat, "client %u has heard nothing for %llu ms of %u s", i,
            (unsigned long long)(world->now_ms - guest->heard_ms), guest->heartbeat_s);
    }
}

/* Answers to whoever still waits for them have arrived. */
static void check_answers(struct world *world) {
    struct card *card = world->card;
    struct card_queue *queue = card_find_queue(card, BYTES(CARD_REPLY_QUEUE));
    for (uint32_t i = 0; queue && i < card->letter_count; i++) {
        const struct letter *letter = &card->letters[i];
        if (letter->answer_to == 0 || letter->fate != LETTER_SURE) continue;
        const struct lane *lane = card->lanes[letter->answer_to - 1];
        if (!lane || lane->state != LANE_OPEN || lane->guest->garbled) continue;
        if (lane->consumers[lane->reply_consumer - 1].cancelling) continue;
        if (card_copy(card, queue, letter)->state != COPY_SETTLED)
            world_fail(world, lost, "the answer %u never came to client %u.%u", i,
                lane->guest->number, lane->number);
    }
}

/* ---- counts ---- */

/* Ready messages next to a consumer that could take one. */
static void check_idle(struct world *world, const struct lane *lane, const uint32_t *ready) {
    for (uint32_t i = 0; i < lane->consumer_count; i++) {
        const struct model_consumer *consumer = &lane->consumers[i];
        bool idle = consumer->active && !consumer->over && !consumer->cancelling &&
                    consumer->queue->stable && lane->shared == 0;
        if (!idle || ready[consumer->queue - world->card->queues] == 0) continue;
        if (consumer->prefetch != 0 && consumer->unacked >= consumer->prefetch) continue;
        world_fail(world, liveness, "client %u.%u's consumer c%u of %s is idle, %u are ready",
            lane->guest->number, lane->number, i, consumer->queue->name,
            ready[consumer->queue - world->card->queues]);
    }
}

static uint32_t count_consumers(
    const struct world *world, const struct card_queue *queue, bool *ret_certain) {
    uint32_t count = 0;
    *ret_certain = true;
    for (uint32_t i = 0; i < world->guest_count; i++) {
        const struct guest *guest = world->guests[i];
        for (uint32_t k = 0; k < guest->lane_count; k++) {
            const struct lane *lane = guest->lanes[k];
            if (lane->state == LANE_SHUT) continue;
            for (uint32_t c = 0; c < lane->consumer_count; c++) {
                const struct model_consumer *consumer = &lane->consumers[c];
                if (consumer->queue != queue || consumer->over) continue;
                if (consumer->cancelling || guest->garbled) *ret_certain = false;
                count++;
            }
        }
    }
    return count;
}

/* ---- what only the broker itself can tell: how many messages are unacked ---- */

struct census {
    struct world *world;
    bool at_end; /* nobody is left who could hold any */
};

static uint64_t count_held(const struct world *world, struct bytes name) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < world->guest_count; i++) {
        const struct guest *guest = world->guests[i];
        for (uint32_t k = 0; k < guest->lane_count; k++) {
            const struct lane *lane = guest->lanes[k];
            for (uint32_t h = 0; h < lane->hold_count; h++)
                count += bytes_equal(bytes_text(lane->holds[h].queue->name), name);
        }
    }
    return count;
}

static void check_unacked(void *context, struct bytes name, const struct queue *queue) {
    struct census *census = context;
    const struct card_queue *known = card_find_queue(census->world->card, name);
    if (!known || !(known->stable || census->at_end)) return;
    uint64_t held = count_held(census->world, name);
    if (queue_unacked_count(queue) != held)
        world_fail(census->world, counts, "%.*s has %llu unacked messages, clients hold %llu",
            (int)name.size, (const char *)name.data, (unsigned long long)queue_unacked_count(queue),
            (unsigned long long)held);
}

static void take_census(struct world *world, bool at_end) {
    struct census census = {world, at_end};
    /* Who has sent garbage may hold messages that it has not read. */
    for (uint32_t i = 0; i < world->guest_count; i++) {
        if (world->guests[i]->state != GUEST_AWAY && world->guests[i]->garbled) return;
    }
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        queue_host_each(world->broker->shards[i], check_unacked, &census);
}

/* Asks the broker through the founder and compares with the card. */
static void check_counts(struct world *world) {
    struct guest *founder = world->guests[0];
    struct lane *lane = founder->lanes[0];
    uint32_t ready[STABLE_MAX] = {0};
    for (uint32_t i = 0; i < world->swarm.stable; i++) {
        struct card_queue *queue = &world->card->queues[i];
        lane_ask(lane,
            &(struct method){.kind = METHOD_queue_declare,
                .queue_declare = {.queue = bytes_text(queue->name), .passive = true}},
            METHOD_queue_declare_ok)
            ->queue = queue;
        world_settle(world);
        uint32_t least = 0;
        uint32_t most = 0;
        card_ready(world->card, i, &least, &most);
        ready[i] = lane->counted_messages;
        if (ready[i] < least || ready[i] > most)
            world_fail(world, counts, "%s has %u ready messages, there must be %u to %u",
                queue->name, ready[i], least, most);
        bool certain = false;
        uint32_t consumers = count_consumers(world, queue, &certain);
        if (certain && lane->counted_consumers != consumers)
            world_fail(world, counts, "%s has %u consumers, there are %u", queue->name,
                lane->counted_consumers, consumers);
    }
    for (uint32_t i = 0; i < world->guest_count; i++) {
        for (uint32_t k = 0; k < world->guests[i]->lane_count; k++) {
            const struct lane *each = world->guests[i]->lanes[k];
            if (each->state == LANE_OPEN && !world->guests[i]->garbled)
                check_idle(world, each, ready);
        }
    }
}

/* ---- the last messages ---- */

static void drain(struct world *world, struct card_queue *queue) {
    struct lane *lane = world->guests[0]->lanes[0];
    uint64_t before = 0;
    do {
        before = world->verdict->deliveries;
        for (int i = 0; i < 20; i++) {
            struct expect *expect = lane_ask(lane,
                &(struct method){.kind = METHOD_basic_get,
                    .basic_get = {.queue = bytes_text(queue->name), .no_ack = true}},
                METHOD_basic_get_ok);
            expect->queue = queue;
            expect->flag = true;
        }
        world_settle(world);
        if (lane->expect_count != 0) world_fail(world, liveness, "a drain is not answered");
    } while (world->verdict->deliveries != before);
}

static bool exists(const struct world *world, const char *name) {
    return vhost_find_queue(world->broker->vhost, bytes_text(name)) != NULL;
}

static void drain_all(struct world *world) {
    struct card *card = world->card;
    for (uint32_t i = 0; i < card->queue_count; i++) {
        struct card_queue *queue = &card->queues[i];
        bool there = exists(world, queue->name);
        if (queue->exclusive && there)
            world_fail(
                world, memory, "the exclusive queue %s has outlived its connection", queue->name);
        if (queue->stable && !there) world_fail(world, lost, "the queue %s is gone", queue->name);
        if (!there) continue;
        /* Nobody else takes any: they come in their order, whether they come again or not. */
        world->drained = mem_new_array(LANE_UIDS_MAX, sizeof *world->drained);
        drain(world, queue);
        mem_free(world->drained);
        world->drained = NULL;
    }
    card_check_lost(card);
}

/* Deletes what is there; every queue is empty by now, and delete-ok says so. */
static void delete_all(struct world *world) {
    struct lane *lane = world->guests[0]->lanes[0];
    for (uint32_t i = 0; i < world->card->queue_count; i++) {
        const struct card_queue *queue = &world->card->queues[i];
        if (!exists(world, queue->name)) continue;
        (void)lane_ask(lane,
            &(struct method){.kind = METHOD_queue_delete,
                .queue_delete = {.queue = bytes_text(queue->name),
                    .if_unused = true,
                    .if_empty = true}},
            METHOD_queue_delete_ok);
        world_settle(world);
        if (!guest_quiet(world->guests[0])) world_fail(world, liveness, "a delete is not answered");
    }
}

/* ---- what must be left: nothing ---- */

static void check_shard(struct world *world, const struct shard *shard) {
    if (!shard_idle(shard))
        world_fail(world, memory, "shard %u still has connections", shard->number);
    if (shard->queue_count != 0)
        world_fail(
            world, memory, "shard %u still has %u queues", shard->number, shard->queue_count);
    if (shard->links != NULL)
        world_fail(world, memory, "shard %u still has byte credit of connections", shard->number);
    if (message_pool_count(shard->pool) != 0)
        world_fail(world, memory, "shard %u still has %llu messages", shard->number,
            (unsigned long long)message_pool_count(shard->pool));
    if (shard->chunks.used_count != 0)
        world_fail(world, memory, "shard %u still has %u chunks of output", shard->number,
            shard->chunks.used_count);
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        const struct peer *peer = &shard->peers[i];
        uint32_t pending_count = peer->transient.count + peer->persistent.count;
        if (pending_count != 0)
            world_fail(world, memory, "shard %u still waits for %u publishes", shard->number,
                pending_count);
    }
}

static void check_nothing_left(struct world *world) {
    world_take_all_mail(world);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        check_shard(world, world->broker->shards[i]);
    if (!registrar_idle(world->registrar))
        world_fail(world, memory, "the registrar still has names in transition");
    for (uint32_t i = 0; i < mesh_actors(world->broker->mesh); i++) {
        if (!mesh_quiet(world->broker->mesh, i))
            world_fail(world, memory, "there is still mail of actor %u", i);
    }
}

/* An alarm that one shard has raised or cleared is known to all, also to those that were asleep. */
static void check_alarm(struct world *world) {
    bool alarm = broker_alarm(world->broker) != NULL;
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        if (world->broker->shards[i]->alarm_seen != broker_alarm(world->broker))
            world_fail(world, liveness, "shard %u has not heard that the alarm is %s", i,
                alarm ? "on" : "off");
    }
}

/* Memory is not short any more: the limit is raised by hand, so all have to be told by hand. */
static void end_alarm(struct world *world) {
    struct memory_level *level = &world->broker->memory;
    level->limit = INT64_MAX;
    atomic_store(&level->allowed, INT64_MAX);
    atomic_store(&level->alarm, false);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        world_wake(world, i);
}

/* Everything is stable by now, so what the next life has to begin with is known exactly. */
static void live_on(struct world *world) {
    card_settle(world->card);
    if (prng_chance(&world->schedule, 70))
        life_crash(world);
    else
        life_restart(world);
    world->settling = true;
    world_found(world);
}

/* A journal has stopped for good: publishers are blocked, and only a restart helps. */
static void begin_anew(struct world *world) {
    world_settle(world);
    if (!broker_alarm(world->broker))
        world_fail(world, liveness, "a journal has stopped, and nobody is blocked");
    life_crash(world);
    world_found(world);
}

void reckoning(struct world *world) {
    world->settling = true;
    edges_press(false);
    world_trace(world, "---- the faults stop");
    /* What has failed already is noticed now. */
    if (world->swarm.disk_faults) world_settle(world);
    if (world->vault && vault_stopped(world->vault)) begin_anew(world);
    if (world->swarm.alarms) {
        world_settle(world);
        check_alarm(world);
        for (uint32_t i = 0; i < world->swarm.stable; i++)
            drain(world, &world->card->queues[i]);
        check_alarm(world);
        end_alarm(world);
    }
    world_settle(world);
    if (world->vault) witness_bounds(world);
    if (world->vault) inspect_lost_files(world);
    check_quiet(world);
    check_answers(world);
    if (world->swarm.heartbeats) check_heartbeats(world);
    check_counts(world);
    take_census(world, false);
    world_trace(world, "---- everybody leaves");
    for (uint32_t i = 1; i < world->guest_count; i++) {
        struct guest *guest = world->guests[i];
        if (guest->state == GUEST_OPEN && !guest->garbled && prng_chance(&world->load, 50))
            guest_close(guest);
        else if (guest->state != GUEST_AWAY)
            guest_drop(guest);
    }
    world_settle(world);
    for (uint32_t i = 1; i < world->guest_count; i++) {
        if (world->guests[i]->state != GUEST_AWAY)
            world_fail(world, liveness, "client %u cannot close", i);
    }
    take_census(world, true);
    if (world->vault && prng_chance(&world->schedule, 60)) live_on(world);
    world_trace(world, "---- the drain");
    drain_all(world);
    delete_all(world);
    guest_close(world->guests[0]);
    world_settle(world);
    if (world->guests[0]->state != GUEST_AWAY)
        world_fail(world, liveness, "the founder cannot close");
    check_nothing_left(world);
}

void reckoning_stop(struct world *world) {
    enum { ALL_DEADLINES_MS = 120000 };
    bool gently = prng_chance(&world->load, 70);
    if (world->swarm.disk_faults) world_settle(world);
    if (world->vault && vault_stopped(world->vault)) {
        life_crash(world);
        return;
    }
    world->settling = world->stopping = true;
    world_trace(world, "---- the broker %s", gently ? "stops" : "drops all connections");
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        struct shard *shard = world->broker->shards[i];
        world_wake(world, i); /* in truth it is asked by mail */
        shard_stop(shard, world->now_ms);
        if (!gently) shard_drop_connections(shard);
    }
    world_settle(world);
    /* Clients that sent garbage do not answer connection.close. */
    world->now_ms += ALL_DEADLINES_MS;
    world_settle(world);
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        if (!shard_idle(world->broker->shards[i]))
            world_fail(world, liveness, "shard %u still has connections after it was stopped", i);
        world_wake(world, i);
        shard_finish_keeping(world->broker->shards[i]);
    }
    world_settle(world);
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        if (!shard_kept(world->broker->shards[i]))
            world_fail(world, liveness, "shard %u has not written everything", i);
    }
    if (!registrar_settled(world->registrar))
        world_fail(world, liveness, "the registrar has not committed everything");
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_drop_queues(world->broker->shards[i]);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_end_keeping(world->broker->shards[i]);
    world_settle(world);
    check_nothing_left(world);
    world->settling = world->stopping = false;
}
