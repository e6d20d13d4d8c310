/* vhost_room: making room for a change before it is made, and giving it back after one, where that
 * takes long. */
#include "base/memory.h"
#include "core/vhost.h"

enum { WORDS_MAX = NAME_BYTES_MAX / 2 + 1 }; /* of one routing key: each may be a new place */

static void make_room_in(struct vhost_room *room, struct map *map, uint32_t more) {
    uint32_t slot_count = 0;
    struct map_slot *slots = map_bigger(map, more, &slot_count);
    if (!slots) return;
    check(room->count < VHOST_GROWN_MAX);
    room->grown[room->count++] =
        (struct grown){.map = map, .slots = slots, .slot_count = slot_count};
}

static void make_room_for_binding(
    struct vhost *vhost, const struct change *change, struct vhost_room *room) {
    struct exchange *source = vhost_find_exchange(vhost, change->source);
    if (!source) return;
    make_room_in(room, &vhost->bindings, 1);
    if (source->kind == EXCHANGE_DIRECT) make_room_in(room, &source->direct, 1);
    if (source->kind == EXCHANGE_TOPIC) make_room_in(room, &source->topic.edges, WORDS_MAX);
}

void vhost_make_room(
    struct vhost *vhost, const struct change *change, struct vhost_room *ret_room) {
    *ret_room = (struct vhost_room){.count = 0};
    switch (change->kind) {
    case CHANGE_QUEUE_DECLARE: make_room_in(ret_room, &vhost->queues, 1); return;
    case CHANGE_EXCHANGE_DECLARE: make_room_in(ret_room, &vhost->exchanges, 1); return;
    case CHANGE_QUEUE_BIND:
    case CHANGE_EXCHANGE_BIND: make_room_for_binding(vhost, change, ret_room); return;
    case CHANGE_QUEUE_DELETE:
    case CHANGE_EXCHANGE_DELETE:
    case CHANGE_QUEUE_UNBIND:
    case CHANGE_EXCHANGE_UNBIND: return;
    }
    unreachable_here();
}

static void take_room_in(struct vhost_room *room, struct map *map) {
    uint32_t slot_count = 0;
    struct map_slot *slots = map_smaller(map, &slot_count);
    if (!slots) return;
    check(room->count < VHOST_GROWN_MAX);
    room->grown[room->count++] =
        (struct grown){.map = map, .slots = slots, .slot_count = slot_count};
}

void vhost_take_room(struct vhost *vhost, struct vhost_room *ret_room) {
    *ret_room = (struct vhost_room){.count = 0};
    take_room_in(ret_room, &vhost->bindings);
    take_room_in(ret_room, &vhost->queues);
    take_room_in(ret_room, &vhost->exchanges);
    struct list_node *node = list_take_first(&vhost->sparse);
    if (node) take_room_in(ret_room, exchange_table(LIST_ENTRY(node, struct exchange, in_sparse)));
}

void vhost_use_room(struct vhost_room *room) {
    for (uint32_t i = 0; i < room->count; i++) {
        struct grown *grown = &room->grown[i];
        grown->slots = map_exchange(grown->map, grown->slots, grown->slot_count);
    }
}

void vhost_end_room(struct vhost_room *room) {
    for (uint32_t i = 0; i < room->count; i++)
        mem_free(room->grown[i].slots);
    room->count = 0;
}
