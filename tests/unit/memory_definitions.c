/* memory_definitions: definitions in memory, for tests. */
#include "memory_definitions.h"

#include <stdlib.h>

#include "base/memory.h"

struct memory_row {
    enum metadata_kind kind;
    uint64_t id;
    struct bytes key[METADATA_KEY_PARTS_MAX]; /* each owned */
    struct bytes content;
};

/* ---- rows ---- */

static struct bytes copy(struct bytes bytes) {
    uint8_t *data = mem_new((size_t)bytes.size + 1);
    bytes_copy(data, bytes.data, bytes.size);
    return bytes_of(data, bytes.size);
}

static void row_deinit(struct memory_row *row) {
    for (int i = 0; i < METADATA_KEY_PARTS_MAX; i++)
        mem_free((void *)(uintptr_t)row->key[i].data);
    mem_free((void *)(uintptr_t)row->content.data);
}

static bool same_key(const struct memory_row *row, const struct metadata_row *other) {
    if (row->kind != other->kind) return false;
    for (int i = 0; i < METADATA_KEY_PARTS_MAX; i++) {
        if (!bytes_equal(row->key[i], other->key[i])) return false;
    }
    return true;
}

static struct memory_row *row_find(
    const struct memory_definitions *memory, const struct metadata_row *row) {
    for (size_t i = 0; i < memory->count; i++) {
        if (same_key(&memory->rows[i], row)) return &memory->rows[i];
    }
    return NULL;
}

static bool there(const struct memory_definitions *memory, enum metadata_kind kind,
    struct bytes vhost, struct bytes name) {
    struct metadata_row row = {.kind = kind, .key = {vhost, name}};
    return row_find(memory, &row) != NULL;
}

/* What the foreign keys of the tables ask for. */
static bool has_parents(
    const struct memory_definitions *memory, enum metadata_kind kind, const struct bytes *key) {
    if (kind == METADATA_VHOST) return true;
    if (!there(memory, METADATA_VHOST, key[0], bytes_of(NULL, 0))) return false;
    if (kind == METADATA_EXCHANGE || kind == METADATA_QUEUE) return true;
    enum metadata_kind end = kind == METADATA_QUEUE_BINDING ? METADATA_QUEUE : METADATA_EXCHANGE;
    return there(memory, end, key[0], key[1]) && there(memory, METADATA_EXCHANGE, key[0], key[2]);
}

static void put(struct memory_definitions *memory, const struct metadata_row *row) {
    check(has_parents(memory, row->kind, row->key));
    check((row->kind == METADATA_QUEUE) == (row->id != 0));
    check(row->id < memory->id_next);
    struct memory_row *old = row_find(memory, row);
    if (old) {
        check(old->id == row->id);
        mem_free((void *)(uintptr_t)old->content.data);
        old->content = copy(row->content);
        return;
    }
    memory->rows = mem_resize(memory->rows, (memory->count + 1) * sizeof *memory->rows);
    struct memory_row *made = &memory->rows[memory->count++];
    *made = (struct memory_row){.kind = row->kind, .id = row->id, .content = copy(row->content)};
    for (int i = 0; i < METADATA_KEY_PARTS_MAX; i++)
        made->key[i] = copy(row->key[i]);
}

static void drop_at(struct memory_definitions *memory, size_t at) {
    row_deinit(&memory->rows[at]);
    memory->count--;
    memmove(&memory->rows[at], &memory->rows[at + 1], (memory->count - at) * sizeof *memory->rows);
}

/* Takes along what hangs on it: rows without a parent, until there are none. */
static void take_out(struct memory_definitions *memory, const struct metadata_row *row) {
    struct memory_row *old = row_find(memory, row);
    if (!old) return;
    drop_at(memory, (size_t)(old - memory->rows));
    for (size_t i = 0; i < memory->count;) {
        if (has_parents(memory, memory->rows[i].kind, memory->rows[i].key)) {
            i++;
            continue;
        }
        drop_at(memory, i);
        i = 0;
    }
}

static void apply(struct memory_definitions *memory) {
    struct metadata_change change;
    size_t at = 0;
    while (metadata_batch_next(&memory->pending, &at, &change)) {
        if (change.removes)
            take_out(memory, &change.row);
        else
            put(memory, &change.row);
    }
    metadata_batch_clear(&memory->pending);
}

/* Queues come by their ids, which is not the order in which they were put: two shards that make
 * queues at the same time do not answer in order. */
static int compare_rows(const void *a, const void *b) {
    const struct memory_row *one = a;
    const struct memory_row *other = b;
    if (one->kind != other->kind) return one->kind < other->kind ? -1 : 1;
    return one->id < other->id ? -1 : one->id > other->id;
}

/* ---- what the registrar calls ---- */

static int load(struct definitions *definitions, metadata_row_fn each, void *context,
    struct metadata_problem *ret_problem) {
    (void)ret_problem;
    const struct memory_definitions *memory =
        CONTAINER_OF(definitions, struct memory_definitions, definitions);
    if (memory->count != 0) qsort(memory->rows, memory->count, sizeof *memory->rows, compare_rows);
    for (size_t i = 0; i < memory->count; i++) {
        const struct memory_row *row = &memory->rows[i];
        struct metadata_row given = {.kind = row->kind, .id = row->id, .content = row->content};
        bytes_copy(given.key, row->key, sizeof given.key);
        int error = each(context, &given);
        if (error) return error;
    }
    return 0;
}

static void commit(
    struct definitions *definitions, const struct metadata_batch *batch, uint32_t ids) {
    struct memory_definitions *memory =
        CONTAINER_OF(definitions, struct memory_definitions, definitions);
    check(!memory->under_way);
    check(!memory->ended);
    struct metadata_change change;
    size_t at = 0;
    while (metadata_batch_next(batch, &at, &change)) {
        bool added = metadata_batch_add(&memory->pending, &change);
        check(added);
    }
    memory->ids = ids;
    memory->under_way = true;
    memory->commits++;
}

static bool done(struct definitions *definitions, struct definitions_outcome *ret_outcome) {
    struct memory_definitions *memory =
        CONTAINER_OF(definitions, struct memory_definitions, definitions);
    if (!memory->ended) return false;
    memory->ended = false;
    *ret_outcome = memory->outcome;
    return true;
}

/* ---- for the tests ---- */

void memory_definitions_init(struct memory_definitions *memory) {
    *memory = (struct memory_definitions){.definitions = {load, commit, done}, .id_next = 1};
    metadata_batch_init(&memory->pending);
}

void memory_definitions_deinit(struct memory_definitions *memory) {
    for (size_t i = 0; i < memory->count; i++)
        row_deinit(&memory->rows[i]);
    mem_free(memory->rows);
    metadata_batch_deinit(&memory->pending);
}

void memory_definitions_end(struct memory_definitions *memory, int error) {
    check(memory->under_way);
    memory->under_way = false;
    memory->ended = true;
    memory->outcome = (struct definitions_outcome){.error = error, .problem = "told to fail"};
    if (error) return;
    memory->outcome.id_first = memory->id_next;
    memory->outcome.id_count = memory->ids;
    memory->id_next += memory->ids;
    apply(memory);
}

void memory_definitions_crash(struct memory_definitions *memory, bool committed) {
    if (committed) {
        memory->id_next += memory->ids;
        apply(memory);
    }
    metadata_batch_clear(&memory->pending);
    memory->under_way = memory->ended = false;
    memory->ids = 0;
}

bool memory_definitions_have(const struct memory_definitions *memory, enum metadata_kind kind,
    const char *second, const char *third) {
    for (size_t i = 0; i < memory->count; i++) {
        const struct memory_row *row = &memory->rows[i];
        if (row->kind == kind && (!second || bytes_equal(row->key[1], bytes_text(second))) &&
            (!third || bytes_equal(row->key[2], bytes_text(third))))
            return true;
    }
    return false;
}

size_t memory_definitions_count(const struct memory_definitions *memory, enum metadata_kind kind) {
    size_t count = 0;
    for (size_t i = 0; i < memory->count; i++)
        count += memory->rows[i].kind == kind;
    return count;
}
