/* session: whole connections with a broker behind them, fed by the fuzzer.
 *
 * The input is a list of records: an octet that says what happens (below), then for most of them a
 * length (2 octets) and that many bytes. Bytes come raw or wrapped in a frame, so that the fuzzer
 * reaches what lies behind the framing; time passes and connections break as it likes. Afterwards
 * everything is dropped, and no message, mail or transition may be left. */
#include <string.h>

#include "amqp/frame.h"
#include "base/memory.h"
#include "shard/client.h"
#include "shard/registrar.h"

enum { CONNECTIONS = 2, PAYLOAD_MAX = 8192, TURNS_PER_RECORD = 6 };

enum record {
    RECORD_RAW,
    RECORD_METHOD,       /* the payload of a method frame on channel 1 */
    RECORD_OTHER_METHOD, /* on channel 2 */
    RECORD_HEADER,
    RECORD_BODY,
    RECORD_BROKEN_OFF, /* the socket is gone */
    RECORD_TIME,       /* seconds pass: the length */
    RECORD_KIND_COUNT
};

struct world {
    struct broker *broker;
    struct shard *shard;
    struct registrar *registrar;
    struct client *clients[CONNECTIONS];
    uint64_t now_ms;
    uint8_t random;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the outside: sockets take everything ---- */

static int64_t take_all(void *socket, const struct iovec *vectors, uint32_t count) {
    (void)socket;
    int64_t taken = 0;
    for (uint32_t i = 0; i < count; i++)
        taken += (int64_t)vectors[i].iov_len;
    return taken;
}

static void want(void *socket, bool read, bool write) {
    (void)socket;
    (void)read;
    (void)write;
}

static void close_socket(void *socket) {
    *(struct client **)socket = NULL;
}

static void fill(void *context, uint8_t *data, size_t size) {
    struct world *world = context;
    for (size_t i = 0; i < size; i++)
        data[i] = world->random++;
}

static uint64_t wall_ms(void *context) {
    (void)context;
    return 1700000000000;
}

static void adopt(void *context, void *accepted) {
    (void)context;
    (void)accepted;
}

static void bell(void *context, uint32_t actor) {
    (void)context;
    (void)actor;
}

/* ---- the world ---- */

static void turns(struct world *world) {
    for (int i = 0; i < TURNS_PER_RECORD; i++) {
        bool more = shard_turn(world->shard, world->now_ms);
        registrar_turn(world->registrar, world->now_ms);
        if (!more && mesh_all_quiet(world->broker->mesh)) return;
    }
}

static void settle(struct world *world) {
    bool more = true;
    while (more || !mesh_all_quiet(world->broker->mesh)) {
        more = shard_turn(world->shard, world->now_ms);
        registrar_turn(world->registrar, world->now_ms);
    }
}

static void feed(struct world *world, uint32_t at, struct bytes bytes) {
    struct client *client = world->clients[at];
    if (!client || !client->reading) return;
    client_on_read(client, bytes);
}

static void log_in(struct world *world, uint32_t at) {
    static const uint8_t hello[] =
        "AMQP\0\0\x09\x01"
        "\1\0\0\0\0\0\x24\0\x0a\0\x0b\0\0\0\0\5PLAIN\0\0\0\x0c\0guest\0guest\5"
        "en_US\xce";
    static const uint8_t open[] = "\1\0\0\0\0\0\x0c\0\x0a\0\x1f\7\xff\0\2\0\0\0\0\xce"
                                  "\1\0\0\0\0\0\x08\0\x0a\0\x28\1/\0\0\xce"
                                  "\1\0\1\0\0\0\5\0\x14\0\x0a\0\xce"
                                  "\1\0\2\0\0\0\5\0\x14\0\x0a\0\xce";
    feed(world, at, bytes_of(hello, sizeof hello - 1));
    turns(world);
    feed(world, at, bytes_of(open, sizeof open - 1));
    turns(world);
}

static void feed_frame(
    struct world *world, uint32_t at, uint8_t type, uint16_t channel, struct bytes payload) {
    uint8_t memory[PAYLOAD_MAX + FRAME_OVERHEAD_BYTES];
    struct writer writer = writer_over(memory, sizeof memory);
    uint8_t *begun = frame_begin(&writer, type, channel);
    write_bytes(&writer, payload);
    frame_end(&writer, begun);
    feed(world, at, writer_bytes(&writer));
}

static void play(struct world *world, uint8_t what, struct bytes payload) {
    uint32_t at = what & (CONNECTIONS - 1);
    struct client *client = world->clients[at];
    switch ((enum record)((what >> 1) % RECORD_KIND_COUNT)) {
    case RECORD_RAW: feed(world, at, payload); break;
    case RECORD_METHOD: feed_frame(world, at, FRAME_METHOD, 1, payload); break;
    case RECORD_OTHER_METHOD: feed_frame(world, at, FRAME_METHOD, 2, payload); break;
    case RECORD_HEADER: feed_frame(world, at, FRAME_HEADER, 1, payload); break;
    case RECORD_BODY: feed_frame(world, at, FRAME_BODY, 1, payload); break;
    case RECORD_BROKEN_OFF:
        world->clients[at] = NULL;
        if (client) client_on_closed(client);
        break;
    case RECORD_TIME: world->now_ms += payload.size * 1000u; break;
    case RECORD_KIND_COUNT: break;
    }
    turns(world);
}

static void play_all(struct world *world, struct reader *reader) {
    while (reader_left(reader) != 0) {
        uint8_t what = read_u8(reader);
        uint32_t size = read_u16(reader) % PAYLOAD_MAX;
        if (size > reader_left(reader)) size = (uint32_t)reader_left(reader);
        play(world, what, read_bytes(reader, size));
    }
}

static void end(struct world *world) {
    shard_drop_connections(world->shard);
    settle(world);
    check(shard_idle(world->shard));
    check(registrar_idle(world->registrar));
    shard_check(world->shard);
    shard_drop_queues(world->shard);
    settle(world);
    check(message_pool_count(world->shard->pool) == 0);
    shard_free(world->shard);
    registrar_free(world->registrar);
    broker_free(world->broker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct world world = {.now_ms = 1000};
    struct broker_settings settings = {
        .session = {.product = "Godwit",
            .version = "0",
            .cluster_name = "fuzz",
            .frame_max = FRAME_MAX_DEFAULT,
            .channel_max = CHANNELS_PER_CONNECTION_MAX,
            .heartbeat_s = HEARTBEAT_S_DEFAULT,
            .message_bytes_max = 65536},
        .memory_limit = 1024 * 1024,
    };
    const struct shard_io io = {.write = take_all,
        .want = want,
        .close = close_socket,
        .finish = close_socket,
        .random = fill,
        .wall_ms = wall_ms,
        .adopt = adopt,
        .context = &world};
    world.broker = broker_new(1, &settings, bell, &world);
    world.shard = shard_new(world.broker, 0, &io);
    world.registrar = registrar_new(world.broker, NULL);
    struct reader reader = reader_over(bytes_of(data, size));
    bool logged_in = read_u8(&reader) & 1;
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        broker_assign_shard(world.broker);
        world.clients[i] = client_open(world.shard, &world.clients[i], "fuzz", true);
        if (logged_in) log_in(&world, i);
    }
    play_all(&world, &reader);
    end(&world);
    return 0;
}
