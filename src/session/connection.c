/* connection: the state machine of a session, its frames, its channels, its end.
 *
 * Input goes through here in one direction: connection_on_bytes cuts it into frames in place, and
 * connection_on_frame hands each to channel 0 (handshake.c) or to its channel (channel.c). Two
 * things make input wait: channel 0 while the host decides on a login or a virtual host (all input
 * then stays in `partial`), and a parked channel (its frames then go to its parked_input, other
 * channels go on). Both are replayed by loops here, never by recursion: the host's calls do not
 * call back. */
#include "session/connection.h"

#include "base/memory.h"
#include "base/str.h"
#include "session/channel.h"
#include "session/complaint.h"
#include "session/handshake.h"
#include "session/held.h"
#include "session/settling.h"

enum {
    CHANNELS_MIN = 2,          /* most connections have one or two channels */
    CLOSE_OK_MS_MAX = 30000,   /* how long a client may take to answer our close */
    METHOD_FRAME_BYTES = 1280, /* no method that a server sends but connection.start is longer */
    METHOD_IDS_BYTES = 4,      /* class and method id: the least that a method frame carries */
    CONTENT_HEADER_BYTES = 14, /* class, weight, size, flags: the least of a header frame */
};

/* ---- states ---- */

#define TO(state) (1u << CONNECTION_##state)

/* Where each state may go. */
static const uint16_t edges[CONNECTION_STATE_COUNT] = {
    [CONNECTION_HEADER] = TO(STARTING) | TO(CLOSED),
    [CONNECTION_STARTING] = TO(LOGIN) | TO(CLOSED),
    [CONNECTION_LOGIN] = TO(TUNING) | TO(CLOSED),
    [CONNECTION_TUNING] = TO(OPENING) | TO(CLOSED),
    [CONNECTION_OPENING] = TO(ENTERING) | TO(CLOSING) | TO(CLOSED),
    [CONNECTION_ENTERING] = TO(OPEN) | TO(CLOSING) | TO(CLOSED),
    [CONNECTION_OPEN] = TO(DRAINING) | TO(CLOSING) | TO(CLOSED),
    [CONNECTION_DRAINING] = TO(LEAVING) | TO(CLOSED),
    [CONNECTION_LEAVING] = TO(CLOSED),
    [CONNECTION_CLOSING] = TO(CLOSED),
    [CONNECTION_CLOSED] = 0,
};

void connection_enter(struct session *session, enum connection_state state) {
    check(state < CONNECTION_STATE_COUNT);
    check(edges[session->state] & 1u << state);
    session->state = (uint8_t)state;
    if (state == CONNECTION_OPEN || state == CONNECTION_DRAINING) session->deadline_ms = UINT64_MAX;
    if (state == CONNECTION_CLOSED) held_drop_all(session);
}

const char *connection_state_name(enum connection_state state) {
    switch (state) {
    case CONNECTION_HEADER:
    case CONNECTION_STARTING:
    case CONNECTION_LOGIN: return "starting";
    case CONNECTION_TUNING: return "tuning";
    case CONNECTION_OPENING:
    case CONNECTION_ENTERING: return "opening";
    case CONNECTION_OPEN: return "running";
    case CONNECTION_DRAINING:
    case CONNECTION_LEAVING:
    case CONNECTION_CLOSING: return "closing";
    case CONNECTION_CLOSED: return "closed";
    case CONNECTION_STATE_COUNT: break;
    }
    unreachable_here();
}

/* ---- channels ---- */

/* Where the channel of that number is, or would be. Most clients number theirs from 1 without gaps,
 * which makes the first guess right. */
static uint32_t find_place(const struct session *session, uint16_t number) {
    struct channel *const *channels = session->channels;
    uint32_t guess = (uint32_t)number - 1;
    if (guess < session->channel_count && channels[guess]->number == number) return guess;
    uint32_t from = 0;
    uint32_t to = session->channel_count;
    while (from < to) {
        uint32_t middle = (from + to) / 2;
        if (channels[middle]->number < number) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

struct channel *connection_find_channel(struct session *session, uint16_t number) {
    struct channel *recent = session->recent;
    if (recent && recent->number == number) return recent;
    uint32_t place = find_place(session, number);
    if (place == session->channel_count) return NULL;
    struct channel *channel = session->channels[place];
    if (channel->number != number) return NULL;
    session->recent = channel;
    return channel;
}

static struct channel *add_channel(struct session *session, uint16_t number) {
    if (session->channel_count == session->channel_capacity) {
        uint32_t capacity = session->channel_capacity * 2u;
        if (capacity < CHANNELS_MIN) capacity = CHANNELS_MIN;
        if (capacity > UINT16_MAX) capacity = UINT16_MAX;
        session->channels = mem_resize(session->channels, capacity * sizeof(struct channel *));
        session->channel_capacity = (uint16_t)capacity;
    }
    uint32_t place = find_place(session, number);
    struct channel **at = session->channels + place;
    memmove(at + 1, at, (session->channel_count - place) * sizeof *at);
    *at = channel_new(session, number, ++session->next_epoch);
    session->channel_count++;
    session->recent = *at;
    return *at;
}

static void remove_channel(struct session *session, struct channel *channel) {
    check(channel->state == CHANNEL_CLOSED);
    uint32_t place = find_place(session, channel->number);
    struct channel **at = session->channels + place;
    check(*at == channel);
    session->channel_count--;
    memmove(at, at + 1, (session->channel_count - place) * sizeof *at);
    if (session->recent == channel) session->recent = NULL;
    channel_free(channel);
}

/* A closed channel stays while something of it is held: the next one of its number speaks behind
 * that. */
static void remove_if_over(struct session *session, struct channel *channel) {
    if (channel->state == CHANNEL_CLOSED && !channel->held) remove_channel(session, channel);
}

/* A new channel in the place of a closed one of which something is held. */
static struct channel *renew_channel(struct session *session, struct channel *old) {
    check(old->state == CHANNEL_CLOSED);
    struct channel *channel = channel_new(session, old->number, ++session->next_epoch);
    held_hand_on(old, channel);
    session->channels[find_place(session, old->number)] = channel;
    session->recent = channel;
    channel_free(old);
    return channel;
}

uint32_t connection_next_id(struct session *session) {
    session->next_id++;
    if (session->next_id == 0) session->next_id = 1;
    return session->next_id;
}

/* ---- speaking ---- */

static void put_into(struct outbox *outbox, uint16_t channel, const struct method *method) {
    size_t size = METHOD_FRAME_BYTES;
    if (method->kind == METHOD_connection_start) {
        size += (size_t)method->connection_start.server_properties.size;
    }
    struct writer writer = outbox_writer(outbox, size);
    frame_put_method(&writer, channel, method);
    check(!writer.bad);
    outbox_keep(outbox, &writer);
}

void connection_put(struct session *session, uint16_t number, const struct method *method) {
    if (number != 0 && session_holds(session)) {
        const struct channel *channel = connection_find_channel(session, number);
        check(channel != NULL);
        if (channel->held) {
            put_into(held_outbox(channel), number, method);
            return;
        }
    }
    put_into(&session->outbox, number, method);
    session->said_ms = session->now_ms;
}

/* Says the last that this connection says, behind all that is held. */
static void put_farewell(struct session *session, const struct method *method) {
    if (!session_holds(session)) {
        connection_put(session, 0, method);
        return;
    }
    check(!session->farewell);
    session->farewell = NEW(struct outbox);
    outbox_init(
        session->farewell, session->outbox.chunks, session->pool, &session->unwritten_bytes);
    put_into(session->farewell, 0, method);
}

/* RabbitMQ cuts to 252 bytes and "..."; here no character is cut in two. */
static void cut_text(struct reply_text *text) {
    uint32_t end = REASON_BYTES_MAX - 3;
    while (end > 0 && ((uint8_t)text->data[end] & 0xc0) == 0x80)
        end--;
    memcpy(text->data + end, "...", 4);
    text->size = end + 3;
}

void connection_reply_text(
    struct reply_text *ret_text, enum reply_code code, const char *format, va_list arguments) {
    char *data = ret_text->data;
    size_t size = sizeof ret_text->data;
    size_t used = str_format(data, size, "%s - ", reply_name(code));
    used += str_format_list(data + used, size - used, format, arguments);
    ret_text->size = (uint32_t)used;
    if (used > REASON_BYTES_MAX) cut_text(ret_text);
}

static void put_close(struct session *session, enum reply_code code, enum method_kind kind,
    const struct reply_text *text) {
    put_farewell(session, &(struct method){
                              .kind = METHOD_connection_close,
                              .connection_close =
                                  {
                                      .reply_code = (uint16_t)code,
                                      .reply_text = bytes_of(text->data, text->size),
                                      .class_id = method_class_id(kind),
                                      .method_id = method_method_id(kind),
                                  },
                          });
}

/* ---- ends ---- */

/* In the order of their numbers; the structs stay, because a handler may be running on one. */
static void end_channels(struct session *session) {
    for (uint32_t i = 0; i < session->channel_count; i++)
        channel_end(session->channels[i]);
}

void connection_leave(struct session *session) {
    if (session->left_called) return;
    session->left_called = true;
    end_channels(session);
    settling_then(session, THEN_LEAVE, 0, 0);
}

void connection_finish(struct session *session) {
    connection_leave(session);
    connection_enter(session, CONNECTION_CLOSED);
    session->calls->finish(session->host);
}

void connection_drop(struct session *session) {
    if (session->state == CONNECTION_CLOSED) return;
    connection_finish(session);
}

void connection_drained(struct session *session) {
    if (session->state != CONNECTION_DRAINING || session->parked_count != 0) return;
    connection_enter(session, CONNECTION_LEAVING);
    connection_leave(session);
}

void connection_on_left(struct session *session) {
    check(session->left_called);
    if (session->state != CONNECTION_LEAVING) return;
    put_farewell(session, &(struct method){.kind = METHOD_connection_close_ok});
    if (!session->farewell) connection_finish(session);
}

/* Nothing is held any more: close goes out, or close-ok, which is the end. */
static void say_farewell(struct session *session) {
    outbox_move(&session->outbox, session->farewell, session->farewell->size);
    held_drop_all(session);
    if (session->state == CONNECTION_LEAVING) connection_finish(session);
}

void connection_on_stable(struct session *session, uint64_t ticket) {
    list_for_safe (struct held, held, &session->held, in_session) {
        struct channel *channel = held->channel;
        if (!held_release(held, ticket)) continue;
        if (connection_is_open(session)) remove_if_over(session, channel);
    }
    if (session->farewell && !session_holds(session)) say_farewell(session);
}

static uint64_t close_ok_deadline(const struct session *session) {
    uint64_t wait_ms = CLOSE_OK_MS_MAX;
    if (session->heartbeat_s != 0) wait_ms = min_u64(wait_ms, session->heartbeat_s * 1000u);
    return session->now_ms + wait_ms;
}

void connection_complain(struct session *session, uint16_t channel, enum reply_code code,
    const struct reply_text *text) {
    if (session->calls->complain)
        session->calls->complain(session->host, channel, code, bytes_of(text->data, text->size));
}

void connection_fault_list(struct session *session, enum reply_code code, enum method_kind kind,
    const char *format, va_list arguments) {
    switch ((enum connection_state)session->state) {
    case CONNECTION_HEADER:
    case CONNECTION_STARTING:
    case CONNECTION_LOGIN:
    case CONNECTION_TUNING: connection_drop(session); return;
    case CONNECTION_DRAINING: /* the client has said goodbye already, and gets its close-ok */
        end_channels(session);
        connection_drained(session);
        return;
    case CONNECTION_LEAVING:
    case CONNECTION_CLOSING:
    case CONNECTION_CLOSED: return;
    case CONNECTION_OPENING:
    case CONNECTION_ENTERING:
    case CONNECTION_OPEN: break;
    case CONNECTION_STATE_COUNT: unreachable_here();
    }
    struct reply_text text;
    connection_reply_text(&text, code, format, arguments);
    connection_complain(session, 0, code, &text);
    end_channels(session);
    /* A client hears of its fault at once, and of nothing that is held. That the broker stops is no
     * fault: it is said behind what has been done. */
    if (code != REPLY_CONNECTION_FORCED) held_drop_all(session);
    put_close(session, code, kind, &text);
    connection_enter(session, CONNECTION_CLOSING);
    session->deadline_ms = close_ok_deadline(session);
    connection_leave(session);
}

void connection_fault(
    struct session *session, enum reply_code code, enum method_kind kind, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    connection_fault_list(session, code, kind, format, arguments);
    va_end(arguments);
}

void connection_refuse_login(struct session *session) {
    if (!(session->client_can & CLIENT_CAN_FAILURE_CLOSE)) {
        connection_drop(session);
        return;
    }
    struct reply_text text;
    text.size = (uint32_t)str_format(text.data, sizeof text.data,
        "ACCESS_REFUSED - Login was refused using authentication mechanism %s. "
        "For details see the broker logfile.",
        session->mechanism);
    put_close(session, REPLY_ACCESS_REFUSED, METHOD_unknown, &text);
    connection_finish(session);
}

/* ---- frames ---- */

/* True for a frame that cannot be what its type says; the fault has been raised. */
static bool refuse_malformed(struct session *session, const struct frame *frame) {
    switch (frame->type) {
    case FRAME_METHOD:
        if (frame->payload.size >= METHOD_IDS_BYTES) return false;
        break;
    case FRAME_HEADER:
        if (frame->payload.size >= CONTENT_HEADER_BYTES) return false;
        break;
    case FRAME_BODY: return false;
    case FRAME_HEARTBEAT:
        if (frame->payload.size == 0) return false;
        break;
    default: break;
    }
    complaint_unknown_frame(session, frame);
    return true;
}

static void on_connection_frame(struct session *session, const struct frame *frame) {
    if (session->state == CONNECTION_CLOSING) {
        if (handshake_is_close_ok(frame)) connection_finish(session);
        return;
    }
    if (refuse_malformed(session, frame)) return;
    if (frame->type == FRAME_HEARTBEAT) return;
    if (frame->type != FRAME_METHOD) {
        complaint_unexpected_frame(session, frame);
        return;
    }
    handshake_on_method(session, frame->payload);
}

/* The channel that a frame is for; RabbitMQ makes one for any frame, and so refuses the frame by
 * what a channel that is not open yet says. NULL when there may be no more; the fault has been
 * raised. */
static struct channel *get_channel(struct session *session, uint16_t number) {
    struct channel *channel = connection_find_channel(session, number);
    if (channel && channel->state == CHANNEL_CLOSED) return renew_channel(session, channel);
    if (channel) return channel;
    uint32_t limit = session->channel_max ? session->channel_max : UINT16_MAX;
    if (session->channel_count < limit) return add_channel(session, number);
    connection_fault(session, REPLY_NOT_ALLOWED, METHOD_unknown,
        "number of channels opened (%u) has reached the negotiated channel_max (%u)",
        (unsigned)session->channel_count, (unsigned)limit);
    return NULL;
}

static void on_channel_frame(struct session *session, const struct frame *frame) {
    struct channel *channel = get_channel(session, frame->channel);
    if (!channel) return;
    if (channel_is_parked(channel)) {
        channel_keep_input(channel, frame);
        return;
    }
    channel_on_frame(channel, frame);
    if (connection_is_open(session)) remove_if_over(session, channel);
}

void connection_on_frame(struct session *session, const struct frame *frame) {
    if (frame->channel == 0) {
        on_connection_frame(session, frame);
    } else if (connection_is_open(session)) {
        bool malformed = frame->type != FRAME_BODY && refuse_malformed(session, frame);
        if (!malformed) on_channel_frame(session, frame);
    } else if (session->state != CONNECTION_CLOSING) {
        complaint_unexpected_frame(session, frame);
    }
}

/* True while frames are looked at now; else they wait (waits) or are of no interest. */
static bool takes_frames(const struct session *session) {
    switch ((enum connection_state)session->state) {
    case CONNECTION_STARTING:
    case CONNECTION_TUNING:
    case CONNECTION_OPENING:
    case CONNECTION_OPEN:
    case CONNECTION_CLOSING: return !session->deaf;
    case CONNECTION_HEADER:
    case CONNECTION_LOGIN:
    case CONNECTION_ENTERING:
    case CONNECTION_DRAINING:
    case CONNECTION_LEAVING:
    case CONNECTION_CLOSED:
    case CONNECTION_STATE_COUNT: break;
    }
    return false;
}

static bool waits(const struct session *session) {
    return session->state == CONNECTION_LOGIN || session->state == CONNECTION_ENTERING;
}

static bool is_before_login(const struct session *session) {
    return session->state == CONNECTION_HEADER || session->state == CONNECTION_STARTING;
}

/* The largest frame that is taken. Even a client that was offered no limit cannot make us keep more
 * of an incomplete frame than a message may have. */
static uint32_t frame_limit(const struct session *session) {
    if (session->frame_max != 0) return session->frame_max + FRAME_FUDGE_BYTES;
    return (uint32_t)min_u64(
        session->settings->message_bytes_max + HANDSHAKE_FRAME_MAX, UINT32_MAX);
}

/* Takes the whole frames at the front of `input`; gives how many bytes they were. */
static size_t take_frames(struct session *session, struct bytes input) {
    uint32_t at = 0;
    while (at < input.size && takes_frames(session)) {
        struct bytes rest = {input.data + at, input.size - at};
        struct frame frame;
        uint32_t taken;
        enum frame_status status = frame_parse(rest, frame_limit(session), &frame, &taken);
        if (status == FRAME_INCOMPLETE) break;
        if (status != FRAME_COMPLETE) {
            complaint_broken_frame(session, status, &frame);
            /* Nobody knows where the next frame begins. */
            session->deaf = true;
            break;
        }
        at += taken;
        if (is_before_login(session)) {
            session->handshake_bytes += taken;
            if (session->handshake_bytes > HANDSHAKE_BYTES_MAX) {
                connection_drop(session);
                break;
            }
        }
        connection_on_frame(session, &frame);
    }
    return at;
}

/* While deaf, only a close-ok at the very end of what arrives is recognised: clients send it alone.
 */
static void listen_for_close_ok(struct session *session, struct bytes input) {
    enum { CLOSE_OK_BYTES = FRAME_OVERHEAD_BYTES + METHOD_IDS_BYTES };
    if (session->state != CONNECTION_CLOSING || input.size < CLOSE_OK_BYTES) return;
    struct bytes tail = {input.data + input.size - CLOSE_OK_BYTES, CLOSE_OK_BYTES};
    struct frame frame;
    uint32_t taken;
    if (frame_parse(tail, 0, &frame, &taken) != FRAME_COMPLETE) return;
    if (frame.channel == 0 && handshake_is_close_ok(&frame)) connection_finish(session);
}

static void keep(struct session *session, const void *data, size_t size) {
    if (size == 0) return;
    bool kept = buffer_put(&session->partial, data, size);
    check(kept); /* the buffer has no maximum of its own: session_wants_input bounds it */
}

/* Takes as much of `input` as the kept incomplete frame lacks, first of its head, then of its
 * whole; gives how much that was. */
static size_t complete_frame(struct session *session, struct bytes input) {
    struct buffer *partial = &session->partial;
    uint64_t whole = FRAME_HEADER_BYTES;
    if (partial->size >= FRAME_HEADER_BYTES) {
        struct reader reader = reader_over(bytes_of(partial->data + 3, 4));
        whole = (uint64_t)read_u32(&reader) + FRAME_OVERHEAD_BYTES;
    }
    check(partial->size < whole);
    size_t size = (size_t)min_u64(whole - partial->size, input.size);
    keep(session, input.data, size);
    if (partial->size < whole) return size;
    if (take_frames(session, bytes_of(partial->data, partial->size)) != 0) {
        buffer_deinit(partial);
    }
    return size;
}

/* Takes protocol header bytes; gives how many. */
static size_t take_header(struct session *session, struct bytes input) {
    size_t lacking = sizeof FRAME_PROTOCOL_HEADER - session->partial.size;
    size_t size = (size_t)min_u64(lacking, input.size);
    keep(session, input.data, size);
    if (size < lacking) return size;
    bool right =
        memcmp(session->partial.data, FRAME_PROTOCOL_HEADER, sizeof FRAME_PROTOCOL_HEADER) == 0;
    buffer_deinit(&session->partial);
    if (right) {
        handshake_start(session);
    } else {
        outbox_put(&session->outbox, bytes_of(FRAME_PROTOCOL_HEADER, sizeof FRAME_PROTOCOL_HEADER));
        connection_finish(session);
    }
    return size;
}

void connection_on_bytes(struct session *session, struct bytes bytes) {
    size_t at = 0;
    if (session->state == CONNECTION_HEADER) at = take_header(session, bytes);
    while (at < bytes.size && session->partial.size != 0 && takes_frames(session)) {
        at += complete_frame(session, bytes_of(bytes.data + at, bytes.size - at));
    }
    if (takes_frames(session))
        at += take_frames(session, bytes_of(bytes.data + at, bytes.size - at));
    if (takes_frames(session) || waits(session)) {
        keep(session, bytes.data + at, bytes.size - at);
        return;
    }
    if (session->state == CONNECTION_HEADER) return;
    buffer_deinit(&session->partial);
    if (session->deaf) listen_for_close_ok(session, bytes);
}

void connection_resume(struct session *session) {
    struct buffer *partial = &session->partial;
    size_t taken = take_frames(session, bytes_of(partial->data, partial->size));
    if (taken == partial->size || !(takes_frames(session) || waits(session))) {
        buffer_deinit(partial);
    } else {
        buffer_drop(partial, taken);
    }
}

/* Handles kept input as far as the channel of that number is not parked. The channel may close, and
 * another of its number open, by what was kept: so the input is on its own, and belongs in the end
 * to whatever channel of that number is parked. */
static void replay(struct session *session, uint16_t number, struct parked_input *input) {
    struct channel *channel = NULL;
    while (input->at < input->bytes.size && connection_is_open(session)) {
        channel = connection_find_channel(session, number);
        if (channel && channel_is_parked(channel)) break;
        struct bytes rest = bytes_of(input->bytes.data + input->at, input->bytes.size - input->at);
        struct frame frame;
        uint32_t taken;
        enum frame_status status = frame_parse(rest, 0, &frame, &taken);
        check(status == FRAME_COMPLETE); /* it was when it was kept */
        input->at += taken;
        session->parked_bytes -= taken;
        connection_on_frame(session, &frame);
    }
    channel = connection_find_channel(session, number);
    if (channel && channel_is_parked(channel) && input->at < input->bytes.size) {
        channel->parked = input;
        return;
    }
    session->parked_bytes -= input->bytes.size - input->at;
    parked_input_free(input);
}

void connection_replay(struct session *session, uint16_t number) {
    struct channel *channel = connection_find_channel(session, number);
    if (!channel || !channel->parked || channel_is_parked(channel)) return;
    struct parked_input *input = channel->parked;
    channel->parked = NULL;
    replay(session, number, input);
}

void connection_on_channel_left(struct session *session, struct channel *channel) {
    uint16_t number = channel->number;
    struct parked_input *input = channel->parked;
    channel->parked = NULL;
    channel_on_left(channel);
    remove_if_over(session, channel);
    if (input) replay(session, number, input);
    connection_drained(session);
}
