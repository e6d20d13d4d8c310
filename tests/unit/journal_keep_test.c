/* journal_keep_test: journal files that are kept in place, named by a manifest, read back, given
 * up.
 */
#include "journal_owner.h"

#include "base/memory.h"
#include "store/crc.h"
#include "store/journal_frame.h"
#include "store/le.h"
#include "store/recover.h"

enum { QUEUE = 5, FILE_BYTES = 128 * 1024, BODY_BYTES = 3000 };

static void turns(struct owner *owner) {
    owner_turns(owner, 10);
}

static void open_journal(struct owner *owner, const struct journal_past *past) {
    struct journal_settings settings = {.disk = &owner->platter.ports[0].disk,
        .node_id = "a node",
        .shard = 3,
        .file_bytes = FILE_BYTES,
        .files_spare = 1,
        .seed = 7,
        .calls = &OWNER_CALLS,
        .context = owner};
    owner->journal = journal_open(&settings, past);
    (void)journal_want_file(owner->journal);
    turns(owner);
}

static uint64_t put(struct owner *owner, const struct record *record) {
    uint64_t position = 0;
    assert_int_equal(journal_put(owner->journal, record, &position), 0);
    journal_hurry(owner->journal);
    turns(owner);
    assert_int_equal(owner->stable, position);
    return position;
}

/* Puts messages until there are so many files; settles every third. */
static void fill(struct owner *owner, uint32_t files) {
    static const uint8_t BODY[BODY_BYTES];
    while (journal_files(owner->journal) < files) {
        struct record_target target = {QUEUE, ++owner->seq, 1};
        struct record record = {.type = RECORD_PUB,
            .target_count = 1,
            .targets = &target,
            .message_id = owner->seq,
            .body = bytes_of(BODY, sizeof BODY)};
        put(owner, &record);
        record.type = RECORD_ACK;
        record.body = bytes_of(NULL, 0);
        if (owner->seq % 3 == 0) put(owner, &record);
    }
    turns(owner);
}

static struct owner *owner_new(uint32_t files) {
    struct owner *owner = owner_with_disk();
    struct journal_past past = {.file_count = 0};
    open_journal(owner, &past);
    fill(owner, files);
    return owner;
}

static void name_files(
    struct owner *owner, const struct segment_ref *refs, uint32_t count, uint64_t released) {
    uint8_t body[8 * RECORD_CATALOG_ENTRY_BYTES];
    struct record record = manifest_record(refs, count, released, body);
    put(owner, &record);
}

/* Keeps the oldest file, and gives what is to be said of it. */
static struct segment_ref keep(struct owner *owner, struct journal_kept *ret_kept) {
    uint64_t file_no = journal_oldest(owner->journal);
    struct segment_ref ref = journal_keep_ref(owner->journal, file_no);
    assert_int_equal(ref.number, SEGMENT_REF_KEPT | file_no);
    name_files(owner, &ref, 1, file_no);
    journal_keep(owner->journal, file_no, ret_kept);
    assert_int_equal(ret_kept->file_no, file_no);
    assert_int_equal(ret_kept->file_id, ref.file_id);
    assert_int_equal(ret_kept->end, ref.end);
    assert_int_equal(ret_kept->bytes, FILE_BYTES);
    assert_true(ref.index != 0 && ref.index < ref.end);
    return ref;
}

/* Three files, of which the first is kept; its marks are not wanted. */
static struct owner *owner_with_kept(struct segment_ref *ret_ref, struct journal_kept *ret_kept) {
    struct owner *owner = owner_new(3);
    *ret_ref = keep(owner, ret_kept);
    mem_free(ret_kept->marks);
    return owner;
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

struct found {
    uint64_t pubs, settled, manifests;
    uint64_t kept_pubs, kept_settled;
    uint64_t last_kept; /* seq */
};

static void on_record(void *context, const struct recover_record *record) {
    struct found *found = context;
    const struct record_view *view = record->view;
    assert_true(record->record_at > record->offset);
    if (record->kept) assert_true(record->in_segment);
    found->manifests += manifest_is(view->type);
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        found->pubs += view->type == RECORD_PUB;
        found->settled += view->type == RECORD_ACK ? target.count : 0;
        if (!record->kept) continue;
        found->kept_pubs += view->type == RECORD_PUB;
        found->kept_settled += view->type == RECORD_ACK ? target.count : 0;
        if (view->type == RECORD_PUB) found->last_kept = target.seq;
    }
}

static struct found replay(struct owner *owner, bool salvage) {
    struct recovery *recovery = look(owner, salvage);
    struct found found = {0};
    if (!salvage) assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    assert_int_equal(recover_replay(recovery, ~0u, on_record, &found), 0);
    recover_close(recovery);
    return found;
}

static void a_kept_file_is_read_as_a_segment(void **state) {
    (void)state;
    struct owner *owner = owner_new(4);
    struct found before = replay(owner, false);
    struct journal_kept kept;
    struct segment_ref ref = keep(owner, &kept);
    assert_true(kept.mark_count > 0 && kept.marks[0].position == 1);
    assert_int_equal(journal_mark_find(kept.marks, kept.mark_count, 1), 0);
    assert_int_equal(journal_mark_find(kept.marks, kept.mark_count, 0), UINT32_MAX);
    mem_free(kept.marks);
    struct journal_place place;
    assert_false(journal_locate(owner->journal, 1, &place));
    assert_int_equal(journal_oldest(owner->journal), 2);
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_segment_count(recovery), 1);
    assert_int_equal(recover_last_segment_number(recovery, 3), 0);
    struct recover_segment segment;
    recover_segment_at(recovery, 0, &segment);
    assert_true(segment.kept && !segment.damaged);
    assert_int_equal(segment.number, 1);
    assert_int_equal(segment.end, ref.end);
    assert_int_equal(segment.file_id, ref.file_id);
    assert_string_equal(segment.name, kept.name);
    struct journal_past past;
    recover_past(recovery, 3, &past);
    assert_int_equal(past.released_file_no, 1);
    for (uint32_t i = 0; i < past.file_count; i++)
        assert_true(past.files[i].file_no != 1);
    recover_close(recovery);
    struct found after = replay(owner, false);
    assert_int_equal(after.pubs, before.pubs);
    assert_int_equal(after.settled, before.settled);
    assert_true(after.kept_pubs > 10 && after.kept_settled > 3);
    assert_int_equal(after.manifests, 1);
    owner_free(owner);
}

/* It is not marked, and not used again, whatever is released behind it. */
static void a_kept_file_is_left_alone(void **state) {
    (void)state;
    struct journal_kept kept;
    struct segment_ref ref;
    struct owner *owner = owner_with_kept(&ref, &kept);
    struct found before = replay(owner, false);
    for (int i = 0; i < 5; i++) {
        fill(owner, journal_files(owner->journal) + 2);
        name_files(owner, &ref, 1, 1);
        while (journal_oldest(owner->journal) != 0)
            journal_release(owner->journal, journal_oldest(owner->journal));
        turns(owner);
    }
    struct found after = replay(owner, false);
    assert_int_equal(after.kept_pubs, before.kept_pubs);
    assert_int_equal(after.last_kept, before.last_kept);
    owner_free(owner);
}

static struct sim_file *file_of(struct owner *owner, const char *name) {
    for (int i = 0; i < SIM_FILES_MAX; i++)
        if (owner->platter.files[i].used && strcmp(owner->platter.files[i].name, name) == 0)
            return &owner->platter.files[i];
    unreachable_here();
}

/* Neither missed nor taken for anything else, even before a header says where the chain begins. */
static void one_that_was_given_up_is_left_over(void **state) {
    (void)state;
    struct journal_kept kept;
    struct segment_ref ref;
    struct owner *owner = owner_with_kept(&ref, &kept);
    uint64_t kept_pubs = replay(owner, false).kept_pubs;
    uint64_t all = replay(owner, false).pubs;
    name_files(owner, NULL, 0, 1);
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    assert_int_equal(recover_segment_count(recovery), 0);
    assert_int_equal(recover_sweep(recovery), 0);
    recover_close(recovery);
    assert_true(file_of(owner, kept.name)->removed);
    assert_int_equal(replay(owner, false).pubs, all - kept_pubs);
    recovery = look(owner, false);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    recover_close(recovery);
    owner_free(owner);
}

static struct recover_damage damage_of(struct owner *owner) {
    struct recovery *recovery = look(owner, false);
    assert_int_equal(recover_verdict(recovery), RECOVER_DAMAGED);
    assert_int_equal(recover_damage_count(recovery), 1);
    struct recover_damage damage = *recover_damage_at(recovery, 0);
    recover_close(recovery);
    return damage;
}

static void damage_in_it_is_told_and_the_rest_is_saved(void **state) {
    (void)state;
    struct journal_kept kept;
    struct segment_ref ref;
    struct owner *owner = owner_with_kept(&ref, &kept);
    struct found whole = replay(owner, false);
    struct sim_file *file = file_of(owner, kept.name);
    for (uint64_t at = FILE_FRAMES_AT; at < kept.end; at += 997) {
        file->seen[at] ^= 1;
        struct recover_damage damage = damage_of(owner);
        assert_string_equal(damage.name, kept.name);
        assert_int_equal(damage.kind, RECOVER_BAD_FRAME);
        assert_int_equal(damage.file_no, 1);
        assert_true(replay(owner, true).kept_pubs + 1 >= whole.kept_pubs);
        file->seen[at] ^= 1;
    }
    /* Of one without a header the frames are good. */
    file->seen[50] ^= 1;
    assert_int_equal(damage_of(owner).kind, RECOVER_BAD_HEADER);
    assert_int_equal(replay(owner, true).kept_pubs, whole.kept_pubs);
    file->seen[50] ^= 1;
    file->seen[FILE_MARK_AT + 50] ^= 1;
    assert_int_equal(replay(owner, false).kept_pubs, whole.kept_pubs);
    file->used = false;
    struct recover_damage damage = damage_of(owner);
    assert_int_equal(damage.kind, RECOVER_MISSING);
    assert_int_equal(damage.file_no, 1);
    file->used = true;
    owner_free(owner);
}

/* Where nobody knows what the last manifest says, what may have been kept is given. */
static void in_doubt_everything_is_given(void **state) {
    (void)state;
    struct journal_kept kept;
    struct segment_ref ref;
    struct owner *owner = owner_with_kept(&ref, &kept);
    uint64_t all = replay(owner, false).pubs;
    name_files(owner, NULL, 0, 1);
    fill(owner, journal_files(owner->journal) + 1);
    struct recovery *recovery = look(owner, false);
    struct journal_past past;
    recover_past(recovery, 3, &past);
    struct journal_past_file first = past.files[0];
    recover_close(recovery);
    struct sim_file *file = file_of(owner, first.name);
    file->seen[FILE_FRAMES_AT + 100] ^= 1;
    recovery = look(owner, true);
    assert_int_equal(recover_verdict(recovery), RECOVER_DAMAGED);
    assert_int_equal(recover_segment_count(recovery), 1);
    assert_int_equal(recover_sweep(recovery), 0);
    recover_close(recovery);
    assert_true(replay(owner, true).pubs >= all - 1);
    owner_free(owner);
}

/* A new life: the journal knows nothing of the file, and has no more to say of where it begins. */
static void a_new_life_has_it_still(void **state) {
    (void)state;
    struct journal_kept kept;
    struct segment_ref ref;
    struct owner *owner = owner_with_kept(&ref, &kept);
    struct found before = replay(owner, false);
    for (int life = 0; life < 3; life++) {
        platter_power_loss(&owner->platter);
        journal_close(owner->journal);
        struct recovery *recovery = look(owner, false);
        assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
        struct journal_past past;
        recover_past(recovery, 3, &past);
        open_journal(owner, &past);
        recover_close(recovery);
        name_files(owner, &ref, 1, 0);
        struct journal_place place;
        uint64_t oldest = journal_oldest(owner->journal);
        assert_true(oldest > 1);
        assert_true(journal_past_place(owner->journal, oldest, &place));
        assert_string_equal(place.name, journal_past_name(owner->journal, oldest));
        assert_null(journal_past_name(owner->journal, 1));
        assert_int_equal(replay(owner, false).kept_pubs, before.kept_pubs);
    }
    owner_free(owner);
}

static void manifests_are_read_as_they_were_written(void **state) {
    (void)state;
    uint8_t bytes[512], body[3 * RECORD_CATALOG_ENTRY_BYTES];
    struct segment_ref refs[] = {{7, 77, 0, 0}, {SEGMENT_REF_KEPT | 8, 88, 4096, 8192}};
    for (uint32_t count = 0; count <= 2; count++) {
        for (uint64_t released = 0; released < 2; released++) {
            struct record record = manifest_record(refs, count, released, body);
            bool plain = count < 2 && released == 0;
            assert_int_equal(record.type, plain ? RECORD_MANIFEST : RECORD_CATALOG);
            record_encode(&record, bytes);
            struct record_view view;
            assert_int_equal(record_parse(bytes_of(bytes, sizeof bytes), &view), RECORD_GOOD);
            assert_true(manifest_is(view.type));
            assert_int_equal(manifest_count(&view), count);
            assert_int_equal(manifest_released(&view), released);
            for (uint32_t i = 0; i < count; i++) {
                struct segment_ref ref = manifest_at(&view, i);
                assert_int_equal(ref.number, refs[i].number);
                assert_int_equal(ref.file_id, refs[i].file_id);
                assert_int_equal(ref.end, refs[i].end);
                assert_int_equal(ref.index, refs[i].index);
            }
        }
    }
    le_put_u32(bytes + 4, RECORD_HEADER_BYTES + 40);
    bytes[8] = RECORD_CATALOG;
    le_put_u32(bytes, crc32c(bytes + 4, RECORD_HEADER_BYTES + 36));
    struct record_view view;
    assert_int_equal(record_parse(bytes_of(bytes, sizeof bytes), &view), RECORD_BAD_CONTENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kept_file_is_read_as_a_segment),
        cmocka_unit_test(a_kept_file_is_left_alone),
        cmocka_unit_test(one_that_was_given_up_is_left_over),
        cmocka_unit_test(damage_in_it_is_told_and_the_rest_is_saved),
        cmocka_unit_test(in_doubt_everything_is_given),
        cmocka_unit_test(a_new_life_has_it_still),
        cmocka_unit_test(manifests_are_read_as_they_were_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
