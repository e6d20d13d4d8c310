/* fake_host: see the header. Calls are noted as one line each, in the order they come. */
#include "fake_host.h"

#include "amqp/table.h"
#include "amqp/text.h"
#include "base/memory.h"
#include "base/str.h"

enum { HOST_SELF = 7 }; /* the session's ref */

/* ---- notes ---- */

static void note(struct fake_host *host, const char *format, ...) PRINTF_LIKE(2, 3);
static void note(struct fake_host *host, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    size_t size = str_format_list(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[size++] = '\n';
    assert_true(buffer_put(&host->asked, line, size));
}

#define SHOWN(bytes) (int)(bytes).size, (const char *)(bytes).data

static bool answer_now(
    struct fake_host *host, struct pending pending, const char *name, struct answer *ret_answer) {
    if (host->later) {
        assert_true(host->pending_count < HOST_PENDING_MAX);
        host->pending[host->pending_count++] = pending;
        return false;
    }
    if (host->answer_count == 0) {
        *ret_answer = host_ok(name);
        return true;
    }
    *ret_answer = host->answers[0];
    host->answer_count--;
    memmove(host->answers, host->answers + 1, host->answer_count * sizeof host->answers[0]);
    return true;
}

/* ---- the calls ---- */

static void on_login(void *context, struct bytes user, struct bytes password) {
    note(context, "login '%.*s' '%.*s'", SHOWN(user), SHOWN(password));
}

static bool on_open_vhost(void *context, struct bytes vhost, struct answer *ret_answer) {
    note(context, "open_vhost '%.*s'", SHOWN(vhost));
    return answer_now(context, (struct pending){0}, "", ret_answer);
}

static const char *const change_names[] = {
    [CHANGE_EXCHANGE_DECLARE] = "exchange_declare",
    [CHANGE_EXCHANGE_DELETE] = "exchange_delete",
    [CHANGE_EXCHANGE_BIND] = "exchange_bind",
    [CHANGE_EXCHANGE_UNBIND] = "exchange_unbind",
    [CHANGE_QUEUE_DECLARE] = "queue_declare",
    [CHANGE_QUEUE_DELETE] = "queue_delete",
    [CHANGE_QUEUE_BIND] = "queue_bind",
    [CHANGE_QUEUE_UNBIND] = "queue_unbind",
};

static bool on_change(void *context, uint16_t channel, uint32_t request,
    const struct change *change, struct answer *ret_answer) {
    char flags[256] = "";
    char arguments[256] = "";
    char binding[600] = "";
    str_format(flags, sizeof flags, "%s%s%s%s%s%s%s%s", change->passive ? " passive" : "",
        change->durable ? " durable" : "", change->exclusive ? " exclusive" : "",
        change->auto_delete ? " auto_delete" : "", change->internal ? " internal" : "",
        change->if_unused ? " if_unused" : "", change->if_empty ? " if_empty" : "",
        change->server_named ? " server_named" : "");
    if (change->arguments.size != 0) {
        arguments[0] = ' ';
        text_print_table(arguments + 1, sizeof arguments - 1, change->arguments);
    }
    bool binds = change->kind == CHANGE_EXCHANGE_BIND || change->kind == CHANGE_EXCHANGE_UNBIND ||
                 change->kind == CHANGE_QUEUE_BIND || change->kind == CHANGE_QUEUE_UNBIND;
    if (binds) {
        str_format(binding, sizeof binding, " from '%.*s' by '%.*s'", SHOWN(change->source),
            SHOWN(change->routing_key));
    }
    if (change->type.size != 0) {
        str_format(binding, sizeof binding, " %.*s", SHOWN(change->type));
    }
    note(context, "change %u %s '%.*s'%s%s%s", channel, change_names[change->kind],
        SHOWN(change->name), binding, flags, arguments);
    assert_true(change->connection == HOST_SELF);
    char name[256];
    str_format(name, sizeof name, "%.*s", SHOWN(change->name));
    return answer_now(context, (struct pending){channel, request}, name, ret_answer);
}

static bool on_consume(void *context, uint16_t channel, uint32_t request,
    const struct consume_request *consume, struct answer *ret_answer) {
    note(context, "consume %u '%.*s' prefetch=%u priority=%d%s%s%s", channel, SHOWN(consume->queue),
        consume->prefetch, consume->priority, consume->flags & OP_NO_ACK ? " no_ack" : "",
        consume->flags & OP_EXCLUSIVE ? " exclusive" : "",
        consume->flags & OP_SHARED ? " shared" : "");
    assert_int_equal(consume->tag_id, request);
    ((struct fake_host *)context)->consume_id = request;
    ((struct fake_host *)context)->tag_id = consume->tag_id;
    bool now = answer_now(context, (struct pending){channel, request}, "", ret_answer);
    if (now && ret_answer->code == REPLY_OK && ret_answer->queue == 0) {
        ret_answer->queue = 1;
        ret_answer->consumer = 1;
    }
    return now;
}

static void on_cancel(void *context, uint16_t channel, uint32_t request, queue_ref queue,
    uint32_t tag_id, consumer_handle consumer) {
    struct fake_host *host = context;
    note(host, "cancel %u queue=%u consumer=%u%s", channel, (unsigned)queue, consumer,
        request == 0 ? " silently" : "");
    assert_true(tag_id != 0);
    if (request == 0) return;
    assert_true(host->pending_count < HOST_PENDING_MAX);
    host->pending[host->pending_count++] = (struct pending){channel, request};
}

static bool on_get(void *context, uint16_t channel, uint32_t request, struct bytes queue,
    bool no_ack, struct answer *ret_answer) {
    note(context, "get %u '%.*s'%s", channel, SHOWN(queue), no_ack ? " no_ack" : "");
    return answer_now(context, (struct pending){channel, request}, "", ret_answer);
}

static bool on_purge(void *context, uint16_t channel, uint32_t request, struct bytes queue,
    struct answer *ret_answer) {
    note(context, "purge %u '%.*s'", channel, SHOWN(queue));
    return answer_now(context, (struct pending){channel, request}, "", ret_answer);
}

static void on_settle(void *context, const struct settle *settle) {
    static const char *const names[] = {"ack", "reject", "requeue", "return"};
    note(context, "settle %s queue=%u seq=%u count=%u consumer=%u", names[settle->how],
        (unsigned)settle->queue, (unsigned)settle->seq, settle->count, settle->consumer);
}

static void on_grant(void *context, queue_ref queue, uint16_t channel, uint32_t tag_id,
    consumer_handle consumer, uint32_t count) {
    (void)tag_id;
    note(context, "grant %u queue=%u consumer=%u count=%u", channel, (unsigned)queue, consumer,
        count);
}

/* " cc=a,b" for the texts in the array, nothing for an empty one. */
static void print_copies(char *text, size_t size, const char *name, struct bytes array) {
    struct reader reader = reader_over(array);
    struct field field;
    size_t at = 0;
    text[0] = 0;
    while (table_array_next(&reader, &field)) {
        at += str_format(text + at, size - at, "%s%s%s%.*s", at == 0 ? " " : "",
            at == 0 ? name : "", at == 0 ? "=" : ",", SHOWN(field.bytes));
    }
}

static void on_publish(
    void *context, const struct publish *publish, struct publish_result *ret_result) {
    struct fake_host *host = context;
    struct bytes exchange = message_exchange(publish->message);
    struct bytes key = message_routing_key(publish->message);
    char headers[256] = "";
    char cc[256];
    char bcc[256];
    if (publish->headers.size != 0) {
        headers[0] = ' ';
        text_print_table(headers + 1, sizeof headers - 1, publish->headers);
    }
    print_copies(cc, sizeof cc, "cc", publish->cc);
    print_copies(bcc, sizeof bcc, "bcc", publish->bcc);
    note(host, "publish %u '%.*s' '%.*s' %u seqno=%u%s%s%s", publish->channel, SHOWN(exchange),
        SHOWN(key), publish->message->body_size, (unsigned)publish->seqno, headers, cc, bcc);
    assert_true(host->publish_count < HOST_PUBLISHES_MAX);
    message_ref(publish->message, 1);
    host->published[host->publish_count] = publish->message;
    host->publishes[host->publish_count] = *publish;
    host->publishes[host->publish_count].headers = bytes_of(NULL, 0);
    host->publishes[host->publish_count].cc = bytes_of(NULL, 0);
    host->publishes[host->publish_count].bcc = bytes_of(NULL, 0);
    host->publish_count++;
    *ret_result = host->publish_result;
}

static enum reply_code on_look(void *context, struct bytes exchange, char text[256]);

/* Noted as the look at the exchange that it contains, and the copies it routes. */
static void on_hold(void *context, const struct publish *publish, struct publish_result *ret_result,
    struct held_route **ret_held) {
    char cc[256];
    char bcc[256];
    *ret_result = (struct publish_result){.queues = 1};
    ret_result->code = on_look(context, message_exchange(publish->message), ret_result->text);
    print_copies(cc, sizeof cc, "cc", publish->cc);
    print_copies(bcc, sizeof bcc, "bcc", publish->bcc);
    if (cc[0] || bcc[0]) note(context, "hold%s%s", cc, bcc);
    if (ret_result->code == REPLY_OK) *ret_held = NEW(struct held_route);
}

static enum reply_code on_look(void *context, struct bytes exchange, char text[256]) {
    struct fake_host *host = context;
    note(host, "look '%.*s'", SHOWN(exchange));
    str_format(text, 256, "no exchange '%.*s' in vhost '/'", SHOWN(exchange));
    return host->look_code;
}

/* Everything asked of this host is done at once, so a fence is back when the bytes are handled. */
static void on_fence(void *context, uint16_t channel, uint32_t request, bool stable) {
    struct fake_host *host = context;
    if (stable) note(host, "fence %u stable", channel);
    struct pending fence = {channel, request};
    if (host->later) {
        assert_true(host->pending_count < HOST_PENDING_MAX);
        host->pending[host->pending_count++] = fence;
    } else {
        assert_true(host->fence_count < HOST_PENDING_MAX);
        host->fences[host->fence_count++] = fence;
    }
}

static void answer_fences(struct fake_host *host) {
    while (host->fence_count != 0) {
        struct pending fence = host->fences[--host->fence_count];
        struct answer answer = {.code = REPLY_OK};
        session_on_answer(host->session, fence.channel, fence.request, &answer, host->now_ms);
        session_check(host->session);
    }
}

static void on_leave(void *context) {
    note(context, "leave");
}

static void on_finish(void *context) {
    note(context, "finish");
}

static void on_wake(void *context) {
    ((struct fake_host *)context)->wake_count++;
}

static void on_random(void *context, uint8_t *data, size_t size) {
    struct fake_host *host = context;
    for (size_t i = 0; i < size; i++)
        data[i] = host->random_next++;
}

static const struct session_calls calls = {
    .login = on_login,
    .open_vhost = on_open_vhost,
    .change = on_change,
    .consume = on_consume,
    .cancel = on_cancel,
    .get = on_get,
    .purge = on_purge,
    .settle = on_settle,
    .grant = on_grant,
    .publish = on_publish,
    .hold = on_hold,
    .look = on_look,
    .fence = on_fence,
    .leave = on_leave,
    .finish = on_finish,
    .wake = on_wake,
    .random = on_random,
};

/* ---- life ---- */

void host_init(struct fake_host *host) {
    *host = (struct fake_host){
        .settings =
            {
                .product = "Godwit",
                .version = "1.2.3",
                .cluster_name = "here",
                .frame_max = FRAME_MAX_DEFAULT,
                .channel_max = CHANNELS_PER_CONNECTION_MAX,
                .heartbeat_s = HEARTBEAT_S_DEFAULT,
                .message_bytes_max = 1000000,
            },
        .now_ms = 1000,
        .publish_result = {.queues = 1},
    };
    buffer_init(&host->asked, 1 << 24);
    buffer_init(&host->heard, 1 << 28);
    host->pool = message_pool_new(0);
    host->session =
        session_new(&host->settings, &calls, host, HOST_SELF, host->pool, &host->chunks);
    session_tick(host->session, host->now_ms);
}

void host_deinit(struct fake_host *host) {
    session_check(host->session);
    session_on_disconnect(host->session, host->now_ms);
    session_check(host->session);
    session_free(host->session);
    for (uint32_t i = 0; i < host->publish_count; i++)
        message_unref(host->pool, host->published[i]);
    assert_int_equal(host->chunks.used_count, 0);
    assert_int_equal(message_pool_count(host->pool), 0);
    chunk_pool_deinit(&host->chunks);
    message_pool_free(host->pool);
    buffer_deinit(&host->asked);
    buffer_deinit(&host->heard);
}

/* ---- the client's side ---- */

void host_say_bytes(struct fake_host *host, struct bytes bytes) {
    session_on_bytes(host->session, bytes, host->now_ms);
    session_check(host->session);
    answer_fences(host);
}

static bool parse(const char *line, struct writer *memory, struct method *ret_method) {
    if (text_parse(bytes_text(line), memory, ret_method)) return true;
    print_error("not a method: %s\n", line);
    return false;
}

void host_say(struct fake_host *host, uint16_t channel, const char *line) {
    size_t size = strlen(line) * 4 + 64;
    uint8_t *memory = mem_raw(size);
    uint8_t *frame = mem_raw(size + 4096);
    struct writer strings = writer_over(memory, size);
    struct writer writer = writer_over(frame, size + 4096);
    struct method method;
    assert_true(parse(line, &strings, &method));
    frame_put_method(&writer, channel, &method);
    assert_false(writer.bad);
    host_say_bytes(host, writer_bytes(&writer));
    mem_free(frame);
    mem_free(memory);
}

void host_say_frame(struct fake_host *host, uint8_t type, uint16_t channel, struct bytes payload) {
    size_t size = (size_t)payload.size + FRAME_OVERHEAD_BYTES;
    uint8_t *memory = mem_raw(size);
    struct writer writer = writer_over(memory, size);
    uint8_t *begun = frame_begin(&writer, type, channel);
    write_bytes(&writer, payload);
    frame_end(&writer, begun);
    host_say_bytes(host, writer_bytes(&writer));
    mem_free(memory);
}

void host_say_content(
    struct fake_host *host, uint16_t channel, struct bytes properties, struct bytes body) {
    size_t size = (size_t)frame_content_bytes(properties.size, body.size, FRAME_BYTES_MIN);
    uint8_t *memory = mem_raw(size);
    struct writer writer = writer_over(memory, size);
    frame_put_header(&writer, channel, body.size, properties);
    frame_put_body(&writer, channel, body, FRAME_BYTES_MIN);
    assert_false(writer.bad);
    host_say_bytes(host, writer_bytes(&writer));
    mem_free(memory);
}

/* Brings what waits in the outbox into `heard`. */
static void listen(struct fake_host *host) {
    struct outbox *outbox = session_outbox(host->session);
    struct iovec vectors[8];
    for (uint32_t count; (count = outbox_vectors(outbox, vectors, COUNT_OF(vectors))) != 0;) {
        uint64_t size = 0;
        for (uint32_t i = 0; i < count; i++) {
            assert_true(buffer_put(&host->heard, vectors[i].iov_base, vectors[i].iov_len));
            size += vectors[i].iov_len;
        }
        outbox_written(outbox, size);
    }
    assert_true(outbox->size == 0);
}

/* The next frame; forgotten by drop_frame. */
static struct frame next_frame(struct fake_host *host) {
    listen(host);
    struct frame frame;
    uint32_t taken;
    struct bytes heard = bytes_of(host->heard.data, host->heard.size);
    assert_int_equal(frame_parse(heard, 0, &frame, &taken), FRAME_COMPLETE);
    return frame;
}

static void drop_frame(struct fake_host *host, const struct frame *frame) {
    buffer_drop(&host->heard, (size_t)frame->payload.size + FRAME_OVERHEAD_BYTES);
}

void host_hear(struct fake_host *host, uint16_t channel, const char *line) {
    listen(host);
    if (host->heard.size == 0) print_error("silence instead of %s\n", line);
    struct frame frame = next_frame(host);
    assert_int_equal(frame.type, FRAME_METHOD);
    struct method method;
    assert_true(method_decode(frame.payload, &method));
    char text[4096];
    text_print(text, sizeof text, &method);
    assert_string_equal(text, line);
    assert_int_equal(frame.channel, channel);
    drop_frame(host, &frame);
}

void host_hear_body(struct fake_host *host, uint16_t channel, struct bytes body) {
    struct frame header = next_frame(host);
    assert_int_equal(header.type, FRAME_HEADER);
    assert_int_equal(header.channel, channel);
    struct reader reader = reader_over(header.payload);
    read_u32(&reader);
    assert_int_equal(read_u64(&reader), body.size);
    drop_frame(host, &header);
    for (uint32_t at = 0; at < body.size;) {
        struct frame frame = next_frame(host);
        assert_int_equal(frame.type, FRAME_BODY);
        assert_int_equal(frame.channel, channel);
        assert_true(frame.payload.size != 0 && frame.payload.size <= body.size - at);
        assert_memory_equal(frame.payload.data, body.data + at, frame.payload.size);
        at += frame.payload.size;
        drop_frame(host, &frame);
    }
}

void host_hear_heartbeat(struct fake_host *host) {
    static const uint8_t heartbeat[] = {FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END};
    host_hear_bytes(host, bytes_of(heartbeat, sizeof heartbeat));
}

void host_hear_close(struct fake_host *host, uint16_t channel, enum reply_code code,
    const char *text, const char *method) {
    struct frame frame = next_frame(host);
    assert_int_equal(frame.type, FRAME_METHOD);
    assert_int_equal(frame.channel, channel);
    struct method got;
    assert_true(method_decode(frame.payload, &got));
    assert_int_equal(got.kind, channel == 0 ? METHOD_connection_close : METHOD_channel_close);
    struct amqp_connection_close close = got.connection_close;
    if (channel != 0) {
        close = (struct amqp_connection_close){got.channel_close.reply_code,
            got.channel_close.reply_text, got.channel_close.class_id, got.channel_close.method_id};
    }
    char shown[256];
    str_format(shown, sizeof shown, "%.*s", SHOWN(close.reply_text));
    assert_string_equal(shown, text);
    assert_int_equal(close.reply_code, code);
    assert_string_equal(method_name(method_find(close.class_id, close.method_id)), method);
    drop_frame(host, &frame);
}

void host_hear_bytes(struct fake_host *host, struct bytes bytes) {
    listen(host);
    assert_true(host->heard.size >= bytes.size);
    assert_memory_equal(host->heard.data, bytes.data, bytes.size);
    buffer_drop(&host->heard, bytes.size);
}

void host_hear_nothing(struct fake_host *host) {
    listen(host);
    if (host->heard.size == 0) return;
    struct frame frame = next_frame(host);
    struct method method;
    char text[4096] = "something";
    if (frame.type == FRAME_METHOD && method_decode(frame.payload, &method)) {
        text_print(text, sizeof text, &method);
    }
    fail_msg("heard on channel %u: %s", frame.channel, text);
}

void host_log_in_with(struct fake_host *host, const char *capabilities, const char *tune_ok) {
    char line[1024];
    host_say_bytes(host, bytes_of(FRAME_PROTOCOL_HEADER, sizeof FRAME_PROTOCOL_HEADER));
    struct frame start = next_frame(host);
    drop_frame(host, &start);
    str_format(line, sizeof line,
        "connection.start_ok client_properties={'capabilities'=F:%s} mechanism='PLAIN' "
        "response='\\x00guest\\x00guest' locale='en_US'",
        capabilities);
    host_say(host, 0, line);
    host_asked(host, "login 'guest' 'guest'");
    session_on_login(host->session, true, host->now_ms);
    struct frame tune = next_frame(host);
    drop_frame(host, &tune);
    str_format(line, sizeof line, "connection.tune_ok %s", tune_ok);
    host_say(host, 0, line);
    host_say(host, 0, "connection.open virtual_host='/'");
    host_hear(host, 0, "connection.open_ok");
    host_asked(host, "open_vhost '/'");
}

void host_log_in(struct fake_host *host) {
    host_log_in_with(host,
        "{'publisher_confirms'=t:true, 'consumer_cancel_notify'=t:true, 'basic.nack'=t:true, "
        "'connection.blocked'=t:true, 'authentication_failure_close'=t:true}",
        "channel_max=2047 frame_max=131072");
}

void host_open_channel(struct fake_host *host, uint16_t channel) {
    host_say(host, channel, "channel.open");
    host_hear(host, channel, "channel.open_ok");
}

/* ---- the broker's side ---- */

void host_asked(struct fake_host *host, const char *line) {
    char next[1024] = "nothing";
    const uint8_t *end = host->asked.size ? memchr(host->asked.data, '\n', host->asked.size) : NULL;
    size_t size = end ? (size_t)(end - host->asked.data) : 0;
    if (end) str_format(next, sizeof next, "%.*s", (int)size, (const char *)host->asked.data);
    assert_string_equal(next, line);
    buffer_drop(&host->asked, size + 1);
}

void host_asked_nothing(struct fake_host *host) {
    if (host->asked.size == 0) return;
    fail_msg("asked: %.*s", (int)host->asked.size, (const char *)host->asked.data);
}

struct answer *host_next_answer(struct fake_host *host) {
    assert_true(host->answer_count < HOST_ANSWERS_MAX);
    struct answer *answer = &host->answers[host->answer_count++];
    *answer = (struct answer){0};
    return answer;
}

void host_answer(struct fake_host *host, const struct answer *answer) {
    assert_true(host->pending_count > 0);
    struct pending pending = host->pending[0];
    host->pending_count--;
    memmove(host->pending, host->pending + 1, host->pending_count * sizeof host->pending[0]);
    session_on_answer(host->session, pending.channel, pending.request, answer, host->now_ms);
    session_check(host->session);
}

struct answer host_ok(const char *name) {
    struct answer answer = {0};
    str_format(answer.name, sizeof answer.name, "%s", name);
    return answer;
}

struct answer host_fault(enum reply_code code, const char *text) {
    struct answer answer = {.code = code};
    str_format(answer.text, sizeof answer.text, "%s", text);
    return answer;
}

struct message *host_message(struct fake_host *host, const char *routing_key, const char *body) {
    struct bytes bytes = bytes_text(body);
    static const uint8_t no_properties[2] = {0, 0};
    struct message *message = message_new(host->pool, bytes_of(NULL, 0), bytes_text(routing_key),
        bytes_of(no_properties, sizeof no_properties), bytes.size);
    bytes_copy(message_body_data(message), bytes.data, bytes.size);
    return message;
}

void host_flush(struct fake_host *host) {
    if (host->wake_count == 0) return;
    host->wake_count = 0;
    session_flush(host->session, host->now_ms);
    session_check(host->session);
}

/* ---- fixtures ---- */

const struct bytes NO_PROPERTIES = {(const uint8_t *)"\0\0", 2};

int host_set_up(void **state) {
    static struct fake_host host;
    host_init(&host);
    host_log_in(&host);
    host_open_channel(&host, 1);
    *state = &host;
    return 0;
}

int host_tear_down(void **state) {
    host_hear_nothing(*state);
    host_asked_nothing(*state);
    host_deinit(*state);
    return 0;
}
