/* channel: the state machine of a channel, its frames, its faults, its waiting; and the methods of
 * the classes channel and access. */
#include "session/channel.h"

#include "amqp/table.h"
#include "base/memory.h"
#include "session/complaint.h"
#include "session/settling.h"

/* ---- life and states ---- */

#define TO(state) (1u << CHANNEL_##state)

static const uint8_t edges[CHANNEL_STATE_COUNT] = {
    [CHANNEL_NEW] = TO(OPEN) | TO(CLOSED),
    [CHANNEL_OPEN] = TO(CLOSING) | TO(LEAVING) | TO(CLOSED),
    [CHANNEL_CLOSING] = TO(CLOSED),
    [CHANNEL_LEAVING] = TO(CLOSED),
    [CHANNEL_CLOSED] = 0,
};

void channel_enter(struct channel *channel, enum channel_state state) {
    check(state < CHANNEL_STATE_COUNT);
    check(edges[channel->state] & 1u << state);
    channel->state = (uint8_t)state;
}

struct channel *channel_new(struct session *session, uint16_t number, uint32_t epoch) {
    struct channel *channel = NEW(struct channel);
    channel->session = session;
    channel->number = number;
    channel->epoch = epoch;
    channel->next_delivery_tag = 1;
    list_init(&channel->consumers);
    return channel;
}

void channel_free(struct channel *channel) {
    if (!channel) return;
    check(channel->state == CHANNEL_CLOSED);
    check(!channel->parked);
    check(!channel->held);
    check(list_empty(&channel->consumers));
    list_remove_if_linked(&channel->in_busy);
    mem_free(channel->last_queue);
    mem_free(channel);
}

static void forget_lost(struct channel *channel) {
    mem_free(channel->lost);
    channel->lost = NULL;
    channel->lost_count = 0;
}

static void let_go(struct channel *channel) {
    channel_basic_deinit(channel);
    forget_lost(channel);
    channel->expect = EXPECT_METHOD;
    list_remove_if_linked(&channel->in_busy);
}

void channel_end(struct channel *channel) {
    if (channel->state == CHANNEL_CLOSED) return;
    let_go(channel);
    if (channel_is_parked(channel)) channel_unpark(channel);
    if (channel->parked) {
        channel->session->parked_bytes -= channel->parked->bytes.size - channel->parked->at;
        parked_input_free(channel->parked);
        channel->parked = NULL;
    }
    channel_enter(channel, CHANNEL_CLOSED);
}

/* ---- speaking ---- */

void channel_reply(struct channel *channel, const struct method *method) {
    connection_put(channel->session, channel->number, method);
}

void channel_fault(struct channel *channel, enum reply_code code, const char *format, ...) {
    struct session *session = channel->session;
    enum method_kind kind = (enum method_kind)channel->method;
    va_list arguments;
    va_start(arguments, format);
    if (reply_closes_connection(code)) {
        connection_fault_list(session, code, kind, format, arguments);
    } else if (channel->state == CHANNEL_OPEN) {
        struct reply_text text;
        connection_reply_text(&text, code, format, arguments);
        connection_complain(session, channel->number, code, &text);
        let_go(channel);
        struct method close = {
            .kind = METHOD_channel_close,
            .channel_close =
                {
                    .reply_code = (uint16_t)code,
                    .reply_text = bytes_of(text.data, text.size),
                    .class_id = method_class_id(kind),
                    .method_id = method_method_id(kind),
                },
        };
        channel_reply(channel, &close);
        channel_enter(channel, CHANNEL_CLOSING);
    }
    va_end(arguments);
}

/* ---- for all handlers ---- */

bool channel_authorize(struct channel *channel, enum access_operation operation,
    enum access_kind kind, struct bytes name) {
    const struct access_subject *subject = &channel->session->subject;
    if (access_authorize(subject, operation, (struct access_object){kind, name})) return true;
    channel_fault(channel, REPLY_ACCESS_REFUSED,
        "access to %s '%.*s' in vhost '%.*s' refused for user '%.*s'",
        kind == ACCESS_QUEUE ? "queue" : "exchange", (int)name.size, (const char *)name.data,
        (int)subject->vhost.size, (const char *)subject->vhost.data, (int)subject->user.size,
        (const char *)subject->user.data);
    return false;
}

bool channel_name_queue(struct channel *channel, struct bytes name, struct bytes *ret_name) {
    if (name.size != 0) {
        *ret_name = name;
        return true;
    }
    if (!channel->last_queue) {
        channel_fault(channel, REPLY_NOT_FOUND, "no previously declared queue");
        return false;
    }
    *ret_name = bytes_text(channel->last_queue);
    return true;
}

void channel_wake(struct channel *channel) {
    struct session *session = channel->session;
    if (list_linked(&channel->in_busy)) return;
    list_put_last(&session->busy, &channel->in_busy);
    session->calls->wake(session->host);
}

/* ---- waiting ---- */

void channel_park(struct channel *channel, enum channel_wait wait, uint32_t request) {
    check(wait != WAIT_NOTHING);
    check(request != 0);
    check(!channel_is_parked(channel));
    channel->wait = (uint8_t)wait;
    channel->request = request;
    channel->session->parked_count++;
}

void channel_unpark(struct channel *channel) {
    check(channel_is_parked(channel));
    channel->wait = WAIT_NOTHING;
    channel->request = 0;
    channel->session->parked_count--;
}

void parked_input_free(struct parked_input *input) {
    if (!input) return;
    buffer_deinit(&input->bytes);
    mem_free(input);
}

void channel_keep_input(struct channel *channel, const struct frame *frame) {
    struct parked_input *input = channel->parked;
    if (!input) {
        input = channel->parked = NEW(struct parked_input);
        buffer_init(&input->bytes, SIZE_MAX);
    }
    /* What has been replayed goes when it is half of it all: each byte is moved once at most. */
    if (input->at > input->bytes.size / 2) {
        buffer_drop(&input->bytes, input->at);
        input->at = 0;
    }
    size_t size = (size_t)frame->payload.size + FRAME_OVERHEAD_BYTES;
    bool kept = buffer_put(&input->bytes, frame->payload.data - FRAME_HEADER_BYTES, size);
    check(kept); /* session_wants_input bounds it */
    channel->session->parked_bytes += size;
}

void channel_lose_consumer(struct channel *channel, const struct effect *effect) {
    if (channel->wait != WAIT_CHANGE || channel->method != METHOD_queue_delete) {
        channel_on_consumer_lost(channel, effect);
        return;
    }
    size_t size = (channel->lost_count + (size_t)1) * sizeof *channel->lost;
    channel->lost = mem_resize(channel->lost, size);
    channel->lost[channel->lost_count++] = *effect;
}

void channel_tell_lost(struct channel *channel) {
    if (channel->lost_count == 0) return;
    for (uint32_t i = 0; i < channel->lost_count && channel->state == CHANNEL_OPEN; i++)
        channel_on_consumer_lost(channel, &channel->lost[i]);
    forget_lost(channel);
}

/* ---- frames ---- */

/* True when every field table among the arguments is well formed. */
static bool tables_valid(const struct method *method) {
    bool valid = true;
    switch (method->kind) {
#define U8(name)
#define U16(name)
#define U32(name)
#define U64(name)
#define BIT(name)
#define STR(name)
#define LONGSTR(name)
#define TABLE(name) valid = valid && table_valid(arguments->name);
#define NONE
#define METHOD(class, method_word, class_id, method_id, sender, fields)                            \
    case METHOD_##class##_##method_word: {                                                         \
        const struct amqp_##class##_##method_word *arguments = &method->class##_##method_word;     \
        (void)arguments;                                                                           \
        fields                                                                                     \
    } break;
#include "amqp/methods.def"
#undef METHOD
#undef U8
#undef U16
#undef U32
#undef U64
#undef BIT
#undef STR
#undef LONGSTR
#undef TABLE
#undef NONE
    case METHOD_unknown:
    case METHOD_KIND_COUNT: break;
    }
    return valid;
}

static void refuse_unimplemented(struct channel *channel) {
    channel_fault(channel, REPLY_COMMAND_INVALID, "unimplemented method");
}

/* Calls the handler of each method that a client may send on a channel: the methods of class
 * connection and those that only a server sends are refused. */
static void dispatch(struct channel *channel, const struct method *method) {
#define CALL_CLIENT(name)           channel_on_##name(channel, &method->name)
#define CALL_BOTH(name)             channel_on_##name(channel, &method->name)
#define CALL_SERVER(name)           refuse_unimplemented(channel)
#define ON_connection(name, sender) refuse_unimplemented(channel)
#define ON_channel(name, sender)    CALL_##sender(name)
#define ON_access(name, sender)     CALL_##sender(name)
#define ON_exchange(name, sender)   CALL_##sender(name)
#define ON_queue(name, sender)      CALL_##sender(name)
#define ON_basic(name, sender)      CALL_##sender(name)
#define ON_tx(name, sender)         CALL_##sender(name)
#define ON_confirm(name, sender)    CALL_##sender(name)
    switch (method->kind) {
#define METHOD(class, method_word, class_id, method_id, sender, fields)                            \
    case METHOD_##class##_##method_word:                                                           \
        ON_##class(class##_##method_word, sender);                                                 \
        break;
#include "amqp/methods.def"
#undef METHOD
    case METHOD_unknown:
    case METHOD_KIND_COUNT: unreachable_here();
    }
}

/* A method on a channel that is not open: NEW or CLOSING. */
static void on_method_while_not_open(struct channel *channel, const struct method *method) {
    enum method_kind kind = method->kind;
    if (kind == METHOD_channel_open) {
        channel_on_channel_open(channel, &method->channel_open);
    } else if (channel->state == CHANNEL_NEW) {
        channel_fault(channel, REPLY_CHANNEL_ERROR, "expected 'channel.open'");
    } else if (kind == METHOD_channel_close) {
        channel_reply(channel, &(struct method){.kind = METHOD_channel_close_ok});
    } else if (kind == METHOD_channel_close_ok) {
        channel_end(channel);
    }
}

static void on_method(struct channel *channel, struct bytes payload) {
    struct method method;
    bool decoded = method_decode(payload, &method);
    if (method.kind == METHOD_unknown || (decoded && !tables_valid(&method))) {
        connection_drop(channel->session);
        return;
    }
    if (!decoded) {
        complaint_undecodable(channel->session, method.kind, payload);
        return;
    }
    channel->method = (uint16_t)method.kind;
    if (channel->state == CHANNEL_OPEN) {
        dispatch(channel, &method);
    } else {
        on_method_while_not_open(channel, &method);
    }
}

/* The two methods that come once per message have a way of their own, around the big union. */
static bool on_frequent_method(struct channel *channel, struct bytes payload) {
    enum { BASIC_PUBLISH = 60 << 16 | 40, BASIC_ACK = 60 << 16 | 80 };
    struct reader reader = reader_over(payload);
    uint32_t ids = read_u32(&reader);
    if (ids == BASIC_PUBLISH) {
        struct amqp_basic_publish arguments;
        read_basic_publish(&reader, &arguments);
        if (reader.bad || reader_left(&reader) != 0) return false;
        channel->method = METHOD_basic_publish;
        channel_on_basic_publish(channel, &arguments);
        return true;
    }
    if (ids == BASIC_ACK) {
        struct amqp_basic_ack arguments;
        read_basic_ack(&reader, &arguments);
        if (reader.bad || reader_left(&reader) != 0) return false;
        channel->method = METHOD_basic_ack;
        channel_on_basic_ack(channel, &arguments);
        return true;
    }
    return false;
}

/* A frame that does not belong where it comes; the fault names the publish that it breaks. */
static void refuse_frame(struct channel *channel, const struct frame *frame) {
    if (frame->type == FRAME_HEARTBEAT) {
        complaint_unexpected_frame(channel->session, frame);
        return;
    }
    switch ((enum channel_expect)channel->expect) {
    case EXPECT_METHOD:
        connection_fault(channel->session, REPLY_UNEXPECTED_FRAME, METHOD_unknown,
            "expected method frame, got non method frame instead");
        return;
    case EXPECT_HEADER:
        channel->method = METHOD_basic_publish;
        channel_fault(channel, REPLY_UNEXPECTED_FRAME,
            "expected content header for class 60, got non content header frame instead");
        return;
    case EXPECT_BODY:
        channel->method = METHOD_basic_publish;
        channel_fault(channel, REPLY_UNEXPECTED_FRAME,
            "expected content body, got non content body frame instead");
        return;
    }
    unreachable_here();
}

void channel_on_frame(struct channel *channel, const struct frame *frame) {
    if (channel->state == CHANNEL_OPEN) {
        if (channel->expect == EXPECT_BODY && frame->type == FRAME_BODY) {
            publish_on_body(channel, frame->payload);
        } else if (channel->expect == EXPECT_HEADER && frame->type == FRAME_HEADER) {
            publish_on_header(channel, frame->payload);
        } else if (channel->expect == EXPECT_METHOD && frame->type == FRAME_METHOD) {
            if (!on_frequent_method(channel, frame->payload)) on_method(channel, frame->payload);
        } else {
            refuse_frame(channel, frame);
        }
        return;
    }
    if (frame->type == FRAME_METHOD) {
        on_method(channel, frame->payload);
    } else if (channel->state == CHANNEL_NEW || frame->type == FRAME_HEARTBEAT) {
        refuse_frame(channel, frame);
    }
}

/* ---- channel.* and access.* ---- */

void channel_on_channel_open(struct channel *channel, const struct amqp_channel_open *arguments) {
    (void)arguments;
    if (channel->state != CHANNEL_NEW) {
        channel_fault(channel, REPLY_CHANNEL_ERROR, "second 'channel.open' seen");
        return;
    }
    channel_enter(channel, CHANNEL_OPEN);
    channel_reply(channel, &(struct method){.kind = METHOD_channel_open_ok});
}

void channel_on_channel_close(struct channel *channel, const struct amqp_channel_close *arguments) {
    (void)arguments;
    /* Confirms that are known already are not withheld. */
    if (list_linked(&channel->in_busy)) channel_flush(channel);
    bool consumed = channel->consuming || channel->unacked;
    if (!consumed) {
        channel_on_left(channel);
        return;
    }
    let_go(channel);
    channel_enter(channel, CHANNEL_LEAVING);
    /* close-ok says that the consumers are gone and that what was unacked is back in its place. */
    uint32_t request = connection_next_id(channel->session);
    channel_park(channel, WAIT_CLOSE, request);
    settling_then(channel->session, THEN_FENCE, channel->number, request);
}

void channel_on_left(struct channel *channel) {
    channel_end(channel);
    channel_reply(channel, &(struct method){.kind = METHOD_channel_close_ok});
}

void channel_on_channel_close_ok(
    struct channel *channel, const struct amqp_channel_close_ok *arguments) {
    (void)arguments;
    refuse_unimplemented(channel);
}

void channel_on_channel_flow(struct channel *channel, const struct amqp_channel_flow *arguments) {
    if (!arguments->active) {
        channel_fault(channel, REPLY_NOT_IMPLEMENTED, "active=false");
        return;
    }
    channel_reply(channel,
        &(struct method){.kind = METHOD_channel_flow_ok, .channel_flow_ok = {.active = true}});
}

void channel_on_channel_flow_ok(
    struct channel *channel, const struct amqp_channel_flow_ok *arguments) {
    (void)arguments;
    refuse_unimplemented(channel);
}

void channel_on_access_request(
    struct channel *channel, const struct amqp_access_request *arguments) {
    (void)arguments;
    channel_reply(channel,
        &(struct method){.kind = METHOD_access_request_ok, .access_request_ok = {.ticket = 1}});
}
