/* ledger_compare: what a recovery gives, beside what it must. */
#include "ledger.h"

#include <stdlib.h>

#include "store/le.h"

enum { OPEN_MAX = 64 };

/* A message of which parts have been met, in one chain or one segment. */
struct open_message {
    bool in_segment;
    bool kept;
    uint16_t shard;
    uint64_t queue;
    uint64_t seq;
    uint64_t file_no; /* of the first, and where it is */
    uint64_t at;
    uint32_t parts; /* met in order from the first */
    bool broken;
};

struct comparison {
    struct ledger *ledger;
    struct open_message open[OPEN_MAX];
    uint32_t open_next;
};

/* A settlement must have been made by somebody. */
static void on_settled(struct ledger *ledger, uint64_t queue, uint64_t seq) {
    struct ledger_place *place = ledger_place(ledger, queue, seq);
    if (!place || (place->state == LEDGER_LIVES && !place->message->gone)) {
        ledger_fails(ledger, "queue %llu, seq %llx: a settlement that nobody made",
            (unsigned long long)queue, (unsigned long long)seq);
        return;
    }
    place->found_settled = true;
}

static void on_settled_span(struct ledger *ledger, struct record_target span) {
    for (uint64_t i = 0; i < span.count && ledger->failure[0] == 0; i++)
        on_settled(ledger, span.queue, span.seq + i);
}

/* Everything of the priority below the target. */
static void on_settled_below(struct ledger *ledger, struct record_target target) {
    uint64_t base = target.seq >> SEQ_PRIORITY_SHIFT << SEQ_PRIORITY_SHIFT;
    for (uint64_t seq = base + 1; seq < target.seq && ledger->failure[0] == 0; seq++)
        on_settled(ledger, target.queue, seq);
}

static void on_settled_bits(struct ledger *ledger, const struct record_view *view) {
    uint64_t queue = record_view_target(view, 0).queue;
    uint64_t end = 0;
    for (uint64_t seq = 0; record_settled_run(view, &seq, &end); seq = end)
        on_settled_span(ledger, (struct record_target){queue, seq, end - seq});
}

static void on_state_body(struct ledger *ledger, uint64_t queue, struct bytes body) {
    for (uint32_t at = 0; at + 16 <= body.size; at += 16)
        on_settled_span(ledger, (struct record_target){queue, le_get_u64(body.data + at),
                                    le_get_u64(body.data + at + 8)});
}

static void on_fact(void *context, const struct recover_record *record) {
    struct ledger *ledger = ((struct comparison *)context)->ledger;
    const struct record_view *view = record->view;
    if (manifest_is(view->type)) return;
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        if (view->type == RECORD_ACK) {
            on_settled_span(ledger, target);
        } else if (view->type == RECORD_SETTLED) {
            on_settled_bits(ledger, view);
        } else {
            on_settled_below(ledger, target);
        }
        if (view->type == RECORD_QSTATE && i == 0) on_state_body(ledger, target.queue, view->body);
        if (ledger->failure[0] != 0 || record->shard >= LEDGER_WRITERS) return;
        struct ledger_facts *facts = &ledger->facts[record->shard][target.queue - 1];
        bool earlier = facts->file_no == 0 || record->file_no < facts->file_no;
        if (earlier) facts->file_no = record->file_no;
    }
}

static struct open_message *open_of(
    struct comparison *comparison, const struct recover_record *record) {
    struct record_target first = record_view_target(record->view, 0);
    for (uint32_t i = 0; i < OPEN_MAX; i++) {
        struct open_message *open = &comparison->open[i];
        if (open->queue == first.queue && open->seq == first.seq && open->shard == record->shard &&
            open->in_segment == record->in_segment && open->kept == record->kept &&
            (!open->kept || open->file_no == record->file_no))
            return open;
    }
    struct open_message *open = &comparison->open[comparison->open_next++ % OPEN_MAX];
    *open = (struct open_message){.in_segment = record->in_segment,
        .kept = record->kept,
        .shard = record->shard,
        .queue = first.queue,
        .seq = first.seq,
        .file_no = record->file_no,
        .at = record->record_at};
    return open;
}

static bool same_content(const struct record *expected, const struct record_view *view) {
    return expected->type == view->type && expected->flags == view->flags &&
           expected->message_id == view->message_id && expected->expiry_ms == view->expiry_ms &&
           bytes_equal(expected->head, view->head) && bytes_equal(expected->body, view->body);
}

/* The message that a target belongs to, if the record's content is what was put. */
static struct ledger_message *message_of(
    struct ledger *ledger, const struct record_view *view, uint32_t part) {
    struct record_target first = record_view_target(view, 0);
    const struct ledger_place *place = ledger_place(ledger, first.queue, first.seq);
    if (!place) {
        ledger_fails(ledger, "queue %llu, seq %llx: nobody put that",
            (unsigned long long)first.queue, (unsigned long long)first.seq);
        return NULL;
    }
    struct ledger_message *message = place->message;
    bool within = view->type == RECORD_PUB || part < message->part_count;
    uint32_t which = view->type == RECORD_PUB ? message->part_count : part;
    struct record expected = ledger_record(ledger, message, which);
    if (!within || !same_content(&expected, view)) {
        ledger_fails(ledger, "message %llu, part %u, has other content",
            (unsigned long long)message->id, which);
        return NULL;
    }
    return message;
}

/* Parts come in order; one that does not follow belongs to a message of which the beginning was
 * released. */
static void on_part(struct comparison *comparison, const struct recover_record *record) {
    struct open_message *open = open_of(comparison, record);
    struct record_target first = record_view_target(record->view, 0);
    const struct ledger_place *place = ledger_place(comparison->ledger, first.queue, first.seq);
    uint64_t offset = record->view->message_id;
    size_t each = record->view->body.size;
    if (!place || each == 0 || offset % each != 0 || offset / each >= LEDGER_PARTS_MAX) {
        ledger_fails(comparison->ledger, "a part that nobody put");
        return;
    }
    uint32_t part = (uint32_t)(offset / each);
    if (!message_of(comparison->ledger, record->view, part)) return;
    open->broken = open->broken || part != open->parts;
    open->parts++;
}

/* Where its first record is. */
static void note_place(struct ledger_message *message, const struct recover_record *record,
    const struct open_message *open) {
    /* A file that was released and came back may be kept: then a segment has the message, too. */
    uint64_t kept = record->kept ? SEGMENT_REF_KEPT : 0;
    if (kept != 0 && message->found_segment != 0) return;
    if (record->in_segment) message->found_segment = kept | open->file_no;
    if (!record->in_segment) message->found_file = open->file_no;
    if (!record->in_segment) message->found_straddling = open->file_no != record->file_no;
    if (record->in_segment || message->found_segment == 0) message->found_at = open->at;
}

static void mark_found(struct ledger *ledger, struct ledger_message *message,
    const struct recover_record *record, const struct open_message *open) {
    bool again = message->found_segment != 0 &&
                 (!record->kept || (message->found_segment & SEGMENT_REF_KEPT) != 0);
    if (record->in_segment && again && !ledger->damage_allowed)
        ledger_fails(ledger, "message %llu is in two segments", (unsigned long long)message->id);
    if (!record->in_segment && message->found_file != 0)
        ledger_fails(ledger, "message %llu is twice in a chain", (unsigned long long)message->id);
    if (record->shard != message->home)
        ledger_fails(
            ledger, "message %llu is with another writer", (unsigned long long)message->id);
    message->found = true;
    note_place(message, record, open);
    for (uint32_t i = 0; i < record->view->target_count; i++) {
        struct record_target target = record_view_target(record->view, i);
        struct ledger_place *place = ledger_place(ledger, target.queue, target.seq);
        if (!place || place->message != message) {
            ledger_fails(ledger, "message %llu has a place that it did not take",
                (unsigned long long)message->id);
            return;
        }
        place->found = true;
        place->found_kept = place->found_kept || record->in_segment;
    }
}

static void on_publish(struct comparison *comparison, const struct recover_record *record) {
    struct ledger *ledger = comparison->ledger;
    struct ledger_message *message = message_of(ledger, record->view, 0);
    if (!message) return;
    struct open_message first = {.file_no = record->file_no, .at = record->record_at};
    if (message->part_count != 0) {
        struct open_message *open = open_of(comparison, record);
        bool whole = open->parts == message->part_count && !open->broken;
        first = *open;
        *open = (struct open_message){.queue = 0};
        /* The beginning may be in a file before one that was kept: then the whole is elsewhere. */
        if (!whole && record->in_segment && !record->kept && !ledger->damage_allowed)
            ledger_fails(ledger, "message %llu is not whole in its segment",
                (unsigned long long)message->id);
        if (!whole) return;
    }
    mark_found(ledger, message, record, &first);
}

static void on_message(void *context, const struct recover_record *record) {
    struct comparison *comparison = context;
    if (comparison->ledger->failure[0] != 0) return;
    if (record->view->type == RECORD_PART) {
        on_part(comparison, record);
    } else {
        on_publish(comparison, record);
    }
}

static void forget(struct ledger *ledger) {
    memset(ledger->facts, 0, sizeof ledger->facts);
    for (uint64_t i = 0; i < ledger->count; i++) {
        struct ledger_message *message = ledger->messages[i];
        message->found = false;
        message->found_file = message->found_segment = 0;
        message->found_straddling = false;
    }
    for (int queue = 0; queue < LEDGER_QUEUES; queue++)
        for (int priority = 0; priority < LEDGER_PRIORITIES; priority++) {
            struct ledger_lane *lane = &ledger->lanes[queue][priority];
            for (uint64_t i = 0; i < lane->count; i++)
                lane->places[i].found = lane->places[i].found_settled = lane->places[i].found_kept =
                    false;
        }
}

static bool is_confirmed(const struct ledger *ledger, const struct ledger_message *message) {
    return message->last_position <= ledger->stable[message->home];
}

static void compare_place(
    struct ledger *ledger, const struct ledger_message *message, struct record_target target) {
    const struct ledger_place *place = ledger_place(ledger, target.queue, target.seq);
    bool lives = place->found && !place->found_settled;
    bool must = place->state == LEDGER_LIVES && is_confirmed(ledger, message);
    bool must_not =
        place->state == LEDGER_SETTLED ||
        (place->state == LEDGER_SETTLING && place->position <= ledger->stable[place->writer]);
    const char *what = NULL;
    /* A file that came back goes again without being copied. */
    bool half = message->found_segment != 0 && !place->found_kept;
    if (lives && half && !ledger->damage_allowed) what = "lives, and is not in the segment";
    if (must && !lives && !ledger->damage_allowed) what = "is missing";
    if (must_not && lives && !ledger->damage_allowed) what = "was settled and lives again";
    if (!what) return;
    ledger_fails(ledger, "message %llu of writer %u in queue %llu, seq %llx, %s (segment %llu)",
        (unsigned long long)message->id, message->home, (unsigned long long)target.queue,
        (unsigned long long)target.seq, what, (unsigned long long)message->segment);
}

void ledger_compare(struct ledger *ledger, struct recovery *recovery) {
    struct comparison comparison = {.ledger = ledger};
    uint32_t messages = RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART);
    uint32_t none = RECORD_BIT(RECORD_INDEX) | RECORD_BIT(RECORD_SEAL);
    forget(ledger);
    int status = recover_replay(recovery, ~(messages | none), on_fact, &comparison);
    if (status == 0) status = recover_replay(recovery, messages, on_message, &comparison);
    if (status != 0) ledger_fails(ledger, "replay gave %d", status);
    for (uint64_t i = 0; i < ledger->count && ledger->failure[0] == 0; i++) {
        const struct ledger_message *message = ledger->messages[i];
        if (message->gone && message->found && !ledger->damage_allowed)
            ledger_fails(
                ledger, "message %llu was given up before", (unsigned long long)message->id);
        for (uint32_t j = 0; j < message->target_count && !message->gone; j++)
            compare_place(ledger, message, message->targets[j]);
    }
}

void ledger_begin_life(struct ledger *ledger) {
    for (uint64_t i = 0; i < ledger->count; i++) {
        struct ledger_message *message = ledger->messages[i];
        message->gone = !message->found;
        message->first_position = message->last_position = message->moves_to = 0;
        message->segment = message->found_segment;
        message->file_no = message->found_segment ? 0 : message->found_file;
        message->straddles = message->found_straddling;
        message->at = message->found_at;
        for (uint32_t j = 0; j < message->target_count; j++) {
            struct record_target target = message->targets[j];
            struct ledger_place *place = ledger_place(ledger, target.queue, target.seq);
            bool lives = place->found && !place->found_settled;
            place->state = lives ? LEDGER_LIVES : LEDGER_SETTLED;
            place->position = 0;
        }
    }
    memset(ledger->stable, 0, sizeof ledger->stable);
}
