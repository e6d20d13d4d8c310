/* file_index_test: runs, pieces and facts gathered, given up, written and read; recovering by them.
 */
#include "journal_owner.h"

#include "base/memory.h"
#include "store/file_index.h"
#include "store/le.h"
#include "store/pages.h"
#include "store/recover.h"
#include "store/segment.h"

enum { QUEUE = 5, ROOM = 16 * 1024, BYTES_MAX = 64 * 1024 };

static const uint8_t BODY[400 * 1024];

struct gathered {
    struct file_index index;
    uint64_t offset; /* where the next record goes */
    struct file_run runs[4096];
    uint32_t run_count;
    uint32_t summaries;
    uint32_t records[256]; /* by type */
    struct record_target targets[4096];
    uint32_t target_count;
    uint64_t settled_bits;
    uint64_t settled_count; /* by the summaries */
    uint32_t frames;
    uint8_t flags; /* of the last frame */
};

static struct gathered *begin(uint64_t bytes_max) {
    struct gathered *gathered = test_malloc(sizeof *gathered);
    memset(gathered, 0, sizeof *gathered);
    file_index_clear(&gathered->index, bytes_max);
    gathered->offset = 8192;
    return gathered;
}

static void end(struct gathered *gathered) {
    file_index_deinit(&gathered->index);
    test_free(gathered);
}

static void add(struct gathered *gathered, const struct record *record) {
    size_t size = record_size(record);
    uint8_t *at = test_malloc(size);
    record_encode(record, at);
    struct record_view view = record_view_of(record, at);
    struct record_view parsed;
    assert_int_equal(record_parse(bytes_of(at, size), &parsed), RECORD_GOOD);
    assert_int_equal(view.checksum, parsed.checksum);
    assert_int_equal(view.size, parsed.size);
    assert_ptr_equal(view.body.data, parsed.body.data);
    file_index_add(&gathered->index, &view, at, gathered->offset);
    gathered->offset += size;
    test_free(at);
}

/* Adds one of one target; `count` is the PARTs before a PUB, or where a PART begins. */
static void put(
    struct gathered *gathered, enum record_type type, uint64_t seq, uint64_t count, size_t size) {
    struct record_target target = {QUEUE, seq, type == RECORD_ACK ? count : 1};
    struct record record = {.type = type,
        .flags = (uint8_t)(type == RECORD_PUB ? count : 0),
        .target_count = 1,
        .targets = &target,
        .message_id = type == RECORD_PART ? count : 0,
        .body = bytes_of(BODY, size)};
    add(gathered, &record);
}

static void pub(struct gathered *gathered, uint64_t seq) {
    put(gathered, RECORD_PUB, seq, 0, 100);
}

static void on_record(void *context, const struct record_view *view) {
    struct gathered *gathered = context;
    gathered->records[view->type]++;
    if (view->type == RECORD_INDEX) gathered->summaries += summary_count(view->body);
    for (uint32_t i = 0; view->type == RECORD_INDEX && i < summary_count(view->body); i++)
        gathered->settled_count += summary_decode(view->body, i).settled;
    for (uint32_t i = 0; view->type == RECORD_SETTLED && i < record_settled_words(view); i++)
        gathered->settled_bits += (uint64_t)__builtin_popcountll(record_settled_word(view, i));
    for (uint32_t i = 0; view->type == RECORD_RUNS && i < file_run_count(view->body); i++)
        gathered->runs[gathered->run_count++] = file_run_at(view->body, i);
    for (uint32_t i = 0; i < view->target_count; i++)
        gathered->targets[gathered->target_count++] = record_view_target(view, i);
}

/* Writes all of it and reads it back. */
static void finish(struct gathered *gathered) {
    uint64_t most = file_index_frames_bytes(&gathered->index, ROOM, 0, 0);
    uint64_t all = 0;
    file_index_begin(&gathered->index, ROOM, UINT64_MAX, UINT64_MAX);
    while (!file_index_done(&gathered->index)) {
        size_t room =
            max_u64(ROOM - JOURNAL_FRAME_HEADER_BYTES, file_index_least(&gathered->index));
        uint8_t *frame_bytes = test_malloc(room + JOURNAL_FRAME_HEADER_BYTES + 8192);
        memset(frame_bytes, 0, room + JOURNAL_FRAME_HEADER_BYTES + 8192);
        struct journal_frame frame = {.lsn = 0};
        size_t size = file_index_put(
            &gathered->index, frame_bytes + JOURNAL_FRAME_HEADER_BYTES, room, &frame);
        assert_true(size != 0 && size <= room);
        frame.size = (uint32_t)journal_frame_size(size);
        struct bytes bytes = bytes_of(frame_bytes, frame.size);
        assert_int_equal(journal_frame_check(&frame, bytes).fault, RECORD_GOOD);
        journal_frame_walk(&frame, bytes, on_record, gathered);
        all += frame.size;
        gathered->frames++;
        gathered->flags = file_index_flags(&gathered->index);
        test_free(frame_bytes);
    }
    assert_true(all <= most);
}

static void runs_end_at_gaps(void **state) {
    (void)state;
    struct gathered *gathered = begin(BYTES_MAX);
    uint64_t priority = (uint64_t)3 << SEQ_PRIORITY_SHIFT;
    for (uint64_t seq = 10; seq < 20; seq++) {
        pub(gathered, seq);
        put(gathered, RECORD_PUB, priority | seq, 0, 50);
    }
    uint64_t after = gathered->offset;
    pub(gathered, 25);
    pub(gathered, 26);
    pub(gathered, 24);
    finish(gathered);
    assert_int_equal(gathered->flags, JOURNAL_FRAME_INDEX | JOURNAL_FRAME_COMPLETE);
    assert_int_equal(gathered->summaries, 2);
    assert_int_equal(gathered->run_count, 4);
    const struct file_run *runs = gathered->runs;
    assert_int_equal(runs[0].first_seq, 10);
    assert_int_equal(runs[0].count, 10);
    assert_int_equal(runs[0].offset, 8192);
    assert_true(runs[0].offset + runs[0].bytes < after);
    assert_int_equal(runs[1].first_seq, priority | 10);
    assert_int_equal(runs[1].offset + runs[1].bytes, after);
    assert_int_equal(runs[2].first_seq, 25);
    assert_int_equal(runs[2].offset, after);
    assert_int_equal(runs[2].count, 2);
    assert_int_equal(runs[3].first_seq, 24);
    end(gathered);
}

static void runs_are_short_unless_a_message_is_long(void **state) {
    (void)state;
    struct gathered *gathered = begin(BYTES_MAX);
    for (uint64_t seq = 1; seq <= 100; seq++)
        put(gathered, RECORD_PUB, seq, 0, 10000);
    put(gathered, RECORD_PUB, 101, 0, 300 * 1024);
    finish(gathered);
    uint64_t seq = 1;
    for (uint32_t i = 0; i < gathered->run_count; i++) {
        assert_int_equal(gathered->runs[i].first_seq, seq);
        assert_true(gathered->runs[i].bytes <= FILE_RUN_SPAN_MAX || gathered->runs[i].count == 1);
        seq += gathered->runs[i].count;
    }
    assert_int_equal(seq, 102);
    assert_true(gathered->run_count >= 5 && gathered->run_count <= 7);
    end(gathered);
}

static void a_message_in_parts_is_in_a_run_or_has_pieces(void **state) {
    (void)state;
    struct gathered *gathered = begin(BYTES_MAX);
    put(gathered, RECORD_PART, 7, 500, 300); /* began in the file before */
    put(gathered, RECORD_PUB, 7, 2, 10);
    uint64_t whole = gathered->offset;
    put(gathered, RECORD_PART, 8, 0, 300);
    put(gathered, RECORD_PUB, 100, 0, 10);
    put(gathered, RECORD_PART, 8, 300, 300);
    put(gathered, RECORD_PUB, 8, 2, 10);
    uint64_t piece = gathered->offset;
    put(gathered, RECORD_PUB, 9, 1, 10); /* all its parts are in the file before */
    uint64_t last = gathered->offset;
    put(gathered, RECORD_PART, 10, 0, 300); /* goes on in the next file */
    finish(gathered);
    assert_int_equal(gathered->run_count, 5);
    const struct file_run *runs = gathered->runs;
    assert_int_equal(runs[0].count, 0);
    assert_int_equal(runs[0].first_seq, 7);
    assert_int_equal(runs[0].offset, 8192);
    assert_int_equal(runs[0].offset + runs[0].bytes, whole);
    assert_int_equal(runs[1].first_seq, 100);
    assert_int_equal(runs[2].first_seq, 8);
    assert_int_equal(runs[2].count, 1);
    assert_int_equal(runs[2].offset, whole);
    assert_int_equal(runs[2].offset + runs[2].bytes, piece);
    assert_int_equal(runs[3].first_seq, 9);
    assert_int_equal(runs[3].count, 0);
    assert_int_equal(runs[3].offset, piece);
    assert_int_equal(runs[4].first_seq, 10);
    assert_int_equal(runs[4].count, 0);
    assert_int_equal(runs[4].offset, last);
    end(gathered);
}

static void facts_are_said_once(void **state) {
    (void)state;
    struct gathered *gathered = begin(BYTES_MAX);
    for (uint64_t seq = 1; seq <= 300; seq++)
        put(gathered, RECORD_ACK, seq % 2 ? seq + 1 : seq - 1, 1, 0); /* 2 1 4 3 6 5 ... */
    for (uint64_t seq = 1; seq <= 50; seq++) {
        put(gathered, RECORD_DELIVERED, seq, 1, 0);
        put(gathered, RECORD_PURGE, 60 - seq, 1, 0);
        put(gathered, RECORD_QSTATE, seq, 1, seq);
        struct record manifest = {.type = RECORD_MANIFEST, .body = bytes_of(BODY, seq * 16)};
        add(gathered, &manifest);
    }
    put(gathered, RECORD_QDEL, 1, 1, 0);
    finish(gathered);
    assert_int_equal(gathered->records[RECORD_ACK], 1);
    assert_int_equal(gathered->records[RECORD_DELIVERED], 1);
    assert_int_equal(gathered->records[RECORD_PURGE], 1);
    assert_int_equal(gathered->records[RECORD_QSTATE], 1);
    assert_int_equal(gathered->records[RECORD_QDEL], 1);
    assert_int_equal(gathered->records[RECORD_MANIFEST], 1);
    uint64_t settled = 0;
    for (uint32_t i = 0; i < gathered->target_count; i++)
        settled += gathered->targets[i].count;
    assert_int_equal(settled, 300 + 4);
    assert_true(gathered->target_count < 10);
    end(gathered);
}

static void put_bits(struct gathered *gathered, uint64_t seq, uint64_t word, uint32_t words) {
    uint8_t bits[RECORD_SETTLED_BYTES_MAX];
    for (uint32_t i = 0; i < words; i++)
        le_put_u64(bits + (size_t)i * 8, word);
    struct record_target target = {QUEUE, seq, 1};
    struct record record = {.type = RECORD_SETTLED,
        .target_count = 1,
        .targets = &target,
        .body = bytes_of(bits, (size_t)words * 8)};
    add(gathered, &record);
}

static void bits_are_said_as_they_were(void **state) {
    (void)state;
    struct gathered *gathered = begin(BYTES_MAX);
    pub(gathered, 1);
    for (uint64_t i = 0; i < 10; i++)
        put_bits(gathered, i * 32768, 0x5555555555555555, 512);
    put_bits(gathered, (uint64_t)3 << SEQ_PRIORITY_SHIFT, 7, 1);
    finish(gathered);
    assert_int_equal(gathered->records[RECORD_SETTLED], 11);
    assert_int_equal(gathered->settled_bits, 10 * 16384 + 3);
    assert_int_equal(gathered->settled_count, 10 * 16384 + 3);
    assert_int_equal(gathered->summaries, 2);
    assert_true(gathered->frames > 2);
    assert_int_equal(gathered->flags, JOURNAL_FRAME_INDEX | JOURNAL_FRAME_COMPLETE);
    end(gathered);
    gathered = begin(BYTES_MAX);
    for (uint64_t i = 0; i < 16; i++)
        put_bits(gathered, i * 32768, 1, 512);
    assert_true(gathered->index.given_up);
    put_bits(gathered, 0, 1, 1);
    finish(gathered);
    assert_int_equal(gathered->records[RECORD_SETTLED], 0);
    assert_int_equal(gathered->settled_count, 16 * 512 + 1);
    end(gathered);
}

static void too_much_is_given_up(void **state) {
    (void)state;
    struct gathered *gathered = begin(BYTES_MAX);
    for (uint64_t seq = 1; seq <= BYTES_MAX / FILE_RUN_BYTES; seq++)
        pub(gathered, 2 * seq);
    assert_false(gathered->index.given_up);
    finish(gathered);
    assert_int_equal(gathered->run_count, BYTES_MAX / FILE_RUN_BYTES);
    assert_true(gathered->frames > 3);
    end(gathered);
    gathered = begin(BYTES_MAX);
    for (uint64_t seq = 1; seq <= BYTES_MAX / FILE_RUN_BYTES + 1; seq++)
        pub(gathered, 2 * seq);
    put(gathered, RECORD_QSTATE, 1, 1, 100);
    put(gathered, RECORD_PART, 1, 0, 100);
    assert_true(gathered->index.given_up);
    finish(gathered);
    assert_int_equal(gathered->flags, JOURNAL_FRAME_INDEX);
    assert_int_equal(gathered->run_count, 0);
    assert_int_equal(gathered->summaries, 1);
    assert_int_equal(gathered->frames, 1);
    /* In the next file there is room again. */
    file_index_clear(&gathered->index, BYTES_MAX);
    pub(gathered, 1);
    file_index_begin(&gathered->index, ROOM, 0, 0);
    assert_true(gathered->index.given_up);
    file_index_clear(&gathered->index, BYTES_MAX);
    pub(gathered, 1);
    finish(gathered);
    assert_int_equal(gathered->run_count, 1);
    end(gathered);
}

static void an_empty_file_has_an_index(void **state) {
    (void)state;
    struct gathered *gathered = begin(BYTES_MAX);
    finish(gathered);
    assert_int_equal(gathered->records[RECORD_INDEX], 1);
    assert_int_equal(gathered->frames, 1);
    assert_int_equal(gathered->flags, JOURNAL_FRAME_INDEX | JOURNAL_FRAME_COMPLETE);
    end(gathered);
}

/* ---- recovering ---- */

static void turns(struct owner *owner) {
    owner_turns(owner, 6);
}

/* Says again what owner_new settles of the 320 messages from `seq` on. */
static void put_settled_bits(struct owner *owner, uint64_t seq) {
    static uint8_t bits[5 * 8]; /* the journal borrows them */
    for (uint64_t i = 0; i < 8 * sizeof bits; i++)
        if (i % 10 != 0) bits[i / 8] |= (uint8_t)(1u << i % 8);
    struct record_target target = {QUEUE, seq, 1};
    struct record record = {.type = RECORD_SETTLED,
        .target_count = 1,
        .targets = &target,
        .body = bytes_of(bits, sizeof bits)};
    uint64_t position = 0;
    assert_int_equal(journal_put(owner->journal, &record, &position), 0);
}

/* A journal with so many full files; each message of 1000 bytes is settled but every tenth. */
static struct owner *owner_new(uint32_t files, bool unwitnessed, uint64_t *ret_messages) {
    struct owner *owner = owner_with_disk();
    struct journal_settings settings = {.disk = &owner->platter.ports[0].disk,
        .node_id = "a node",
        .file_bytes = 1024 * 1024,
        .files_spare = 1,
        .unwitnessed = unwitnessed,
        .seed = 7,
        .calls = &OWNER_CALLS,
        .context = owner};
    struct journal_past past = {.file_count = 0};
    owner->journal = journal_open(&settings, &past);
    uint64_t seq = 0;
    while (journal_files(owner->journal) < files + 1) {
        struct record_target target = {QUEUE, ++seq, 1};
        struct record record = {.type = RECORD_PUB,
            .target_count = 1,
            .targets = &target,
            .body = bytes_of(BODY, 1000)};
        uint64_t position = 0;
        assert_int_equal(journal_put(owner->journal, &record, &position), 0);
        if (seq % 10 != 0) assert_int_equal(journal_settle(owner->journal, &target, &position), 0);
        if (seq % 320 == 0) put_settled_bits(owner, seq - 320);
        if (seq % 20 == 0) turns(owner);
    }
    turns(owner);
    *ret_messages = seq;
    return owner;
}

static struct recovery *look(struct owner *owner, bool by_index) {
    struct recover_settings settings = {.disk = &owner->platter.ports[1].disk,
        .node_id = "a node",
        .read_only = true,
        .by_index = by_index};
    struct recovery *recovery = NULL;
    assert_int_equal(recover_open(&settings, &recovery), 0);
    return recovery;
}

struct found {
    uint64_t pubs, settled, settled_bits, in_runs, runs;
};

static void on_found(void *context, const struct recover_record *record) {
    struct found *found = context;
    bool bits = record->view->type == RECORD_SETTLED;
    uint64_t end = 0;
    for (uint64_t seq = 0; bits && record_settled_run(record->view, &seq, &end); seq = end) {
        assert_int_equal(end - seq, 9);
        found->settled_bits += 9;
    }
    for (uint32_t i = 0; i < record->view->target_count; i++) {
        found->pubs += record->view->type == RECORD_PUB;
        if (record->view->type == RECORD_ACK)
            found->settled += record_view_target(record->view, i).count;
    }
}

static void on_run(void *context, const struct recover_run *run) {
    struct found *found = context;
    assert_false(run->in_segment);
    found->runs++;
    found->in_runs += run->count;
}

static struct found find(struct recovery *recovery) {
    struct found found = {0};
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    assert_int_equal(recover_replay(recovery, ~0u, on_found, &found), 0);
    assert_int_equal(recover_runs(recovery, on_run, &found), 0);
    return found;
}

static void sealed_files_are_not_read(void **state) {
    (void)state;
    uint64_t messages = 0;
    struct owner *owner = owner_new(5, false, &messages);
    struct recovery *full = look(owner, false);
    struct recovery *some = look(owner, true);
    struct found all = find(full), found = find(some);
    assert_int_equal(all.pubs, messages);
    assert_int_equal(all.runs, 0);
    assert_int_equal(found.settled, all.settled);
    assert_int_equal(found.settled_bits, all.settled_bits);
    assert_int_equal(all.settled_bits, messages / 320 * 288);
    assert_int_equal(found.pubs + found.in_runs, messages);
    assert_true(found.pubs < messages / 4 && found.runs < 40);
    assert_true(recover_counts(some).bytes < recover_counts(full).bytes / 4);
    recover_close(full);
    recover_close(some);
    owner_free(owner);
}

/* Whoever does not sync leaves no witness, and an index alone proves nothing. */
static void without_a_witness_all_is_read(void **state) {
    (void)state;
    uint64_t messages = 0;
    struct owner *owner = owner_new(3, true, &messages);
    struct recovery *recovery = look(owner, true);
    assert_int_equal(find(recovery).pubs, messages);
    assert_int_equal(find(recovery).runs, 0);
    recover_close(recovery);
    owner_free(owner);
}

static struct sim_file *file_no(struct owner *owner, uint64_t number) {
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &owner->platter.files[i];
        struct file_header header;
        if (!file->used || file_header_parse(file->seen, &header) != FILE_HEADER_GOOD) continue;
        if (header.file_no == number) return file;
    }
    unreachable_here();
}

static void damage_is_found_when_it_is_read(void **state) {
    (void)state;
    uint64_t messages = 0;
    struct owner *owner = owner_new(3, false, &messages);
    struct sim_file *file = file_no(owner, 1);
    file->seen[FILE_FRAMES_AT + JOURNAL_FRAME_HEADER_BYTES + 200] ^= 1;
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_verdict(recovery), RECOVER_DAMAGED);
    recover_close(recovery);
    recovery = look(owner, true);
    assert_int_equal(find(recovery).pubs + find(recovery).in_runs, messages);
    recover_close(recovery);
    /* An index that is damaged is not used: all is read, and everything is told. */
    struct recovery *good = NULL;
    file->seen[FILE_FRAMES_AT + JOURNAL_FRAME_HEADER_BYTES + 200] ^= 1;
    good = look(owner, true);
    struct journal_past past;
    recover_past(good, 0, &past);
    uint64_t index = past.files[0].index;
    assert_true(index != 0);
    recover_close(good);
    file->seen[FILE_FRAMES_AT + JOURNAL_FRAME_HEADER_BYTES + 200] ^= 1;
    file->seen[index + 100] ^= 1;
    recovery = look(owner, true);
    assert_int_equal(recover_verdict(recovery), RECOVER_DAMAGED);
    assert_int_equal(recover_damage_count(recovery), 2);
    recover_close(recovery);
    owner_free(owner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_end_at_gaps),
        cmocka_unit_test(runs_are_short_unless_a_message_is_long),
        cmocka_unit_test(a_message_in_parts_is_in_a_run_or_has_pieces),
        cmocka_unit_test(facts_are_said_once),
        cmocka_unit_test(bits_are_said_as_they_were),
        cmocka_unit_test(too_much_is_given_up),
        cmocka_unit_test(an_empty_file_has_an_index),
        cmocka_unit_test(sealed_files_are_not_read),
        cmocka_unit_test(without_a_witness_all_is_read),
        cmocka_unit_test(damage_is_found_when_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
