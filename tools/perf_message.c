/* perf_message: the frames of one basic.publish, made once for each destination. */
#include "tools/perf_message.h"

#include "tools/perf_client.h"

#include "amqp/frame.h"
#include "amqp/properties.h"
#include "amqp/table.h"
#include "base/memory.h"

enum { FIXED_BYTES = 2048 }; /* two short strings, properties and envelopes fit */

static struct bytes put_properties(
    struct writer *writer, const struct options *options, struct bytes routing_key) {
    uint8_t memory[512];
    struct writer table = writer_over(memory, sizeof memory);
    struct properties properties = {.delivery_mode = 2};
    if (options->persistent) properties.flags |= PROPERTY_HAS_delivery_mode;
    if (strcmp(options->type, "headers") == 0) {
        table_put_text(&table, MESSAGE_HEADER, routing_key);
        properties.flags |= PROPERTY_HAS_headers;
        properties.headers = writer_bytes(&table);
    }
    properties_encode(writer, &properties);
    return writer_bytes(writer);
}

void message_init(struct message *message, const struct options *options, struct bytes routing_key,
    uint32_t frame_max) {
    struct method publish = {.kind = METHOD_basic_publish};
    if (!options->default_exchange) {
        publish.basic_publish.exchange = bytes_text(options->exchange);
    }
    publish.basic_publish.routing_key = routing_key;
    publish.basic_publish.mandatory = options->mandatory;
    uint8_t properties_memory[1024];
    struct writer properties_writer = writer_over(properties_memory, sizeof properties_memory);
    struct bytes properties = put_properties(&properties_writer, options, routing_key);

    uint8_t *body = mem_raw(options->size + 1);
    memset(body, MESSAGE_FILL, options->size);
    size_t room = FIXED_BYTES + frame_content_bytes(properties.size, options->size, frame_max);
    message->data = mem_raw(room);
    struct writer writer = writer_over(message->data, room);
    frame_put_method(&writer, CLIENT_CHANNEL, &publish);
    frame_put_header(&writer, CLIENT_CHANNEL, options->size, properties);
    message->stamp_offset = writer_size(&writer) + FRAME_HEADER_BYTES;
    frame_put_body(&writer, CLIENT_CHANNEL, bytes_of(body, options->size), frame_max);
    check(!writer.bad);
    message->size = writer_size(&writer);
    mem_free(body);
}

void message_deinit(struct message *message) {
    mem_free(message->data);
}
