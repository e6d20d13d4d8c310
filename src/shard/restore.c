/* restore: what was durable in the last run is made again, before any thread runs. */
#include "shard/restore.h"

#include <errno.h>

#include "base/memory.h"
#include "base/str.h"
#include "core/inventory.h"
#include "shard/definition_rows.h"
#include "shard/queue_host.h"
#include "shard/registrar.h"

enum { PREDECLARED_MAX = 16 };

/* An exchange that is there without a row. */
struct predeclared {
    struct change change; /* that would declare it; borrowed from the topology */
    bool seen;            /* its row has been read */
};

struct restore {
    struct broker *broker;
    struct vhost *vhost;
    struct restore_index *index;
    struct metadata_problem *problem;
    struct predeclared predeclared[PREDECLARED_MAX];
    uint32_t predeclared_count;
    bool vhost_seen;
};

/* ---- what is there already ---- */

static void note_predeclared(void *context, const struct inventory_exchange *exchange) {
    struct restore *restore = context;
    check(restore->predeclared_count < PREDECLARED_MAX);
    restore->predeclared[restore->predeclared_count++].change = (struct change){
        .kind = CHANGE_EXCHANGE_DECLARE,
        .durable = exchange->durable,
        .auto_delete = exchange->auto_delete,
        .internal = exchange->internal,
        .name = exchange->name,
        .type = bytes_text(exchange->type),
        .arguments = exchange->arguments,
    };
}

static bool see_predeclared(struct restore *restore, struct bytes name) {
    for (uint32_t i = 0; i < restore->predeclared_count; i++) {
        if (!bytes_equal(restore->predeclared[i].change.name, name)) continue;
        restore->predeclared[i].seen = true;
        return true;
    }
    return false;
}

static void put_missing(const struct restore *restore, struct scribe *scribe) {
    struct bytes vhost = bytes_text(vhost_name(restore->vhost));
    struct metadata_row row = definition_row_of_vhost(vhost);
    struct buffer room;
    buffer_init(&room, SIZE_MAX);
    if (!restore->vhost_seen) (void)scribe_put(scribe, &row);
    for (uint32_t i = 0; i < restore->predeclared_count; i++) {
        if (restore->predeclared[i].seen) continue;
        row = definition_row_of(vhost, &restore->predeclared[i].change, 0, &room);
        (void)scribe_put(scribe, &row);
    }
    buffer_deinit(&room);
}

/* ---- rows ---- */

static int refuse(struct restore *restore, const struct metadata_row *row, const char *why) {
    static const char *const kinds[METADATA_KINDS] = {[METADATA_VHOST] = "virtual host",
        [METADATA_EXCHANGE] = "exchange",
        [METADATA_QUEUE] = "queue",
        [METADATA_QUEUE_BINDING] = "a binding of queue",
        [METADATA_EXCHANGE_BINDING] = "a binding of exchange"};
    const char *kind = kinds[row->kind] ? kinds[row->kind] : "a row for";
    struct bytes name =
        row->kind == METADATA_VHOST || !kinds[row->kind] ? row->key[0] : row->key[1];
    str_format(restore->problem->text, sizeof restore->problem->text, "meta.db: %s '%.*s' %s", kind,
        (int)name.size, (const char *)name.data, why);
    return -EBADMSG;
}

static int make_queue(
    struct restore *restore, const struct metadata_row *row, const struct change *change) {
    if (vhost_find_queue(restore->vhost, change->name))
        return refuse(restore, row, "is there twice");
    struct request request = {.change = *change, .queue_id = row->id};
    uint32_t shard = registrar_choose_shard(restore->broker, change->name);
    queue_ref queue = queue_host_make(restore->broker->shards[shard], &request);
    queue_host_on_rowed(restore->broker->shards[shard], queue, 0);
    vhost_put_queue(restore->vhost, change, queue);
    restore_index_add(restore->index, row->id, queue);
    return 0;
}

/* An exchange or a binding. */
static int make_other(
    struct restore *restore, const struct metadata_row *row, const struct change *change) {
    struct change_result result = {0};
    vhost_change(restore->vhost, change, &result);
    return result.code == REPLY_OK ? 0 : refuse(restore, row, result.text);
}

static int on_row(void *context, const struct metadata_row *row) {
    struct restore *restore = context;
    struct change change;
    const char *wrong = definition_row_read(row, &change);
    if (wrong) return refuse(restore, row, wrong);
    if (!bytes_equal(row->key[0], bytes_text(vhost_name(restore->vhost))))
        return refuse(restore, row, "is of a virtual host other than '/': run a newer program");
    if (row->kind == METADATA_VHOST) {
        restore->vhost_seen = true;
        return 0;
    }
    if (row->kind == METADATA_QUEUE) return make_queue(restore, row, &change);
    if (row->kind == METADATA_EXCHANGE && see_predeclared(restore, change.name)) return 0;
    return make_other(restore, row, &change);
}

int restore_definitions(struct broker *broker, struct definitions *definitions,
    struct scribe *scribe, struct restore_index *index, struct metadata_problem *ret_problem) {
    struct restore restore = {
        .broker = broker, .vhost = broker->vhost, .index = index, .problem = ret_problem};
    struct inventory_slice all = {.slots = UINT32_MAX, .context = &restore};
    directory_write(broker->directory);
    bool more = inventory_exchanges(broker->vhost, &all, note_predeclared);
    check(!more);
    int error = definitions->load(definitions, on_row, &restore, ret_problem);
    directory_done(broker->directory);
    if (!error) put_missing(&restore, scribe);
    return error;
}
