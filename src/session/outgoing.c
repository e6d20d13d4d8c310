/* outgoing: messages on their way to a client: deliver, get-ok and return with header and bodies.
 */
#include "session/outgoing.h"

#include "amqp/frame.h"
#include "base/limits.h"

enum {
    /* The longest method here is get-ok or deliver with three short strings of 255 bytes. */
    METHOD_BYTES_MAX = FRAME_OVERHEAD_BYTES + 4 + 3 * (1 + SHORTSTR_BYTES_MAX) + 16,
    HEADER_BYTES = FRAME_OVERHEAD_BYTES + 12,
    BODY_HEAD_BYTES = FRAME_HEADER_BYTES + 1, /* the end of one body frame, the head of the next */
    CONFIRM_BYTES = FRAME_OVERHEAD_BYTES + 4 + 8 + 1,
    BASIC_RETURN = 60 << 16 | 50,
    BASIC_DELIVER = 60 << 16 | 60,
    BASIC_GET_OK = 60 << 16 | 71,
    BASIC_ACK = 60 << 16 | 80,
    BASIC_NACK = 60 << 16 | 120,
};

static bool goes_by_reference(const struct message *message) {
    return message->body_size > OUTBOX_COPY_BYTES_MAX;
}

/* The payload of the largest body frame. */
static uint32_t body_chunk_max(const struct outgoing *outgoing) {
    return outgoing->frame_max ? outgoing->frame_max - FRAME_OVERHEAD_BYTES : UINT32_MAX;
}

/* Begins the method frame, with room for all that will be copied behind it. */
static struct writer begin(const struct outgoing *outgoing, const struct message *message,
    uint32_t method_ids, uint8_t **ret_begun) {
    size_t size = METHOD_BYTES_MAX + HEADER_BYTES + message->properties_size + BODY_HEAD_BYTES;
    if (!goes_by_reference(message)) {
        size_t frames = 1 + message->body_size / body_chunk_max(outgoing);
        size += message->body_size + frames * FRAME_OVERHEAD_BYTES;
    }
    struct writer writer = outbox_writer(outgoing->outbox, size);
    *ret_begun = frame_begin(&writer, FRAME_METHOD, outgoing->channel);
    write_u32(&writer, method_ids);
    return writer;
}

/* Body frames whose payloads are pieces of the message itself. */
static void put_body_frames(
    const struct outgoing *outgoing, struct writer *writer, struct message *message) {
    struct outbox *outbox = outgoing->outbox;
    uint32_t chunk_max = body_chunk_max(outgoing);
    for (uint32_t at = 0; at < message->body_size;) {
        uint32_t size = (uint32_t)min_u64(chunk_max, message->body_size - at);
        write_u8(writer, FRAME_BODY);
        write_u16(writer, outgoing->channel);
        write_u32(writer, size);
        outbox_keep(outbox, writer);
        outbox_put_body(outbox, message, at, size);
        *writer = outbox_writer(outbox, BODY_HEAD_BYTES);
        write_u8(writer, FRAME_END);
        at += size;
    }
    outbox_keep(outbox, writer);
}

/* Ends the method frame and writes header and bodies. */
static void finish(const struct outgoing *outgoing, struct writer *writer, uint8_t *begun,
    struct message *message) {
    frame_end(writer, begun);
    frame_put_header(writer, outgoing->channel, message->body_size, message_properties(message));
    if (goes_by_reference(message)) {
        put_body_frames(outgoing, writer, message);
    } else {
        frame_put_body(writer, outgoing->channel, message_body(message), outgoing->frame_max);
        outbox_keep(outgoing->outbox, writer);
    }
}

void outgoing_put_deliver(const struct outgoing *outgoing, const struct amqp_basic_deliver *deliver,
    struct message *message) {
    uint8_t *begun;
    struct writer writer = begin(outgoing, message, BASIC_DELIVER, &begun);
    write_basic_deliver(&writer, deliver);
    finish(outgoing, &writer, begun, message);
}

void outgoing_put_get_ok(const struct outgoing *outgoing, const struct amqp_basic_get_ok *get_ok,
    struct message *message) {
    uint8_t *begun;
    struct writer writer = begin(outgoing, message, BASIC_GET_OK, &begun);
    write_basic_get_ok(&writer, get_ok);
    finish(outgoing, &writer, begun, message);
}

void outgoing_put_no_route(const struct outgoing *outgoing, struct message *message) {
    struct amqp_basic_return arguments = {
        .reply_code = 312,
        .reply_text = BYTES("NO_ROUTE"),
        .exchange = message_exchange(message),
        .routing_key = message_routing_key(message),
    };
    uint8_t *begun;
    struct writer writer = begin(outgoing, message, BASIC_RETURN, &begun);
    write_basic_return(&writer, &arguments);
    finish(outgoing, &writer, begun, message);
}

void outgoing_put_confirm(
    const struct outgoing *outgoing, uint64_t delivery_tag, bool multiple, bool ok) {
    struct writer writer = outbox_writer(outgoing->outbox, CONFIRM_BYTES);
    uint8_t *begun = frame_begin(&writer, FRAME_METHOD, outgoing->channel);
    write_u32(&writer, ok ? BASIC_ACK : BASIC_NACK);
    write_u64(&writer, delivery_tag);
    write_bit(&writer, multiple);
    if (!ok) write_bit(&writer, true); /* RabbitMQ sets requeue, which means nothing here */
    frame_end(&writer, begun);
    outbox_keep(outgoing->outbox, &writer);
}
