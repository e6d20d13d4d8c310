/* frame: the envelope of everything on an AMQP connection (spec 4.2.3). */
#include "amqp/frame.h"

const uint8_t FRAME_PROTOCOL_HEADER[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};

enum {
    CLASS_BASIC = 60,          /* the only class with content */
    HEADER_PAYLOAD_BYTES = 12, /* class, weight and body size, before the properties */
};

enum frame_status frame_parse(
    struct bytes input, uint32_t frame_max, struct frame *ret_frame, uint32_t *ret_taken) {
    if (input.size < FRAME_HEADER_BYTES) return FRAME_INCOMPLETE;
    struct reader reader = reader_over(input);
    uint8_t type = read_u8(&reader);
    uint16_t channel = read_u16(&reader);
    uint32_t size = read_u32(&reader);
    uint64_t whole = (uint64_t)size + FRAME_OVERHEAD_BYTES;
    if (frame_max != 0 && whole > frame_max) {
        *ret_frame = (struct frame){type, channel, {NULL, size}};
        return FRAME_TOO_LARGE;
    }
    if (input.size < whole) return FRAME_INCOMPLETE;
    *ret_frame = (struct frame){type, channel, {reader.at, size}};
    if (reader.at[size] != FRAME_END) return FRAME_BAD_END;
    *ret_taken = (uint32_t)whole;
    return FRAME_COMPLETE;
}

uint8_t *frame_begin(struct writer *writer, uint8_t type, uint16_t channel) {
    uint8_t *begun = writer_take(writer, FRAME_HEADER_BYTES);
    if (!begun) return NULL;
    struct writer header = writer_over(begun, FRAME_HEADER_BYTES);
    write_u8(&header, type);
    write_u16(&header, channel);
    write_u32(&header, 0);
    return begun;
}

void frame_end(struct writer *writer, uint8_t *begun) {
    write_u8(writer, FRAME_END);
    if (writer->bad) return;
    uint32_t size = (uint32_t)(writer->at - begun - FRAME_OVERHEAD_BYTES);
    struct writer field = writer_over(begun + 3, 4);
    write_u32(&field, size);
}

void frame_put_method(struct writer *writer, uint16_t channel, const struct method *method) {
    uint8_t *begun = frame_begin(writer, FRAME_METHOD, channel);
    method_encode(writer, method);
    frame_end(writer, begun);
}

void frame_put_header(
    struct writer *writer, uint16_t channel, uint64_t body_size, struct bytes properties) {
    uint8_t *begun = frame_begin(writer, FRAME_HEADER, channel);
    write_u16(writer, CLASS_BASIC);
    write_u16(writer, 0); /* weight: unused by the protocol, must be 0 */
    write_u64(writer, body_size);
    write_bytes(writer, properties);
    frame_end(writer, begun);
}

/* The payload of the largest body frame. */
static uint32_t body_chunk_max(uint32_t frame_max) {
    if (frame_max == 0) return UINT32_MAX;
    check(frame_max > FRAME_OVERHEAD_BYTES);
    return frame_max - FRAME_OVERHEAD_BYTES;
}

void frame_put_body(
    struct writer *writer, uint16_t channel, struct bytes body, uint32_t frame_max) {
    uint32_t chunk_max = body_chunk_max(frame_max);
    for (uint32_t at = 0; at < body.size && !writer->bad;) {
        uint32_t chunk = (uint32_t)min_u64(chunk_max, body.size - at);
        uint8_t *begun = frame_begin(writer, FRAME_BODY, channel);
        write_bytes(writer, bytes_of(body.data + at, chunk));
        frame_end(writer, begun);
        at += chunk;
    }
}

uint64_t frame_content_bytes(uint32_t properties_size, uint64_t body_size, uint32_t frame_max) {
    uint64_t chunk_max = body_chunk_max(frame_max);
    uint64_t frames = body_size / chunk_max + (body_size % chunk_max != 0);
    return FRAME_OVERHEAD_BYTES + HEADER_PAYLOAD_BYTES + (uint64_t)properties_size + body_size +
           frames * FRAME_OVERHEAD_BYTES;
}

void frame_put_heartbeat(struct writer *writer) {
    frame_end(writer, frame_begin(writer, FRAME_HEARTBEAT, 0));
}
