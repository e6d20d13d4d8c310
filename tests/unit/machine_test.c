/* machine_test: what the machine grants is at least what it takes to run, and within its hardware.
 */
#include "unit.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "daemon/machine.h"

static void cores_are_within_the_mask(void **state) {
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_in_range(machine_cores(), 1, (unsigned)CPU_COUNT(&set));
    /* With one core in the mask there is one, whatever the quota. */
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET((size_t)i, &set)) continue;
        CPU_SET((size_t)i, &one);
        break;
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(machine_cores(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof set, &set), 0);
}

static void two_cores_get_one_shard(void **state) {
    (void)state;
    assert_int_equal(machine_shards(1), 1);
    assert_int_equal(machine_shards(2), 1);
    assert_int_equal(machine_shards(3), 3);
    assert_int_equal(machine_shards(1000), SHARDS_MAX);
}

static void memory_is_within_the_machine(void **state) {
    (void)state;
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    assert_in_range(machine_memory_bytes(), 1024 * 1024, all);
}

static void descriptors_are_raised(void **state) {
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit low = {.rlim_cur = 64, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(machine_raise_descriptors(), before.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* What the kernel's table of this process has room for. */
static uint64_t descriptors_room(void) {
    char line[256];
    unsigned long size = 0;
    FILE *file = fopen("/proc/self/status", "re");
    assert_non_null(file);
    while (size == 0 && fgets(line, sizeof line, file))
        (void)!sscanf(line, "FDSize: %lu", &size);
    fclose(file);
    return size;
}

static void room_is_made_for_descriptors(void **state) {
    (void)state;
    uint64_t limit = machine_raise_descriptors();
    assert_true(descriptors_room() >= (limit < 131072 ? limit : 131072));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cores_are_within_the_mask),
        cmocka_unit_test(two_cores_get_one_shard),
        cmocka_unit_test(memory_is_within_the_machine),
        cmocka_unit_test(descriptors_are_raised),
        cmocka_unit_test(room_is_made_for_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
