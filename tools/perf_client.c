/* perf_client: one connection with one channel of the load generator. */
#include "tools/perf_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "amqp/table.h"
#include "base/memory.h"
#include "base/str.h"

bool client_fail(struct client *client, const char *format, ...) {
    if (client->error[0]) return false;
    va_list arguments;
    va_start(arguments, format);
    str_format_list(client->error, sizeof client->error, format, arguments);
    va_end(arguments);
    return false;
}

static int connect_first(const struct addrinfo *addresses) {
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *a = addresses; a; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) return -errno;
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) return fd;
        error = errno;
        close(fd);
    }
    return -error;
}

static void set_patience(int fd, int seconds) {
    struct timeval patience = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static bool open_socket(struct client *client, const struct options *options) {
    char port[8];
    str_format(port, sizeof port, "%u", options->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *addresses;
    int failed = getaddrinfo(options->host, port, &hints, &addresses);
    if (failed) return client_fail(client, "%s: %s", options->host, gai_strerror(failed));
    int fd = connect_first(addresses);
    freeaddrinfo(addresses);
    if (fd < 0) return client_fail(client, "%s:%s: %s", options->host, port, strerror(-fd));
    client->fd = fd;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_patience(fd, CLIENT_ANSWER_SECONDS_MAX);
    return true;
}

int64_t client_write(struct client *client, const uint8_t *bytes, size_t size) {
    ssize_t done;
    do {
        done = send(client->fd, bytes, size, MSG_NOSIGNAL);
    } while (done < 0 && errno == EINTR);
    if (done >= 0) return done;
    if (errno == EAGAIN) return 0;
    client_fail(client, "writing: %s", strerror(errno));
    return -1;
}

int64_t client_read(struct client *client) {
    size_t left = client->input_end - client->input_at;
    if (left != 0) memmove(client->input, client->input + client->input_at, left);
    client->input_at = 0;
    client->input_end = left;
    ssize_t done;
    do {
        done = recv(client->fd, client->input + left, CLIENT_INPUT_BYTES - left, 0);
    } while (done < 0 && errno == EINTR);
    if (done > 0) {
        client->input_end += (size_t)done;
        return done;
    }
    if (done < 0 && errno == EAGAIN) return 0;
    client_fail(client, done == 0 ? "the server hung up" : "reading: %s", strerror(errno));
    return -1;
}

bool client_flush(struct client *client) {
    while (client_has_output(client)) {
        int64_t done = client_write(client, client->output.data + client->output_at,
            client->output.size - client->output_at);
        if (done < 0) return false;
        if (done == 0) return true;
        client->output_at += (size_t)done;
    }
    client->output.size = client->output_at = 0;
    return true;
}

static bool send_method(struct client *client, uint16_t channel, const struct method *method) {
    uint8_t memory[4096];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, channel, method);
    if (writer.bad || !buffer_put(&client->output, memory, writer_size(&writer))) {
        return client_fail(client, "%s: too long", method_name(method->kind));
    }
    if (!client_flush(client)) return false;
    return !client_has_output(client) || client_fail(client, "the server does not read");
}

bool client_on_other_frame(struct client *client, const struct frame *frame) {
    struct method method;
    if (frame->type != FRAME_METHOD || !method_decode(frame->payload, &method)) return true;
    struct bytes text = {0};
    unsigned code = 0;
    if (method.kind == METHOD_connection_close) {
        text = method.connection_close.reply_text;
        code = method.connection_close.reply_code;
    } else if (method.kind == METHOD_channel_close) {
        text = method.channel_close.reply_text;
        code = method.channel_close.reply_code;
    } else if (method.kind == METHOD_basic_cancel) {
        return client_fail(client, "the server cancelled a consumer");
    }
    if (code == 0) return true;
    return client_fail(client, "the server closed: %u %.*s", code, (int)text.size, text.data);
}

/* Waits for a method of that kind and passes over everything else but a close. */
static bool await_method(struct client *client, enum method_kind kind, struct method *ret_method) {
    for (;;) {
        struct frame frame;
        while (client_next_frame(client, &frame)) {
            bool decoded = frame.type == FRAME_METHOD && method_decode(frame.payload, ret_method);
            if (decoded && ret_method->kind == kind) return true;
            if (!client_on_other_frame(client, &frame)) return false;
        }
        if (client->error[0]) return false;
        int64_t got = client_read(client);
        if (got < 0) return false;
        if (got == 0) return client_fail(client, "no %s came", method_name(kind));
    }
}

bool client_ask(struct client *client, const struct method *method, enum method_kind answer_kind,
    struct method *ret_answer) {
    return send_method(client, CLIENT_CHANNEL, method) &&
           await_method(client, answer_kind, ret_answer);
}

bool client_tell(struct client *client, const struct method *method) {
    return send_method(client, CLIENT_CHANNEL, method);
}

static bool log_in(struct client *client, const struct options *options) {
    uint8_t table_memory[512];
    struct writer table = writer_over(table_memory, sizeof table_memory);
    table_put_text(&table, "product", BYTES("godwit-perf"));
    uint8_t *capabilities = table_begin(&table, "capabilities");
    table_put_bool(&table, "publisher_confirms", true);
    table_put_bool(&table, "basic.nack", true);
    table_put_bool(&table, "consumer_cancel_notify", true);
    table_put_bool(&table, "authentication_failure_close", true);
    table_end(&table, capabilities);
    char response[2 * OPTIONS_TEXT_BYTES + 2];
    size_t size =
        str_format(response, sizeof response, "%c%s%c%s", 0, options->user, 0, options->password);
    struct method answer = {.kind = METHOD_connection_start_ok};
    answer.connection_start_ok.client_properties = writer_bytes(&table);
    answer.connection_start_ok.mechanism = BYTES("PLAIN");
    answer.connection_start_ok.response = bytes_of(response, size);
    answer.connection_start_ok.locale = BYTES("en_US");
    return send_method(client, 0, &answer);
}

static bool shake_hands(struct client *client, const struct options *options) {
    struct method method;
    if (!buffer_put(&client->output, FRAME_PROTOCOL_HEADER, sizeof FRAME_PROTOCOL_HEADER) ||
        !client_flush(client) || !await_method(client, METHOD_connection_start, &method) ||
        !log_in(client, options) || !await_method(client, METHOD_connection_tune, &method)) {
        return false;
    }
    uint32_t offered = method.connection_tune.frame_max;
    client->frame_max = offered != 0 && offered < CLIENT_FRAME_MAX ? offered : CLIENT_FRAME_MAX;
    struct method tune = {.kind = METHOD_connection_tune_ok};
    tune.connection_tune_ok.channel_max = CLIENT_CHANNEL;
    tune.connection_tune_ok.frame_max = client->frame_max;
    struct method open = {.kind = METHOD_connection_open};
    open.connection_open.virtual_host = bytes_text(options->vhost);
    struct method channel = {.kind = METHOD_channel_open};
    return send_method(client, 0, &tune) && send_method(client, 0, &open) &&
           await_method(client, METHOD_connection_open_ok, &method) &&
           client_ask(client, &channel, METHOD_channel_open_ok, &method);
}

bool client_open(struct client *client, const struct options *options) {
    *client = (struct client){.fd = -1, .frame_max = CLIENT_FRAME_MAX, .mute = options->raw};
    client->input = mem_raw(CLIENT_INPUT_BYTES);
    buffer_init(&client->output, CLIENT_OUTPUT_BYTES_MAX);
    return open_socket(client, options) && (options->raw || shake_hands(client, options));
}

static void set_waiting(struct client *client, bool wait) {
    int flags = fcntl(client->fd, F_GETFL);
    check(flags >= 0);
    check(fcntl(client->fd, F_SETFL, wait ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) == 0);
}

void client_stop_waiting(struct client *client) {
    set_waiting(client, false);
}

void client_wait_again(struct client *client) {
    set_waiting(client, true);
}

void client_close(struct client *client) {
    if (client->fd >= 0 && !client->mute && !client->error[0]) {
        set_waiting(client, true);
        set_patience(client->fd, CLIENT_GOODBYE_SECONDS_MAX);
        struct method method = {.kind = METHOD_connection_close}, answer;
        method.connection_close.reply_code = 200;
        if (!send_method(client, 0, &method) ||
            !await_method(client, METHOD_connection_close_ok, &answer)) {
            fprintf(stderr, "godwit-perf: closing: %s\n", client->error);
        }
    }
    if (client->fd >= 0) close(client->fd);
    buffer_deinit(&client->output);
    mem_free(client->input);
}
