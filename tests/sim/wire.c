/* wire: one simulated connection: a byte stream in each direction. */
#include "sim/wire.h"

#include "sim/guest.h"
#include "sim/world.h"

#include <errno.h>

#include "base/memory.h"
#include "shard/client.h"

void wire_free(struct wire *wire) {
    buffer_deinit(&wire->up);
    buffer_deinit(&wire->down);
    mem_free(wire);
}

/* ---- the client's side ---- */

void wire_send(struct wire *wire, struct bytes bytes) {
    if (wire->broker_closed || wire->peer_closed) return;
    check(buffer_put(&wire->up, bytes.data, bytes.size));
    world_hash(wire->world, bytes);
}

void wire_hang_up(struct wire *wire) {
    if (wire->peer_closed) return;
    world_trace(wire->world, "wire %u: client hangs up", wire->number);
    wire->peer_closed = true;
    buffer_deinit(&wire->down);
    if (prng_chance(&wire->world->network, 50)) buffer_deinit(&wire->up);
}

/* ---- the broker's side ---- */

static uint64_t room(const struct wire *wire) {
    uint64_t most = wire->world->settling ? UINT32_MAX : wire->world->swarm.socket_room;
    return most > wire->down.size ? most - wire->down.size : 0;
}

int64_t wire_write(void *socket, const struct iovec *vectors, uint32_t count) {
    struct wire *wire = socket;
    struct prng *network = &wire->world->network;
    check(!wire->broker_closed);
    wire->told_writable = false;
    if (wire->peer_closed) return prng_chance(network, 50) ? -EPIPE : -ECONNRESET;
    uint64_t most = room(wire);
    if (most != 0 && !wire->world->settling && prng_chance(network, 20))
        most = 1 + prng_below(network, most);
    int64_t written = 0;
    for (uint32_t i = 0; i < count && most != 0; i++) {
        size_t size = (size_t)min_u64(vectors[i].iov_len, most);
        check(buffer_put(&wire->down, vectors[i].iov_base, size));
        world_hash(wire->world, bytes_of(vectors[i].iov_base, size));
        written += (int64_t)size;
        most -= size;
    }
    return written;
}

void wire_want(void *socket, bool read, bool write) {
    struct wire *wire = socket;
    check(!wire->broker_closed);
    wire->want_read = read;
    wire->want_write = write;
    wire->told_writable = false;
}

void wire_close(void *socket) {
    struct wire *wire = socket;
    check(!wire->broker_closed);
    world_trace(wire->world, "wire %u: broker closes", wire->number);
    wire->broker_closed = true;
    wire->client = NULL;
    buffer_deinit(&wire->up);
}

/* ---- the network ---- */

static size_t piece(struct wire *wire, size_t there, bool all) {
    struct prng *network = &wire->world->network;
    if (all || there == 0) return there;
    if (wire->world->swarm.crumbs) return 1 + (size_t)prng_below(network, min_u64(there, 24));
    if (prng_chance(network, 60)) return there;
    return 1 + (size_t)prng_below(network, there);
}

static bool deliver_up(struct wire *wire, bool all) {
    if (!wire->client || !wire->want_read || wire->up.size == 0) return false;
    size_t size = (size_t)min_u64(piece(wire, wire->up.size, all), READ_BUFFER_BYTES);
    /* A copy of exactly that size, so that a sanitizer sees every read past it. */
    uint8_t *bytes = mem_raw(size);
    bytes_copy(bytes, wire->up.data, size);
    buffer_drop(&wire->up, size);
    wire->silent_ms = max_u64(wire->silent_ms, wire->world->now_ms - wire->heard_ms);
    wire->heard_ms = wire->world->now_ms;
    world_trace(wire->world, "wire %u: broker reads %zu bytes", wire->number, size);
    wire->client->shard->now_ms = wire->world->now_ms;
    world_wake(wire->world, wire->shard);
    client_on_read(wire->client, bytes_of(bytes, size));
    mem_free(bytes);
    return true;
}

static bool deliver_down(struct wire *wire, bool all) {
    if (wire->peer_closed || wire->down.size == 0) return false;
    size_t size = piece(wire, wire->down.size, all);
    uint8_t *bytes = mem_raw(size);
    bytes_copy(bytes, wire->down.data, size);
    buffer_drop(&wire->down, size);
    world_on_down(wire, bytes_of(bytes, size));
    mem_free(bytes);
    return true;
}

void wire_flush_down(struct wire *wire) {
    while (deliver_down(wire, true)) {
    }
}

static bool notice_end(struct wire *wire) {
    if (wire->peer_closed && wire->client && (wire->up.size == 0 || !wire->want_read)) {
        struct client *client = wire->client;
        world_trace(wire->world, "wire %u: broker sees the end", wire->number);
        wire->client = NULL;
        wire->broker_closed = true;
        client->shard->now_ms = wire->world->now_ms;
        world_wake(wire->world, wire->shard);
        client_on_closed(client);
        return true;
    }
    if (wire->broker_closed && !wire->peer_closed && wire->down.size == 0) {
        wire->peer_closed = true;
        world_on_end(wire);
        return true;
    }
    return false;
}

static bool find_room(struct wire *wire) {
    if (!wire->client || !wire->want_write || wire->told_writable) return false;
    if (room(wire) == 0 && !wire->peer_closed) return false;
    wire->told_writable = true;
    world_wake(wire->world, wire->shard);
    client_on_writable(wire->client);
    return true;
}

bool wire_step(struct wire *wire, bool all) {
    uint64_t first = prng_below(&wire->world->network, 4);
    bool slow = wire->world->swarm.slow_readers && !wire->world->settling &&
                prng_chance(&wire->world->network, 70);
    for (uint64_t i = 0; i < 4; i++) {
        switch ((first + i) % 4) {
        case 0:
            if (deliver_up(wire, all)) return true;
            break;
        case 1:
            if (!slow && deliver_down(wire, all)) return true;
            break;
        case 2:
            if (notice_end(wire)) return true;
            break;
        default:
            if (find_room(wire)) return true;
        }
    }
    return false;
}
