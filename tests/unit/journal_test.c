/* journal_test: when frames leave, when they count, and what a failing disk does to them. */
#include "tests/store/disk_sim.h"
#include "unit.h"

#include <errno.h>

#include "store/journal_frame.h"
#include "store/recover.h"
#include "store/summary.h"

struct owner {
    struct platter platter;
    struct journal *journal;
    uint64_t stable;
    uint64_t left_file, left_position;
    int troubles[JOURNAL_STOPPED + 1];
    struct disk_request *given_back;
    uint64_t now_ms;
};

static void on_stable(void *context, uint64_t position) {
    struct owner *owner = context;
    assert_true(position > owner->stable);
    owner->stable = position;
}

static void on_file_left(void *context, uint64_t file_no, uint64_t position) {
    struct owner *owner = context;
    owner->left_file = file_no;
    owner->left_position = position;
}

static void on_trouble(void *context, enum journal_trouble trouble, int error) {
    struct owner *owner = context;
    assert_true((error == 0) == (trouble == JOURNAL_MADE));
    owner->troubles[trouble]++;
}

static void on_request(void *context, struct disk_request *request) {
    struct owner *owner = context;
    owner->given_back = request;
}

static const struct journal_calls CALLS = {on_stable, on_file_left, on_trouble, on_request};

static void turn(struct owner *owner) {
    journal_turn(owner->journal, owner->now_ms, owner->now_ms);
}

/* There is room again, and time to notice it. */
static void make_room(struct owner *owner) {
    owner->platter.fault = SIM_NO_FAULT;
    for (int i = 0; i < 20; i++) {
        owner->now_ms += JOURNAL_MAKE_MS;
        turn(owner);
        platter_complete_all(&owner->platter);
        turn(owner);
    }
}

/* Completes one write and lets the journal know. */
static void complete(struct owner *owner) {
    assert_true(platter_complete(&owner->platter.ports[0], false));
    turn(owner);
}

/* A journal with two files made and the first one begun. */
static struct owner *owner_begin(bool unwitnessed) {
    struct owner *owner = test_malloc(sizeof *owner);
    memset(owner, 0, sizeof *owner);
    platter_init(&owner->platter, 1);
    struct journal_settings settings = {.disk = &owner->platter.ports[0].disk,
        .node_id = "a node",
        .shard = 0,
        .file_bytes = 1024 * 1024,
        .files_spare = 2,
        .unwitnessed = unwitnessed,
        .seed = 2,
        .calls = &CALLS,
        .context = owner};
    struct journal_past past = {.file_count = 0};
    owner->journal = journal_open(&settings, &past);
    (void)journal_want_file(owner->journal);
    for (int i = 0; i < 3; i++) {
        turn(owner);
        platter_complete(&owner->platter.ports[0], true);
    }
    turn(owner);
    complete(owner); /* the header */
    assert_int_equal(owner->stable, 0);
    return owner;
}

static struct owner *owner_new(void) {
    return owner_begin(false);
}

static void owner_free(struct owner *owner) {
    platter_power_loss(&owner->platter);
    journal_close(owner->journal);
    platter_deinit(&owner->platter);
    test_free(owner);
}

static uint64_t put(struct owner *owner, uint64_t seq, size_t size) {
    static const uint8_t BODY[200 * 1024];
    struct record_target target = {5, seq, 1};
    struct record record = {.type = RECORD_PUB,
        .target_count = 1,
        .targets = &target,
        .message_id = seq,
        .body = bytes_of(BODY, size)};
    uint64_t position = 0;
    assert_int_equal(journal_put(owner->journal, &record, &position), 0);
    return position;
}

static uint64_t settle(struct owner *owner, uint64_t seq) {
    struct record_target span = {5, seq, 1};
    uint64_t position = 0;
    assert_int_equal(journal_settle(owner->journal, &span, &position), 0);
    return position;
}

static uint32_t waiting(const struct owner *owner) {
    return platter_waiting(&owner->platter.ports[0]);
}

static void nothing_is_stable_before_its_write(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    assert_int_equal(put(owner, 1, 100), 1);
    turn(owner);
    assert_int_equal(waiting(owner), 1);
    turn(owner);
    assert_int_equal(owner->stable, 0);
    assert_true(journal_unstable_bytes(owner->journal) > 0);
    complete(owner);
    assert_int_equal(owner->stable, 1);
    assert_int_equal(journal_stable(owner->journal), 1);
    assert_int_equal(journal_unstable_bytes(owner->journal), 0);
    owner_free(owner);
}

static void groups_form_behind_a_write(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    put(owner, 1, 100);
    turn(owner);
    for (uint64_t i = 2; i <= 100; i++) {
        put(owner, i, 100);
        turn(owner);
    }
    assert_int_equal(waiting(owner), 1);
    complete(owner);
    assert_int_equal(owner->stable, 1);
    assert_int_equal(waiting(owner), 1);
    complete(owner);
    assert_int_equal(owner->stable, 100);
    assert_int_equal(journal_counts(owner->journal)->frames, 2);
    owner_free(owner);
}

static void the_pace_is_that_of_the_oldest_frame(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    assert_true(journal_pace(owner->journal).waits_since_ms == UINT64_MAX);
    owner->now_ms = 100;
    put(owner, 1, JOURNAL_SECOND_BYTES);
    turn(owner);
    owner->now_ms = 150;
    put(owner, 2, JOURNAL_SECOND_BYTES);
    turn(owner);
    assert_int_equal(waiting(owner), 2);
    assert_int_equal(journal_pace(owner->journal).waits_since_ms, 100);
    owner->now_ms = 1200;
    complete(owner);
    struct journal_pace pace = journal_pace(owner->journal);
    assert_int_equal(pace.waits_since_ms, 150);
    assert_int_equal(pace.last_done_ms, 1200);
    assert_int_equal(pace.last_took_ms, 1100);
    owner->now_ms = 1210;
    complete(owner);
    pace = journal_pace(owner->journal);
    assert_true(pace.waits_since_ms == UINT64_MAX);
    assert_int_equal(pace.last_took_ms, 1060);
    owner_free(owner);
}

static void no_more_than_two_frames_are_in_flight(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    for (uint64_t i = 1; i <= 5; i++) {
        put(owner, i, 150 * 1024);
        turn(owner);
    }
    assert_int_equal(waiting(owner), JOURNAL_IN_FLIGHT_MAX);
    complete(owner);
    assert_int_equal(owner->stable, 1);
    assert_int_equal(waiting(owner), JOURNAL_IN_FLIGHT_MAX);
    owner_free(owner);
}

static void settlements_travel_with_others_or_late(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    settle(owner, 1);
    settle(owner, 2);
    assert_int_equal(settle(owner, 3), 3);
    turn(owner);
    assert_int_equal(waiting(owner), 0);
    assert_int_equal(journal_due(owner->journal), JOURNAL_LAZY_MS);
    owner->now_ms = JOURNAL_LAZY_MS;
    turn(owner);
    assert_int_equal(waiting(owner), 1);
    complete(owner);
    assert_int_equal(owner->stable, 3);
    settle(owner, 4);
    put(owner, 9, 10);
    turn(owner);
    complete(owner);
    assert_int_equal(owner->stable, 5);
    assert_int_equal(journal_counts(owner->journal)->frames, 2);
    owner_free(owner);
}

static void an_idle_journal_seals_once(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    put(owner, 1, 10);
    turn(owner);
    complete(owner);
    assert_false(journal_idle(owner->journal));
    assert_int_equal(journal_due(owner->journal), JOURNAL_SEAL_MS);
    owner->now_ms = JOURNAL_SEAL_MS;
    turn(owner);
    assert_int_equal(waiting(owner), 1);
    complete(owner);
    assert_true(journal_idle(owner->journal));
    assert_int_equal(journal_due(owner->journal), UINT64_MAX);
    owner->now_ms += 1000;
    turn(owner);
    assert_int_equal(waiting(owner), 0);
    owner_free(owner);
}

static void a_failed_write_goes_to_another_file(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    put(owner, 1, 150 * 1024);
    turn(owner);
    put(owner, 2, 150 * 1024);
    turn(owner);
    put(owner, 3, 10);
    assert_int_equal(waiting(owner), 2);
    owner->platter.fault = SIM_EIO;
    complete(owner);
    assert_int_equal(owner->stable, 0);
    complete(owner); /* the one behind succeeds and does not count */
    assert_int_equal(owner->stable, 0);
    assert_int_equal(owner->troubles[JOURNAL_WRITE_FAILED], 1);
    while (owner->stable < 3 && platter_complete(&owner->platter.ports[0], false))
        turn(owner);
    assert_int_equal(owner->stable, 3);
    assert_int_equal(journal_counts(owner->journal)->files_begun, 2);
    assert_int_equal(journal_counts(owner->journal)->failed_writes, 1);
    owner_free(owner);
}

static void a_second_failure_stops(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    put(owner, 1, 10);
    turn(owner);
    owner->platter.fault = SIM_SHORT;
    complete(owner);
    owner->platter.fault = SIM_EIO;
    complete(owner); /* the header of the new file */
    platter_complete(&owner->platter.ports[0], false);
    turn(owner);
    assert_int_equal(owner->troubles[JOURNAL_STOPPED], 1);
    assert_true(journal_stopped(owner->journal));
    assert_int_equal(owner->stable, 0);
    struct record record = {.type = RECORD_SEAL};
    uint64_t position = 0;
    assert_int_equal(journal_put(owner->journal, &record, &position), -EIO);
    owner_free(owner);
}

static void without_a_file_everything_waits(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    for (uint64_t i = 1; i <= 40; i++) {
        put(owner, i, 100 * 1024);
        turn(owner);
        owner->platter.fault = SIM_NO_SPACE;
        platter_complete(&owner->platter.ports[0], true);
        while (platter_complete(&owner->platter.ports[0], false))
            turn(owner);
    }
    assert_true(owner->troubles[JOURNAL_MAKE_FAILED] > 0);
    assert_true(owner->stable < 40);
    uint64_t stable = owner->stable;
    make_room(owner);
    assert_true(stable < 40);
    assert_int_equal(owner->stable, 40);
    assert_int_equal(owner->troubles[JOURNAL_MADE], 1);
    assert_int_equal(journal_counts(owner->journal)->failed_writes, 0);
    owner_free(owner);
}

/* Puts until no file is left, while only vital ones can be made. */
static void fill_while_full(struct owner *owner) {
    for (uint64_t i = 1; i <= 80; i++) {
        put(owner, i, 100 * 1024);
        turn(owner);
        owner->now_ms += JOURNAL_MAKE_MS;
        owner->platter.fault = SIM_NO_SPACE;
        (void)platter_complete(&owner->platter.ports[0], true);
        while (platter_complete(&owner->platter.ports[0], false))
            turn(owner);
        turn(owner);
    }
}

/* The last ready file is in use before what is kept aside is asked for, and for one file only. */
static void what_is_kept_aside_is_used_last(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    owner->platter.reserve = 2;
    uint64_t made = journal_counts(owner->journal)->files_made;
    fill_while_full(owner);
    /* Three files, and the two that were kept aside: each takes nine. */
    assert_int_equal(owner->platter.reserve, 0);
    assert_int_equal(journal_counts(owner->journal)->files_made, made + 2);
    assert_int_equal(owner->stable, 45);
    assert_true(owner->troubles[JOURNAL_MAKE_FAILED] > 0);
    assert_int_equal(owner->troubles[JOURNAL_MADE], 0);
    assert_true(journal_starved(owner->journal));
    make_room(owner);
    assert_int_equal(owner->stable, 80);
    assert_int_equal(owner->troubles[JOURNAL_MADE], 1);
    owner_free(owner);
}

static void an_awaited_settlement_hurries(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    settle(owner, 1);
    turn(owner);
    assert_int_equal(waiting(owner), 0);
    assert_int_equal(journal_due(owner->journal), JOURNAL_LAZY_MS);
    journal_hurry(owner->journal);
    settle(owner, 2);
    turn(owner);
    assert_int_equal(waiting(owner), 1);
    complete(owner);
    assert_int_equal(owner->stable, 2);
    settle(owner, 3);
    turn(owner);
    assert_int_equal(waiting(owner), 0);
    owner_free(owner);
}

/* Fills files and releases all that may be. */
static void fill_and_release(struct owner *owner, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        put(owner, i + 1, 100 * 1024);
        turn(owner);
        platter_complete(&owner->platter.ports[0], true);
        while (platter_complete(&owner->platter.ports[0], false))
            turn(owner);
        turn(owner);
    }
    while (journal_oldest(owner->journal) != 0)
        journal_release(owner->journal, journal_oldest(owner->journal));
}

static void surplus_files_go_and_the_last_mark_stays(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    fill_and_release(owner, 50);
    assert_int_equal(journal_files(owner->journal), 1);
    uint64_t surplus_ms = owner->now_ms;
    for (int i = 0; i < 2; i++) { /* the marks, then the last witness */
        platter_complete_all(&owner->platter);
        turn(owner);
        owner->now_ms += JOURNAL_SEAL_MS;
        turn(owner);
    }
    /* They are surplus for a while before any of them goes. */
    assert_int_equal(journal_due(owner->journal), surplus_ms + JOURNAL_TRIM_MS);
    assert_int_equal(journal_counts(owner->journal)->files_removed, 0);
    owner->now_ms += JOURNAL_TRIM_MS;
    for (int i = 0; i < 50; i++) {
        uint64_t removed = journal_counts(owner->journal)->files_removed;
        platter_complete_all(&owner->platter);
        turn(owner);
        assert_true(journal_counts(owner->journal)->files_removed <= removed + 1);
    }
    const struct journal_counts *counts = journal_counts(owner->journal);
    assert_int_equal(journal_spares(owner->journal), 3);
    assert_int_equal(counts->files_removed, counts->files_made - 4);
    /* Without it nobody would know that the others are not missed. */
    struct recover_settings settings = {
        .disk = &owner->platter.ports[1].disk, .node_id = "a node", .read_only = true};
    struct recovery *recovery = NULL;
    assert_int_equal(recover_open(&settings, &recovery), 0);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    recover_close(recovery);
    owner_free(owner);
}

static void the_owner_gets_its_own_requests_back(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    struct disk_request request = {.kind = DISK_REMOVE, .name = "nobody.segment"};
    disk_submit(&owner->platter.ports[0].disk, &request);
    platter_complete_all(&owner->platter);
    assert_null(owner->given_back);
    turn(owner);
    assert_ptr_equal(owner->given_back, &request);
    assert_int_equal(request.status, 0);
    owner_free(owner);
}

static void what_cannot_be_written_is_refused(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    struct record_target target = {QUEUE_ID_TRANSIENT | 5, 1, 1};
    static const uint8_t LARGE[1024 * 1024];
    struct record record = {.type = RECORD_PUB, .target_count = 1, .targets = &target};
    uint64_t position = 77;
    assert_int_equal(journal_put(owner->journal, &record, &position), -EINVAL);
    assert_int_equal(journal_settle(owner->journal, &target, &position), -EINVAL);
    target.queue = 5;
    record.body = bytes_of(LARGE, sizeof LARGE);
    assert_int_equal(journal_put(owner->journal, &record, &position), -EMSGSIZE);
    assert_int_equal(position, 77);
    owner_free(owner);
}

struct summed {
    uint64_t count;
    uint64_t settled;
    uint64_t first_seq, last_seq;
    uint64_t file_no;
};

static void on_index(void *context, const struct recover_record *record) {
    struct summed *summed = context;
    for (uint32_t i = 0; i < summary_count(record->view->body); i++) {
        struct summary summary = summary_decode(record->view->body, i);
        assert_int_equal(summary.queue, 5);
        *summed = (struct summed){
            summary.count, summary.settled, summary.first_seq, summary.last_seq, record->file_no};
    }
}

static void a_full_file_ends_with_its_summaries(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    uint64_t seq = 100;
    for (; owner->left_file == 0; seq++) {
        put(owner, seq, 20 * 1024);
        settle(owner, seq);
        turn(owner);
        platter_complete_all(&owner->platter);
        turn(owner);
    }
    assert_int_equal(owner->left_file, 1);
    assert_int_equal(journal_oldest(owner->journal), 1);
    platter_complete_all(&owner->platter);
    struct recover_settings settings = {.disk = &owner->platter.ports[1].disk, .node_id = "a node"};
    struct recovery *recovery = NULL;
    assert_int_equal(recover_open(&settings, &recovery), 0);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    struct summed summed = {.count = 0};
    assert_int_equal(recover_replay(recovery, RECORD_BIT(RECORD_INDEX), on_index, &summed), 0);
    assert_int_equal(summed.file_no, 1);
    assert_int_equal(summed.count, owner->left_position / 2);
    assert_int_equal(summed.settled, owner->left_position / 2);
    assert_int_equal(summed.first_seq, 100);
    assert_int_equal(summed.last_seq, 99 + owner->left_position / 2);
    recover_close(recovery);
    owner_free(owner);
}

/* The highest place that a frame on the platter says is stable. */
static uint64_t highest_witness(const struct owner *owner) {
    uint64_t highest = 0;
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        const struct sim_file *file = &owner->platter.files[i];
        for (uint64_t at = FILE_FRAMES_AT; file->used && at < file->size; at += DISK_BLOCK_BYTES) {
            struct journal_frame frame;
            if (journal_frame_parse(file->seen + at, &frame) && frame.durable_lsn > highest)
                highest = frame.durable_lsn;
        }
    }
    return highest;
}

static void an_unsynced_journal_bears_no_witness(void **state) {
    (void)state;
    for (int unwitnessed = 0; unwitnessed < 2; unwitnessed++) {
        struct owner *owner = owner_begin(unwitnessed);
        for (uint64_t seq = 1; seq < 5; seq++) {
            put(owner, seq, 100);
            turn(owner);
            complete(owner);
        }
        assert_int_equal(owner->stable, 4);
        assert_int_equal(highest_witness(owner) == 0, unwitnessed);
        owner_free(owner);
    }
}

/* Whether a record is in the frame that a place names. */
struct wanted {
    uint64_t id;
    bool found;
};

static void on_wanted(void *context, const struct record_view *view) {
    struct wanted *wanted = context;
    wanted->found = wanted->found || view->message_id == wanted->id;
}

static bool is_at(const struct owner *owner, const struct journal_place *place, uint64_t id) {
    struct wanted wanted = {.id = id};
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        const struct sim_file *file = &owner->platter.files[i];
        if (!file->used || strcmp(file->name, place->name) != 0) continue;
        struct journal_frame frame;
        const uint8_t *at = file->seen + place->offset;
        assert_true(journal_frame_parse(at, &frame));
        assert_int_equal(frame.file_id, place->file_id);
        assert_true(place->offset + frame.size <= place->end);
        assert_int_equal(journal_frame_check(&frame, bytes_of(at, frame.size)).fault, RECORD_GOOD);
        journal_frame_walk(&frame, bytes_of(at, frame.size), on_wanted, &wanted);
    }
    return wanted.found;
}

/* Every stable position is where the journal says, also when writes have failed. */
static void what_is_stable_is_found(void **state) {
    (void)state;
    struct owner *owner = owner_new();
    struct journal_place place;
    for (uint64_t i = 1; i <= 300; i++) {
        assert_int_equal(put(owner, i, i % 7 == 0 ? 150 * 1024 : 100), i);
        assert_false(journal_locate(owner->journal, i, &place));
        if (i % 3 == 0) turn(owner);
        if (i % 50 == 20) owner->platter.fault = SIM_EIO;
        if (i % 5 == 0 && platter_complete(&owner->platter.ports[0], false)) turn(owner);
        (void)platter_complete(&owner->platter.ports[0], true);
    }
    for (int i = 0; i < 500; i++) {
        turn(owner);
        platter_complete_all(&owner->platter);
    }
    assert_int_equal(owner->stable, 300);
    assert_true(owner->troubles[JOURNAL_WRITE_FAILED] > 2);
    assert_true(journal_counts(owner->journal)->files_begun > 5);
    assert_false(journal_locate(owner->journal, 0, &place));
    assert_false(journal_locate(owner->journal, 301, &place));
    for (uint64_t i = 1; i <= 300; i++) {
        assert_true(journal_locate(owner->journal, i, &place));
        assert_true(is_at(owner, &place, i));
    }
    uint64_t oldest = journal_oldest(owner->journal);
    journal_release(owner->journal, oldest);
    assert_false(journal_locate(owner->journal, 1, &place));
    assert_true(journal_locate(owner->journal, 300, &place));
    assert_true(place.file_no > oldest);
    assert_null(journal_past_name(owner->journal, place.file_no));
    owner_free(owner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unsynced_journal_bears_no_witness),
        cmocka_unit_test(nothing_is_stable_before_its_write),
        cmocka_unit_test(groups_form_behind_a_write),
        cmocka_unit_test(the_pace_is_that_of_the_oldest_frame),
        cmocka_unit_test(no_more_than_two_frames_are_in_flight),
        cmocka_unit_test(settlements_travel_with_others_or_late),
        cmocka_unit_test(an_idle_journal_seals_once),
        cmocka_unit_test(a_failed_write_goes_to_another_file),
        cmocka_unit_test(a_second_failure_stops),
        cmocka_unit_test(without_a_file_everything_waits),
        cmocka_unit_test(what_is_kept_aside_is_used_last),
        cmocka_unit_test(an_awaited_settlement_hurries),
        cmocka_unit_test(surplus_files_go_and_the_last_mark_stays),
        cmocka_unit_test(the_owner_gets_its_own_requests_back),
        cmocka_unit_test(what_cannot_be_written_is_refused),
        cmocka_unit_test(a_full_file_ends_with_its_summaries),
        cmocka_unit_test(what_is_stable_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
