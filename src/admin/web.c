/* web: HTTP connections on the admin loop. */
#include "admin/web.h"

#include "base/buffer.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/str.h"
#include "net/listener.h"
#include "net/socket.h"

enum {
    CALLS_MAX = 256,             /* connections at the same time; more are closed at once */
    CONTENT_SMALL_BYTES = 65536, /* up to this an answer is sent with its length */
    CONTENT_ROOM_BYTES = 262144, /* above it the answerer waits */
    CONTENT_BYTES_MAX = 8388608, /* one slice more must fit */
    HEAD_BYTES_MAX = 512,
    IDLE_MS = 60000,    /* between requests */
    REQUEST_MS = 10000, /* for a head to arrive */
    ANSWER_MS = 10000,  /* for an answer to begin */
    WRITE_MS = 30000    /* for the client to take something */
};

struct door {
    struct web *web;
    struct listener *listener;
    uint32_t place;
    struct door *next;
};

struct web {
    struct loop *loop;
    const struct web_events *events;
    void *owner;
    struct door *doors;
    struct list calls;
    struct list over; /* to be let go of at the end of the turn */
    uint32_t call_count;
    struct deadlines deadlines;
};

struct web_call {
    struct web *web;
    struct socket *socket; /* NULL once closed */
    struct list_node in_calls;
    struct deadline deadline;
    uint32_t place;
    bool local;
    bool answering; /* between a request and the end of its answer's last byte */
    bool begun;     /* something of the answer has been sent */
    bool ended;     /* the content is complete */
    bool complete;  /* its end is framed */
    bool looking;   /* input is being looked at: no second time */
    bool close_after;
    const struct web_answerer *answerer_calls; /* NULL: nobody to be told */
    void *answerer;
    struct http_answer head;
    struct buffer input;
    struct buffer content; /* of the answer, not yet framed */
    struct buffer out;     /* framed, not yet written */
    size_t out_at;
    struct http_request request;
};

static uint64_t now_of(const struct web_call *call) {
    return loop_now(call->web->loop);
}

static void wait_for(struct web_call *call, uint64_t ms) {
    deadline_set(&call->web->deadlines, &call->deadline, now_of(call) + ms);
}

/* ---- the end of a connection ---- */

/* Over: whoever answers is told at the end of the turn, when nobody is in the middle of it. */
static void put_over(struct web_call *call) {
    call->socket = NULL;
    deadline_set(&call->web->deadlines, &call->deadline, UINT64_MAX);
    list_remove(&call->in_calls);
    list_put_last(&call->web->over, &call->in_calls);
}

static void retire(struct web_call *call, bool in_order) {
    if (!call->socket) return;
    if (in_order)
        socket_finish(call->socket);
    else
        socket_close(call->socket);
    put_over(call);
}

static void release(struct web_call *call) {
    if (call->answerer_calls) call->answerer_calls->gone(call->answerer);
    list_remove(&call->in_calls);
    buffer_deinit(&call->input);
    buffer_deinit(&call->content);
    buffer_deinit(&call->out);
    call->web->call_count--;
    mem_free(call);
}

/* ---- output ---- */

static bool put_out(struct web_call *call, const void *data, size_t size) {
    return buffer_put(&call->out, data, size);
}

static void put_head(struct web_call *call) {
    struct http_answer *head = &call->head;
    char text[HEAD_BYTES_MAX];
    bool known = call->ended;
    head->chunked = !known && call->request.chunks_understood;
    head->unframed = !known && !head->chunked;
    head->content_size = call->content.size;
    head->keep_alive = call->request.keep_alive && !call->close_after && !head->unframed;
    call->close_after = !head->keep_alive;
    size_t size = http_write_head(text, sizeof text, head);
    check(put_out(call, text, size));
    call->begun = true;
}

/* Moves the content to the framed bytes. */
static void frame_content(struct web_call *call) {
    bool wanted = call->request.method != HTTP_HEAD;
    size_t size = call->content.size;
    char line[24];
    if (size != 0 && wanted) {
        if (call->head.chunked)
            check(put_out(call, line, str_format(line, sizeof line, "%zx\r\n", size)));
        check(put_out(call, call->content.data, size));
        if (call->head.chunked) check(put_out(call, "\r\n", 2));
    }
    call->content.size = 0;
    if (call->ended && call->head.chunked && wanted) check(put_out(call, "0\r\n\r\n", 5));
    call->complete = call->ended;
}

/* Writes what the socket takes; false when the client is gone. */
static bool write_out(struct web_call *call) {
    size_t left = call->out.size - call->out_at;
    if (left != 0) {
        struct iovec vector = {.iov_base = call->out.data + call->out_at, .iov_len = left};
        int64_t written = socket_write(call->socket, &vector, 1);
        if (written < 0) {
            retire(call, false);
            return false;
        }
        if (written > 0) wait_for(call, WRITE_MS);
        call->out_at += (size_t)written;
    }
    if (call->out_at == call->out.size) {
        buffer_deinit(&call->out);
        call->out_at = 0;
    }
    return true;
}

static void look_at_input(struct web_call *call);

/* The answer has left completely. */
static void finish_answer(struct web_call *call) {
    call->answering = false;
    if (call->close_after) {
        retire(call, true);
        return;
    }
    wait_for(call, IDLE_MS);
    socket_want(call->socket, true, false);
    if (!call->looking) look_at_input(call);
}

void web_flush(struct web_call *call) {
    if (!call->socket || !call->answering) return;
    bool due = call->ended || call->begun || call->content.size > CONTENT_SMALL_BYTES;
    if (!due) return;
    bool more = true;
    while (more) {
        if (call->out.size == 0) {
            if (!call->begun) put_head(call);
            frame_content(call);
        }
        if (!write_out(call)) return;
        bool waits = call->content.size != 0 || call->complete != call->ended;
        more = call->out.size == 0 && waits;
    }
    if (call->out.size == 0 && call->complete)
        finish_answer(call);
    else
        socket_want(call->socket, false, call->out.size != 0);
}

bool web_room(const struct web_call *call) {
    return call->socket && call->content.size + call->out.size < CONTENT_ROOM_BYTES;
}

bool web_put(struct web_call *call, const void *data, size_t size) {
    if (!call->socket) return false;
    if (buffer_put(&call->content, data, size)) return true;
    retire(call, false);
    return false;
}

/* ---- answers ---- */

void web_begin(struct web_call *call, uint16_t status, const char *type,
    const struct web_answerer *calls, void *answerer) {
    check(call->answering);
    call->head = (struct http_answer){
        .status = status, .type = type, .ask_login = status == 401, .tell_allow = status == 405};
    call->answerer_calls = calls;
    call->answerer = answerer;
    call->content.size = 0;
    wait_for(call, ANSWER_MS);
}

void web_end(struct web_call *call) {
    call->answerer_calls = NULL;
    if (!call->socket) return;
    call->ended = true;
    web_flush(call);
}

void web_answer(struct web_call *call, uint16_t status, const char *type, struct bytes body) {
    web_begin(call, status, type, NULL, NULL);
    if (web_put(call, body.data, body.size)) web_end(call);
}

void web_fail(struct web_call *call, const char *reason) {
    char body[256];
    call->answerer_calls = NULL;
    if (!call->socket) return;
    if (call->begun) {
        retire(call, false);
        return;
    }
    call->content.size = 0;
    size_t size = str_format(
        body, sizeof body, "{\"error\":\"service_unavailable\",\"reason\":\"%s\"}", reason);
    web_answer(call, 503, "application/json", bytes_of(body, size));
}

const struct http_request *web_request(const struct web_call *call) {
    return &call->request;
}

uint32_t web_place(const struct web_call *call) {
    return call->place;
}

bool web_is_local(const struct web_call *call) {
    return call->local;
}

/* ---- input ---- */

/* Begins to answer: nothing more is read until the answer has left. */
static void begin_request(struct web_call *call) {
    call->answering = true;
    call->begun = false;
    call->ended = false;
    call->complete = false;
    socket_want(call->socket, false, false);
}

static void refuse(struct web_call *call, enum http_verdict verdict) {
    bool is_long = verdict == HTTP_LONG;
    call->close_after = true;
    call->input.size = 0;
    begin_request(call);
    web_answer(call, is_long ? 431 : 400, "application/json",
        is_long ? BYTES("{\"error\":\"bad_request\",\"reason\":\"the request is too long\"}")
                : BYTES("{\"error\":\"bad_request\",\"reason\":\"this is no HTTP request\"}"));
}

static void take_request(struct web_call *call) {
    struct buffer *input = &call->input;
    uint32_t taken = call->request.head_size;
    memmove(input->data, input->data + taken, input->size - taken);
    input->size -= taken;
    /* A body is not read: what follows cannot be told from it, so this request is the last one. */
    if (call->request.has_body) call->close_after = true;
    begin_request(call);
    call->web->events->on_request(call->web->owner, call);
}

/* Takes the requests that are there, one after the other; a client may send several at once. */
static void look_at_input(struct web_call *call) {
    call->looking = true;
    while (call->socket && !call->answering && call->input.size != 0) {
        enum http_verdict verdict =
            http_read(bytes_of(call->input.data, call->input.size), &call->request);
        if (verdict == HTTP_MORE) break;
        if (verdict == HTTP_COMPLETE)
            take_request(call);
        else
            refuse(call, verdict);
    }
    call->looking = false;
    if (call->input.size == 0) buffer_deinit(&call->input);
}

static void on_read(void *owner, struct bytes bytes, uint64_t now_ms) {
    struct web_call *call = owner;
    (void)now_ms;
    if (call->input.size == 0) wait_for(call, REQUEST_MS);
    size_t room = HTTP_HEAD_BYTES_MAX - call->input.size;
    size_t size = bytes.size < room ? bytes.size : room;
    check(buffer_put(&call->input, bytes.data, size));
    /* What does not fit is the rest of a body or of too many requests at once. */
    if (size < bytes.size) call->close_after = true;
    look_at_input(call);
}

static void on_writable(void *owner) {
    struct web_call *call = owner;
    if (!call->answering) return;
    web_flush(call);
    if (!call->socket || !call->answerer_calls || !web_room(call)) return;
    call->answerer_calls->more(call->answerer);
}

static void on_closed(void *owner, uint64_t now_ms) {
    struct web_call *call = owner;
    (void)now_ms;
    put_over(call); /* the socket has closed itself */
}

static const struct socket_events SOCKET_EVENTS = {on_read, on_writable, on_closed};

/* ---- connections ---- */

static void on_accepted(void *owner, int fd, const char *peer, bool loopback) {
    struct door *door = owner;
    struct web *web = door->web;
    (void)peer;
    struct socket *socket = socket_open(web->loop, fd, &SOCKET_EVENTS);
    if (!socket) return;
    if (web->call_count == CALLS_MAX) {
        socket_close(socket);
        return;
    }
    struct web_call *call = NEW(struct web_call);
    call->web = web;
    call->socket = socket;
    call->place = door->place;
    call->local = loopback;
    buffer_init(&call->input, HTTP_HEAD_BYTES_MAX);
    buffer_init(&call->content, CONTENT_BYTES_MAX);
    buffer_init(&call->out, CONTENT_BYTES_MAX + HEAD_BYTES_MAX + 64);
    list_put_last(&web->calls, &call->in_calls);
    web->call_count++;
    socket_set_owner(socket, call);
    socket_want(socket, true, false);
    wait_for(call, REQUEST_MS);
}

static void on_accept_failed(void *owner, int error) {
    (void)owner, (void)error; /* the AMQP listener runs into the same, and says so */
}

static const struct listener_events LISTENER_EVENTS = {on_accepted, on_accept_failed};

struct web *web_new(struct loop *loop, const struct web_events *events, void *owner) {
    struct web *web = NEW(struct web);
    web->loop = loop;
    web->events = events;
    web->owner = owner;
    list_init(&web->calls);
    list_init(&web->over);
    deadlines_init(&web->deadlines);
    return web;
}

void web_listen(struct web *web, int fd, uint32_t place) {
    struct door *door = NEW(struct door);
    door->web = web;
    door->place = place;
    door->next = web->doors;
    web->doors = door;
    door->listener = listener_start(web->loop, fd, &LISTENER_EVENTS, door);
}

static void release_over(struct web *web) {
    struct list_node *node = NULL;
    while ((node = list_first(&web->over)) != NULL)
        release(LIST_ENTRY(node, struct web_call, in_calls));
}

/* An answer that has not begun is replaced by a reason; its answerer hears that nobody waits. */
static void time_out(struct web_call *call) {
    const struct web_answerer *calls = call->answerer_calls;
    if (!calls || call->begun) {
        retire(call, false);
        return;
    }
    web_fail(call, "no answer in time");
    calls->gone(call->answerer);
}

void web_turn(struct web *web, uint64_t now_ms) {
    struct deadline *due = NULL;
    while ((due = deadlines_take_due(&web->deadlines, now_ms)) != NULL)
        time_out(CONTAINER_OF(due, struct web_call, deadline));
    release_over(web);
}

uint64_t web_next_deadline(const struct web *web) {
    return deadlines_next(&web->deadlines);
}

void web_free(struct web *web) {
    if (!web) return;
    struct list_node *node = NULL;
    while ((node = list_first(&web->calls)) != NULL)
        retire(LIST_ENTRY(node, struct web_call, in_calls), false);
    release_over(web);
    while (web->doors) {
        struct door *door = web->doors;
        web->doors = door->next;
        listener_close(door->listener);
        mem_free(door);
    }
    deadlines_deinit(&web->deadlines);
    mem_free(web);
}
