/* file_index: gathered while a file is filled, in memory that its cap bounds; written at its end.
 */
#include "store/file_index.h"

#include "base/memory.h"
#include "store/le.h"
#include "store/plant.h"
#include "store/pub.h"

enum { MEMORY_KEPT_MAX = 1024 * 1024 }; /* of each list */
enum stage { SUMMARIES, RUNS, SPANS, DELIVERED, PURGED, RAWS, MANIFEST, DONE };

/* ---- runs on disk ---- */

static void run_encode(const struct file_run *run, uint8_t *at) {
    le_put_u64(at, run->queue);
    le_put_u64(at + 8, run->first_seq);
    le_put_u64(at + 16, run->offset);
    le_put_u32(at + 24, run->bytes);
    le_put_u32(at + 28, run->count);
    le_put_u64(at + 32, run->body_bytes);
}

uint32_t file_run_count(struct bytes body) {
    return (uint32_t)(body.size / FILE_RUN_BYTES);
}

struct file_run file_run_at(struct bytes body, uint32_t at) {
    check(at < file_run_count(body));
    const uint8_t *from = body.data + (size_t)at * FILE_RUN_BYTES;
    return (struct file_run){.queue = le_get_u64(from),
        .first_seq = le_get_u64(from + 8),
        .offset = le_get_u64(from + 16),
        .bytes = le_get_u32(from + 24),
        .count = le_get_u32(from + 28),
        .body_bytes = le_get_u64(from + 32)};
}

/* ---- memory ---- */

static void raw_free(struct file_index *index, struct file_index_raw *raw) {
    index->bytes -= raw->size;
    mem_free(raw->bytes);
    *raw = (struct file_index_raw){.size = 0};
}

static void forget_extras(struct file_index *index) {
    for (uint32_t i = 0; i < index->raw_count; i++)
        raw_free(index, &index->raws[i]);
    raw_free(index, &index->manifest);
    index->raw_count = index->run_count = index->span_count = 0;
    index->bytes = 0;
}

static void give_up(struct file_index *index) {
    index->given_up = true;
    forget_extras(index);
}

void file_index_deinit(struct file_index *index) {
    forget_extras(index);
    map_deinit(&index->by_lane);
    mem_free(index->lanes);
    mem_free(index->runs);
    mem_free(index->spans);
    mem_free(index->raws);
    *index = (struct file_index){.given_up = true};
}

/* Gives back memory of a file that had much to say, which the next one may not have. */
static void *shrunk(void *list, uint32_t *capacity, size_t size) {
    if (*capacity * size <= MEMORY_KEPT_MAX) return list;
    mem_free(list);
    *capacity = 0;
    return NULL;
}

void file_index_clear(struct file_index *index, uint64_t bytes_max) {
    forget_extras(index);
    index->lanes = shrunk(index->lanes, &index->lane_capacity, sizeof *index->lanes);
    index->runs = shrunk(index->runs, &index->run_capacity, sizeof *index->runs);
    index->spans = shrunk(index->spans, &index->span_capacity, sizeof *index->spans);
    index->raws = shrunk(index->raws, &index->raw_capacity, sizeof *index->raws);
    map_deinit(&index->by_lane);
    index->by_lane = (struct map){.count = 0};
    index->lane_count = index->summary_count = 0;
    index->bytes_max = max_u64(bytes_max, FILE_INDEX_BYTES_LEAST);
    index->given_up = false;
    index->open = (struct file_index_open){.offset = 0};
    index->cursor = (struct file_index_cursor){.stage = SUMMARIES};
}

/* Makes room for one more. */
static void *grown(void *list, uint32_t count, uint32_t *capacity, size_t size) {
    if (count < *capacity) return list;
    *capacity = *capacity ? 2 * *capacity : 16;
    return mem_resize(list, *capacity * size);
}

/* ---- lanes ---- */

static uint64_t hash_of(uint64_t queue, uint64_t priority) {
    uint64_t mixed = (queue ^ (priority << SEQ_PRIORITY_SHIFT)) * 0x9e3779b97f4a7c15u;
    return mixed ^ (mixed >> 32);
}

/* The map holds places in the array, counted from 1 since NULL is none: the array moves. */
static void *place_of(uint32_t at) {
    return (void *)((uintptr_t)at + 1); /* never followed */
}

static struct file_index_lane *find(struct file_index *index, uint64_t queue, uint64_t priority) {
    struct map_probe probe = map_probe(&index->by_lane, hash_of(queue, priority));
    const void *item = NULL;
    while ((item = map_probe_next(&probe)) != NULL) {
        struct file_index_lane *lane = &index->lanes[(uintptr_t)item - 1];
        const struct summary *summary = &lane->summary;
        if (summary->queue == queue && summary->first_seq >> SEQ_PRIORITY_SHIFT == priority)
            return lane;
    }
    return NULL;
}

static struct file_index_lane *lane_of(struct file_index *index, uint64_t queue, uint64_t seq) {
    uint64_t priority = seq >> SEQ_PRIORITY_SHIFT;
    struct file_index_lane *lane = find(index, queue, priority);
    if (lane) return lane;
    index->lanes =
        grown(index->lanes, index->lane_count, &index->lane_capacity, sizeof *index->lanes);
    uint64_t lowest = priority << SEQ_PRIORITY_SHIFT;
    lane = &index->lanes[index->lane_count];
    *lane = (struct file_index_lane){
        .summary = {.queue = queue, .first_seq = lowest, .last_seq = lowest}};
    map_put(&index->by_lane, hash_of(queue, priority), place_of(index->lane_count++));
    return lane;
}

static void count_in(struct file_index *index, struct file_index_lane *lane) {
    index->summary_count += !lane->counted;
    lane->counted = true;
}

/* ---- messages ---- */

static struct file_run *run_new(struct file_index *index, const struct file_run *run) {
    index->runs = grown(index->runs, index->run_count, &index->run_capacity, sizeof *index->runs);
    struct file_run *added = &index->runs[index->run_count++];
    *added = *run;
    index->bytes += FILE_RUN_BYTES;
    return added;
}

/* Says where the piece of the open message is. */
static void put_piece(struct file_index *index) {
    const struct file_index_open *open = &index->open;
    if (open->target.queue != 0 && !index->given_up)
        run_new(index, &(struct file_run){.queue = open->target.queue,
                           .first_seq = open->target.seq,
                           .offset = open->offset,
                           .bytes = (uint32_t)(open->end - open->offset)});
    index->open = (struct file_index_open){.offset = 0};
}

static bool is_open(const struct file_index *index, const struct record_target *target) {
    return index->open.target.queue == target->queue && index->open.target.seq == target->seq;
}

/* A message that is whole in the file. */
struct whole {
    uint64_t offset;
    uint64_t end;
    uint64_t body_bytes;
};

/* What of a message's run is its body; `part_bytes` of it lie in PARTs. */
static uint64_t body_bytes_of(const struct record_view *view, uint64_t part_bytes) {
    struct pub pub = pub_of(view->message_id);
    uint64_t head = pub_head_bytes(&pub);
    uint64_t bytes = part_bytes + view->body.size;
    return bytes - min_u64(bytes, head);
}

/* One of its places. */
static void add_place(struct file_index *index, struct file_index_lane *lane,
    const struct record_target *target, const struct whole *whole) {
    uint64_t offset = whole->offset;
    uint64_t end = whole->end;
    if (index->given_up) return;
    struct file_run *last = lane->run ? &index->runs[lane->run - 1] : NULL;
    uint64_t next = last ? last->first_seq + last->count : 0;
    bool in_order =
        last && (target->seq == next || (PLANTED(INDEX_OVER_GAP) && target->seq == next + 1));
    bool follows = in_order && end - last->offset <= FILE_RUN_SPAN_MAX;
    if (follows) {
        last->bytes = (uint32_t)(end - last->offset);
        last->body_bytes += whole->body_bytes;
        last->count++;
        return;
    }
    run_new(index, &(struct file_run){.queue = target->queue,
                       .first_seq = target->seq,
                       .offset = offset,
                       .bytes = (uint32_t)(end - offset),
                       .count = 1,
                       .body_bytes = whole->body_bytes});
    lane->run = index->run_count;
}

static void add_pub(struct file_index *index, const struct record_view *view, uint64_t offset) {
    uint64_t end = offset + view->size;
    struct record_target first = record_view_target(view, 0);
    bool mine = view->flags != 0 && is_open(index, &first);
    bool whole = view->flags == 0 || (mine && index->open.whole) || PLANTED(INDEX_HALF);
    struct whole place = {.offset = mine ? index->open.offset : offset, .end = end};
    place.body_bytes = body_bytes_of(view, mine ? index->open.part_bytes : 0);
    if (mine) offset = index->open.offset;
    if (!whole) {
        if (!mine) put_piece(index);
        index->open = (struct file_index_open){.target = first, .offset = offset, .end = end};
        put_piece(index);
    } else if (mine) {
        index->open = (struct file_index_open){.offset = 0};
    }
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct file_index_lane *lane = lane_of(index, target.queue, target.seq);
        struct summary *summary = &lane->summary;
        bool none = summary->count == 0;
        summary->first_seq = none ? target.seq : min_u64(summary->first_seq, target.seq);
        summary->last_seq = none ? target.seq : max_u64(summary->last_seq, target.seq);
        summary->bytes += view->size;
        summary->count++;
        count_in(index, lane);
        if (whole) add_place(index, lane, &target, &place);
    }
}

static void add_part(struct file_index *index, const struct record_view *view, uint64_t offset) {
    struct record_target target = record_view_target(view, 0);
    struct file_index_lane *lane = lane_of(index, target.queue, target.seq);
    lane->summary.bytes += view->size;
    count_in(index, lane);
    if (view->message_id != 0 && is_open(index, &target)) {
        index->open.end = offset + view->size;
        index->open.part_bytes += view->body.size;
        return;
    }
    put_piece(index);
    index->open = (struct file_index_open){.target = target,
        .offset = offset,
        .end = offset + view->size,
        .part_bytes = view->body.size,
        .whole = view->message_id == 0};
}

/* ---- facts ---- */

/* The last settlement of the queue that the other one adjoins, as its place in lane->spans, or
 * FILE_INDEX_SPANS_RECENT. */
static uint32_t adjoining(const struct file_index *index, const struct file_index_lane *lane,
    const struct record_target *other) {
    for (uint32_t i = 0; i < FILE_INDEX_SPANS_RECENT; i++) {
        if (lane->spans[i] == 0) continue;
        const struct record_target *span = &index->spans[lane->spans[i] - 1];
        bool adjoins =
            span->seq + span->count == other->seq || other->seq + other->count == span->seq;
        if (adjoins && span->count != 0) return i;
    }
    return FILE_INDEX_SPANS_RECENT;
}

/* Where the next one is remembered: a free place, or that of any other. */
static uint32_t *recent_place(struct file_index_lane *lane) {
    for (uint32_t i = 0; i < FILE_INDEX_SPANS_RECENT; i++)
        if (lane->spans[i] == 0) return &lane->spans[i];
    lane->span_next = (lane->span_next + 1) % FILE_INDEX_SPANS_RECENT;
    return &lane->spans[lane->span_next];
}

/* Joins the settlement to those of the queue's last ones that it adjoins, or keeps it beside them.
 * One that was joined to another counts nothing. */
static void add_span(
    struct file_index *index, struct file_index_lane *lane, const struct record_target *span) {
    struct record_target all = *span;
    uint32_t last = FILE_INDEX_SPANS_RECENT;
    uint32_t at = 0;
    while ((at = adjoining(index, lane, &all)) != FILE_INDEX_SPANS_RECENT) {
        struct record_target *other = &index->spans[lane->spans[at] - 1];
        all.seq = min_u64(all.seq, other->seq);
        all.count += other->count;
        other->count = 0;
        if (last != FILE_INDEX_SPANS_RECENT) {
            lane->spans[last] = 0;
            index->bytes -= RECORD_SPAN_BYTES;
        }
        last = at;
    }
    if (last != FILE_INDEX_SPANS_RECENT) {
        index->spans[lane->spans[last] - 1] = all;
        return;
    }
    index->spans =
        grown(index->spans, index->span_count, &index->span_capacity, sizeof *index->spans);
    index->spans[index->span_count++] = all;
    index->bytes += RECORD_SPAN_BYTES;
    *recent_place(lane) = index->span_count;
}

static void drop_joined_spans(struct file_index *index) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < index->span_count; i++)
        if (index->spans[i].count != 0) index->spans[kept++] = index->spans[i];
    index->span_count = kept;
}

static void add_ack(struct file_index *index, const struct record_view *view) {
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target span = record_view_target(view, i);
        struct file_index_lane *lane = lane_of(index, span.queue, span.seq);
        lane->summary.settled += span.count;
        count_in(index, lane);
        if (!index->given_up) add_span(index, lane, &span);
    }
}

static void add_places(struct file_index *index, const struct record_view *view) {
    for (uint32_t i = 0; i < view->target_count && !index->given_up; i++) {
        struct record_target target = record_view_target(view, i);
        struct file_index_lane *lane = lane_of(index, target.queue, target.seq);
        uint64_t *highest = view->type == RECORD_PURGE ? &lane->purged : &lane->delivered;
        if (*highest == 0) index->bytes += RECORD_POINT_BYTES;
        if (PLANTED(INDEX_FORGETFUL) && *highest != 0 && view->type == RECORD_PURGE) continue;
        *highest = max_u64(*highest, target.seq);
    }
}

static void raw_set(
    struct file_index *index, struct file_index_raw *raw, const uint8_t *at, size_t size) {
    raw_free(index, raw);
    raw->bytes = mem_raw(size);
    raw->size = size;
    bytes_copy(raw->bytes, at, size);
    index->bytes += size;
}

static struct file_index_raw *raw_new(struct file_index *index) {
    index->raws = grown(index->raws, index->raw_count, &index->raw_capacity, sizeof *index->raws);
    index->raws[index->raw_count] = (struct file_index_raw){.size = 0};
    return &index->raws[index->raw_count++];
}

static bool is_of_one_queue(const struct record_view *view) {
    uint64_t queue = record_view_target(view, 0).queue;
    for (uint32_t i = 1; i < view->target_count; i++)
        if (record_view_target(view, i).queue != queue) return false;
    return true;
}

/* The last state of a queue takes the place of those before. */
static void add_state(struct file_index *index, const struct record_view *view, const uint8_t *at) {
    struct file_index_lane *lane = lane_of(index, record_view_target(view, 0).queue, 0);
    if (!is_of_one_queue(view)) {
        raw_set(index, raw_new(index), at, view->size);
        return;
    }
    if (lane->state == 0) {
        (void)raw_new(index);
        lane->state = index->raw_count;
    }
    raw_set(index, &index->raws[lane->state - 1], at, view->size);
}

/* Bits stay as they are: a queue's are put again in words that begin where they did, and not often
 * for the same file. */
static void add_settled(
    struct file_index *index, const struct record_view *view, const uint8_t *at) {
    struct record_target target = record_view_target(view, 0);
    struct file_index_lane *lane = lane_of(index, target.queue, target.seq);
    for (uint32_t i = 0; i < record_settled_words(view); i++)
        lane->summary.settled += (uint64_t)__builtin_popcountll(record_settled_word(view, i));
    count_in(index, lane);
    if (PLANTED(INDEX_BITLESS) && index->raw_count != 0) return;
    if (!index->given_up) raw_set(index, raw_new(index), at, view->size);
}

static void add_fact(struct file_index *index, const struct record_view *view, const uint8_t *at) {
    if (index->given_up) return;
    switch (view->type) {
    case RECORD_DELIVERED:
    case RECORD_PURGE: add_places(index, view); return;
    case RECORD_QSTATE: add_state(index, view, at); return;
    case RECORD_MANIFEST:
    case RECORD_CATALOG: raw_set(index, &index->manifest, at, view->size); return;
    case RECORD_RQ:
    case RECORD_QDEL: raw_set(index, raw_new(index), at, view->size); return;
    default: return;
    }
}

void file_index_add(
    struct file_index *index, const struct record_view *view, const uint8_t *at, uint64_t offset) {
    if (view->type == RECORD_PUB) {
        add_pub(index, view, offset);
    } else if (view->type == RECORD_PART) {
        add_part(index, view, offset);
    } else if (view->type == RECORD_ACK) {
        add_ack(index, view);
    } else if (view->type == RECORD_SETTLED) {
        add_settled(index, view, at);
    } else {
        add_fact(index, view, at);
    }
    if (index->bytes > index->bytes_max) give_up(index);
}

/* ---- sizes ---- */

uint64_t file_index_cost(enum record_type type, uint32_t target_count, size_t size) {
    if (type == RECORD_PUB) return ((uint64_t)target_count + 1) * FILE_RUN_BYTES;
    if (type == RECORD_PART) return FILE_RUN_BYTES;
    if (type == RECORD_ACK) return (uint64_t)target_count * RECORD_SPAN_BYTES;
    return size;
}

/* So many bytes of entries in records and frames. A frame that is not the last one and the first
 * record of the next do not fit one; so two frames are more than full. */
static uint64_t framed(uint64_t bytes, uint64_t frame_bytes) {
    uint64_t capacity = frame_bytes - JOURNAL_FRAME_HEADER_BYTES;
    uint64_t around = JOURNAL_FRAME_HEADER_BYTES + (uint64_t)DONE * RECORD_HEADER_BYTES +
                      JOURNAL_FRAME_BLOCK_BYTES;
    uint64_t frames = 2 * (bytes + (uint64_t)DONE * RECORD_HEADER_BYTES) / capacity + 1;
    return bytes + frames * around;
}

uint64_t file_index_frames_bytes(
    const struct file_index *index, uint64_t frame_bytes, uint64_t summaries, uint64_t bytes) {
    uint64_t all = (index->summary_count + summaries) * SUMMARY_BYTES;
    bool extras = !index->given_up && index->bytes + bytes <= index->bytes_max;
    if (extras) all += index->bytes + bytes;
    return framed(all, frame_bytes);
}

uint64_t file_index_summaries_bytes(uint64_t frame_bytes, uint64_t summaries) {
    return framed(summaries * SUMMARY_BYTES, frame_bytes);
}

/* ---- writing ---- */

void file_index_begin(
    struct file_index *index, uint64_t frame_bytes, uint64_t bytes_max, uint64_t room) {
    put_piece(index);
    drop_joined_spans(index);
    uint64_t most = max_u64(bytes_max, FILE_INDEX_BYTES_LEAST);
    bool fits = index->bytes <= most && file_index_frames_bytes(index, frame_bytes, 0, 0) <= room;
    if (!fits) give_up(index);
    index->cursor = (struct file_index_cursor){.stage = SUMMARIES};
}

static void next_stage(struct file_index *index) {
    index->cursor.at = 0;
    index->cursor.stage = index->given_up ? (uint32_t)DONE : index->cursor.stage + 1;
}

static size_t put_record(const struct record *record, uint8_t *at, struct journal_frame *frame) {
    uint32_t crc = record_encode(record, at);
    frame->body_crc = journal_frame_fold(frame->body_crc, crc);
    frame->record_count++;
    return record_size(record);
}

/* A record whose body the entries are. There is always one INDEX. */
static size_t put_summaries(
    struct file_index *index, uint8_t *at, size_t room, struct journal_frame *frame) {
    size_t most = (room - RECORD_HEADER_BYTES) / SUMMARY_BYTES * SUMMARY_BYTES;
    uint8_t *body = mem_raw(most);
    uint32_t size = 0;
    struct file_index_cursor *cursor = &index->cursor;
    for (; cursor->at < index->lane_count && size < most; cursor->at++) {
        const struct file_index_lane *lane = &index->lanes[cursor->at];
        if (!lane->counted) continue;
        summary_encode(&lane->summary, body + size);
        size += SUMMARY_BYTES;
    }
    while (cursor->at < index->lane_count && !index->lanes[cursor->at].counted)
        cursor->at++;
    if (cursor->at == index->lane_count) next_stage(index);
    struct record record = {.type = RECORD_INDEX, .body = bytes_of(body, size)};
    size_t written = put_record(&record, at, frame);
    mem_free(body);
    return written;
}

static size_t put_runs(
    struct file_index *index, uint8_t *at, size_t room, struct journal_frame *frame) {
    uint64_t most = (room - RECORD_HEADER_BYTES) / FILE_RUN_BYTES;
    uint32_t count = (uint32_t)min_u64(most, index->run_count - index->cursor.at);
    size_t size = (size_t)count * FILE_RUN_BYTES;
    uint8_t *body = mem_raw(size);
    for (uint32_t i = 0; i < count; i++)
        run_encode(&index->runs[index->cursor.at + i], body + (size_t)i * FILE_RUN_BYTES);
    index->cursor.at += count;
    if (index->cursor.at == index->run_count) next_stage(index);
    struct record record = {.type = RECORD_RUNS, .body = bytes_of(body, size)};
    size_t written = put_record(&record, at, frame);
    mem_free(body);
    return written;
}

static size_t put_spans(
    struct file_index *index, uint8_t *at, size_t room, struct journal_frame *frame) {
    uint64_t most = min_u64((room - RECORD_HEADER_BYTES) / RECORD_SPAN_BYTES, RECORD_TARGETS_MAX);
    uint32_t count = (uint32_t)min_u64(most, index->span_count - index->cursor.at);
    struct record record = {.type = RECORD_ACK,
        .target_count = (uint16_t)count,
        .targets = index->spans + index->cursor.at};
    index->cursor.at += count;
    if (index->cursor.at == index->span_count) next_stage(index);
    return put_record(&record, at, frame);
}

/* The highest places of a kind; none of this lane: 0. */
static uint64_t place_in(const struct file_index_lane *lane, uint32_t stage) {
    return stage == PURGED ? lane->purged : lane->delivered;
}

static void skip_lanes(struct file_index *index) {
    struct file_index_cursor *cursor = &index->cursor;
    while (
        cursor->at < index->lane_count && place_in(&index->lanes[cursor->at], cursor->stage) == 0)
        cursor->at++;
    if (cursor->at == index->lane_count) next_stage(index);
}

static size_t put_places(
    struct file_index *index, uint8_t *at, size_t room, struct journal_frame *frame) {
    uint32_t stage = index->cursor.stage;
    uint64_t most = min_u64((room - RECORD_HEADER_BYTES) / RECORD_POINT_BYTES, RECORD_TARGETS_MAX);
    most = min_u64(most, index->lane_count - index->cursor.at);
    struct record_target *targets = mem_new_array(most, sizeof *targets);
    struct record record = {
        .type = stage == PURGED ? RECORD_PURGE : RECORD_DELIVERED, .targets = targets};
    for (; index->cursor.at < index->lane_count && record.target_count < most; index->cursor.at++) {
        const struct file_index_lane *lane = &index->lanes[index->cursor.at];
        uint64_t seq = place_in(lane, stage);
        if (seq != 0)
            targets[record.target_count++] =
                (struct record_target){.queue = lane->summary.queue, .seq = seq};
    }
    skip_lanes(index);
    size_t written = put_record(&record, at, frame);
    mem_free(targets);
    return written;
}

/* The record that is copied next. */
static const struct file_index_raw *raw_at(const struct file_index *index) {
    return index->cursor.stage == MANIFEST ? &index->manifest : &index->raws[index->cursor.at];
}

static size_t put_raw(struct file_index *index, uint8_t *at, struct journal_frame *frame) {
    const struct file_index_raw *raw = raw_at(index);
    struct record_view view;
    bytes_copy(at, raw->bytes, raw->size);
    check(record_parse_known(bytes_of(at, raw->size), &view) == RECORD_GOOD);
    frame->body_crc = journal_frame_fold(frame->body_crc, view.checksum);
    frame->record_count++;
    index->cursor.at++;
    return raw->size;
}

/* Goes on to where there is something to write. */
static void settle(struct file_index *index) {
    for (;;) {
        struct file_index_cursor before = index->cursor;
        switch (before.stage) {
        case RUNS:
            if (index->run_count == 0) next_stage(index);
            break;
        case SPANS:
            if (index->span_count == 0) next_stage(index);
            break;
        case DELIVERED:
        case PURGED: skip_lanes(index); break;
        case RAWS:
            if (before.at == index->raw_count) next_stage(index);
            break;
        case MANIFEST:
            if (before.at == 1 || index->manifest.size == 0) next_stage(index);
            break;
        default: return;
        }
        if (index->cursor.stage == before.stage) return;
    }
}

size_t file_index_least(const struct file_index *index) {
    bool raw = index->cursor.stage == RAWS || index->cursor.stage == MANIFEST;
    return raw ? raw_at(index)->size : (size_t)FILE_INDEX_ROOM_LEAST;
}

size_t file_index_put(
    struct file_index *index, uint8_t *at, size_t room, struct journal_frame *frame) {
    size_t written = 0;
    while (index->cursor.stage != DONE && room - written >= file_index_least(index)) {
        size_t left = room - written;
        switch (index->cursor.stage) {
        case SUMMARIES: written += put_summaries(index, at + written, left, frame); break;
        case RUNS: written += put_runs(index, at + written, left, frame); break;
        case SPANS: written += put_spans(index, at + written, left, frame); break;
        case DELIVERED:
        case PURGED: written += put_places(index, at + written, left, frame); break;
        case RAWS:
        case MANIFEST: written += put_raw(index, at + written, frame); break;
        default: unreachable_here();
        }
        settle(index);
    }
    return written;
}

bool file_index_done(const struct file_index *index) {
    return index->cursor.stage == DONE;
}

uint8_t file_index_flags(const struct file_index *index) {
    bool complete = file_index_done(index) && !index->given_up;
    return JOURNAL_FRAME_INDEX | (complete ? JOURNAL_FRAME_COMPLETE : 0);
}
