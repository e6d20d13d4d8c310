/* publish: from basic.publish and its header and bodies to one message for the host.
 *
 *   basic.publish         header              body ... body
 *   ------------> names ---------> properties -------------> message ---> host
 *                        checked here
 *
 * A declared size takes no memory: a body that comes in one frame gets its block when it is there,
 * a longer one gets at most twice what has arrived. Names and properties wait in one small block
 * that the channel keeps for its next publish. */
#include "session/publish.h"

#include "amqp/table.h"
#include "base/memory.h"
#include "base/str.h"
#include "session/channel_basic.h"
#include "session/channel_tx.h"
#include "session/confirms.h"
#include "session/consuming.h"
#include "session/message_rules.h"
#include "session/outgoing.h"

enum {
    CLASS_BASIC = 60,
    KEPT_IDLE_BYTES_MAX = 512,  /* a larger block is not kept between publishes */
    BODY_BYTES_MAX = INT32_MAX, /* with names and properties still a 32-bit size */
};

/* What is being assembled. */
struct content {
    struct message *message; /* NULL until the first of several bodies came */
    uint8_t *kept;           /* exchange, routing key, properties; then BCC when it was taken out */
    uint32_t kept_capacity;
    uint32_t properties_size;
    uint32_t body_size;    /* as declared */
    uint32_t arrived_size; /* of the body */
    uint8_t exchange_size;
    uint8_t routing_key_size;
    uint8_t priority;
    bool persistent;
    bool mandatory;
    bool immediate;
    struct bytes headers; /* these three lie in `kept` */
    struct bytes cc;
    struct bytes bcc;
};

static uint32_t names_size(const struct content *content) {
    return (uint32_t)content->exchange_size + content->routing_key_size;
}

static struct bytes exchange_of(const struct content *content) {
    return bytes_of(content->kept, content->exchange_size);
}

static struct bytes properties_of(const struct content *content) {
    return bytes_of(content->kept + names_size(content), content->properties_size);
}

void publish_content_free(struct content *content, struct message_pool *pool) {
    if (!content) return;
    message_unref(pool, content->message);
    mem_free(content->kept);
    mem_free(content);
}

/* Makes room for `size` bytes in `kept`; what is there stays. */
static void make_room(struct content *content, uint32_t size) {
    if (content->kept_capacity >= size) return;
    uint32_t capacity = (uint32_t)max_u64(size, 128);
    content->kept = mem_resize(content->kept, capacity);
    content->kept_capacity = capacity;
}

void channel_on_basic_publish(struct channel *channel, const struct amqp_basic_publish *arguments) {
    struct content *content = channel->content;
    if (!content) content = channel->content = NEW(struct content);
    struct bytes exchange = arguments->exchange;
    struct bytes routing_key = arguments->routing_key;
    make_room(content, exchange.size + routing_key.size);
    bytes_copy(content->kept, exchange.data, exchange.size);
    bytes_copy(content->kept + exchange.size, routing_key.data, routing_key.size);
    content->exchange_size = (uint8_t)exchange.size;
    content->routing_key_size = (uint8_t)routing_key.size;
    content->mandatory = arguments->mandatory;
    content->immediate = arguments->immediate;
    channel->expect = EXPECT_HEADER;
    channel->session->published = true;
}

/* ---- to the host ---- */

/* RabbitMQ returns mandatory answers of direct reply-to, although it delivers them too: there is no
 * queue. */
static bool goes_nowhere(const struct message *message, const struct publish_result *result) {
    connection_ref connection;
    uint16_t channel;
    return result->queues == 0 ||
           (message->exchange_size == 0 &&
               reply_to_parse(message_routing_key(message), &connection, &channel));
}

void publish_hand_over(struct channel *channel, const struct parcel *parcel, uint64_t seqno,
    struct publish_result *ret_result) {
    struct session *session = channel->session;
    struct publish publish = {
        .message = parcel->message,
        .headers = parcel->headers,
        .cc = parcel->cc,
        .bcc = parcel->bcc,
        .held = parcel->held,
        .seqno = seqno,
        .epoch = channel->epoch,
        .channel = channel->number,
    };
    session->calls->publish(session->host, &publish, ret_result);
    if (ret_result->code != REPLY_OK || !parcel->mandatory) return;
    if (!goes_nowhere(parcel->message, ret_result)) return;
    struct outgoing outgoing = channel_outgoing(channel);
    outgoing_put_no_route(&outgoing, parcel->message);
}

/* Routes the message and keeps it for tx.commit. False with the reason when it is refused. */
static bool keep(
    struct channel *channel, const struct parcel *parcel, struct publish_result *ret_result) {
    struct session *session = channel->session;
    struct publish publish = {
        .message = parcel->message,
        .headers = parcel->headers,
        .cc = parcel->cc,
        .bcc = parcel->bcc,
        .channel = channel->number,
    };
    struct held_route *held = NULL;
    session->calls->hold(session->host, &publish, ret_result, &held);
    if (ret_result->code != REPLY_OK) return false;
    if (channel_tx_keep_publish(channel, parcel, held)) return true;
    mem_free(held);
    ret_result->code = REPLY_PRECONDITION_FAILED;
    str_format(ret_result->text, sizeof ret_result->text, "transaction is too large");
    return false;
}

/* Hands the message over, or keeps it for tx.commit. Afterwards the content may be gone. */
static void send(struct channel *channel, const struct parcel *parcel) {
    struct session *session = channel->session;
    struct bytes exchange = message_exchange(parcel->message);
    if (!channel_authorize(channel, ACCESS_WRITE, ACCESS_EXCHANGE, exchange)) {
        message_unref(session->pool, parcel->message);
        return;
    }
    struct publish_result result;
    if (channel->mode == MODE_TX) {
        if (keep(channel, parcel, &result)) return;
    } else {
        bool confirm = channel->mode == MODE_CONFIRM;
        uint64_t seqno = confirm ? confirms_next_seqno(channel->confirms) : 0;
        publish_hand_over(channel, parcel, seqno, &result);
        if (confirm && result.code == REPLY_OK) {
            confirms_put(channel->confirms, result.confirms);
            if (result.confirms == 0) channel_wake(channel);
        }
    }
    message_unref(session->pool, parcel->message);
    if (result.code != REPLY_OK) channel_fault(channel, result.code, "%s", result.text);
}

/* A message with the names and properties and room for so much body. */
static struct message *make_message(
    const struct channel *channel, const struct content *content, uint32_t body_size) {
    const uint8_t *kept = content->kept;
    struct message *message = message_new(channel->session->pool, exchange_of(content),
        bytes_of(kept + content->exchange_size, content->routing_key_size), properties_of(content),
        body_size);
    message->persistent = content->persistent;
    message->priority = content->priority;
    return message;
}

static void complete(struct channel *channel, struct content *content, struct message *message) {
    struct parcel parcel = {
        .message = message,
        .headers = content->headers,
        .cc = content->cc,
        .bcc = content->bcc,
        .mandatory = content->mandatory,
    };
    content->message = NULL;
    channel->expect = EXPECT_METHOD;
    send(channel, &parcel);
    content = channel->content;
    if (!content || content->kept_capacity <= KEPT_IDLE_BYTES_MAX) return;
    mem_free(content->kept);
    content->kept = NULL;
    content->kept_capacity = 0;
}

/* ---- header ---- */

/* Raises the fault of a message that breaks a rule; that of its exchange comes first. */
static void refuse(struct channel *channel, const char *text) {
    struct session *session = channel->session;
    char exchange_text[256];
    enum reply_code code =
        session->calls->look(session->host, exchange_of(channel->content), exchange_text);
    if (code == REPLY_OK) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "%s", text);
    } else {
        channel_fault(channel, code, "%s", exchange_text);
    }
}

static bool asks_for_reply(const struct properties *properties) {
    return (properties->flags & PROPERTY_HAS_reply_to) &&
           bytes_equal(properties->reply_to, BYTES(REPLY_TO_QUEUE));
}

/* Checks what RabbitMQ checks; false when the fault has been raised. */
static bool is_acceptable(struct channel *channel, const struct properties *properties) {
    const struct consuming *consuming = channel->consuming;
    if (asks_for_reply(properties) && !(consuming && consuming->has_reply)) {
        refuse(channel, "fast reply consumer does not exist");
        return false;
    }
    char text[256];
    if (message_rules_check(properties, channel->session->subject.user, text)) return true;
    refuse(channel, text);
    return false;
}

/* Replaces the properties by ones that name this channel's reply key and show no BCC, which is kept
 * behind them. `properties` is decoded anew. */
static void rewrite(
    const struct channel *channel, struct content *content, struct properties *properties) {
    struct properties changed = *properties;
    struct bytes headers = bytes_of(NULL, 0);
    if (changed.flags & PROPERTY_HAS_headers) headers = changed.headers;
    struct bytes bcc = message_rules_copies(headers, "BCC");
    uint32_t names = names_size(content);
    uint32_t properties_max = content->properties_size + REPLY_TO_KEY_BYTES;
    uint32_t capacity = names + properties_max + bcc.size + headers.size;
    uint8_t *fresh = mem_raw(capacity);
    bytes_copy(fresh, content->kept, names);
    struct writer tail =
        writer_over(fresh + names + properties_max, (size_t)bcc.size + headers.size);
    write_bytes(&tail, bcc);
    uint8_t *headers_at = tail.at;
    message_rules_write_headers(&tail, headers);
    changed.headers = bytes_of(headers_at, (size_t)(tail.at - headers_at));
    if (asks_for_reply(&changed))
        changed.reply_to = bytes_of(channel->consuming->reply_key, REPLY_TO_KEY_BYTES);
    struct writer writer = writer_over(fresh + names, properties_max);
    properties_encode(&writer, &changed);
    check(!writer.bad);
    check(!tail.bad);
    mem_free(content->kept);
    content->kept = fresh;
    content->kept_capacity = capacity;
    content->properties_size = (uint32_t)writer_size(&writer);
    content->bcc = bytes_of(fresh + names + properties_max, bcc.size);
    bool decoded = properties_decode(properties_of(content), properties);
    check(decoded);
}

/* Takes out of the properties what the broker acts upon. */
static void read_properties(
    const struct channel *channel, struct content *content, struct properties *properties) {
    content->bcc = bytes_of(NULL, 0);
    struct field bcc;
    bool has_headers = properties->flags & PROPERTY_HAS_headers;
    bool has_bcc = has_headers && table_find(properties->headers, BYTES("BCC"), &bcc);
    if (has_bcc || asks_for_reply(properties)) rewrite(channel, content, properties);
    if (has_headers) {
        content->headers = properties->headers;
        content->cc = message_rules_copies(properties->headers, "CC");
    }
    if (properties->flags & PROPERTY_HAS_delivery_mode)
        content->persistent = properties->delivery_mode == 2;
    if (properties->flags & PROPERTY_HAS_priority) content->priority = properties->priority;
}

/* Checks the frame itself; false when the fault has been raised. */
static bool read_header(
    struct channel *channel, struct bytes payload, struct content_header *ret_header) {
    const struct session *session = channel->session;
    if (!properties_read_header(payload, ret_header)) {
        channel_fault(channel, REPLY_UNEXPECTED_FRAME,
            "expected content header for class 60, got non content header frame instead");
        return false;
    }
    if (ret_header->class_id != CLASS_BASIC) {
        channel_fault(channel, REPLY_UNEXPECTED_FRAME,
            "expected content header for class 60, got one for class %u instead",
            (unsigned)ret_header->class_id);
        return false;
    }
    if (channel->content->immediate) {
        channel_fault(channel, REPLY_NOT_IMPLEMENTED, "immediate=true");
        return false;
    }
    uint64_t size_max = min_u64(session->settings->message_bytes_max, BODY_BYTES_MAX);
    if (ret_header->body_size > size_max) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED,
            "message size %llu is larger than configured max size %llu",
            (unsigned long long)ret_header->body_size, (unsigned long long)size_max);
        return false;
    }
    return true;
}

void publish_on_header(struct channel *channel, struct bytes payload) {
    enum {
        LOOKED_AT = PROPERTY_HAS_headers | PROPERTY_HAS_delivery_mode | PROPERTY_HAS_priority |
                    PROPERTY_HAS_reply_to | PROPERTY_HAS_expiration | PROPERTY_HAS_user_id,
    };
    struct content *content = channel->content;
    struct content_header header;
    if (!read_header(channel, payload, &header)) return;
    make_room(content, names_size(content) + header.properties.size);
    bytes_copy(content->kept + names_size(content), header.properties.data, header.properties.size);
    content->properties_size = header.properties.size;
    content->body_size = (uint32_t)header.body_size;
    content->arrived_size = 0;
    content->priority = 0;
    content->persistent = false;
    content->headers = content->cc = content->bcc = bytes_of(NULL, 0);
    struct properties properties;
    if (!properties_decode(properties_of(content), &properties)) {
        connection_fault(channel->session, REPLY_SYNTAX_ERROR, METHOD_unknown,
            "cannot decode the properties of a content");
        return;
    }
    if (properties.flags & LOOKED_AT) {
        if (!is_acceptable(channel, &properties)) return;
        read_properties(channel, content, &properties);
    }
    if (content->body_size != 0) {
        channel->expect = EXPECT_BODY;
    } else {
        complete(channel, content, make_message(channel, content, 0));
    }
}

/* ---- body ---- */

/* Gives the message room for `size` bytes of body, which is less than twice as much: the declared
 * size halved as often as it can be. So the last step goes from half to the whole. */
static void grow(const struct channel *channel, struct content *content, uint32_t size) {
    struct message *old = content->message;
    if (old && size <= old->body_size) return;
    uint32_t room = content->body_size;
    while (room > 1 && room - room / 2 >= size)
        room -= room / 2;
    struct message *message = make_message(channel, content, room);
    if (old) bytes_copy(message_body_data(message), message_body_data(old), content->arrived_size);
    message_unref(channel->session->pool, old);
    content->message = message;
}

void publish_on_body(struct channel *channel, struct bytes payload) {
    struct content *content = channel->content;
    if (payload.size > content->body_size - content->arrived_size) {
        channel_fault(channel, REPLY_UNEXPECTED_FRAME,
            "expected content body, got non content body frame instead");
        return;
    }
    if (payload.size == content->body_size) {
        struct message *message = make_message(channel, content, payload.size);
        bytes_copy(message_body_data(message), payload.data, payload.size);
        complete(channel, content, message);
        return;
    }
    if (payload.size == 0) return;
    grow(channel, content, content->arrived_size + payload.size);
    bytes_copy(
        message_body_data(content->message) + content->arrived_size, payload.data, payload.size);
    content->arrived_size += payload.size;
    if (content->arrived_size == content->body_size) complete(channel, content, content->message);
}
