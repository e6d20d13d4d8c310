/* definitions_thread_test: rows get to meta.db by another thread, with ids, and trouble comes back.
 * The thread sanitizer runs this one. */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"
#include "shard/definitions_thread.h"

struct place {
    char directory[256];
    struct definitions_thread *thread;
    struct definitions *definitions;
    struct metadata_batch batch;
    _Atomic uint32_t bells;
};

static void bell(void *context) {
    struct place *place = context;
    atomic_fetch_add(&place->bells, 1);
}

static void open_thread(struct place *place) {
    struct metadata_settings settings = {.directory = place->directory, .create = true};
    struct metadata_problem problem;
    struct metadata *metadata = NULL;
    assert_int_equal(metadata_open(&settings, &metadata, &problem), 0);
    place->thread = definitions_thread_new(metadata, NULL, bell, place);
    place->definitions = definitions_thread_seam(place->thread);
}

static int set_up(void **state) {
    struct place *place = NEW(struct place);
    const char *tmp = getenv("TMPDIR");
    str_format(place->directory, sizeof place->directory, "%s/thread-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(place->directory));
    metadata_batch_init(&place->batch);
    open_thread(place);
    *state = place;
    return 0;
}

static int tear_down(void **state) {
    struct place *place = *state;
    definitions_thread_free(place->thread);
    metadata_batch_deinit(&place->batch);
    DIR *folder = opendir(place->directory);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL)
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder) closedir(folder);
    int status = rmdir(place->directory);
    mem_free(place);
    return status;
}

static void put(struct place *place, enum metadata_kind kind, const char *name, uint64_t id) {
    struct metadata_change change = {.row = {.kind = kind, .id = id}};
    change.row.key[0] = kind == METADATA_VHOST ? bytes_text(name) : BYTES("/");
    if (kind != METADATA_VHOST) change.row.key[1] = bytes_text(name);
    assert_true(metadata_batch_add(&place->batch, &change));
}

/* Commits the batch and waits, as the end of the process does. */
static struct definitions_outcome commit(struct place *place, uint32_t ids) {
    struct definitions_outcome outcome = {0};
    uint32_t bells = atomic_load(&place->bells);
    place->definitions->commit(place->definitions, &place->batch, ids);
    metadata_batch_clear(&place->batch);
    definitions_thread_wait(place->thread);
    assert_true(place->definitions->done(place->definitions, &outcome));
    assert_false(place->definitions->done(place->definitions, &outcome));
    /* The bell follows the end of the commit, perhaps a moment later. */
    assert_true(atomic_load(&place->bells) >= bells);
    return outcome;
}

static int count_row(void *context, const struct metadata_row *row) {
    (void)row;
    ++*(uint32_t *)context;
    return 0;
}

static uint32_t count_rows(struct place *place) {
    struct metadata_problem problem;
    uint32_t count = 0;
    assert_int_equal(place->definitions->load(place->definitions, count_row, &count, &problem), 0);
    return count;
}

static void reopen(struct place *place) {
    definitions_thread_free(place->thread);
    open_thread(place);
}

static void test_rows_and_ids(void **state) {
    struct place *place = *state;
    put(place, METADATA_VHOST, "/", 0);
    struct definitions_outcome outcome = commit(place, 10);
    assert_int_equal(outcome.error, 0);
    assert_true(outcome.id_first == 1);
    assert_true(outcome.id_count == 10);
    for (uint64_t i = 1; i <= 100; i++) {
        char name[16];
        str_format(name, sizeof name, "q%d", (int)i);
        put(place, METADATA_EXCHANGE, name, 0);
        if (i <= 10) put(place, METADATA_QUEUE, name, i);
        outcome = commit(place, 0);
        assert_int_equal(outcome.error, 0);
        assert_true(outcome.id_count == 0);
    }
    reopen(place);
    assert_int_equal(count_rows(place), 111);
    assert_true(commit(place, 5).id_first == 11);
}

/* What failed is tried again with the next commit, and ids are given all the same. */
static void test_trouble(void **state) {
    struct place *place = *state;
    put(place, METADATA_EXCHANGE, "x", 0); /* there is no virtual host */
    struct definitions_outcome outcome = commit(place, 7);
    assert_int_equal(outcome.error, -ENOENT);
    assert_non_null(strstr(outcome.problem, "meta.db"));
    assert_true(outcome.id_count == 7);
    assert_int_equal(commit(place, 0).error, -ENOENT);
    reopen(place);
    assert_int_equal(count_rows(place), 0);
}

/* The end of the process may come while a commit is under way. */
static void test_end_waits(void **state) {
    struct place *place = *state;
    put(place, METADATA_VHOST, "/", 0);
    place->definitions->commit(place->definitions, &place->batch, 0);
    reopen(place);
    assert_int_equal(atomic_load(&place->bells), 1);
    assert_int_equal(count_rows(place), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_and_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_trouble, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end_waits, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("definitions_thread", tests, NULL, NULL);
}
