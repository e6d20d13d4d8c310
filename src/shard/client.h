/* client: a session's host: its socket on one side, the mail to other actors on the other. */
#ifndef SHARD_CLIENT_H
#define SHARD_CLIENT_H

#include "shard/shard.h"

/* A question under way to a queue's shard; the answer's texts need what it was about. */
struct ask {
    struct ask *next;
    struct request *request; /* declare: the whole request, else NULL */
    uint32_t number;
    uint16_t channel;
    uint32_t fences_left; /* a fence: shards that have not answered */
    char name[];          /* the queue's */
};

struct client {
    struct shard *shard;
    struct session *session;
    void *socket; /* NULL once closed */
    connection_ref self;
    struct list_node in_dirty;
    struct list_node in_holding; /* its session waits for a commit of definitions */
    struct deadline deadline;
    struct vhost *vhost;
    struct ask *asks;
    const char *reason;    /* static text: why it ends, when that is not the client's doing */
    uint64_t window_bytes; /* published and not yet applied by the owners */
    uint32_t window_publishes;
    uint32_t delivered_sum; /* not 0: some of delivered[] may be due */
    uint64_t starved;       /* a bit for each owner whose credit for us is low */
    uint32_t *delivered;    /* [shard_count] bytes taken from each owner's credit; made on use */
    uint32_t fences_left;   /* leaving: shards that have not answered */
    bool reading;           /* what the socket was last asked for */
    bool writing;
    bool blocked;   /* by an alarm */
    bool finishing; /* close when the outbox is empty */
    bool leaving;   /* the registrar has been asked to drop its exclusive queues */
    bool left;      /* it has answered */
    bool exclusive; /* it has asked for an exclusive queue */
    bool entered;   /* its virtual host has been opened */
    bool local;     /* the peer's address is loopback */
    char peer[64];  /* "127.0.0.1:5000" */
};

/* Takes an accepted socket. `peer` is its address as text; `local` tells that it is loopback. */
struct client *client_open(struct shard *shard, void *socket, const char *peer, bool local);

/* An assigned socket could not be opened after all. */
void client_not_opened(struct shard *shard);

/* Closes the socket without another word; the session lets go of what it holds. */
void client_drop(struct client *client);

/* Socket events. The client may be gone after client_on_closed. */
void client_on_read(struct client *client, struct bytes bytes);
void client_on_writable(struct client *client);
void client_on_closed(struct client *client);

/* Mail for connections. */
void client_on_effect(struct shard *shard, const struct mail *mail);
void client_on_changed(struct shard *shard, struct request *request);
void client_on_reply(struct shard *shard, const struct mail *mail);
void client_on_left(struct shard *shard, connection_ref ref);

/* The ticket to put into an answer: 0 when that commit is stable already. */
uint64_t client_ticket(struct client *client, uint64_t ticket);

/* All changes of definitions up to this ticket are stable. */
void client_on_committed(struct shard *shard, uint64_t ticket);

/* The connection of a ref, or NULL when it is gone. */
struct client *client_find(struct shard *shard, connection_ref ref);

/* Puts the connection on the list of those to flush at the end of the turn. */
void client_wake(struct client *client);

/* End of the turn: what the session gathered, bytes out, credit back, reading on or off. */
void client_flush(struct client *client);

/* Blocks or unblocks publishing connections after a change of the alarm. */
void client_on_alarm(struct client *client);

/* Timers that are due. */
void client_on_deadline(struct client *client);

/* The broker stops: 320. */
void client_shut(struct client *client);

/* ---- shard/asking.c: the session's requests ---- */

extern const struct session_calls CLIENT_CALLS;

/* Takes the ask of (channel, number) off the list; NULL when there is none. */
struct ask *client_take_ask(struct client *client, uint16_t channel, uint32_t number);
void ask_free(struct ask *ask);

/* A copy of the change with its strings, for the way to the registrar. Released by mem_free. */
struct request *client_make_request(
    const struct client *client, const struct change *change, uint16_t channel, uint32_t number);

/* Sends a request to the registrar. */
void client_send_request(struct client *client, struct request *request);

/* Asks the queue's shard for the counts that complete a declare. Takes the request. */
void client_ask_counts(struct client *client, struct request *request);

/* A fence of ours has come back from a shard: all that was posted to it before has been done. */
void client_on_fenced(struct shard *shard, const struct mail *mail);

/* Somebody asks whether a reply key's client still waits. */
void client_on_probe(struct shard *shard, const struct mail *mail);

/* ---- shard/publisher.c: publishes and their watermarks ---- */

/* calls->publish: routes, posts to the owners, remembers what waits for their watermarks. */
void client_publish(void *host, const struct publish *publish, struct publish_result *ret_result);

/* calls->hold: routes, and gives the route to publish by later. */
void client_hold(void *host, const struct publish *publish, struct publish_result *ret_result,
    struct held_route **ret_held);

/* calls->look: whether an exchange may be published to. */
enum reply_code client_look(void *host, struct bytes exchange, char text[256]);

/* A peer has applied so many of our ENQUEUEs, and so many are stable or need not be. */
void publisher_on_watermark(struct shard *shard, uint32_t owner, uint64_t applied, uint64_t stable);

/* True while the connection's window has room. */
bool publisher_window_open(const struct client *client);

/* ---- shard/notes.c: what the log is told of clients ---- */

/* It has logged in and entered its virtual host. */
void client_note_opened(struct client *client);

/* Its socket is closed; before the session learns of it. */
void client_note_closed(struct client *client);

/* A wrong user or password, or one who may not come from there. */
void client_note_refused(struct client *client, struct bytes user);

/* calls->complain. */
void client_note_fault(void *host, uint16_t channel, enum reply_code code, struct bytes text);

#endif
