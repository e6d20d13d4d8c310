/* fake_host: a host for sessions in unit tests: it notes what the session asks, gives the answers
 * that the test laid out, and turns the session's bytes into lines.
 *
 * Methods are written and compared as text (amqp/text.h): host_say(host, 1, "channel.open") sends a
 * frame, host_hear(host, 1, "channel.open_ok") says what must come next. host_asked() does the same
 * with calls: "change 1 queue_declare 'q' durable". */
#ifndef TESTS_UNIT_FAKE_HOST_H
#define TESTS_UNIT_FAKE_HOST_H

#include "unit.h"

#include "amqp/frame.h"
#include "base/buffer.h"
#include "session/session.h"

enum { HOST_ANSWERS_MAX = 16, HOST_PENDING_MAX = 64, HOST_PUBLISHES_MAX = 64 };

/* What waits for an answer. */
struct pending {
    uint16_t channel;
    uint32_t request;
};

struct fake_host {
    struct session *session;
    struct session_settings settings;
    struct message_pool *pool;
    struct chunk_pool chunks;
    uint64_t now_ms; /* goes to the session with every call; tests move it */

    struct buffer asked; /* lines not yet compared by host_asked */
    struct buffer heard; /* bytes not yet compared by host_hear */

    /* Answers to be given at once, in order; when there are none: REPLY_OK. */
    struct answer answers[HOST_ANSWERS_MAX];
    uint32_t answer_count;
    bool later; /* nothing is answered at once, but by host_answer */
    struct pending pending[HOST_PENDING_MAX];
    uint32_t pending_count;
    struct pending fences[HOST_PENDING_MAX]; /* answered as soon as the input is handled */
    uint32_t fence_count;

    /* What publish says; and what it was given, with a reference each. */
    struct publish_result publish_result;
    struct message *published[HOST_PUBLISHES_MAX];
    struct publish publishes[HOST_PUBLISHES_MAX]; /* without their slices */
    uint32_t publish_count;
    enum reply_code look_code;

    uint32_t consume_id; /* the tag_id of the consume asked for last */
    uint32_t tag_id;     /* of the last consume */
    uint32_t wake_count;
    uint8_t random_next; /* "random" bytes count up from here */
};

/* A host with a new session, whose clock has been started. */
void host_init(struct fake_host *host);

/* Disconnects if that was not done, releases everything, and fails the test when messages or chunks
 * are left anywhere. */
void host_deinit(struct fake_host *host);

/* ---- the client's side ---- */

/* Bytes, or one method frame, arrive. */
void host_say_bytes(struct fake_host *host, struct bytes bytes);
void host_say(struct fake_host *host, uint16_t channel, const char *line);

/* A frame with any payload arrives. */
void host_say_frame(struct fake_host *host, uint8_t type, uint16_t channel, struct bytes payload);

/* Header and body frames arrive; `flags` are the two octets of property flags and what follows. */
void host_say_content(
    struct fake_host *host, uint16_t channel, struct bytes properties, struct bytes body);

/* The next frame that the session has sent is this method on this channel. */
void host_hear(struct fake_host *host, uint16_t channel, const char *line);

/* The next frames are a header and bodies with this content; the properties are not compared. */
void host_hear_body(struct fake_host *host, uint16_t channel, struct bytes body);

/* The next frame is a heartbeat. */
void host_hear_heartbeat(struct fake_host *host);

/* The next frame is channel.close or connection.close (channel 0) with these values. */
void host_hear_close(struct fake_host *host, uint16_t channel, enum reply_code code,
    const char *text, const char *method);

/* These bytes are next. */
void host_hear_bytes(struct fake_host *host, struct bytes bytes);

/* Nothing more has been sent. */
void host_hear_nothing(struct fake_host *host);

/* Protocol header to connection.open_ok, all capabilities, heartbeats off; what was asked is
 * forgotten. */
void host_log_in(struct fake_host *host);

/* The same, with the text of the client's capabilities table ("{...}") and of tune_ok's fields. */
void host_log_in_with(struct fake_host *host, const char *capabilities, const char *tune_ok);

/* Opens a channel. */
void host_open_channel(struct fake_host *host, uint16_t channel);

/* ---- fixtures ---- */

extern const struct bytes NO_PROPERTIES; /* of a header frame */

/* For cmocka: a host whose session is logged in and has channel 1 open. At the end everything must
 * have been heard and asked. */
int host_set_up(void **state);
int host_tear_down(void **state);

/* ---- the broker's side ---- */

/* The session's next call was this one. */
void host_asked(struct fake_host *host, const char *line);

/* The session has called nothing more (wake and random apart). */
void host_asked_nothing(struct fake_host *host);

/* Lays out the next answer that is given at once. Gives it to be filled in; it says REPLY_OK. */
struct answer *host_next_answer(struct fake_host *host);

/* Answers the oldest request that waits. */
void host_answer(struct fake_host *host, const struct answer *answer);

/* The answers "yes" and a fault. */
struct answer host_ok(const char *name);
struct answer host_fault(enum reply_code code, const char *text);

/* A message of the host's pool with one reference. */
struct message *host_message(struct fake_host *host, const char *routing_key, const char *body);

/* Runs session_flush if the session asked for it. */
void host_flush(struct fake_host *host);

#endif
