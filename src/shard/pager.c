/* pager: messages that are on disk only: which kept ones go, and how all of them come back. */
#include "shard/pager.h"

#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/piece.h"
#include "shard/queue_host.h"

enum {
    READ_BYTES_MIN = 8 * 1024,
    RETRY_MS = 1000, /* after a read that failed */
    FAILURES_MAX = 3,
    OUT_QUEUES = 64,     /* some of whose messages go in one turn */
    PRESSED_PART = 16,   /* of the window, while memory is short */
    WINDOWS_PART = 8,    /* of the limit: no more for the windows of all queues then, */
    ALARM_PART = 8,      /* and so much of that at the limit */
    PRESSED_QUEUES = 64, /* looked at in one turn then, */
    PRESSED_MS = 500,    /* each of them so often */
};

/* A walk for one queue through its run, a piece at a time, from where the first message that is
 * wanted should be. Ends behind the piece in which that is met, or at the end of the file. */
struct reading {
    struct piece piece;
    queue_ref queue;
    uint64_t seq;        /* the first that is wanted */
    bool from_run;       /* it began where the run begins, and not where the last read ended */
    bool found;          /* the first that is wanted has been met */
    uint64_t passed_seq; /* the lowest behind it in the same run that has been; or 0 */
    uint64_t run_end;    /* seqs from here on are in another run */
    uint64_t id;         /* the queue's in the records of the file */
    const void *file;    /* where the run lies */
    bool spilled;        /* that is a spill file */
    bool ends_there;     /* no message goes on in another one */
    uint32_t pieces;     /* walked through */
};

void pager_init(struct pager *pager, struct keeper *keeper) {
    *pager = (struct pager){.keeper = keeper};
    list_init(&pager->out);
    list_init(&pager->wanting);
}

void pager_deinit(struct pager *pager) {
    check(pager->reads == 0);
}

static void reading_free(struct reading *reading) {
    piece_deinit(&reading->piece);
    mem_free(reading);
}

static struct paging *paging_of(struct queue_slot *slot) {
    if (slot->paging) return slot->paging;
    struct paging *paging = slot->paging = NEW(struct paging);
    paging->queue = queue_self(slot->queue);
    fifo_init(&paging->gets, sizeof(struct parked_get));
    return paging;
}

void pager_forget(struct queue_slot *slot) {
    struct paging *paging = slot->paging;
    if (!paging) return;
    list_remove_if_linked(&paging->in_out);
    list_remove_if_linked(&paging->in_wanting);
    fifo_deinit(&paging->gets);
    mem_free(paging);
    slot->paging = NULL;
}

/* ---- what goes ---- */

static uint64_t resident_count(const struct queue *queue) {
    return queue_ready_count(queue) - queue_away_count(queue);
}

uint64_t pager_resident_cost(const struct queue *queue) {
    return queue_resident_bytes(queue) + resident_count(queue) * PAGER_MESSAGE_BYTES;
}

/* How many messages come to so many bytes, judging from those in memory. */
static uint64_t messages_of(const struct queue *queue, uint64_t bytes) {
    uint64_t cost = pager_resident_cost(queue);
    return cost == 0 ? 0 : bytes * resident_count(queue) / cost;
}

void pager_on_growth(struct pager *pager, struct queue_slot *slot) {
    if (pager_resident_cost(slot->queue) <= pager->keeper->settings.limits.pager.high_bytes) return;
    struct paging *paging = paging_of(slot);
    if (!list_linked(&paging->in_out)) list_put_last(&pager->out, &paging->in_out);
}

void pager_on_copied(struct pager *pager, struct queue_slot *slot, uint64_t seq) {
    struct paging *paging = paging_of(slot);
    paging->sweep = min_u64(paging->sweep, seq);
    /* What could not be read may have been read for the copy. */
    paging->lost_seq = paging->lost_end = 0;
    if (!list_linked(&paging->in_out)) list_put_last(&pager->out, &paging->in_out);
}

/* Moves up to where everything is stable. */
static void follow_stable(
    const struct keeper *keeper, struct paging *paging, const struct queue *queue) {
    /* What a stopped journal does not take has no position. */
    if (keeper->stopped || paging->bound_position > keeper->stable) return;
    paging->stable_seq = max_u64(paging->stable_seq, paging->bound_seq);
    paging->bound_seq = queue_next_seq(queue);
    paging->bound_position = keeper->last_position;
    if (paging->bound_position <= keeper->stable) paging->stable_seq = paging->bound_seq;
}

uint64_t pager_window(const struct pager *pager, const struct queue *queue) {
    uint64_t bytes = pager->keeper->settings.limits.pager.window_bytes;
    if (pager->pressed) bytes = min_u64(bytes / PRESSED_PART, pager->pressed_bytes);
    return max_u64(messages_of(queue, bytes), 1);
}

void pager_let_go(struct pager *pager, struct queue_slot *slot, uint64_t seq) {
    if (!queue_lacks(slot->queue)) return;
    if (seq < queue_next_ready(slot->queue) + pager_window(pager, slot->queue)) return;
    /* Of one in parts the end may not be stable yet, though its file has been left. */
    struct paging *paging = paging_of(slot);
    follow_stable(pager->keeper, paging, slot->queue);
    if (seq >= paging->stable_seq) return;
    uint32_t gone = queue_page_out(slot->queue, &seq, seq + 1, 1);
    counter_add(&pager->keeper->shard->counters.paged_out, gone);
}

/* A slice of one queue. True when it has more that may go now. */
static bool page_out(
    struct pager *pager, struct paging *paging, struct queue *queue, uint32_t *budget) {
    const struct keeper *keeper = pager->keeper;
    follow_stable(keeper, paging, queue);
    uint64_t head = queue_next_ready(queue);
    uint64_t end = paging->stable_seq;
    if (paging->from_first && paging->sweep >= head) paging->from_first = false;
    if (paging->from_first) {
        end = min_u64(end, head); /* those that are unacked */
    } else {
        paging->sweep = max_u64(paging->sweep, head + pager_window(pager, queue));
    }
    uint64_t from = paging->sweep;
    uint32_t gone = queue_page_out(queue, &paging->sweep, end, *budget);
    counter_add(&keeper->shard->counters.paged_out, gone);
    *budget -= (uint32_t)min_u64(paging->sweep - from, *budget);
    return paging->sweep < end || (paging->from_first && end == head);
}

/* Whether what is left of it in memory may be there. */
static bool has_little(const struct pager *pager, const struct queue *queue) {
    if (pager_resident_cost(queue) > pager->keeper->settings.limits.pager.low_bytes) return false;
    return !pager->pressed || resident_count(queue) <= pager_window(pager, queue);
}

/* True when there is more to do at once, and not only what waits until it is stable. */
static bool turn_out(struct pager *pager) {
    struct keeper *keeper = pager->keeper;
    /* What is being copied to other files has to stay until it is. */
    if (retirement_copies(&keeper->retirement)) return false;
    uint32_t budget = keeper->settings.limits.pager.slice_messages;
    const struct list_node *waiting = NULL; /* the first of those that wait */
    for (uint32_t i = 0; i < OUT_QUEUES && budget != 0; i++) {
        struct list_node *node = list_first(&pager->out);
        if (!node || node == waiting) return false;
        list_remove(node);
        struct paging *paging = LIST_ENTRY(node, struct paging, in_out);
        struct queue_slot *slot = queue_host_slot(keeper->shard, paging->queue);
        if (!slot || queue_gone(slot->queue)) continue;
        bool more = page_out(pager, paging, slot->queue, &budget);
        bool waits = paging->bound_position > keeper->stable && !has_little(pager, slot->queue);
        if (more || waits) list_put_last(&pager->out, node);
        if (!more && waits && !waiting) waiting = node;
        pager_on_need(pager, slot);
    }
    return !list_empty(&pager->out) && list_first(&pager->out) != waiting;
}

/* ---- what is lost ---- */

static void say_lost(
    const struct pager *pager, const struct queue_slot *slot, uint64_t seq, uint64_t count) {
    struct shard *shard = pager->keeper->shard;
    counter_add(&shard->counters.lost, count);
    if (!shard->broker->log) return;
    struct log_line line;
    log_begin(&line, "message.unreadable");
    log_put(&line, "queue", name_bytes(slot->name));
    log_put_number(&line, "seq", seq);
    log_put_number(&line, "count", count);
    log_end(&line, shard->broker->log, LEVEL_ERROR);
}

/* Of those that are away: what is in spill files and what is kept lie in different places. */
static bool is_lost(const struct queue_slot *slot, uint64_t seq) {
    const struct paging *paging = slot->paging;
    return seq >= paging->lost_seq && seq < paging->lost_end &&
           queue_is_spilled(slot->queue, seq) == paging->lost_spilled;
}

static void lose(struct pager *pager, struct queue_slot *slot, uint64_t seq) {
    bool spilled = queue_is_spilled(slot->queue, seq);
    queue_skip_away(slot->queue);
    if (spilled)
        spill_on_back(&pager->keeper->spill, slot, seq);
    else
        shelf_lose(slot->shelf, seq, pager->keeper->shard->number);
}

/* What was lost leaves the queue when its turn comes. */
static void skip_lost(struct pager *pager, struct queue_slot *slot) {
    struct paging *paging = slot->paging;
    if (!paging || paging->lost_end == 0) return;
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t seq = queue_next_ready(slot->queue);
    for (; queue_is_away(slot->queue) && is_lost(slot, seq); count++) {
        if (count == 0) first = seq;
        lose(pager, slot, seq);
        seq = queue_next_ready(slot->queue);
    }
    if (seq >= paging->lost_end) paging->lost_seq = paging->lost_end = 0;
    if (count == 0) return;
    say_lost(pager, slot, first, count);
    queue_host_on_given(pager->keeper->shard, slot);
}

/* ---- what comes back ---- */

static bool is_wanted(const struct queue *queue, const struct paging *paging) {
    return queue_consumer_count(queue) != 0 || (paging && paging->gets.count != 0);
}

/* Whether there is little in memory before what is away. */
static bool is_short(const struct pager *pager, const struct queue *queue) {
    if (queue_is_away(queue)) return true;
    return queue_resident_head(queue) < pager_window(pager, queue) / 2;
}

void pager_on_need(struct pager *pager, struct queue_slot *slot) {
    struct paging *paging = slot->paging;
    const struct queue *queue = slot->queue;
    skip_lost(pager, slot);
    if (queue_away_count(queue) == 0 || !is_wanted(queue, paging)) return;
    paging = paging_of(slot);
    if (paging->reading || list_linked(&paging->in_wanting) || !is_short(pager, queue)) return;
    list_put_last(&pager->wanting, &paging->in_wanting);
}

/* So much is read at once: less for a queue with little. */
static uint64_t bytes_wanted(const struct queue *queue) {
    uint64_t bytes = queue_away_bytes(queue);
    bytes += queue_away_count(queue) * PAGER_MESSAGE_BYTES + READ_BYTES_MIN;
    bytes = min_u64(bytes, SHELF_PIECE_BYTES);
    return (bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
}

/* The file that a message that is away is thought to be in, for comparing. */
static const void *file_of(const struct queue_slot *slot, uint64_t seq) {
    if (queue_is_spilled(slot->queue, seq)) return spill_find(slot, seq)->file;
    const struct shelf *shelf = slot->shelf;
    if (!shelf || shelf->count == 0 || shelf->stays[0].first_seq > seq) return NULL;
    return shelf->stays[shelf_find(shelf, seq)].file;
}

/* Where the walk for the message begins; false when that is not known right now. */
static bool aim(const struct queue_slot *slot, struct reading *reading,
    struct piece_place *ret_place, struct kept_file **ret_file) {
    uint64_t seq = reading->seq;
    reading->spilled = queue_is_spilled(slot->queue, seq);
    *ret_file = NULL;
    if (reading->spilled) {
        const struct spill_run *run = spill_find(slot, seq);
        reading->id = reading->queue;
        reading->run_end = run->end_seq;
        reading->file = run->file;
        reading->ends_there = true;
        *ret_place = run->file->place;
        ret_place->offset = run->at;
        return true;
    }
    uint32_t at = shelf_find(slot->shelf, seq);
    const struct stay *stay = &slot->shelf->stays[at];
    reading->id = slot->id;
    reading->run_end = shelf_end(slot->shelf, at);
    reading->file = *ret_file = stay->file;
    reading->ends_there = stay->file->whole;
    return piece_locate(stay, ret_place);
}

/* Sends the read that a queue waits for. */
static void begin_reading(struct pager *pager, struct paging *paging, struct queue_slot *slot) {
    uint64_t seq = 0;
    /* What is lost is skipped first. */
    if (!queue_next_away(slot->queue, &seq) || is_lost(slot, seq)) return;
    struct reading *reading = NEW(struct reading);
    piece_init(&reading->piece, pager->keeper->archives[0].disk, pager);
    reading->queue = paging->queue;
    reading->seq = seq;
    reading->from_run = true;
    struct piece_place place;
    struct kept_file *file = NULL;
    if (!aim(slot, reading, &place, &file)) {
        /* The file is just going: what was in it is somewhere else in a moment. */
        list_put_last(&pager->wanting, &paging->in_wanting);
        paging->retry_ms = pager->keeper->shard->now_ms + 1;
        pager->retry_ms = min_u64(pager->retry_ms, paging->retry_ms);
        reading_free(reading);
        return;
    }
    uint64_t from = place.offset;
    bool goes_on = paging->next_file == reading->file && paging->next_seq == seq &&
                   paging->next_at > from && paging->failures == 0;
    if (goes_on) {
        from = paging->next_at;
        reading->from_run = false;
    }
    piece_begin(&reading->piece, file, &place, from);
    paging->reading = true;
    pager->reads++;
    piece_read(&reading->piece, bytes_wanted(slot->queue));
}

static void turn_in(struct pager *pager) {
    const struct keeper *keeper = pager->keeper;
    uint64_t now_ms = keeper->shard->now_ms;
    const struct list_node *put_back = NULL; /* the first that was */
    /* A read that ends brings a turn. */
    pager->retry_ms = UINT64_MAX;
    while (pager->reads < keeper->settings.limits.pager.reads) {
        struct list_node *node = list_first(&pager->wanting);
        if (!node || node == put_back) return;
        list_remove(node);
        struct paging *paging = LIST_ENTRY(node, struct paging, in_wanting);
        struct queue_slot *slot = queue_host_slot(keeper->shard, paging->queue);
        if (!slot || queue_gone(slot->queue)) continue;
        if (paging->retry_ms <= now_ms) {
            begin_reading(pager, paging, slot);
            continue;
        }
        list_put_last(&pager->wanting, node);
        pager->retry_ms = min_u64(pager->retry_ms, paging->retry_ms);
        if (!put_back) put_back = node;
    }
}

/* ---- what was read ---- */

static void note_met(struct reading *reading, uint64_t seq) {
    if (seq == reading->seq) reading->found = true;
    if (seq <= reading->seq || seq >= reading->run_end) return;
    reading->passed_seq = reading->passed_seq ? min_u64(reading->passed_seq, seq) : seq;
}

/* A long walk brings no more than its run: memory has no room for a whole file. */
static bool wants(const struct reading *reading, const struct queue *queue, uint64_t seq) {
    if (seq < reading->seq || !queue_wants(queue, seq)) return false;
    return seq < reading->run_end || reading->pieces == 0;
}

/* Gives the queue the message that was met, if it wants it. */
static void take_message(struct pager *pager, struct reading *reading, struct queue_slot *slot) {
    const struct record_view *view = &reading->piece.page.view;
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        if (target.queue != reading->id) continue;
        if (wants(reading, slot->queue, target.seq)) {
            struct message *message = piece_message(&reading->piece, pager->keeper->shard->pool);
            if (!message) continue;
            bool spilled = queue_is_spilled(slot->queue, target.seq);
            check(queue_give(slot->queue, target.seq, message));
            pager->grown = true;
            if (spilled) spill_on_back(&pager->keeper->spill, slot, target.seq);
            counter_add(&pager->keeper->shard->counters.paged_in, 1);
        }
        note_met(reading, target.seq);
    }
}

/* Whether what is wanted is still thought to be in the file that is read. As long as it is, that
 * file is there, and so are those behind it in its chain. */
static bool is_still_wanted(const struct queue_slot *slot, const struct reading *reading) {
    return queue_wants(slot->queue, reading->seq) && file_of(slot, reading->seq) == reading->file;
}

/* The message that is wanted first has not been met up to the end of the file, and neither have
 * those between it and the first behind it that has. */
static void on_missed(struct pager *pager, struct reading *reading, struct queue_slot *slot) {
    struct paging *paging = slot->paging;
    paging->next_file = NULL;
    if (!is_still_wanted(slot, reading) || !reading->from_run) return;
    if (++paging->failures < FAILURES_MAX) {
        paging->retry_ms = pager->keeper->shard->now_ms + RETRY_MS;
        return;
    }
    paging->failures = 0;
    paging->lost_spilled = reading->spilled;
    paging->lost_seq = reading->seq;
    paging->lost_end = reading->seq + 1;
    if (reading->passed_seq != 0) {
        paging->lost_end = reading->passed_seq;
    } else if (reading->run_end != UINT64_MAX) {
        paging->lost_end = reading->run_end;
    }
}

static void finish_reading(struct pager *pager, struct reading *reading) {
    pager->reads--;
    reading_free(reading);
}

/* The walk is over: its queue goes on. */
static void end_reading(struct pager *pager, struct reading *reading, struct queue_slot *slot) {
    struct paging *paging = slot->paging;
    paging->reading = false;
    if (!reading->found) {
        on_missed(pager, reading, slot);
    } else {
        uint64_t seq = 0;
        paging->failures = 0;
        const struct piece *piece = &reading->piece;
        bool taken = !queue_wants(slot->queue, reading->seq);
        bool there = reading->spilled || piece->file == reading->file;
        bool goes_on = taken && queue_next_away(slot->queue, &seq) && there;
        paging->next_file = goes_on ? reading->file : NULL;
        paging->next_seq = seq;
        paging->next_at = piece->parts.count != 0 ? piece->parts_at : piece->page.at;
    }
    finish_reading(pager, reading);
    skip_lost(pager, slot);
    queue_host_on_given(pager->keeper->shard, slot);
}

/* The machine cannot read just now, which says nothing of the message. */
static void put_off_reading(struct pager *pager, struct reading *reading, struct queue_slot *slot) {
    struct paging *paging = slot->paging;
    paging->reading = false;
    paging->retry_ms = pager->keeper->shard->now_ms + RETRY_MS;
    finish_reading(pager, reading);
    pager_on_need(pager, slot);
}

void pager_on_request(struct pager *pager, struct disk_request *request) {
    struct reading *reading = CONTAINER_OF(request, struct reading, piece.request);
    struct piece *piece = &reading->piece;
    struct queue_slot *slot = queue_host_slot(pager->keeper->shard, reading->queue);
    if (!slot || queue_gone(slot->queue)) {
        finish_reading(pager, reading);
        return;
    }
    enum piece_state state = piece_on_request(piece);
    if (state == PIECE_SENT) return;
    if (state == PIECE_LATER) {
        put_off_reading(pager, reading, slot);
        return;
    }
    counter_add(&pager->keeper->shard->counters.read_bytes, piece->done);
    enum page_step step = piece_next(piece);
    for (; step == PAGE_RECORD; step = piece_next(piece))
        take_message(pager, reading, slot);
    reading->pieces++;
    bool more = !reading->found && is_still_wanted(slot, reading);
    if (more && step == PAGE_MORE) {
        piece_read_on(piece);
    } else if (more && step == PAGE_END && !reading->ends_there && piece_follow(piece)) {
        piece_read(piece, SHELF_PIECE_BYTES);
    } else {
        end_reading(pager, reading, slot);
    }
}

/* ---- basic.get ---- */

void pager_park(
    struct pager *pager, struct queue_slot *slot, uint32_t from, const struct mail *mail) {
    struct paging *paging = paging_of(slot);
    *(struct parked_get *)fifo_put(&paging->gets) =
        (struct parked_get){.from = from, .mail = *mail};
    skip_lost(pager, slot);
    pager_on_need(pager, slot);
}

void pager_serve(struct pager *pager, struct queue_slot *slot) {
    struct shard *shard = pager->keeper->shard;
    queue_ref ref = queue_self(slot->queue);
    if (pager->serving) return;
    pager->serving = true;
    while (slot && slot->paging) {
        struct fifo *gets = &slot->paging->gets;
        if (gets->count == 0 || queue_is_away(slot->queue)) break;
        struct parked_get get = *(struct parked_get *)fifo_first(gets);
        fifo_drop(gets);
        queue_host_on_op(shard, get.from, &get.mail);
        slot = queue_host_slot(shard, ref);
    }
    pager->serving = false;
}

/* ---- memory is short ---- */

/* Some queues more: all but their next messages go, unacked ones too. */
static bool press(struct pager *pager) {
    struct shard *shard = pager->keeper->shard;
    if (pager->press_at == 0) {
        if (!pager->grown || shard->now_ms < pager->press_ms) return false;
        pager->grown = false;
    }
    for (uint32_t i = 0; i < PRESSED_QUEUES; i++, pager->press_at++) {
        if (pager->press_at >= shard->queue_capacity) {
            pager->press_at = 0;
            pager->press_ms = shard->now_ms + PRESSED_MS;
            return false;
        }
        struct queue_slot *slot = queue_host_slot_at(shard, pager->press_at);
        if (!slot->queue || !slot->shelf || queue_gone(slot->queue)) continue;
        uint64_t window = pager_window(pager, slot->queue);
        uint64_t resident = resident_count(slot->queue) + queue_unacked_resident(slot->queue);
        if (resident <= window) continue;
        struct paging *paging = paging_of(slot);
        paging->from_first = true;
        paging->sweep = 0;
        if (!list_linked(&paging->in_out)) list_put_last(&pager->out, &paging->in_out);
    }
    return true;
}

/* ---- the turn ---- */

bool pager_turn(struct pager *pager) {
    const struct shard *shard = pager->keeper->shard;
    pager->pressed = broker_is_pressed(shard->broker);
    uint64_t queues = (uint64_t)(shard->queue_count + 1) * shard->broker->shard_count;
    pager->pressed_bytes = shard->broker->memory.limit / WINDOWS_PART / queues;
    if (atomic_load_explicit(&shard->broker->memory.alarm, memory_order_relaxed))
        pager->pressed_bytes /= ALARM_PART;
    bool more = pager->pressed && press(pager);
    more = turn_out(pager) || more;
    turn_in(pager);
    return more;
}

uint64_t pager_due(const struct pager *pager) {
    uint64_t due = pager->pressed && pager->grown ? pager->press_ms : UINT64_MAX;
    return list_empty(&pager->wanting) ? due : min_u64(due, pager->retry_ms);
}

bool pager_idle(const struct pager *pager) {
    return pager->reads == 0;
}
