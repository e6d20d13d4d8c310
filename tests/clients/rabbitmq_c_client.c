/* A program on librabbitmq: plays one scenario against a broker, and says what went wrong.
 *
 *     rabbitmq_c_client HOST PORT SCENARIO
 *
 * Exits with 0 when the scenario went as it should. test_rabbitmq_c.py builds and runs it. */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define WAIT_SECONDS 20

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __func__, __LINE__, #condition);                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct client {
    const char *host;
    int port;
    amqp_connection_state_t connection;
};

static void expect_normal(amqp_rpc_reply_t reply, const char *what) {
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
        return;
    }
    const char *text = "the server closed";
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
        text = amqp_error_string2(reply.library_error);
    }
    fprintf(stderr, "%s: %s\n", what, text);
    exit(1);
}

static void client_open(struct client *client, int frame_max, int heartbeat) {
    client->connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(client->connection);
    EXPECT(socket != NULL);
    EXPECT(amqp_socket_open(socket, client->host, client->port) == AMQP_STATUS_OK);
    expect_normal(amqp_login(client->connection, "/", AMQP_DEFAULT_MAX_CHANNELS, frame_max,
                      heartbeat, AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
        "login");
    EXPECT(amqp_channel_open(client->connection, 1) != NULL);
    expect_normal(amqp_get_rpc_reply(client->connection), "channel.open");
}

static void client_close(struct client *client) {
    expect_normal(
        amqp_connection_close(client->connection, AMQP_REPLY_SUCCESS), "connection.close");
    EXPECT(amqp_destroy_connection(client->connection) == AMQP_STATUS_OK);
}

static bool bytes_are(amqp_bytes_t bytes, const char *text) {
    return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

/* An exclusive queue; its name is the caller's to free with amqp_bytes_free. */
static amqp_bytes_t declare_queue(struct client *client) {
    amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(client->connection, 1, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table);
    expect_normal(amqp_get_rpc_reply(client->connection), "queue.declare");
    return amqp_bytes_malloc_dup(ok->queue);
}

static void publish(struct client *client, amqp_bytes_t queue, amqp_bytes_t body) {
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG,
        .content_type = amqp_cstring_bytes("text/plain"),
        .delivery_mode = AMQP_DELIVERY_PERSISTENT,
    };
    EXPECT(amqp_basic_publish(client->connection, 1, amqp_empty_bytes, queue, 0, 0, &properties,
               body) == AMQP_STATUS_OK);
}

static void consume(struct client *client, amqp_bytes_t queue, bool no_ack) {
    amqp_basic_consume(
        client->connection, 1, queue, amqp_empty_bytes, 0, no_ack, 0, amqp_empty_table);
    expect_normal(amqp_get_rpc_reply(client->connection), "basic.consume");
}

static amqp_envelope_t next_message(struct client *client) {
    amqp_envelope_t envelope;
    struct timeval patience = {.tv_sec = WAIT_SECONDS};
    amqp_maybe_release_buffers(client->connection);
    expect_normal(
        amqp_consume_message(client->connection, &envelope, &patience, 0), "waiting for a message");
    return envelope;
}

static amqp_frame_t next_method(struct client *client) {
    amqp_frame_t frame;
    struct timeval patience = {.tv_sec = WAIT_SECONDS};
    EXPECT(amqp_simple_wait_frame_noblock(client->connection, &frame, &patience) == AMQP_STATUS_OK);
    EXPECT(frame.frame_type == AMQP_FRAME_METHOD);
    return frame;
}

static void play_work(struct client *client) {
    amqp_bytes_t queue = declare_queue(client);
    EXPECT(amqp_basic_qos(client->connection, 1, 0, 5, 0) != NULL);
    for (int i = 0; i < 100; i++) {
        char body[16];
        snprintf(body, sizeof body, "job %d", i);
        publish(client, queue, amqp_cstring_bytes(body));
    }
    consume(client, queue, false);
    for (int i = 0; i < 100; i++) {
        char body[16];
        snprintf(body, sizeof body, "job %d", i);
        amqp_envelope_t envelope = next_message(client);
        EXPECT(bytes_are(envelope.message.body, body));
        EXPECT(envelope.delivery_tag == (uint64_t)i + 1 && !envelope.redelivered);
        EXPECT(bytes_are(envelope.message.properties.content_type, "text/plain"));
        EXPECT(amqp_basic_ack(client->connection, 1, envelope.delivery_tag, 0) == 0);
        amqp_destroy_envelope(&envelope);
    }
    amqp_queue_delete_ok_t *gone = amqp_queue_delete(client->connection, 1, queue, 0, 1);
    EXPECT(gone != NULL && gone->message_count == 0);
    amqp_bytes_free(queue);
}

static void play_get(struct client *client) {
    amqp_bytes_t queue = declare_queue(client);
    publish(client, queue, amqp_cstring_bytes("one"));
    publish(client, queue, amqp_cstring_bytes("two"));
    amqp_rpc_reply_t reply = amqp_basic_get(client->connection, 1, queue, 0);
    expect_normal(reply, "basic.get");
    EXPECT(reply.reply.id == AMQP_BASIC_GET_OK_METHOD);
    amqp_basic_get_ok_t *ok = reply.reply.decoded;
    EXPECT(ok->message_count == 1 && !ok->redelivered);
    amqp_message_t message;
    expect_normal(amqp_read_message(client->connection, 1, &message, 0), "reading");
    EXPECT(bytes_are(message.body, "one"));
    amqp_destroy_message(&message);
    EXPECT(amqp_basic_nack(client->connection, 1, ok->delivery_tag, 0, 1) == 0);
    EXPECT(amqp_queue_purge(client->connection, 1, queue)->message_count == 2);
    reply = amqp_basic_get(client->connection, 1, queue, 1);
    EXPECT(reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD);
    amqp_bytes_free(queue);
}

static void play_topic(struct client *client) {
    amqp_connection_state_t connection = client->connection;
    amqp_bytes_t exchange = amqp_cstring_bytes("clients.rabbitmq-c.topic");
    amqp_exchange_declare(
        connection, 1, exchange, amqp_cstring_bytes("topic"), 0, 0, 1, 0, amqp_empty_table);
    expect_normal(amqp_get_rpc_reply(connection), "exchange.declare");
    amqp_bytes_t queue = declare_queue(client);
    EXPECT(amqp_queue_bind(connection, 1, queue, exchange, amqp_cstring_bytes("a.#"),
               amqp_empty_table) != NULL);
    consume(client, queue, true);
    amqp_basic_publish(connection, 1, exchange, amqp_cstring_bytes("b.c"), 0, 0, NULL,
        amqp_cstring_bytes("not this"));
    amqp_basic_publish(connection, 1, exchange, amqp_cstring_bytes("a.b.c"), 0, 0, NULL,
        amqp_cstring_bytes("this"));
    amqp_envelope_t envelope = next_message(client);
    EXPECT(bytes_are(envelope.message.body, "this"));
    EXPECT(bytes_are(envelope.routing_key, "a.b.c"));
    EXPECT(bytes_are(envelope.exchange, "clients.rabbitmq-c.topic"));
    amqp_destroy_envelope(&envelope);
    EXPECT(amqp_queue_unbind(connection, 1, queue, exchange, amqp_cstring_bytes("a.#"),
               amqp_empty_table) != NULL);
    amqp_bytes_free(queue);
}

static void play_confirms(struct client *client) {
    amqp_bytes_t queue = declare_queue(client);
    EXPECT(amqp_confirm_select(client->connection, 1) != NULL);
    for (int i = 0; i < 200; i++) {
        publish(client, queue, amqp_cstring_bytes("sure"));
    }
    uint64_t settled = 0;
    while (settled < 200) {
        amqp_frame_t frame = next_method(client);
        EXPECT(frame.payload.method.id == AMQP_BASIC_ACK_METHOD);
        amqp_basic_ack_t *ack = frame.payload.method.decoded;
        EXPECT(ack->delivery_tag > settled && ack->delivery_tag <= 200);
        EXPECT(ack->multiple || ack->delivery_tag == settled + 1);
        settled = ack->delivery_tag;
    }
    amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(client->connection, 1, queue, 1, 0, 0, 0, amqp_empty_table);
    EXPECT(ok != NULL && ok->message_count == 200);
    amqp_bytes_free(queue);
}

static void play_return(struct client *client) {
    EXPECT(amqp_basic_publish(client->connection, 1, amqp_empty_bytes,
               amqp_cstring_bytes("clients.nobody"), 1, 0, NULL,
               amqp_cstring_bytes("back")) == AMQP_STATUS_OK);
    amqp_frame_t frame = next_method(client);
    EXPECT(frame.payload.method.id == AMQP_BASIC_RETURN_METHOD);
    amqp_basic_return_t *returned = frame.payload.method.decoded;
    EXPECT(returned->reply_code == AMQP_NO_ROUTE);
    EXPECT(bytes_are(returned->reply_text, "NO_ROUTE"));
    EXPECT(bytes_are(returned->routing_key, "clients.nobody"));
    amqp_message_t message;
    expect_normal(amqp_read_message(client->connection, 1, &message, 0), "reading the return");
    EXPECT(bytes_are(message.body, "back"));
    amqp_destroy_message(&message);
}

static void play_tx(struct client *client) {
    amqp_bytes_t queue = declare_queue(client);
    EXPECT(amqp_tx_select(client->connection, 1) != NULL);
    publish(client, queue, amqp_cstring_bytes("rolled back"));
    EXPECT(amqp_tx_rollback(client->connection, 1) != NULL);
    publish(client, queue, amqp_cstring_bytes("committed"));
    EXPECT(amqp_tx_commit(client->connection, 1) != NULL);
    consume(client, queue, true);
    amqp_envelope_t envelope = next_message(client);
    EXPECT(bytes_are(envelope.message.body, "committed"));
    amqp_destroy_envelope(&envelope);
    amqp_bytes_free(queue);
}

static void play_reply_to(struct client *client) {
    amqp_bytes_t pseudo = amqp_cstring_bytes("amq.rabbitmq.reply-to");
    struct client server = {.host = client->host, .port = client->port};
    client_open(&server, 131072, 0);
    amqp_bytes_t queue = declare_queue(&server);
    consume(&server, queue, true);
    consume(client, pseudo, true);
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG,
        .reply_to = pseudo,
        .correlation_id = amqp_cstring_bytes("7"),
    };
    amqp_basic_publish(
        client->connection, 1, amqp_empty_bytes, queue, 0, 0, &properties, amqp_cstring_bytes("?"));
    amqp_envelope_t question = next_message(&server);
    amqp_bytes_t reply_to = question.message.properties.reply_to;
    EXPECT(reply_to.len > pseudo.len && memcmp(reply_to.bytes, pseudo.bytes, pseudo.len) == 0);
    amqp_basic_properties_t back = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG,
        .correlation_id = question.message.properties.correlation_id};
    amqp_basic_publish(
        server.connection, 1, amqp_empty_bytes, reply_to, 0, 0, &back, amqp_cstring_bytes("!"));
    amqp_envelope_t answer = next_message(client);
    EXPECT(bytes_are(answer.message.body, "!"));
    EXPECT(bytes_are(answer.message.properties.correlation_id, "7"));
    amqp_destroy_envelope(&question);
    amqp_destroy_envelope(&answer);
    amqp_bytes_free(queue);
    client_close(&server);
}

static void play_channel_error(struct client *client) {
    amqp_connection_state_t connection = client->connection;
    amqp_queue_declare(
        connection, 1, amqp_cstring_bytes("clients.absent"), 1, 0, 0, 0, amqp_empty_table);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection);
    EXPECT(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION);
    EXPECT(reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD);
    amqp_channel_close_t *closed = reply.reply.decoded;
    EXPECT(closed->reply_code == AMQP_NOT_FOUND);
    EXPECT(closed->class_id == 50 && closed->method_id == 10);
    EXPECT(bytes_are(closed->reply_text, "NOT_FOUND - no queue 'clients.absent' in vhost '/'"));
    amqp_channel_close_ok_t ok = {0};
    EXPECT(amqp_send_method(connection, 1, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok) == 0);
    EXPECT(amqp_channel_open(connection, 1) != NULL);
    amqp_bytes_free(declare_queue(client));
}

static void play_connection_error(struct client *client) {
    amqp_exchange_declare(client->connection, 1, amqp_cstring_bytes("clients.x"),
        amqp_cstring_bytes("circle"), 0, 0, 0, 0, amqp_empty_table);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(client->connection);
    EXPECT(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION);
    EXPECT(reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD);
    amqp_connection_close_t *closed = reply.reply.decoded;
    EXPECT(closed->reply_code == AMQP_COMMAND_INVALID);
    EXPECT(closed->class_id == 40 && closed->method_id == 10);
    amqp_connection_close_ok_t ok = {0};
    EXPECT(amqp_send_method(client->connection, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok) == 0);
    EXPECT(amqp_destroy_connection(client->connection) == AMQP_STATUS_OK);
    client_open(client, 131072, 0);
}

static void play_login_refused(struct client *client) {
    amqp_connection_state_t other = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(other);
    EXPECT(amqp_socket_open(socket, client->host, client->port) == AMQP_STATUS_OK);
    amqp_rpc_reply_t reply =
        amqp_login(other, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "wrong");
    EXPECT(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION);
    EXPECT(reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD);
    amqp_connection_close_t *closed = reply.reply.decoded;
    EXPECT(closed->reply_code == AMQP_ACCESS_REFUSED);
    EXPECT(amqp_destroy_connection(other) == AMQP_STATUS_OK);
}

/* Announces consumer_cancel_notify, which amqp_login alone does not. */
static void open_with_cancel_notify(struct client *client) {
    amqp_table_entry_t capability = {
        .key = amqp_cstring_bytes("consumer_cancel_notify"),
        .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1},
    };
    amqp_table_entry_t capabilities = {
        .key = amqp_cstring_bytes("capabilities"),
        .value = {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {1, &capability}},
    };
    amqp_table_t properties = {1, &capabilities};
    client->connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(client->connection);
    EXPECT(amqp_socket_open(socket, client->host, client->port) == AMQP_STATUS_OK);
    expect_normal(amqp_login_with_properties(client->connection, "/", 0, 131072, 0, &properties,
                      AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
        "login");
    EXPECT(amqp_channel_open(client->connection, 1) != NULL);
}

static void consume_and_delete(struct client *client) {
    amqp_connection_state_t connection = client->connection;
    amqp_bytes_t queue = declare_queue(client);
    consume(client, queue, true);
    EXPECT(amqp_channel_open(connection, 2) != NULL);
    EXPECT(amqp_queue_delete(connection, 2, queue, 0, 0) != NULL);
    amqp_bytes_free(queue);
}

/* A client is told that its consumer ended, if it said that it understands that. */
static void play_cancelled(struct client *client) {
    struct client told = {.host = client->host, .port = client->port};
    open_with_cancel_notify(&told);
    consume_and_delete(&told);
    amqp_frame_t frame = next_method(&told);
    EXPECT(frame.channel == 1 && frame.payload.method.id == AMQP_BASIC_CANCEL_METHOD);
    client_close(&told);

    consume_and_delete(client);
    expect_normal(amqp_channel_close(client->connection, 1, AMQP_REPLY_SUCCESS), "channel.close");
    EXPECT(!amqp_frames_enqueued(client->connection));
}

static void play_large(struct client *client) {
    static const size_t sizes[] = {0, 1, 4088, 4089, 131064, 131065, 1 << 20, 10 << 20};
    struct client narrow = {.host = client->host, .port = client->port};
    client_open(&narrow, 4096, 0);
    amqp_bytes_t queue = declare_queue(&narrow);
    consume(&narrow, queue, true);
    amqp_bytes_t body = amqp_bytes_malloc(10 << 20);
    for (size_t i = 0; i < body.len; i++) {
        ((unsigned char *)body.bytes)[i] = (unsigned char)(i * 31 + i / 4096);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        amqp_bytes_t part = {.len = sizes[i], .bytes = body.bytes};
        publish(&narrow, queue, part);
        amqp_envelope_t envelope = next_message(&narrow);
        EXPECT(envelope.message.body.len == part.len);
        EXPECT(part.len == 0 || memcmp(envelope.message.body.bytes, part.bytes, part.len) == 0);
        amqp_destroy_envelope(&envelope);
    }
    amqp_bytes_free(body);
    amqp_bytes_free(queue);
    client_close(&narrow);
}

static amqp_field_value_t *find(amqp_table_t *table, amqp_bytes_t key) {
    for (int i = 0; i < table->num_entries; i++) {
        amqp_bytes_t own = table->entries[i].key;
        if (own.len == key.len && memcmp(own.bytes, key.bytes, key.len) == 0) {
            return &table->entries[i].value;
        }
    }
    return NULL;
}

static void play_headers(struct client *client) {
    amqp_bytes_t queue = declare_queue(client);
    amqp_table_entry_t entries[] = {
        {.key = amqp_cstring_bytes("byte"), .value = {.kind = AMQP_FIELD_KIND_I8, .value.i8 = -8}},
        {.key = amqp_cstring_bytes("short"),
            .value = {.kind = AMQP_FIELD_KIND_I16, .value.i16 = -1600}},
        {.key = amqp_cstring_bytes("long"),
            .value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = INT64_MIN}},
        {.key = amqp_cstring_bytes("float"),
            .value = {.kind = AMQP_FIELD_KIND_F32, .value.f32 = 0.5F}},
        {.key = amqp_cstring_bytes("double"),
            .value = {.kind = AMQP_FIELD_KIND_F64, .value.f64 = 1e300}},
        {.key = amqp_cstring_bytes("time"),
            .value = {.kind = AMQP_FIELD_KIND_TIMESTAMP, .value.u64 = 1600000000}},
        {.key = amqp_cstring_bytes("void"), .value = {.kind = AMQP_FIELD_KIND_VOID}},
    };
    int count = sizeof entries / sizeof entries[0];
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_HEADERS_FLAG,
        .headers = {.num_entries = count, .entries = entries},
    };
    amqp_basic_publish(
        client->connection, 1, amqp_empty_bytes, queue, 0, 0, &properties, amqp_cstring_bytes("x"));
    consume(client, queue, true);
    amqp_envelope_t envelope = next_message(client);
    amqp_table_t back = envelope.message.properties.headers;
    EXPECT(back.num_entries == count);
    for (int i = 0; i < count; i++) {
        amqp_field_value_t *value = find(&back, entries[i].key);
        EXPECT(value != NULL && value->kind == entries[i].value.kind);
    }
    EXPECT(find(&back, entries[2].key)->value.i64 == INT64_MIN);
    EXPECT(find(&back, entries[4].key)->value.f64 == 1e300);
    amqp_destroy_envelope(&envelope);
    amqp_bytes_free(queue);
}

static void play_channels(struct client *client) {
    amqp_connection_state_t connection = client->connection;
    EXPECT(amqp_get_channel_max(connection) == 2047);
    EXPECT(amqp_get_frame_max(connection) == 131072);
    for (amqp_channel_t channel = 2; channel <= 200; channel++) {
        EXPECT(amqp_channel_open(connection, channel) != NULL);
    }
    for (amqp_channel_t channel = 2; channel <= 200; channel++) {
        EXPECT(amqp_queue_declare(
                   connection, channel, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table) != NULL);
    }
    for (amqp_channel_t channel = 2; channel <= 200; channel++) {
        expect_normal(amqp_channel_close(connection, channel, AMQP_REPLY_SUCCESS), "channel.close");
    }
}

/* Waits idle for several heartbeat intervals: the library sends and checks them as it waits. */
static void play_heartbeats(struct client *client) {
    struct client idle = {.host = client->host, .port = client->port};
    client_open(&idle, 131072, 1);
    amqp_bytes_t queue = declare_queue(&idle);
    consume(&idle, queue, true);
    amqp_envelope_t envelope;
    struct timeval patience = {.tv_sec = 4};
    amqp_rpc_reply_t reply = amqp_consume_message(idle.connection, &envelope, &patience, 0);
    EXPECT(reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION);
    EXPECT(reply.library_error == AMQP_STATUS_TIMEOUT);
    publish(&idle, queue, amqp_cstring_bytes("awake"));
    envelope = next_message(&idle);
    EXPECT(bytes_are(envelope.message.body, "awake"));
    amqp_destroy_envelope(&envelope);
    amqp_bytes_free(queue);
    client_close(&idle);
}

static const struct {
    const char *name;
    void (*play)(struct client *client);
} scenarios[] = {
    {"work", play_work},
    {"get", play_get},
    {"topic", play_topic},
    {"confirms", play_confirms},
    {"return", play_return},
    {"tx", play_tx},
    {"reply-to", play_reply_to},
    {"channel-error", play_channel_error},
    {"connection-error", play_connection_error},
    {"login-refused", play_login_refused},
    {"cancelled", play_cancelled},
    {"large", play_large},
    {"headers", play_headers},
    {"channels", play_channels},
    {"heartbeats", play_heartbeats},
};

int main(int argc, char **argv) {
    int count = sizeof scenarios / sizeof scenarios[0];
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (int i = 0; i < count; i++) {
            puts(scenarios[i].name);
        }
        return 0;
    }
    if (argc != 4) {
        fprintf(stderr, "usage: %s HOST PORT SCENARIO | list\n", argv[0]);
        return 2;
    }
    for (int i = 0; i < count; i++) {
        if (strcmp(scenarios[i].name, argv[3]) == 0) {
            struct client client = {.host = argv[1], .port = (int)strtol(argv[2], NULL, 10)};
            client_open(&client, 131072, 0);
            scenarios[i].play(&client);
            client_close(&client);
            return 0;
        }
    }
    fprintf(stderr, "there is no scenario '%s'\n", argv[3]);
    return 2;
}
