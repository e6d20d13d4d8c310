/* guest: a model client's connection. */
#include "sim/guest.h"

#include "sim/wire.h"
#include "sim/world.h"

#include "amqp/table.h"
#include "amqp/text.h"
#include "base/memory.h"
#include "base/str.h"

struct guest *guest_new(struct world *world, uint32_t number) {
    struct guest *guest = NEW(struct guest);
    guest->world = world;
    guest->number = number;
    guest->lane_count = number == 0 ? 1 : world->swarm.lanes;
    for (uint32_t i = 0; i < guest->lane_count; i++)
        guest->lanes[i] = lane_new(guest, (uint16_t)(i + 1));
    buffer_init(&guest->input, SIZE_MAX);
    return guest;
}

void guest_free(struct guest *guest) {
    if (!guest) return;
    for (uint32_t i = 0; i < guest->lane_count; i++)
        lane_free(guest->lanes[i]);
    buffer_deinit(&guest->input);
    mem_free(guest);
}

/* ---- sending ---- */

void guest_send(struct guest *guest, uint16_t channel, const struct method *method) {
    uint8_t memory[4096];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, channel, method);
    check(!writer.bad);
    if (guest->world->verbose) {
        char text[512];
        text_print(text, sizeof text, method);
        world_trace(guest->world, "client %u.%u > %s", guest->number, channel, text);
    }
    wire_send(guest->wire, writer_bytes(&writer));
    guest->said_ms = guest->world->now_ms;
}

static void put_copies(struct writer *writer, const struct letter *letter) {
    static const char *const names[] = {"CC", "BCC"};
    for (int i = 0; i < 2; i++) {
        if (letter->copy_to[i][0] == 0) continue;
        uint8_t *begun = table_begin_array(writer, names[i]);
        table_put_text(writer, NULL, bytes_text(letter->copy_to[i]));
        table_end(writer, begun);
    }
    check(!writer->bad);
}

void guest_send_message(struct guest *guest, uint16_t channel, const struct method *publish,
    const struct letter *letter) {
    guest_send(guest, channel, publish);
    char id[16];
    uint32_t number = card_number(guest->world->card, letter);
    str_format(id, sizeof id, "%u", number);
    struct properties properties = {
        .flags = PROPERTY_HAS_message_id | PROPERTY_HAS_delivery_mode,
        .delivery_mode = (uint8_t)(letter->persistent ? 2 : 1),
        .message_id = bytes_text(id),
    };
    uint8_t table[64];
    struct writer table_writer = writer_over(table, sizeof table);
    put_copies(&table_writer, letter);
    properties.headers = writer_bytes(&table_writer);
    if (properties.headers.size != 0) properties.flags |= PROPERTY_HAS_headers;
    if (letter->asks) {
        properties.reply_to = BYTES(CARD_REPLY_QUEUE);
        properties.flags |= PROPERTY_HAS_reply_to;
    }
    uint8_t encoded[128];
    struct writer property_writer = writer_over(encoded, sizeof encoded);
    properties_encode(&property_writer, &properties);
    struct bytes property_bytes = writer_bytes(&property_writer);
    size_t size = (size_t)frame_content_bytes(property_bytes.size, letter->size, guest->frame_max);
    uint8_t *memory = mem_raw(size);
    uint8_t *body = mem_raw(letter->size + 1);
    card_body(guest->world->card, letter, body);
    struct writer writer = writer_over(memory, size);
    frame_put_header(&writer, channel, letter->size, property_bytes);
    frame_put_body(&writer, channel, bytes_of(body, letter->size), guest->frame_max);
    check(!writer.bad);
    world_trace(guest->world, "client %u.%u > message %u, %u bytes", guest->number, channel, number,
        letter->size);
    wire_send(guest->wire, writer_bytes(&writer));
    mem_free(memory);
    mem_free(body);
}

/* ---- life ---- */

void guest_connect(struct guest *guest) {
    check(guest->state == GUEST_AWAY);
    guest->wire = world_connect(guest->world);
    if (!guest->wire) return;
    guest->state = GUEST_SHAKING;
    guest->garbled = guest->blocked = false;
    guest->frame_max = 0;
    guest->heartbeat_s = 0;
    guest->opened_ms = guest->said_ms = guest->heard_ms = guest->world->now_ms;
    buffer_deinit(&guest->input);
    wire_send(guest->wire, bytes_of(FRAME_PROTOCOL_HEADER, 8));
}

static void gone(struct guest *guest, bool gently) {
    for (uint32_t i = 0; i < guest->lane_count; i++)
        lane_end(guest->lanes[i], gently);
    guest->state = GUEST_AWAY;
    guest->wire = NULL;
    buffer_deinit(&guest->input);
}

void guest_close(struct guest *guest) {
    check(guest->state == GUEST_OPEN);
    guest_send(guest, 0,
        &(struct method){.kind = METHOD_connection_close,
            .connection_close = {.reply_code = 200, .reply_text = BYTES("bye")}});
    guest->state = GUEST_CLOSING;
    for (uint32_t i = 0; i < guest->lane_count; i++)
        lane_release_all(guest->lanes[i]);
}

void guest_drop(struct guest *guest) {
    struct wire *wire = guest->wire;
    gone(guest, false);
    wire_hang_up(wire);
}

void guest_tick(struct guest *guest) {
    struct world *world = guest->world;
    if (guest->state != GUEST_OPEN || guest->heartbeat_s == 0) return;
    if (world->now_ms < guest->said_ms + guest->heartbeat_s * 300u) return;
    uint8_t memory[FRAME_OVERHEAD_BYTES];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_heartbeat(&writer);
    if (!guest->garbled) wire_send(guest->wire, writer_bytes(&writer));
    guest->said_ms = world->now_ms;
}

/* May the broker hang up on it? */
static bool may_be_dropped(const struct guest *guest) {
    const struct world *world = guest->world;
    if (guest->garbled || !guest->wire->adopted || world->stopping) return true;
    if (guest->state == GUEST_SHAKING && world->now_ms >= guest->opened_ms + HANDSHAKE_MS_MAX)
        return true;
    uint64_t silent_ms = max_u64(guest->wire->silent_ms, world->now_ms - guest->wire->heard_ms);
    return guest->heartbeat_s != 0 && silent_ms >= guest->heartbeat_s * 2000u;
}

void guest_on_end(struct guest *guest) {
    world_trace(guest->world, "client %u: the broker has hung up", guest->number);
    /* After close-ok it would be away already. */
    if (!may_be_dropped(guest))
        world_fail(guest->world, close, "client %u was hung up on without a reason", guest->number);
    gone(guest, false);
}

bool guest_quiet(const struct guest *guest) {
    if (guest->state == GUEST_AWAY || guest->garbled) return true;
    if (guest->state != GUEST_OPEN) return false;
    for (uint32_t i = 0; i < guest->lane_count; i++) {
        const struct lane *lane = guest->lanes[i];
        if (lane->expect_count != 0 || lane->doomed) return false;
        if (lane->state != LANE_SHUT && lane->state != LANE_OPEN) return false;
        for (uint64_t k = 0; k < lane->seqno; k++) {
            if (lane->unconfirmed[k]) return false;
        }
    }
    return true;
}

/* ---- the handshake ---- */

static void start_ok(struct guest *guest) {
    static const char *const abilities[] = {"publisher_confirms", "consumer_cancel_notify",
        "basic.nack", "connection.blocked", "authentication_failure_close"};
    uint8_t table[512];
    struct writer writer = writer_over(table, sizeof table);
    uint8_t *begun = table_begin(&writer, "capabilities");
    for (size_t i = 0; i < COUNT_OF(abilities); i++)
        table_put_bool(&writer, abilities[i], true);
    table_end(&writer, begun);
    guest_send(guest, 0,
        &(struct method){.kind = METHOD_connection_start_ok,
            .connection_start_ok = {.client_properties = writer_bytes(&writer),
                .mechanism = BYTES("PLAIN"),
                .response = bytes_of("\0guest\0guest", 12),
                .locale = BYTES("en_US")}});
}

static void tune_ok(struct guest *guest, const struct amqp_connection_tune *tune) {
    struct world *world = guest->world;
    guest->frame_max = world->swarm.small_frames ? FRAME_BYTES_MIN : tune->frame_max;
    if (world->swarm.heartbeats && guest->number != 0)
        guest->heartbeat_s = (uint16_t)(1 + prng_below(&world->load, 20));
    guest_send(guest, 0,
        &(struct method){.kind = METHOD_connection_tune_ok,
            .connection_tune_ok = {.channel_max = tune->channel_max,
                .frame_max = guest->frame_max,
                .heartbeat = guest->heartbeat_s}});
    guest_send(guest, 0,
        &(struct method){
            .kind = METHOD_connection_open, .connection_open = {.virtual_host = BYTES("/")}});
}

static void on_close(struct guest *guest, const struct amqp_connection_close *close) {
    bool stops = guest->world->stopping && close->reply_code == REPLY_CONNECTION_FORCED;
    if (!guest->garbled && !stops)
        world_fail(guest->world, close, "client %u was closed: %u %.*s", guest->number,
            close->reply_code, (int)close->reply_text.size, (const char *)close->reply_text.data);
    guest_send(guest, 0, &(struct method){.kind = METHOD_connection_close_ok});
    guest_drop(guest);
}

static void on_connection_method(struct guest *guest, const struct method *method) {
    switch ((int)method->kind) {
    case METHOD_connection_start: start_ok(guest); return;
    case METHOD_connection_tune: tune_ok(guest, &method->connection_tune); return;
    case METHOD_connection_open_ok: guest->state = GUEST_OPEN; return;
    case METHOD_connection_blocked: guest->blocked = true; return;
    case METHOD_connection_unblocked: guest->blocked = false; return;
    case METHOD_connection_close: on_close(guest, &method->connection_close); return;
    case METHOD_connection_close_ok: {
        struct wire *wire = guest->wire;
        if (guest->state != GUEST_CLOSING)
            world_fail(guest->world, reply, "close-ok without a close");
        /* A broker that stops does not look at what came before our close any more. */
        gone(guest, !guest->world->stopping);
        wire_hang_up(wire);
        return;
    }
    default:
        world_fail(guest->world, reply, "client %u gets %s on channel 0", guest->number,
            method_name(method->kind));
    }
}

/* ---- frames ---- */

static void on_method(struct guest *guest, const struct frame *frame) {
    struct method method;
    if (!method_decode(frame->payload, &method))
        world_fail(guest->world, content, "client %u cannot decode a %s", guest->number,
            method_name(method.kind));
    if (guest->world->verbose) {
        char text[512];
        text_print(text, sizeof text, &method);
        world_trace(guest->world, "client %u.%u < %s", guest->number, frame->channel, text);
    }
    if (frame->channel == 0) {
        on_connection_method(guest, &method);
        return;
    }
    lane_on_method(guest->lanes[frame->channel - 1], &method);
}

static void on_frame(struct guest *guest, const struct frame *frame) {
    if (frame->type == FRAME_HEARTBEAT && frame->channel == 0 && frame->payload.size == 0) return;
    if (frame->channel > guest->lane_count)
        world_fail(guest->world, content, "a frame for channel %u", frame->channel);
    if (frame->type == FRAME_METHOD) {
        on_method(guest, frame);
        return;
    }
    struct content_header header;
    if (frame->channel != 0 && frame->type == FRAME_HEADER &&
        properties_read_header(frame->payload, &header)) {
        lane_on_header(guest->lanes[frame->channel - 1], &header);
        return;
    }
    if (frame->channel == 0 || frame->type != FRAME_BODY)
        world_fail(guest->world, content, "a frame of type %u", frame->type);
    lane_on_body(guest->lanes[frame->channel - 1], frame->payload);
}

void guest_on_bytes(struct guest *guest, struct bytes bytes) {
    guest->heard_ms = guest->world->now_ms;
    check(buffer_put(&guest->input, bytes.data, bytes.size));
    size_t at = 0;
    while (guest->state != GUEST_AWAY) {
        struct frame frame;
        uint32_t taken = 0;
        struct bytes rest = bytes_of(guest->input.data + at, guest->input.size - at);
        if (guest->garbled && rest.size >= 4 && memcmp(rest.data, "AMQP", 4) == 0) return;
        enum frame_status status = frame_parse(rest, guest->frame_max, &frame, &taken);
        if (status == FRAME_INCOMPLETE) break;
        if (status != FRAME_COMPLETE)
            world_fail(guest->world, content, "client %u gets a broken frame", guest->number);
        at += taken;
        on_frame(guest, &frame);
    }
    if (guest->state != GUEST_AWAY) buffer_drop(&guest->input, at);
}
