/* perf_client: one connection with one channel of the load generator.
 *
 * It is opened, and asks its questions, one after the other and waiting for each answer. Then the
 * socket stops waiting, and a worker reads and writes it. */
#ifndef TOOLS_PERF_CLIENT_H
#define TOOLS_PERF_CLIENT_H

#include "tools/perf_options.h"

#include "amqp/frame.h"
#include "amqp/method.h"
#include "base/buffer.h"

enum {
    CLIENT_CHANNEL = 1,
    CLIENT_FRAME_MAX = 131072,
    CLIENT_INPUT_BYTES = 512 * 1024,    /* what one read may bring; more than CLIENT_FRAME_MAX */
    CLIENT_OUTPUT_BYTES_MAX = 64 << 20, /* acknowledgements that the server does not read */
    CLIENT_ERROR_BYTES = 512,
    CLIENT_ANSWER_SECONDS_MAX = 60,
    CLIENT_GOODBYE_SECONDS_MAX = 5,
};

struct client {
    int fd;
    uint32_t frame_max;
    uint8_t *input; /* CLIENT_INPUT_BYTES, of which [input_at, input_end) are not parsed yet */
    size_t input_at;
    size_t input_end;
    struct buffer output;
    size_t output_at; /* bytes of the output that are written */
    bool mute;        /* ends without a goodbye: there is no protocol, or a frame is half written */
    char error[CLIENT_ERROR_BYTES]; /* why something failed */
};

/* Opens a socket, and unless the options say raw, a connection and a channel on it. False with the
 * reason in client->error. The client is to be closed in both cases. */
bool client_open(struct client *client, const struct options *options) MUST_USE;

/* Sends a method and waits for its answer, of the kind named; what the answer borrows stays until
 * the next call. False with the reason in client->error. */
bool client_ask(struct client *client, const struct method *method, enum method_kind answer_kind,
    struct method *ret_answer) MUST_USE;

/* Sends a method that has no answer. False with the reason in client->error. */
bool client_tell(struct client *client, const struct method *method) MUST_USE;

/* From here on reading and writing does not wait. */
void client_stop_waiting(struct client *client);

/* From here on it waits again, as before. */
void client_wait_again(struct client *client);

/* Closes the connection politely where that is possible, and releases everything. */
void client_close(struct client *client);

/* Notes a reason, the first one stays, and gives false. */
bool client_fail(struct client *client, const char *format, ...) PRINTF_LIKE(2, 3);

/* Reads what is there: the number of bytes, 0 when there is nothing now, -1 when it failed. */
int64_t client_read(struct client *client);

/* Cuts the next whole frame out of the input; false when there is none, or client->error is set. */
static inline bool client_next_frame(struct client *client, struct frame *ret_frame) {
    struct bytes input =
        bytes_of(client->input + client->input_at, client->input_end - client->input_at);
    uint32_t taken;
    switch (frame_parse(input, client->frame_max, ret_frame, &taken)) {
    case FRAME_COMPLETE: client->input_at += taken; return true;
    case FRAME_INCOMPLETE: return false;
    case FRAME_TOO_LARGE:
    case FRAME_BAD_END: break;
    }
    return client_fail(client, "the server sent something that is no frame");
}

/* Looks at a frame that the hot path does not know: a close is an error and gives false, anything
 * else is passed over. */
bool client_on_other_frame(struct client *client, const struct frame *frame) MUST_USE;

/* Writes as much as the socket takes of `bytes`: how much, or -1 when it failed. */
int64_t client_write(struct client *client, const uint8_t *bytes, size_t size);

/* Writes as much of the output as goes. False when it failed. */
bool client_flush(struct client *client) MUST_USE;

/* True while there is output that the socket did not take. */
static inline bool client_has_output(const struct client *client) {
    return client->output_at < client->output.size;
}

#endif
