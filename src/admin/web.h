/* web: HTTP connections on the admin loop: one request at a time each, answered now or later.
 *
 *     request --> events->on_request --> web_begin, web_put ..., web_end
 *                                          |           ^
 *                                          +-- more ---+   when what was put is written
 *
 * An answer is gathered until it ends or grows large; then it is sent with its length, or in chunks
 * as it comes. Whoever answers puts a bounded slice, and waits for `more` when web_room says no. */
#ifndef ADMIN_WEB_H
#define ADMIN_WEB_H

#include "admin/http.h"
#include "base/deadline.h"
#include "net/loop.h"

struct web;
struct web_call;

/* What whoever answers in slices is told; after `gone` the call must not be touched. */
struct web_answerer {
    void (*more)(void *answerer); /* there is room again */
    void (*gone)(void *answerer); /* the client is gone or took too long; told between turns only */
};

struct web_events {
    /* A request is there. It is answered by web_answer, or by web_begin and what follows. */
    void (*on_request)(void *owner, struct web_call *call);
};

/* `loop`, `events` and `owner` are borrowed for its life. */
struct web *web_new(struct loop *loop, const struct web_events *events, void *owner);

/* Drops all connections and stops listening; the loop's thread, or when it has ended. */
void web_free(struct web *web);

/* Takes a bound descriptor and accepts on it; `place` comes back with web_place. */
void web_listen(struct web *web, int fd, uint32_t place);

/* The end of a turn: lets go of the connections that are over, and looks at what is due. */
void web_turn(struct web *web, uint64_t now_ms);
uint64_t web_next_deadline(const struct web *web);

/* ---- a call ---- */

/* What was asked; borrowed for the call's life. */
/* What was asked; as long as the call is being answered. */
const struct http_request *web_request(const struct web_call *call);

/* Where it came in, and whether from this machine. */
uint32_t web_place(const struct web_call *call);
bool web_is_local(const struct web_call *call);

/* Answers all at once; `body` is copied. */
void web_answer(struct web_call *call, uint16_t status, const char *type, struct bytes body);

/* Begins an answer in slices. `type` is static text; `calls` is borrowed, `answerer` is passed to
 * it. */
void web_begin(struct web_call *call, uint16_t status, const char *type,
    const struct web_answerer *calls, void *answerer);

/* Puts a part of the content; false when the client is gone, of which the answerer will be told. */
bool web_put(struct web_call *call, const void *data, size_t size);

/* False while so much waits to be written that nothing more should be put. */
bool web_room(const struct web_call *call);

/* Writes what was put; after every slice. */
void web_flush(struct web_call *call);

/* The content is complete. The answerer is not told anything any more. */
void web_end(struct web_call *call);

/* The answer cannot be completed: 503 with the reason if nothing was sent yet, else the connection
 * is dropped. The answerer is not told anything any more. */
void web_fail(struct web_call *call, const char *reason);

#endif
