/* scribe: the registrar's hand: gathers the rows of durable changes and has them committed. */
#include "shard/scribe.h"

#include "base/limits.h"
#include "base/memory.h"

enum {
    RETRY_MS = 1000,              /* after a commit that failed */
    ID_BLOCK = 65536,             /* queue ids reserved at a time: a second's worth and more */
    ID_LOW = ID_BLOCK / 2,        /* below it the next ones are reserved */
    FULL_BYTES = 32 * 1024 * 1024 /* of an open batch: an eighth of what the metadata takes */
};

/* Queue ids that are reserved, from `next` up to `end`. */
struct id_range {
    uint64_t next;
    uint64_t end;
};

/* A queue whose removal is not stable. */
struct leaver {
    queue_ref queue;
    uint64_t ticket;
};

struct scribe {
    struct broker *broker;
    struct definitions *definitions; /* NULL: nothing is kept */
    struct metadata_batch open;
    uint64_t ticket;     /* of the open batch */
    uint64_t committing; /* of the batch that was handed over and is not stable; 0: none */
    bool under_way;      /* a commit, of rows or of ids */
    bool failing;        /* the last one failed */
    uint64_t retry_ms;   /* then: when it is tried again */
    struct id_range ids;
    struct id_range spare_ids; /* those after them */
    struct leaver *leavers;    /* oldest first */
    size_t leaver_count;
    size_t leaver_capacity;
};

struct scribe *scribe_new(struct broker *broker, struct definitions *definitions) {
    struct scribe *scribe = NEW(struct scribe);
    scribe->broker = broker;
    scribe->definitions = definitions;
    scribe->ticket = 1;
    metadata_batch_init(&scribe->open);
    return scribe;
}

void scribe_free(struct scribe *scribe) {
    if (!scribe) return;
    check(scribe->leaver_count == 0);
    metadata_batch_deinit(&scribe->open);
    mem_free(scribe->leavers);
    mem_free(scribe);
}

/* ---- rows ---- */

static uint64_t add(struct scribe *scribe, const struct metadata_row *row, bool removes) {
    if (!scribe->definitions) return 0;
    struct metadata_change change = {.removes = removes, .row = *row};
    /* What is asked for waits while the batch is full, so that one row is put above that, which has
     * room, and any number removed. */
    bool added = metadata_batch_add(&scribe->open, &change);
    check(added);
    atomic_store(&scribe->broker->ticket_open, scribe->ticket);
    return scribe->ticket;
}

uint64_t scribe_put(struct scribe *scribe, const struct metadata_row *row) {
    return add(scribe, row, false);
}

uint64_t scribe_remove(struct scribe *scribe, const struct metadata_row *row) {
    return add(scribe, row, true);
}

bool scribe_full(const struct scribe *scribe) {
    return scribe->open.bytes.size >= FULL_BYTES;
}

/* ---- queue ids ---- */

static uint64_t ids_left(const struct scribe *scribe) {
    return scribe->ids.end - scribe->ids.next + scribe->spare_ids.end - scribe->spare_ids.next;
}

bool scribe_has_id(const struct scribe *scribe) {
    return !scribe->definitions || ids_left(scribe) != 0;
}

uint64_t scribe_take_id(struct scribe *scribe) {
    if (!scribe->definitions) return 0;
    if (scribe->ids.next == scribe->ids.end) {
        scribe->ids = scribe->spare_ids;
        scribe->spare_ids = (struct id_range){0};
    }
    check(scribe->ids.next < scribe->ids.end);
    return scribe->ids.next++;
}

static void on_reserved(struct scribe *scribe, const struct definitions_outcome *outcome) {
    if (outcome->id_count == 0) return;
    check(scribe->spare_ids.next == scribe->spare_ids.end);
    scribe->spare_ids = (struct id_range){outcome->id_first, outcome->id_first + outcome->id_count};
}

/* ---- queues that leave ---- */

static struct mail *post(struct scribe *scribe, uint32_t shard) {
    return mesh_post(scribe->broker->mesh, scribe->broker->registrar, shard);
}

static void post_forget(struct scribe *scribe, queue_ref queue) {
    *post(scribe, ref_shard(queue)) = (struct mail){.kind = MAIL_FORGET, .ref = queue};
}

void scribe_forget(struct scribe *scribe, queue_ref queue, uint64_t ticket) {
    if (ticket == 0) {
        post_forget(scribe, queue);
        return;
    }
    if (scribe->leaver_count == scribe->leaver_capacity) {
        scribe->leaver_capacity = scribe->leaver_capacity ? scribe->leaver_capacity * 2 : 64;
        scribe->leavers =
            mem_resize(scribe->leavers, scribe->leaver_capacity * sizeof *scribe->leavers);
    }
    scribe->leavers[scribe->leaver_count++] = (struct leaver){queue, ticket};
}

/* Those of tickets up to this one may go. */
static void let_leave(struct scribe *scribe, uint64_t ticket) {
    size_t count = 0;
    while (count < scribe->leaver_count && scribe->leavers[count].ticket <= ticket)
        post_forget(scribe, scribe->leavers[count++].queue);
    if (count == 0) return;
    scribe->leaver_count -= count;
    memmove(
        scribe->leavers, scribe->leavers + count, scribe->leaver_count * sizeof *scribe->leavers);
}

/* ---- commits ---- */

static void on_failed(
    struct scribe *scribe, const struct definitions_outcome *outcome, uint64_t now_ms) {
    scribe->retry_ms = now_ms + RETRY_MS;
    if (scribe->failing) return;
    scribe->failing = true;
    atomic_store(&scribe->broker->definitions_failing, true);
    struct log_line line;
    log_begin(&line, "definitions.failed");
    log_put_text(&line, "error", outcome->problem);
    log_end(&line, scribe->broker->log, LEVEL_ERROR);
}

static void on_succeeded(struct scribe *scribe) {
    if (!scribe->failing) return;
    scribe->failing = false;
    atomic_store(&scribe->broker->definitions_failing, false);
    struct log_line line;
    log_begin(&line, "definitions.healed");
    log_end(&line, scribe->broker->log, LEVEL_INFO);
}

static void tell_stable(struct scribe *scribe, uint64_t ticket) {
    struct broker *broker = scribe->broker;
    atomic_store(&broker->ticket_stable, ticket);
    for (uint32_t i = 0; i < broker->shard_count; i++)
        *post(scribe, i) = (struct mail){.kind = MAIL_COMMITTED, .count = ticket};
    let_leave(scribe, ticket);
}

bool scribe_hear(struct scribe *scribe, uint64_t now_ms) {
    struct definitions_outcome outcome = {0};
    if (!scribe->under_way || !scribe->definitions->done(scribe->definitions, &outcome))
        return false;
    scribe->under_way = false;
    on_reserved(scribe, &outcome);
    if (outcome.error) {
        on_failed(scribe, &outcome, now_ms);
        return true;
    }
    on_succeeded(scribe);
    if (scribe->committing) tell_stable(scribe, scribe->committing);
    scribe->committing = 0;
    return true;
}

void scribe_hand_over(struct scribe *scribe, uint64_t now_ms) {
    if (!scribe->definitions || scribe->under_way) return;
    if (scribe->failing && now_ms < scribe->retry_ms) return;
    bool low = scribe->spare_ids.next == scribe->spare_ids.end && ids_left(scribe) < ID_LOW;
    struct metadata_batch again;
    metadata_batch_init(&again);
    struct metadata_batch *batch = scribe->committing ? &again : &scribe->open;
    if (batch->count == 0 && !scribe->committing && !low) return;
    scribe->under_way = true;
    scribe->definitions->commit(scribe->definitions, batch, low ? ID_BLOCK : 0);
    if (batch->count == 0) return;
    metadata_batch_clear(batch);
    scribe->committing = scribe->ticket++;
}

uint64_t scribe_next_deadline(const struct scribe *scribe) {
    return scribe->failing && !scribe->under_way ? scribe->retry_ms : UINT64_MAX;
}

bool scribe_settled(const struct scribe *scribe) {
    return !scribe->under_way && !scribe->committing && scribe->open.count == 0;
}

void scribe_give_up(struct scribe *scribe) {
    scribe->definitions = NULL;
    scribe->under_way = false;
    scribe->failing = false;
    scribe->committing = 0;
    metadata_batch_clear(&scribe->open);
    let_leave(scribe, UINT64_MAX);
}
