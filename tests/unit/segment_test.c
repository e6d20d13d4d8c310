/* segment_test: segments put together, made, listed by a manifest, read back, and what is wrong. */
#include "journal_owner.h"

#include "store/crc.h"
#include "store/journal_frame.h"
#include "store/le.h"
#include "store/pages.h"
#include "store/recover.h"
#include "store/segment.h"
#include "store/summary.h"

enum { QUEUE = 7, LARGE = 3 * 1024 * 1024, FILE_BYTES = 256 * 1024 };

static const uint8_t BODY[LARGE];

static void turns(struct owner *owner) {
    owner_turns(owner, 20);
}

static struct disk *disk_of(struct owner *owner) {
    return &owner->platter.ports[0].disk;
}

static struct owner *owner_new(void) {
    struct owner *owner = owner_with_disk();
    struct journal_settings settings = {.disk = disk_of(owner),
        .node_id = "a node",
        .shard = 3,
        .file_bytes = FILE_BYTES,
        .files_spare = 1,
        .calls = &OWNER_CALLS,
        .context = owner};
    struct journal_past past = {.file_count = 0};
    owner->journal = journal_open(&settings, &past);
    turns(owner);
    return owner;
}

static struct segment_build *begin(uint64_t number, uint64_t capacity) {
    struct segment_settings settings = {.node_id = "a node",
        .shard = 3,
        .number = number,
        .file_id = 0x1000 + number,
        .capacity_bytes = capacity};
    return segment_begin(&settings);
}

static uint64_t put_at; /* in the file, of what was put last */

static bool put(struct segment_build *build, enum record_type type, uint64_t seq, size_t size) {
    struct record_target target = {QUEUE, seq, 1};
    struct record record = {.type = type,
        .target_count = 1,
        .targets = &target,
        .message_id = seq,
        .body = bytes_of(BODY, size)};
    return segment_put(build, &record, &put_at);
}

/* Finishes, makes, frees. */
static void make(struct owner *owner, struct segment_build *build) {
    struct disk_request request;
    segment_finish(build, &request);
    assert_int_equal(request.size, segment_bytes(build));
    assert_int_equal(request.head_size, request.size);
    disk_submit(disk_of(owner), &request);
    turns(owner);
    segment_free(build);
}

/* Puts a manifest of the segments `from` to `to` - 1. */
static void list_segments(struct owner *owner, uint64_t from, uint64_t to) {
    static uint8_t body[100 * RECORD_MANIFEST_ENTRY_BYTES];
    size_t size = 0;
    for (uint64_t number = from; number < to; number++, size += RECORD_MANIFEST_ENTRY_BYTES)
        segment_ref_put(
            &(struct segment_ref){.number = number, .file_id = 0x1000 + number}, body + size);
    struct record record = {.type = RECORD_MANIFEST, .body = bytes_of(body, size)};
    uint64_t position = 0;
    assert_int_equal(journal_put(owner->journal, &record, &position), 0);
    turns(owner);
    assert_int_equal(owner->stable, position);
}

static struct recovery *look(struct owner *owner, bool salvage) {
    struct recover_settings settings = {.disk = &owner->platter.ports[1].disk,
        .node_id = "a node",
        .salvage = salvage,
        .read_only = true};
    struct recovery *recovery = NULL;
    assert_int_equal(recover_open(&settings, &recovery), 0);
    return recovery;
}

/* Looks, expects one damage, and gives it. */
static struct recover_damage damage_of(struct owner *owner) {
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_damage_count(recovery), 1);
    struct recover_damage damage = *recover_damage_at(recovery, 0);
    recover_close(recovery);
    return damage;
}

static struct sim_file *file_of(struct owner *owner, const char *name) {
    for (int i = 0; i < SIM_FILES_MAX; i++)
        if (owner->platter.files[i].used && strcmp(owner->platter.files[i].name, name) == 0)
            return &owner->platter.files[i];
    unreachable_here();
}

struct found {
    uint64_t pubs;
    uint64_t parts;
    uint64_t last_seq;
    uint64_t bytes;
};

static void on_record(void *context, const struct recover_record *record) {
    struct found *found = context;
    if (!record->in_segment || record->view->target_count == 0) return;
    assert_int_equal(record->shard, 3);
    uint64_t seq = record_view_target(record->view, 0).seq;
    assert_true(seq >= found->last_seq);
    found->last_seq = seq;
    found->bytes += record->view->body.size;
    found->pubs += record->view->type == RECORD_PUB;
    found->parts += record->view->type == RECORD_PART;
}

static struct found replay(struct owner *owner, bool salvage, uint32_t types) {
    struct recovery *recovery = look(owner, salvage);
    struct found found = {0};
    assert_int_equal(recover_replay(recovery, types, on_record, &found), 0);
    recover_close(recovery);
    return found;
}

static void what_is_listed_comes_back(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    uint64_t seq = 0;
    for (uint64_t number = 1; number <= 3; number++) {
        struct segment_build *build = begin(number, SEGMENT_BYTES_MIN);
        uint64_t before = seq;
        while (put(build, RECORD_PUB, seq + 1, 1000)) {
            assert_true(put_at > SEGMENT_FRAMES_AT && put_at < segment_bytes(build));
            seq++;
        }
        assert_int_equal(segment_records(build), seq - before);
        assert_true(segment_bytes(build) > SEGMENT_BYTES_MIN / 2);
        make(owner, build);
    }
    list_segments(owner, 2, 4);
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    assert_int_equal(recover_segment_count(recovery), 2);
    assert_int_equal(recover_last_segment_number(recovery, 3), 3);
    assert_int_equal(recover_last_segment_number(recovery, 0), 0);
    struct recover_segment segment;
    recover_segment_at(recovery, 1, &segment);
    assert_int_equal(segment.number, 3);
    assert_int_equal(segment.shard, 3);
    assert_int_equal(segment.file_id, 0x1003);
    assert_true(segment.bytes <= SEGMENT_BYTES_MIN);
    assert_string_equal(segment.name, "0000000000001003.segment");
    assert_int_equal(recover_sweep(recovery), 0);
    assert_int_equal(recover_segment_count(recovery), 2);
    recover_close(recovery);
    struct found found = replay(owner, false, RECORD_BIT(RECORD_PUB));
    assert_int_equal(found.pubs, seq - seq / 3);
    found = replay(owner, false, RECORD_BIT(RECORD_ACK));
    assert_int_equal(found.bytes, 0);
    list_segments(owner, 0, 0);
    assert_int_equal(replay(owner, false, ~0u).pubs, 0);
    owner_free(owner);
}

static void a_message_stays_together(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    struct segment_build *build = begin(1, SEGMENT_BYTES_MIN);
    assert_true(put(build, RECORD_PUB, 1, 1000));
    assert_false(put(build, RECORD_PUB, 2, LARGE));
    assert_true(put(build, RECORD_PART, 2, 20000));
    assert_true(put(build, RECORD_PART, 2, LARGE));
    assert_true(put(build, RECORD_PART, 2, LARGE));
    assert_true(put(build, RECORD_PUB, 2, LARGE));
    assert_false(put(build, RECORD_PUB, 3, 100));
    make(owner, build);
    build = begin(2, SEGMENT_BYTES_MIN);
    assert_true(put(build, RECORD_PUB, 3, LARGE));
    make(owner, build);
    list_segments(owner, 1, 3);
    struct found found = replay(owner, false, RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART));
    assert_int_equal(found.parts, 3);
    assert_int_equal(found.pubs, 3);
    assert_int_equal(found.bytes, 21000 + 4 * (uint64_t)LARGE);
    owner_free(owner);
}

static void a_record_with_many_targets_has_many_summaries(void **state) {
    (void)state;
    static struct record_target targets[RECORD_TARGETS_MAX];
    for (uint64_t i = 0; i < RECORD_TARGETS_MAX; i++)
        targets[i] = (struct record_target){i + 1, 1, 1};
    struct owner *owner = owner_new();
    struct segment_build *build = begin(1, SEGMENT_BYTES_MIN);
    struct record record = {
        .type = RECORD_PUB, .target_count = RECORD_TARGETS_MAX, .targets = targets};
    assert_true(segment_put(build, &record, &put_at));
    make(owner, build);
    list_segments(owner, 1, 2);
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    struct found found = {0};
    assert_int_equal(recover_replay(recovery, RECORD_BIT(RECORD_PUB), on_record, &found), 0);
    assert_int_equal(found.pubs, 1);
    recover_close(recovery);
    owner_free(owner);
}

static struct owner *owner_with_segment(void) {
    struct owner *owner = owner_new();
    struct segment_build *build = begin(1, 4 * SEGMENT_BYTES_MIN);
    for (uint64_t seq = 1; seq <= 100; seq++)
        assert_true(put(build, RECORD_PUB, seq, 1000));
    make(owner, build);
    list_segments(owner, 1, 2);
    assert_int_equal(replay(owner, false, ~0u).pubs, 100);
    return owner;
}

static void every_bit_of_a_segment_is_looked_at(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    struct sim_file *file = file_of(owner, "0000000000001001.segment");
    for (uint64_t at = 0; at < file->size; at += 61) {
        file->seen[at] ^= 1;
        struct recover_damage damage = damage_of(owner);
        assert_string_equal(damage.name, file->name);
        assert_int_equal(damage.shard, 3);
        assert_int_equal(damage.file_no, 1);
        assert_int_equal(
            damage.kind, at < FILE_HEADER_BYTES ? RECOVER_BAD_HEADER : RECOVER_BAD_FRAME);
        file->seen[at] ^= 1;
    }
    owner_free(owner);
}

static void damage_is_named_and_the_rest_is_saved(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    struct sim_file *file = file_of(owner, "0000000000001001.segment");
    uint64_t size = record_size(&(struct record){.type = RECORD_PUB,
        .target_count = 1,
        .targets = &(struct record_target){QUEUE, 1, 1},
        .body = bytes_of(BODY, 1000)});
    file->seen[SEGMENT_FRAMES_AT + JOURNAL_FRAME_HEADER_BYTES + 4 * size + 100] ^= 1;
    struct recover_damage damage = damage_of(owner);
    assert_true(damage.has_target);
    assert_int_equal(damage.target.queue, QUEUE);
    assert_int_equal(damage.target.seq, 5);
    assert_int_equal(replay(owner, true, RECORD_BIT(RECORD_PUB)).pubs, 99);
    struct recovery *recovery = look(owner, true);
    struct recover_segment segment;
    recover_segment_at(recovery, 0, &segment);
    assert_true(segment.damaged);
    recover_close(recovery);
    owner_free(owner);
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    struct sim_file *file = file_of(owner, "0000000000001001.segment");
    uint64_t size = file->size;
    for (uint64_t cut = 1; cut < size - FILE_HEADER_BYTES; cut += 3571) {
        file->size = size - cut;
        assert_int_equal(damage_of(owner).kind, RECOVER_BAD_FRAME);
    }
    file->size = 100;
    assert_int_equal(damage_of(owner).kind, RECOVER_BAD_HEADER);
    file->size = size;
    file->unreadable = 0;
    assert_int_equal(damage_of(owner).kind, RECOVER_UNREADABLE);
    file->unreadable = UINT64_MAX;
    list_segments(owner, 1, 3);
    struct recover_damage damage = damage_of(owner);
    assert_int_equal(damage.kind, RECOVER_MISSING);
    assert_string_equal(damage.name, "0000000000001002.segment");
    assert_int_equal(damage.file_no, 2);
    assert_int_equal(damage.shard, 3);
    owner_free(owner);
}

static void a_newer_or_foreign_segment_is_refused(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    struct sim_file *file = file_of(owner, "0000000000001001.segment");
    static const uint64_t PLACES[] = {4, 8};
    static const enum recover_damage_kind KINDS[] = {RECOVER_NEWER, RECOVER_FOREIGN};
    for (size_t i = 0; i < COUNT_OF(PLACES); i++) {
        file->seen[PLACES[i]] ^= 2;
        le_put_u32(file->seen + FILE_HEADER_BYTES - 4, crc32c(file->seen, FILE_HEADER_BYTES - 4));
        struct recovery *recovery = look(owner, true);
        assert_int_equal(recover_verdict(recovery), RECOVER_REFUSED);
        assert_int_equal(recover_damage_at(recovery, 0)->kind, KINDS[i]);
        recover_close(recovery);
        file->seen[PLACES[i]] ^= 2;
        le_put_u32(file->seen + FILE_HEADER_BYTES - 4, crc32c(file->seen, FILE_HEADER_BYTES - 4));
    }
    owner_free(owner);
}

/* Nobody knows what the last manifest was: nothing is removed. */
static void segments_outlive_their_chain(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &owner->platter.files[i];
        if (file->used && strstr(file->name, ".journal")) file->removed = true;
    }
    struct recover_damage damage = damage_of(owner);
    assert_int_equal(damage.kind, RECOVER_MISSING);
    assert_int_equal(damage.shard, 3);
    struct recovery *recovery = look(owner, true);
    assert_int_equal(recover_sweep(recovery), 0);
    assert_int_equal(recover_segment_count(recovery), 1);
    recover_close(recovery);
    assert_int_equal(replay(owner, true, ~0u).pubs, 100);
    owner_free(owner);
}

/* A spill file, to be put together in memory that is lent, and that is not zero. */
static struct segment_build *begin_spill(void) {
    static uint8_t memory[SEGMENT_BYTES_MIN] __attribute__((aligned(DISK_BLOCK_BYTES)));
    struct segment_settings settings = {.node_id = "a node",
        .shard = 3,
        .number = 1,
        .file_id = 0xabc,
        .capacity_bytes = SEGMENT_BYTES_MIN,
        .spill = true,
        .memory = memory,
        .memory_bytes = sizeof memory};
    memset(memory, 0xee, sizeof memory);
    return segment_begin(&settings);
}

/* It is a segment's frames and no index; nobody but who made it reads it. */
static void a_spill_file_is_nothing_to_the_next_start(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    struct segment_build *build = begin_spill();
    uint64_t count = 0;
    while (put(build, RECORD_PUB, count + 1, 1000))
        count++;
    make(owner, build);
    struct sim_file *file = file_of(owner, "0000000000000abc.spill");
    assert_in_range(file->size, SEGMENT_BYTES_MIN - 2 * DISK_BLOCK_BYTES, SEGMENT_BYTES_MIN);
    struct page page = {.end = file->size, .file_id = 0xabc};
    page_begin(&page, bytes_of(file->seen, file->size), 0, SEGMENT_FRAMES_AT);
    for (uint64_t seq = 1; seq <= count; seq++) {
        assert_int_equal(page_next(&page), PAGE_RECORD);
        assert_int_equal(record_view_target(&page.view, 0).seq, seq);
    }
    assert_int_equal(page_next(&page), PAGE_END);
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    assert_int_equal(recover_segment_count(recovery), 1);
    assert_int_equal(recover_sweep(recovery), 0);
    recover_close(recovery);
    assert_null(platter_find(&owner->platter, "0000000000000abc.spill"));
    assert_int_equal(replay(owner, false, ~0u).pubs, 100);
    owner_free(owner);
}

/* One record that is larger than the memory that was lent is in the build's own. */
static void a_spill_file_outgrows_borrowed_memory(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    struct segment_build *build = begin_spill();
    assert_true(put(build, RECORD_PUB, 1, LARGE));
    assert_false(put(build, RECORD_PUB, 2, 10));
    make(owner, build);
    assert_true(file_of(owner, "0000000000000abc.spill")->size > LARGE);
    owner_free(owner);
}

/* What a killed process left in the page cache is made stable by who builds on it, not by a look.
 */
static void a_look_makes_nothing_stable(void **state) {
    (void)state;
    struct owner *owner = owner_with_segment();
    for (int i = 0; i < 2; i++) {
        struct sim_file *file = file_of(owner, "0000000000001001.segment");
        memset(file->stable, 0, file->size);
        uint64_t operations = owner->platter.operations;
        recover_close(look(owner, false));
        assert_true(owner->platter.operations > operations);
        assert_int_not_equal(memcmp(file->stable, file->seen, file->size), 0);
        struct recover_settings settings = {
            .disk = &owner->platter.ports[1].disk, .node_id = "a node"};
        struct recovery *recovery = NULL;
        assert_int_equal(recover_open(&settings, &recovery), 0);
        assert_memory_equal(file->stable, file->seen, file->size);
        recover_close(recovery);
    }
    owner_free(owner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_listed_comes_back),
        cmocka_unit_test(a_message_stays_together),
        cmocka_unit_test(a_record_with_many_targets_has_many_summaries),
        cmocka_unit_test(every_bit_of_a_segment_is_looked_at),
        cmocka_unit_test(damage_is_named_and_the_rest_is_saved),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(a_newer_or_foreign_segment_is_refused),
        cmocka_unit_test(segments_outlive_their_chain),
        cmocka_unit_test(a_spill_file_is_nothing_to_the_next_start),
        cmocka_unit_test(a_spill_file_outgrows_borrowed_memory),
        cmocka_unit_test(a_look_makes_nothing_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
