/* mailbox: one FIFO for each ordered pair of actors. */
#include "shard/mailbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/ring.h"

enum { PUBLISH_EVERY = 64 }; /* pieces of mail before a busy sender shows them */

/* What did not fit the ring, in order: a queue in an array that grows. */
struct overflow {
    struct mail *mail;
    size_t first;
    size_t count;
    size_t capacity;
};

struct mailbox {
    struct ring ring;
    struct overflow overflow;           /* the sender's */
    bool urgent;                        /* the sender's: something was posted that cannot wait */
    _Alignas(64) _Atomic bool overfull; /* the sender waits for room and wants a bell */
};

struct actor {
    _Alignas(64) _Atomic bool asleep;
};

struct mesh {
    uint32_t actors;
    mesh_bell bell;
    void *context;
    struct mailbox **boxes; /* [from * actors + to] */
    struct actor *actor;
};

static struct mailbox *mailbox_new(void) {
    struct mailbox *box = aligned_alloc(64, sizeof *box);
    struct ring_slot *slots = aligned_alloc(64, MAILBOX_SLOTS * sizeof *slots);
    check(box != NULL);
    check(slots != NULL);
    memset(box, 0, sizeof *box);
    ring_init(&box->ring, slots, MAILBOX_SLOTS);
    return box;
}

static void mailbox_free(struct mailbox *box) {
    check(box->overflow.count == 0);
    mem_free(box->overflow.mail);
    mem_free(box->ring.slots);
    mem_free(box);
}

struct mesh *mesh_new(uint32_t actors, mesh_bell bell, void *context) {
    struct mesh *mesh = NEW(struct mesh);
    mesh->actors = actors;
    mesh->bell = bell;
    mesh->context = context;
    mesh->boxes = mem_new_array((size_t)actors * actors, sizeof(struct mailbox *));
    for (uint32_t i = 0; i < actors * actors; i++)
        mesh->boxes[i] = mailbox_new();
    mesh->actor = aligned_alloc(64, actors * sizeof *mesh->actor);
    check(mesh->actor != NULL);
    for (uint32_t i = 0; i < actors; i++)
        atomic_init(&mesh->actor[i].asleep, false);
    return mesh;
}

void mesh_free(struct mesh *mesh) {
    if (!mesh) return;
    for (uint32_t i = 0; i < mesh->actors * mesh->actors; i++)
        mailbox_free(mesh->boxes[i]);
    mem_free(mesh->boxes);
    mem_free(mesh->actor);
    mem_free(mesh);
}

static struct mailbox *box_of(struct mesh *mesh, uint32_t from, uint32_t to) {
    return mesh->boxes[from * mesh->actors + to];
}

static struct mail *overflow_room(struct overflow *overflow) {
    if (overflow->first + overflow->count == overflow->capacity) {
        if (overflow->first > overflow->capacity / 2) {
            memmove(overflow->mail, overflow->mail + overflow->first,
                overflow->count * sizeof *overflow->mail);
            overflow->first = 0;
        } else {
            overflow->capacity = overflow->capacity ? overflow->capacity * 2 : 256;
            overflow->mail =
                mem_resize(overflow->mail, overflow->capacity * sizeof *overflow->mail);
        }
    }
    return &overflow->mail[overflow->first + overflow->count++];
}

/* Moves what overflowed into the ring as far as it fits. */
static void overflow_drain(struct mailbox *box) {
    struct overflow *overflow = &box->overflow;
    while (overflow->count != 0) {
        struct mail *slot = ring_reserve(&box->ring);
        if (!slot) return;
        *slot = overflow->mail[overflow->first++];
        overflow->count--;
    }
    mem_free(overflow->mail);
    *overflow = (struct overflow){0};
}

static struct mail *post(struct mailbox *box) {
    if (__builtin_expect(box->overflow.count == 0, 1)) {
        if (box->ring.write_at - box->ring.published >= PUBLISH_EVERY) ring_publish(&box->ring);
        struct mail *slot = ring_reserve(&box->ring);
        if (__builtin_expect(slot != NULL, 1)) return slot;
    }
    return overflow_room(&box->overflow);
}

struct mail *mesh_post(struct mesh *mesh, uint32_t from, uint32_t to) {
    struct mailbox *box = box_of(mesh, from, to);
    box->urgent = true;
    return post(box);
}

struct mail *mesh_post_quietly(struct mesh *mesh, uint32_t from, uint32_t to) {
    return post(box_of(mesh, from, to));
}

/* Rings when the receiver has announced that it sleeps. The fence pairs with mesh_may_sleep's:
 * either we see `asleep`, or the receiver sees our mail. */
static void ring_bell(struct mesh *mesh, uint32_t actor) {
    if (atomic_load_explicit(&mesh->actor[actor].asleep, memory_order_seq_cst) &&
        atomic_exchange(&mesh->actor[actor].asleep, false))
        mesh->bell(mesh->context, actor);
}

bool mesh_publish(struct mesh *mesh, uint32_t from) {
    bool all = true;
    for (uint32_t to = 0; to < mesh->actors; to++) {
        struct mailbox *box = box_of(mesh, from, to);
        if (box->overflow.count != 0) {
            atomic_store(&box->overfull, true);
            overflow_drain(box);
            if (box->overflow.count == 0)
                atomic_store(&box->overfull, false);
            else
                all = false;
        }
        if (ring_pending(&box->ring)) ring_publish(&box->ring);
        if (to != from && box->urgent) {
            atomic_thread_fence(memory_order_seq_cst);
            ring_bell(mesh, to);
        }
        box->urgent = box->overflow.count != 0;
    }
    return all;
}

const struct mail *mesh_peek(struct mesh *mesh, uint32_t from, uint32_t to) {
    return ring_peek(&box_of(mesh, from, to)->ring);
}

void mesh_took(struct mesh *mesh, uint32_t from, uint32_t to) {
    ring_advance(&box_of(mesh, from, to)->ring);
}

void mesh_release(struct mesh *mesh, uint32_t from, uint32_t to) {
    struct mailbox *box = box_of(mesh, from, to);
    ring_release(&box->ring);
    if (from != to) {
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load(&box->overfull)) ring_bell(mesh, from);
    }
}

/* Mail has come in, or there is room again for mail that could not go out. */
static bool has_business(struct mesh *mesh, uint32_t actor, uint32_t peer) {
    if (ring_busy(&box_of(mesh, peer, actor)->ring)) return true;
    struct mailbox *out = box_of(mesh, actor, peer);
    return out->overflow.count != 0 && ring_has_room(&out->ring);
}

bool mesh_quiet(struct mesh *mesh, uint32_t actor) {
    for (uint32_t peer = 0; peer < mesh->actors; peer++) {
        if (has_business(mesh, actor, peer)) return false;
    }
    return true;
}

bool mesh_all_quiet(struct mesh *mesh) {
    for (uint32_t actor = 0; actor < mesh->actors; actor++) {
        if (!mesh_quiet(mesh, actor)) return false;
    }
    return true;
}

bool mesh_may_sleep(struct mesh *mesh, uint32_t actor) {
    atomic_store(&mesh->actor[actor].asleep, true);
    atomic_thread_fence(memory_order_seq_cst);
    if (mesh_quiet(mesh, actor)) return true;
    atomic_store(&mesh->actor[actor].asleep, false);
    return false;
}

void mesh_awake(struct mesh *mesh, uint32_t actor) {
    atomic_store(&mesh->actor[actor].asleep, false);
}

uint32_t mesh_actors(const struct mesh *mesh) {
    return mesh->actors;
}
