/* keeper_read: messages read back from the files they are in, while everything else goes on. */
#include "keeper.h"

enum { PIECE_BYTES = 64 * 1024 };

/* Where a message is, as its keeper knows it. */
struct whereabouts {
    char name[DISK_NAME_BYTES_MAX];
    uint64_t file_id;
    uint64_t at;
    uint64_t end;
};

static bool in_segment(
    const struct keeper *keeper, const struct ledger_message *message, struct whereabouts *ret) {
    for (uint32_t i = 0; i < keeper->segment_count; i++) {
        const struct keeper_segment *segment = &keeper->segments[i];
        if (segment->ref.number != message->segment) continue;
        *ret = (struct whereabouts){
            .file_id = segment->ref.file_id, .at = message->at, .end = segment->ref.end};
        memcpy(ret->name, segment->name, sizeof ret->name);
        return true;
    }
    return false;
}

/* False when it cannot be read, or not by somebody who reads one file. */
static bool where_is(
    const struct keeper *keeper, const struct ledger_message *message, struct whereabouts *ret) {
    struct journal_place place;
    if (message->segment != 0) return in_segment(keeper, message, ret);
    if (message->file_no != 0) {
        if (message->straddles || !journal_past_place(keeper->journal, message->file_no, &place))
            return false;
        place.offset = message->at;
    } else {
        struct journal_place last;
        bool found = journal_locate(keeper->journal, message->first_position, &place) &&
                     journal_locate(keeper->journal, message->last_position, &last);
        if (!found || last.file_no != place.file_no) return false;
    }
    *ret = (struct whereabouts){.file_id = place.file_id, .at = place.offset, .end = place.end};
    memcpy(ret->name, place.name, sizeof ret->name);
    return true;
}

static void submit(struct keeper *keeper) {
    struct keeper_read *read = &keeper->read;
    read->request.offset = read->page.at - read->page.at % DISK_BLOCK_BYTES;
    disk_submit(keeper->disk, &read->request);
}

void keeper_read(struct keeper *keeper) {
    struct keeper_read *read = &keeper->read;
    struct ledger *ledger = keeper->ledger;
    if (keeper->stopped || read->message || ledger->count == 0) return;
    const struct ledger_message *message =
        ledger->messages[prng_below(&keeper->prng, ledger->count)];
    struct whereabouts whereabouts;
    bool there = message->home == keeper->writer && ledger_lives(ledger, message) &&
                 message->last_position <= ledger->stable[keeper->writer];
    if (!there || !where_is(keeper, message, &whereabouts)) return;
    if (!read->memory) read->memory = disk_memory_new(PIECE_BYTES);
    *read = (struct keeper_read){.memory = read->memory,
        .message = message,
        .segment = message->segment,
        .request = {.kind = DISK_READ, .into = read->memory, .size = PIECE_BYTES},
        .page = {.end = whereabouts.end, .file_id = whereabouts.file_id, .at = whereabouts.at}};
    memcpy(read->request.name, whereabouts.name, sizeof read->request.name);
    submit(keeper);
}

/* Whether the record is the next one of the message. */
static bool is_next(const struct keeper *keeper, const struct record_view *view) {
    const struct keeper_read *read = &keeper->read;
    if (view->type != RECORD_PART && view->type != RECORD_PUB) return false;
    struct record expected = ledger_record(keeper->ledger, read->message, read->part);
    struct record_target target = record_view_target(view, 0);
    bool ours = false;
    for (uint32_t i = 0; i < read->message->target_count; i++)
        ours = ours || (read->message->targets[i].queue == target.queue &&
                           read->message->targets[i].seq == target.seq);
    return ours && view->type == expected.type && view->message_id == expected.message_id &&
           bytes_equal(view->head, expected.head) && bytes_equal(view->body, expected.body);
}

/* Walks what was read. True when the message is complete, or more has been asked for. */
static bool go_on(struct keeper *keeper) {
    struct keeper_read *read = &keeper->read;
    struct bytes piece = bytes_of(read->memory, read->request.done);
    if (read->page.bytes.data) {
        page_continue(&read->page, piece, read->request.offset);
    } else {
        page_begin(&read->page, piece, read->request.offset, read->page.at);
    }
    enum page_step step = PAGE_RECORD;
    while ((step = page_next(&read->page)) == PAGE_RECORD) {
        if (!is_next(keeper, &read->page.view)) continue;
        if (read->part++ < read->message->part_count) continue;
        read->message = NULL;
        keeper->reads_done++;
        return true;
    }
    if (step != PAGE_MORE || read->request.done != PIECE_BYTES) return false;
    submit(keeper);
    return true;
}

/* What has been moved meanwhile may have been read from a file that is another one now. */
void keeper_on_read(struct keeper *keeper) {
    struct keeper_read *read = &keeper->read;
    const struct ledger_message *message = read->message;
    bool moved = message->segment != read->segment || !ledger_lives(keeper->ledger, message) ||
                 read->request.status != 0;
    bool good = !moved && go_on(keeper);
    if (!good) read->message = NULL;
    if (moved || good) return;
    ledger_fails(keeper->ledger, "message %llu cannot be read back from '%s', offset %llu",
        (unsigned long long)message->id, read->request.name,
        (unsigned long long)read->request.offset);
}
