/* connection: the inside of a session: its state machine, what was negotiated, its channels.
 *
 *   HEADER -> STARTING -> LOGIN -> TUNING -> OPENING -> ENTERING -> OPEN
 *                                                                    |  \
 *                                        the client closes           |   \   we close
 *                             LEAVING <- DRAINING <------------------+    +--> CLOSING
 *                                |                                                |
 *                                +------------------> CLOSED <--------------------+
 *
 * Every state may also go straight to CLOSED (a silent drop, or the socket is gone), and OPENING
 * and ENTERING to CLOSING. Only the files of this folder include this header. */
#ifndef SESSION_CONNECTION_H
#define SESSION_CONNECTION_H

#include <stdarg.h>

#include "amqp/frame.h"
#include "auth/access.h"
#include "base/buffer.h"
#include "base/list.h"
#include "session/session.h"

enum connection_state {
    CONNECTION_HEADER,   /* waits for the protocol header */
    CONNECTION_STARTING, /* connection.start is sent */
    CONNECTION_LOGIN,    /* calls->login is under way; input waits */
    CONNECTION_TUNING,   /* connection.tune is sent */
    CONNECTION_OPENING,  /* tune-ok is there, connection.open is not */
    CONNECTION_ENTERING, /* calls->open_vhost is under way; input waits */
    CONNECTION_OPEN,
    CONNECTION_DRAINING, /* the client has closed; parked channels finish what came before */
    CONNECTION_LEAVING,  /* calls->leave is under way; close-ok follows session_on_left, and what
                            is held */
    CONNECTION_CLOSING,  /* we have closed; close-ok is awaited */
    CONNECTION_CLOSED,   /* nothing is read or said any more */
    CONNECTION_STATE_COUNT
};

/* What a client has announced in its properties' capabilities table. */
enum {
    CLIENT_CAN_CONFIRMS = 1,
    CLIENT_CAN_CANCEL_NOTIFY = 2,  /* consumer_cancel_notify: send basic.cancel */
    CLIENT_CAN_NACK = 4,           /* basic.nack */
    CLIENT_CAN_BLOCKED = 8,        /* connection.blocked */
    CLIENT_CAN_FAILURE_CLOSE = 16, /* authentication_failure_close: 403 instead of silence */
    CLIENT_CAN_EXCHANGE_BINDINGS = 32
};

struct channel;

struct session {
    /* Borrowed for life. */
    const struct session_settings *settings;
    const struct session_calls *calls;
    void *host;
    connection_ref self;
    struct message_pool *pool;

    /* Changed by connection_enter alone. */
    uint8_t state; /* enum connection_state */

    bool left_called; /* calls->leave has been called */
    bool finished;    /* calls->finish has been called */
    bool published;   /* session_has_published; set by publish.c */
    bool input_paused;
    bool blocked;           /* connection.blocked has been said, unblocked has not */
    bool begun;             /* a first time has been seen */
    bool deaf;              /* CLOSING after a broken frame: where the next begins is unknown */
    uint8_t client_can;     /* CLIENT_CAN_... */
    uint16_t parked_count;  /* channels that wait for an answer */
    uint16_t channel_max;   /* negotiated; 0 is no limit */
    uint16_t heartbeat_s;   /* negotiated; 0 is off */
    uint16_t channel_count; /* of channels[] */
    uint16_t channel_capacity;
    uint32_t frame_max; /* negotiated, whole frames; HANDSHAKE_FRAME_MAX before; 0 is no limit */
    uint32_t next_id;   /* see session_next_id */
    uint32_t next_epoch;
    uint32_t handshake_bytes; /* of frames taken before login */

    const char *mechanism; /* static: the client's SASL mechanism */

    uint64_t now_ms;      /* of the call that is running */
    uint64_t heard_ms;    /* input came last */
    uint64_t said_ms;     /* output was made last */
    uint64_t deadline_ms; /* of the handshake or for close-ok; UINT64_MAX is none */

    struct access_subject subject; /* owned strings, released with the session */
    struct bytes client_name;      /* owned */
    char *alarm; /* owned: why publishers are blocked now; NULL when they are not */

    struct channel **channels; /* sorted by number */
    struct channel *recent;    /* the one used last, or NULL */
    struct list busy;          /* channels with something to say in session_flush */
    struct list settling;      /* struct settling (session/settling.h) */
    uint64_t parked_bytes;     /* kept input of all parked channels */
    uint64_t unwritten_bytes;  /* in the outbox, held, and in the farewell */
    uint64_t reply_bytes;      /* said for the client's input since all had been written */

    uint64_t stable_ticket;  /* the host has told: commits up to here are stable */
    struct list held;        /* struct held (session/held.h) */
    struct outbox *farewell; /* owned: to be said when nothing is held; NULL when there is none */

    struct outbox outbox;
    struct buffer partial; /* an incomplete last frame; or all input while channel 0 waits */
};

/* ---- for every file of this folder ---- */

/* The channel of that number, or NULL. */
struct channel *connection_find_channel(struct session *session, uint16_t number);

/* A number that is not 0 and that this session has not used lately: names requests and consumers.
 * The tag_id of a consumer is the request of its consume, so that an answer that comes too late for
 * its channel can still be undone. */
uint32_t connection_next_id(struct session *session);

/* Writes a method frame, behind what is held of its channel. `channel` 0 is the connection itself.
 */
void connection_put(struct session *session, uint16_t channel, const struct method *method);

/* Closes the connection for a fault: sends connection.close with "CODE_NAME - text" and the ids of
 * `kind` (METHOD_unknown gives 0 and 0), gives back what the channels held, leaves, and waits for
 * close-ok. In the handshake it does what RabbitMQ does there, mostly dropping silently. The
 * channels stay in memory until the session is released; nothing is executed on them any more. */
void connection_fault(struct session *session, enum reply_code code, enum method_kind kind,
    const char *format, ...) PRINTF_LIKE(4, 5);
void connection_fault_list(struct session *session, enum reply_code code, enum method_kind kind,
    const char *format, va_list arguments) PRINTF_LIKE(4, 0);

/* True while methods are executed and things may be said on channels. */
static inline bool connection_is_open(const struct session *session) {
    return session->state == CONNECTION_OPEN || session->state == CONNECTION_DRAINING;
}

/* ---- for session.c, handshake.c, channel.c ---- */

/* The array is larger than the longest text on the wire, so that what is too long is known. */
struct reply_text {
    char data[768];
    uint32_t size;
};

/* A reply text: "CODE_NAME - text", at most 255 bytes, longer ones ending in "...". */
void connection_reply_text(struct reply_text *ret_text, enum reply_code code, const char *format,
    va_list arguments) PRINTF_LIKE(3, 0);

/* Lets the host note a fault. */
void connection_complain(
    struct session *session, uint16_t channel, enum reply_code code, const struct reply_text *text);

/* The only place that changes the state; checks that the edge exists. CLOSED drops what is held. */
void connection_enter(struct session *session, enum connection_state state);

/* The state's name for people, and as RabbitMQ's reply texts have it; static text. */
const char *connection_state_name(enum connection_state state);

/* Ends silently: gives back what the channels held, leaves if that was not done, finishes. */
void connection_drop(struct session *session);

/* Gives back what the channels held and calls leave; only the first call does. */
void connection_leave(struct session *session);

/* Leaves if that was not done, and ends: what is in the outbox is the last that is said; what is
 * held is dropped. */
void connection_finish(struct session *session);

/* calls->leave is done. */
void connection_on_left(struct session *session);

/* Commits up to this ticket are stable: releases what is held of all channels. */
void connection_on_stable(struct session *session, uint64_t ticket);

/* Ends the handshake for a wrong user or password: 403 for clients that can take it. */
void connection_refuse_login(struct session *session);

/* Takes bytes from the socket: frames in place, an incomplete last one is kept. */
void connection_on_bytes(struct session *session, struct bytes bytes);

/* Takes what was kept while channel 0 waited. */
void connection_resume(struct session *session);

/* A frame has arrived (from the socket, or kept while its channel was parked). */
void connection_on_frame(struct session *session, const struct frame *frame);

/* Replays what was kept for a channel that is not parked any more. */
void connection_replay(struct session *session, uint16_t number);

/* A channel that the client has closed is done with its queues: close-ok, then what was kept for
 * the next channel of its number. */
void connection_on_channel_left(struct session *session, struct channel *channel);

/* Goes on with the client's close when no channel is parked any more. */
void connection_drained(struct session *session);

#endif
