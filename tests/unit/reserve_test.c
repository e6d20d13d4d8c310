/* reserve_test: pieces on a real directory: made, found again, taken under another name, given. The
 * thread sanitizer runs this one. */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "store/reserve.h"

struct place {
    char directory[64];
    int files; /* where pieces go */
    struct reserve *reserve;
    _Atomic uint32_t bells;
};

static void bell(void *context) {
    struct place *place = context;
    atomic_fetch_add(&place->bells, 1);
}

static void open_reserve(struct place *place) {
    struct reserve_settings settings = {
        .directory = place->directory, .bell = bell, .context = place};
    assert_int_equal(reserve_open(&settings, &place->reserve), 0);
}

static void reopen(struct place *place) {
    reserve_close(place->reserve);
    open_reserve(place);
}

static int set_up(void **state) {
    static struct place place;
    place = (struct place){.directory = "reserve-test-XXXXXX"};
    assert_non_null(mkdtemp(place.directory));
    place.files = openat(AT_FDCWD, place.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(place.files >= 0);
    open_reserve(&place);
    *state = &place;
    return 0;
}

static void empty(int directory) {
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fdopendir(fd);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL)
        (void)unlinkat(directory, entry->d_name, 0);
    if (folder) closedir(folder);
}

static int tear_down(void **state) {
    struct place *place = *state;
    reserve_close(place->reserve);
    int pieces = openat(place->files, "reserve", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    empty(pieces);
    close(pieces);
    (void)unlinkat(place->files, "reserve", AT_REMOVEDIR);
    empty(place->files);
    close(place->files);
    return rmdir(place->directory);
}

static void add(struct place *place, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(reserve_add(place->reserve), 0);
}

static struct stat piece(const struct place *place, const char *name) {
    struct stat about = {.st_size = -1};
    (void)fstatat(place->files, name, &about, 0);
    return about;
}

static void pieces_take_room_and_are_found_again(void **state) {
    struct place *place = *state;
    assert_int_equal(reserve_count(place->reserve), 0);
    add(place, 3);
    assert_int_equal(piece(place, "reserve/2").st_size, RESERVE_PIECE_BYTES);
    assert_true(piece(place, "reserve/2").st_blocks * 512 >= RESERVE_PIECE_BYTES);
    reopen(place);
    assert_int_equal(reserve_count(place->reserve), 3);
    assert_int_equal(reserve_drop(place->reserve), 0);
    assert_int_equal(piece(place, "reserve/2").st_size, -1);
    assert_int_equal(reserve_count(place->reserve), 2);
    assert_int_equal(place->bells, 0);
}

/* A copy may have holes, and a crash may leave half of one. */
static void what_has_no_room_is_no_piece(void **state) {
    struct place *place = *state;
    add(place, 3);
    int fd = openat(place->files, "reserve/1", O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, RESERVE_PIECE_BYTES), 0);
    close(fd);
    reopen(place);
    assert_int_equal(reserve_count(place->reserve), 1);
    add(place, 1);
    assert_true(piece(place, "reserve/1").st_blocks * 512 >= RESERVE_PIECE_BYTES);
    reopen(place);
    assert_int_equal(reserve_count(place->reserve), 3);
}

static void a_piece_becomes_a_file(void **state) {
    struct place *place = *state;
    add(place, 2);
    assert_int_equal(reserve_take(place->reserve, place->files, "a"), 0);
    assert_int_equal(piece(place, "a").st_size, RESERVE_PIECE_BYTES);
    assert_int_equal(piece(place, "reserve/1").st_size, -1);
    assert_int_equal(reserve_take(place->reserve, place->files, "b"), 0);
    assert_int_equal(reserve_take(place->reserve, place->files, "c"), -ENOSPC);
    assert_int_equal(piece(place, "c").st_size, -1);
    struct reserve_taken taken = reserve_taken(place->reserve);
    assert_true(taken.files == 2 && taken.given == 0 && taken.asked == 1);
    assert_int_equal(place->bells, 3);
    reopen(place);
    assert_int_equal(reserve_count(place->reserve), 0);
}

static void one_that_was_removed_is_not_missed(void **state) {
    struct place *place = *state;
    add(place, 2);
    assert_int_equal(unlinkat(place->files, "reserve/1", 0), 0);
    assert_int_equal(reserve_take(place->reserve, place->files, "a"), 0);
    assert_int_equal(reserve_count(place->reserve), 0);
    assert_int_equal(piece(place, "a").st_size, RESERVE_PIECE_BYTES);
}

static void definitions_get_the_first_half(void **state) {
    struct place *place = *state;
    add(place, 4);
    assert_true(reserve_give(place->reserve));
    assert_true(reserve_give(place->reserve));
    assert_false(reserve_give(place->reserve));
    assert_int_equal(reserve_count(place->reserve), 2);
    struct reserve_taken taken = reserve_taken(place->reserve);
    assert_true(taken.files == 0 && taken.given == 2 && taken.asked == 1);
    assert_int_equal(reserve_take(place->reserve, place->files, "a"), 0);
    assert_int_equal(place->bells, 4);
}

static void *take_all(void *context) {
    struct place *place = context;
    static _Atomic uint32_t number;
    uint32_t got = 0;
    for (;;) {
        char name[16];
        str_format(name, sizeof name, "file%u", atomic_fetch_add(&number, 1));
        if (reserve_take(place->reserve, place->files, name) == 0)
            got++;
        else if (got != 0)
            return NULL;
    }
}

/* Each number is given once, also while pieces are made. */
static void taking_and_making_at_once(void **state) {
    struct place *place = *state;
    enum { TAKERS = 2, PIECES = 8 };
    pthread_t threads[TAKERS];
    for (int i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, place), 0);
    while (reserve_taken(place->reserve).files < TAKERS)
        add(place, 1);
    add(place, PIECES);
    for (int i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t files = reserve_taken(place->reserve).files;
    assert_true(files >= TAKERS);
    uint32_t left = reserve_count(place->reserve);
    reopen(place);
    assert_int_equal(reserve_count(place->reserve), left);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces_take_room_and_are_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_no_room_is_no_piece, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_piece_becomes_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_was_removed_is_not_missed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(definitions_get_the_first_half, set_up, tear_down),
        cmocka_unit_test_setup_teardown(taking_and_making_at_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
