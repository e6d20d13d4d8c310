/* loop: one thread's libuv loop around an actor that works in turns. */
#include "net/loop.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "base/durations.h"
#include "base/limits.h"
#include "base/memory.h"

enum {
    READING_LONG_NS = 250000,     /* then the turn begins, and who was not read waits */
    READING_SHORT_NS = 100000,    /* more may be read at once */
    READ_BYTES_MIN = 32 * 1024,   /* what a read may bring at least */
    LOOK_AFTER_BYTES = 32 * 1024, /* the clock is looked at after so many have been read */
    BYTES_OF_GUEST = 4 * 1024,    /* and each guest counts for so many */
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active while polling must not wait */
    uv_poll_t bell;
    int bell_fd; /* an eventfd: uv_async spins while another thread sends */
    uv_timer_t timer;
    const struct loop_actor *actor_calls;
    void *actor;
    struct durations *turns; /* or NULL */
    uint64_t woken_ns;       /* when this turn began; 0: it waits */
    struct list line;        /* struct loop_guest: who waits to be read */
    size_t read_size;        /* bytes that one read may bring */
    size_t read_unlooked;    /* bytes since the clock was looked at */
    bool late;               /* this turn has read for long */
    bool more;               /* the last turn left work */
    bool ending;
    uint8_t *read_buffer;
    struct list finishing;
};

static void on_idle(uv_idle_t *handle) {
    (void)handle;
}

static void on_timer(uv_timer_t *handle) {
    (void)handle; /* the turn after polling looks at what is due */
}

/* The turn after polling reads the mail. */
static void on_bell(uv_poll_t *handle, int status, int events) {
    struct loop *loop = handle->data;
    uint64_t rings = 0;
    (void)status;
    (void)events;
    loop_woke(loop);
    (void)!read(loop->bell_fd, &rings, sizeof rings);
}

static void arm_timer(struct loop *loop) {
    uint64_t next = loop->actor_calls->next_deadline(loop->actor);
    if (next == UINT64_MAX) {
        uv_timer_stop(&loop->timer);
        return;
    }
    uint64_t now = uv_now(&loop->uv);
    uv_timer_start(&loop->timer, on_timer, next > now ? next - now : 0, 0);
}

/* The turn is over; the next one begins at once, or when the loop wakes. */
static void end_turn(struct loop *loop, bool wait) {
    if (!loop->turns) return;
    uint64_t now_ns = uv_hrtime();
    if (loop->woken_ns != 0) durations_put(loop->turns, now_ns - loop->woken_ns);
    loop->woken_ns = wait ? 0 : now_ns;
    loop->late = false;
    loop->read_unlooked = 0;
}

/* Before polling: decides whether it may wait. */
static void on_prepare(uv_prepare_t *handle) {
    struct loop *loop = handle->data;
    bool idle = !loop->more && !loop->ending && list_empty(&loop->line);
    bool wait = idle && loop->actor_calls->may_sleep(loop->actor);
    end_turn(loop, wait);
    if (!wait) {
        uv_idle_start(&loop->idle, on_idle);
        return;
    }
    uv_idle_stop(&loop->idle);
    arm_timer(loop);
}

static void serve_line(struct loop *loop) {
    struct list_node *node = NULL;
    while (!loop->late && (node = list_take_first(&loop->line)) != NULL) {
        struct loop_guest *guest = LIST_ENTRY(node, struct loop_guest, in_line);
        guest->serve(guest);
    }
}

/* After polling: one turn. */
static void on_check(uv_check_t *handle) {
    struct loop *loop = handle->data;
    loop_woke(loop);
    serve_line(loop);
    loop->actor_calls->awake(loop->actor);
    loop->more = loop->actor_calls->turn(loop->actor, uv_now(&loop->uv));
    if (loop->ending) uv_stop(&loop->uv);
}

struct loop *loop_new(const struct loop_actor *callbacks, void *actor) {
    struct loop *loop = NEW(struct loop);
    loop->actor_calls = callbacks;
    loop->actor = actor;
    loop->more = true;
    loop->read_buffer = mem_raw(READ_BUFFER_BYTES);
    loop->read_size = READ_BUFFER_BYTES;
    list_init(&loop->finishing);
    list_init(&loop->line);
    check(uv_loop_init(&loop->uv) == 0);
    check(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    check(uv_check_init(&loop->uv, &loop->check) == 0);
    check(uv_idle_init(&loop->uv, &loop->idle) == 0);
    loop->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    check(loop->bell_fd >= 0);
    check(uv_poll_init(&loop->uv, &loop->bell, loop->bell_fd) == 0);
    loop->bell.data = loop;
    uv_poll_start(&loop->bell, UV_READABLE, on_bell);
    check(uv_timer_init(&loop->uv, &loop->timer) == 0);
    loop->prepare.data = loop;
    loop->check.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    return loop;
}

static void close_handle(uv_handle_t *handle, void *context) {
    (void)context;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void loop_free(struct loop *loop) {
    if (!loop) return;
    check(list_empty(&loop->finishing));
    check(list_empty(&loop->line));
    uv_walk(&loop->uv, close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    check(uv_loop_close(&loop->uv) == 0);
    close(loop->bell_fd);
    mem_free(loop->read_buffer);
    mem_free(loop);
}

void loop_measure(struct loop *loop, struct durations *turns) {
    loop->turns = turns;
}

void loop_woke(struct loop *loop) {
    if (loop->woken_ns == 0 && loop->turns) loop->woken_ns = uv_hrtime();
}

bool loop_lines_up(struct loop *loop, struct loop_guest *guest) {
    if (!loop->late && list_empty(&loop->line)) return false;
    if (!list_linked(&guest->in_line)) list_put_last(&loop->line, &guest->in_line);
    return true;
}

size_t loop_read_size(const struct loop *loop) {
    return loop->read_size;
}

/* What a byte costs depends on what it says: many small messages for many queues take long. */
void loop_has_read(struct loop *loop, size_t size) {
    loop->read_unlooked += size + BYTES_OF_GUEST;
    if (loop->read_unlooked < LOOK_AFTER_BYTES || loop->woken_ns == 0) return;
    loop->read_unlooked = 0;
    uint64_t took_ns = uv_hrtime() - loop->woken_ns;
    loop->late = took_ns > READING_LONG_NS;
    if (loop->late)
        loop->read_size = max_u64(loop->read_size / 2, READ_BYTES_MIN);
    else if (size == loop->read_size && took_ns < READING_SHORT_NS)
        loop->read_size = min_u64(loop->read_size * 2, READ_BUFFER_BYTES);
}

void loop_run(struct loop *loop) {
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_bell(struct loop *loop) {
    uint64_t ring = 1;
    (void)!write(loop->bell_fd, &ring, sizeof ring);
}

void loop_end(struct loop *loop) {
    loop->ending = true;
}

uint64_t loop_now(const struct loop *loop) {
    return uv_now(&loop->uv);
}

struct uv_loop_s *loop_uv(struct loop *loop) {
    return &loop->uv;
}

uint8_t *loop_read_buffer(struct loop *loop) {
    return loop->read_buffer;
}

struct list *loop_finishing(struct loop *loop) {
    return &loop->finishing;
}
