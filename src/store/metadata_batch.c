/* metadata_batch: changes that wait in memory for their commit, one behind the other. */
#include "store/metadata_batch.h"

enum { KEPT_BYTES = 1024 * 1024 }; /* memory that an empty batch may keep */

/* What stands before the bytes of a change: its key parts, then its content. */
struct change_head {
    uint64_t id;
    uint32_t kind;
    uint32_t removes;
    uint32_t key_size[METADATA_KEY_PARTS_MAX];
    uint32_t content_size;
};

void metadata_batch_init(struct metadata_batch *batch) {
    buffer_init(&batch->bytes, SIZE_MAX);
    batch->count = 0;
}

void metadata_batch_deinit(struct metadata_batch *batch) {
    buffer_deinit(&batch->bytes);
    batch->count = 0;
}

static bool has_room(const struct metadata_batch *batch, size_t size) {
    return size <= METADATA_BATCH_BYTES_MAX && batch->bytes.size <= METADATA_BATCH_BYTES_MAX - size;
}

bool metadata_batch_add(struct metadata_batch *batch, const struct metadata_change *change) {
    const struct metadata_row *row = &change->row;
    struct change_head head = {.id = row->id, .kind = row->kind, .removes = change->removes};
    size_t size = sizeof head;
    for (int i = 0; i < METADATA_KEY_PARTS_MAX; i++) {
        head.key_size[i] = row->key[i].size;
        size += row->key[i].size;
    }
    if (!change->removes) head.content_size = row->content.size;
    size += head.content_size;
    if (!change->removes && !has_room(batch, size)) return false;
    uint8_t *to = buffer_room(&batch->bytes, size);
    check(to != NULL);
    bytes_copy(to, &head, sizeof head);
    to += sizeof head;
    for (int i = 0; i < METADATA_KEY_PARTS_MAX; i++) {
        bytes_copy(to, row->key[i].data, row->key[i].size);
        to += row->key[i].size;
    }
    bytes_copy(to, row->content.data, head.content_size);
    batch->bytes.size += size;
    batch->count++;
    return true;
}

bool metadata_batch_next(
    const struct metadata_batch *batch, size_t *at, struct metadata_change *ret_change) {
    if (*at == batch->bytes.size) return false;
    check(batch->bytes.size - *at >= sizeof(struct change_head));
    struct change_head head;
    const uint8_t *from = batch->bytes.data + *at;
    bytes_copy(&head, from, sizeof head);
    from += sizeof head;
    ret_change->removes = head.removes != 0;
    ret_change->row.kind = (enum metadata_kind)head.kind;
    ret_change->row.id = head.id;
    for (int i = 0; i < METADATA_KEY_PARTS_MAX; i++) {
        ret_change->row.key[i] = bytes_of(from, head.key_size[i]);
        from += head.key_size[i];
    }
    ret_change->row.content = bytes_of(from, head.content_size);
    from += head.content_size;
    *at = (size_t)(from - batch->bytes.data);
    check(*at <= batch->bytes.size);
    return true;
}

void metadata_batch_clear(struct metadata_batch *batch) {
    if (batch->bytes.capacity > KEPT_BYTES) buffer_deinit(&batch->bytes);
    batch->bytes.size = 0;
    batch->count = 0;
}
