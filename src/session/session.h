/* session: one AMQP connection's conversation, without I/O: bytes in, calls and bytes out.
 *
 *      bytes from the socket                            bytes for the socket
 *   ------> session_on_bytes                 session_outbox ------>
 *                     \                         ^
 *                   calls->publish, ...      session_on_deliver, _on_answer, _on_confirm
 *                       \                     /
 *                        host (shard/connection.c): routes, mails the owners, brings answers
 *
 * The session knows frames, channels, tags and who must be told what; it knows nothing of sockets,
 * exchanges' bindings or other shards. Time comes in with the calls. */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "base/base.h"
#include "core/op.h"
#include "core/topology.h"
#include "session/outbox.h"

struct session;

/* What a broker's sessions have in common; borrowed for their lives. */
struct session_settings {
    const char *product;
    const char *version;
    const char *cluster_name;
    uint32_t frame_max;   /* offered, bytes */
    uint16_t channel_max; /* offered */
    uint16_t heartbeat_s; /* offered */
    uint64_t message_bytes_max;
    uint32_t settling_slice; /* deliveries that are settled at once; 0 is the usual number */
};

/* ---- what a session asks of its host ---- */

/* Where a publish of a transaction goes when it is committed: routed when it came. One block of the
 * host's making, released with mem_free by the session. */
struct held_route {
    uint32_t count;
    queue_ref queues[];
};

/* One publish. The message stays the session's; the host takes references as it needs. */
struct publish {
    struct message *message;
    struct bytes headers; /* the headers table, for routing; empty when there is none */
    struct bytes cc;      /* contents of the CC and BCC arrays (valid field arrays), or empty */
    struct bytes bcc;
    const struct held_route *held; /* goes there and is not routed anew; or NULL */
    uint64_t seqno; /* names the publish in session_on_confirm; 0 when nobody waits */
    uint32_t epoch; /* the channel's; comes back with session_on_confirm */
    uint16_t channel;
};

struct publish_result {
    enum reply_code code; /* REPLY_OK, NOT_FOUND or ACCESS_REFUSED (internal exchange, rights) */
    uint32_t queues;      /* where it goes; 0 is unroutable */
    uint32_t confirms;    /* with a seqno: how many session_on_confirm calls will follow */
    char text[256];       /* for a code */
};

/* The answer to a request. With a ticket, and code REPLY_OK, the reply is held: it and all that is
 * said on its channel later wait for session_on_stable. Answers of fences and to channel 0 have
 * none. */
struct answer {
    /* The commit that must be stable before the client hears of it; 0: none. */
    uint64_t ticket;
    enum reply_code code;     /* REPLY_OK, or the fault to raise with `text` */
    char text[256];           /* without the "NOT_FOUND - " prefix */
    char name[256];           /* zero-terminated; change: name of the declared queue */
    uint32_t messages;        /* declare, purge, delete: ready messages; get: those left */
    uint32_t consumers;       /* declare */
    queue_ref queue;          /* consume, get */
    consumer_handle consumer; /* consume */
    struct message *message;  /* get: with one reference; NULL is get-empty */
    uint64_t seq;             /* get */
    bool redelivered;         /* get */
};

struct consume_request {
    struct bytes queue;
    struct bytes arguments;
    uint32_t tag_id;
    uint32_t prefetch;
    int32_t priority;
    uint8_t flags; /* OP_NO_ACK, OP_EXCLUSIVE, OP_SHARED */
};

enum settle_how { SETTLE_ACK, SETTLE_REJECT, SETTLE_REQUEUE, SETTLE_RETURN };

/* A run of deliveries of one queue to one consumer, next to each other in its sequence. */
struct settle {
    queue_ref queue;
    uint64_t seq;
    uint32_t count;
    consumer_handle consumer;
    enum settle_how how;
};

/* The functions that return bool answer at once when they give true, with *ret_answer filled in;
 * with false the answer comes later by session_on_answer with the same channel and request, in any
 * order with others. They never call back into the session. Strings are borrowed for the call. */
struct session_calls {
    /* Checks a user. Answered by session_on_login, never at once. */
    void (*login)(void *host, struct bytes user, struct bytes password);
    /* Enters a virtual host: NOT_ALLOWED with text when it is missing or refused. A later answer
     * names channel 0 and request 0. */
    bool (*open_vhost)(void *host, struct bytes vhost, struct answer *ret_answer);
    bool (*change)(void *host, uint16_t channel, uint32_t request, const struct change *change,
        struct answer *ret_answer);
    bool (*consume)(void *host, uint16_t channel, uint32_t request,
        const struct consume_request *consume, struct answer *ret_answer);
    /* Never answered at once; with request 0 never answered. */
    void (*cancel)(void *host, uint16_t channel, uint32_t request, queue_ref queue, uint32_t tag_id,
        consumer_handle consumer);
    bool (*get)(void *host, uint16_t channel, uint32_t request, struct bytes queue, bool no_ack,
        struct answer *ret_answer);
    bool (*purge)(void *host, uint16_t channel, uint32_t request, struct bytes queue,
        struct answer *ret_answer);
    void (*settle)(void *host, const struct settle *settle);
    /* Answers with REPLY_OK, never at once, when everything that was asked before (cancels,
     * settlements, publishes) has been done by the queues. With `stable` it answers when what the
     * queues have recorded of it is stable, too. */
    void (*fence)(void *host, uint16_t channel, uint32_t request, bool stable);
    /* Grants `count` tokens of a channel's shared prefetch to a consumer. With 0 it says that
     * deliveries need tokens from now on: the shared prefetch came after the consumer. */
    void (*grant)(void *host, queue_ref queue, uint16_t channel, uint32_t tag_id,
        consumer_handle consumer, uint32_t count);
    void (*publish)(void *host, const struct publish *publish, struct publish_result *ret_result);
    /* Routes as publish would, but posts nothing: with code REPLY_OK gives the route to hold. */
    void (*hold)(void *host, const struct publish *publish, struct publish_result *ret_result,
        struct held_route **ret_held);
    /* Tells whether an exchange may be published to now, as publish would, without doing it. */
    enum reply_code (*look)(void *host, struct bytes exchange, char text[256]);
    /* The session is over for the protocol (closed or closing): what it owned must go. Answered by
     * session_on_left; may take several turns. Called once at most. */
    void (*leave)(void *host);
    /* Nothing more will be said: write what is in the outbox, then close the socket. */
    void (*finish)(void *host);
    /* There is something for session_flush to do at the end of this turn. Cheap; may repeat. */
    void (*wake)(void *host);
    /* Something was refused: the channel (0: the connection) is being closed with this reply text.
     * For people; may be NULL. */
    void (*complain)(void *host, uint16_t channel, enum reply_code code, struct bytes text);
    /* Fills `data` with unguessable bytes. */
    void (*random)(void *host, uint8_t *data, size_t size);
};

/* ---- life ---- */

/* A session that waits for a protocol header. `settings`, `calls`, `host` and the pools are
 * borrowed for its life; `chunks` is the outbox's. The first call with a time starts the
 * handshake's clock, so session_tick is called once at the beginning. */
struct session *session_new(const struct session_settings *settings,
    const struct session_calls *calls, void *host, connection_ref self, struct message_pool *pool,
    struct chunk_pool *chunks);

/* Releases the session. If leave() was not called yet, call session_on_disconnect first. */
void session_free(struct session *session);

/* Bytes have arrived. Takes all of them; what belongs to a parked channel or to an incomplete frame
 * is kept (bounded: see session_wants_input). */
void session_on_bytes(struct session *session, struct bytes bytes, uint64_t now_ms);

/* The socket is gone. Cancels consumers, gives unacked messages back and leaves (calls->leave). */
void session_on_disconnect(struct session *session, uint64_t now_ms);

/* The broker is stopping or an operator closes the connection: 320 with `text`, in order, behind
 * what is held. */
void session_shut(struct session *session, const char *text, uint64_t now_ms);

/* ---- what comes back from below ---- */

/* `ok` is the verdict on calls->login. */
void session_on_login(struct session *session, bool ok, uint64_t now_ms);
void session_on_answer(struct session *session, uint16_t channel, uint32_t request,
    const struct answer *answer, uint64_t now_ms);
void session_on_left(struct session *session, uint64_t now_ms);

/* Commits up to and including this ticket are stable: the replies that waited for them go into the
 * outbox, with all that was said behind them. A session takes commits that it was not told of for
 * unstable, 0 apart; a smaller ticket than the last changes nothing. May call finish. */
void session_on_stable(struct session *session, uint64_t ticket);

/* A message for a consumer: effect DELIVER from `queue`. The message's reference comes with it. A
 * delivery that nobody waits for any more is given back with calls->settle. */
void session_on_deliver(
    struct session *session, queue_ref queue, const struct effect *effect, uint64_t now_ms);

/* A consumer's queue has been deleted. */
void session_on_consumer_lost(struct session *session, const struct effect *effect);

/* A queue asks for tokens of a channel's shared prefetch, or gives them back. */
void session_on_tokens(struct session *session, queue_ref queue, const struct effect *effect);

/* A message for a direct reply-to consumer of this connection (session/reply_to.h). The reference
 * comes with it. */
void session_on_reply(struct session *session, uint16_t channel, struct message *message);

/* True while the channel has a direct reply-to consumer with this very key. */
bool session_awaits_reply(struct session *session, uint16_t channel, struct bytes key);

/* One of the confirms announced by publish_result: the publish is safe (ok), or was refused. */
void session_on_confirm(
    struct session *session, uint16_t channel, uint32_t epoch, uint64_t seqno, bool ok);

/* An alarm blocks publishers (connection.blocked), or clears. */
void session_on_blocked(struct session *session, const char *reason);
void session_on_unblocked(struct session *session);

/* ---- questions and the end of the turn ---- */

/* Says what was gathered during the turn: coalesced confirms, settlements. */
void session_flush(struct session *session, uint64_t now_ms);

/* True while very many deliveries are being settled or given back, also those of a connection that
 * has ended: calls->leave, and what else has to come behind, waits for that. */
bool session_settles(const struct session *session);

/* Goes on with it: a slice, which takes some hundred microseconds, here and in the queues. The host
 * calls it after calls->wake, turn by turn, until session_settles is false. */
void session_settle_some(struct session *session, uint64_t now_ms);

/* Does what is due (heartbeats, timeouts) and gives the time of the next thing, UINT64_MAX for
 * none. */
uint64_t session_tick(struct session *session, uint64_t now_ms);

/* False while the socket should not be read: a parked channel has kept much input, or there are
 * many answers to what the client sent that it does not read, or that are held. Look again whenever
 * something was written or answered. */
bool session_wants_input(const struct session *session);

/* While the host does not read, silence is not the client's fault: its heartbeat is not missed. */
void session_on_input_paused(struct session *session, bool paused, uint64_t now_ms);

/* The bytes to write; the host takes them from the front. */
struct outbox *session_outbox(struct session *session);

/* True while something waits for a commit: session_on_stable has to be called then. */
bool session_holds(const struct session *session);

/* Bytes that are said and not written: those in the outbox, and those that are held. */
uint64_t session_unwritten_bytes(const struct session *session);

/* True once the connection has published: alarms stop reading such connections. */
bool session_has_published(const struct session *session);

/* Facts for people: states, names, counts. Strings are borrowed. */
struct session_facts {
    struct bytes user;
    struct bytes vhost;
    struct bytes client_name; /* connection_name or product of the client properties */
    const char *state;
    uint32_t channels;
    uint32_t consumers;
    uint64_t unacked;
    uint64_t unconfirmed;
};

/* Gathers them: O(channels). */
void session_facts(const struct session *session, struct session_facts *ret_facts);

/* Checks every invariant: O(n). For tests and the simulator. */
void session_check(const struct session *session);

#endif
