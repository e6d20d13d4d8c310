/* config_test: the configuration file and the command line: values, units, errors with their lines,
 * guesses, and which wins. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/options.h"

static bool read_text(struct config *config, const char *text, struct config_why *why) {
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    assert_non_null(file);
    bool ok = config_read(config, file, "test.conf", why);
    fclose(file);
    return ok;
}

static void test_defaults(void **state) {
    (void)state;
    struct config config;
    config_init(&config);
    assert_int_equal(config.listen.count, 0);
    assert_int_equal(config.channel_max, 2047);
    assert_int_equal(config.frame_max, 131072);
    assert_int_equal(config.heartbeat, 60);
    assert_int_equal(config.max_message_size, 134217728);
    assert_int_equal(config.memory_relative, 60);
    assert_true(config.disk_absolute == CONFIG_UNSET);
    assert_true(config.disk_relative == CONFIG_UNSET);
    assert_int_equal(config.disk_reserve, 256 * 1024 * 1024);
    assert_int_equal(config.log_level, LEVEL_INFO);
    assert_string_equal(config.management_ip.text, "127.0.0.1");
    assert_int_equal(config.management_port, 15672);
    assert_int_equal(config.metrics_port, 15692);
    assert_false(config.management_none);
}

static void test_a_file(void **state) {
    (void)state;
    struct config config;
    struct config_why why;
    config_init(&config);
    assert_true(read_text(&config,
        "# the usual things\n"
        "listeners.tcp.default = 5673\n"
        "listeners.tcp.local   = 127.0.0.1:5674\n"
        "listeners.tcp.six=[::1]:5675\n"
        "\n"
        "   heartbeat = 30   # seconds\n"
        "management.tcp.port = 15000\n"
        "management.tcp.ip = ::1\n"
        "prometheus.tcp = none\n"
        "vm_memory_high_watermark.relative = 0.45\n"
        "vm_memory_high_watermark.absolute = 2GiB\n"
        "max_message_size = 16 MB\n"
        "disk_free_limit.relative = 1.5\n"
        "disk_free_limit.absolute = 50MB\n"
        "disk_reserve = 0\n"
        "log.console.level = warning\n"
        "cluster_name = rabbit@ho#st\n"
        "product.version = 3.10.8",
        &why));
    assert_int_equal(config.listen.count, 3);
    assert_string_equal(config.listen.address[0].text, "[::]:5673");
    assert_string_equal(config.listen.address[1].text, "127.0.0.1:5674");
    assert_string_equal(config.listen.address[2].text, "[::1]:5675");
    assert_int_equal(config.heartbeat, 30);
    assert_int_equal(config.management_port, 15000);
    assert_true(config.metrics_none);
    assert_int_equal(config.memory_relative, 45);
    assert_int_equal(config.memory_absolute, 2147483648u);
    assert_int_equal(config.max_message_size, 16000000);
    assert_int_equal(config.disk_relative, 150);
    assert_int_equal(config.disk_absolute, 50000000);
    assert_int_equal(config.disk_reserve, 0);
    assert_int_equal(config.log_level, LEVEL_WARNING);
    assert_string_equal(config.cluster_name.text, "rabbit@ho#st");
    assert_string_equal(config.product_version.text, "3.10.8");
    struct config_text address;
    config_join(&address, config.management_ip.text, config.management_port);
    assert_string_equal(address.text, "[::1]:15000");
    config_join(&address, "127.0.0.1", 1);
    assert_string_equal(address.text, "127.0.0.1:1");
}

static const struct {
    const char *file;
    const char *why;
} wrong[] = {
    {"heartbeat = 5\nheartbeet = 5\n",
        "test.conf:2: unknown key 'heartbeet'; did you mean 'heartbeat'?"},
    {"\n\nfrobnication.enabled = 1\n", "test.conf:3: unknown key 'frobnication.enabled'"},
    {"listeners.ssl.default = 5671\n",
        "test.conf:1: 'listeners.ssl.default': TLS is not in this version"},
    {"heartbeat\n", "test.conf:1: this is not 'key = value'"},
    {"[godwit]\nheartbeat = 5\n",
        "test.conf:2: there are no sections here, only lines of 'key = value'"},
    {"heartbeat = soon\n", "test.conf:1: 'soon' of 'heartbeat' is no number"},
    {"heartbeat = -1\n", "test.conf:1: '-1' of 'heartbeat' is no number"},
    {"heartbeat = 65536\n", "test.conf:1: '65536' of 'heartbeat' is not within 0 and 65535"},
    {"frame_max = 4095\n", "test.conf:1: '4095' of 'frame_max' is not within 4096 and 16777216"},
    {"max_message_size = 1XB\n",
        "test.conf:1: '1XB' of 'max_message_size' is no size, such as 512MiB"},
    {"max_message_size = 99999999TiB\n",
        "test.conf:1: '99999999TiB' of 'max_message_size' is no size, such as 512MiB"},
    {"vm_memory_high_watermark.relative = 1.5\n",
        "test.conf:1: '1.5' of 'vm_memory_high_watermark.relative' is not within 0.01 and 1"},
    {"disk_free_limit.relative = 1000.01\n",
        "test.conf:1: '1000.01' of 'disk_free_limit.relative' is not within 0 and 1000"},
    {"disk_free_limit.absolute = much\n",
        "test.conf:1: 'much' of 'disk_free_limit.absolute' is no size, such as 512MiB"},
    {"disk_free_limit = 50MB\n", "test.conf:1: unknown key 'disk_free_limit'"},
    {"vm_memory_high_watermark.relative = 0.\n",
        "test.conf:1: '0.' of 'vm_memory_high_watermark.relative' is no number"},
    {"log.console.level = loud\n",
        "test.conf:1: 'loud' is no log level: it is one of debug, info, warning, error"},
    {"listeners.tcp.default = somewhere\n",
        "test.conf:1: 'somewhere' is neither a port nor ADDRESS:PORT"},
    {"listeners.tcp.default = 127.0.0.1:65536\n",
        "test.conf:1: '127.0.0.1:65536' is neither a port nor ADDRESS:PORT"},
    {"listeners.tcp = 5\n", "test.conf:1: 'listeners.tcp' takes no other value than none"},
    {"cluster_name =\n", "test.conf:1: 'cluster_name' has to be 1 to 255 octets long"},
};

static void test_wrong_files(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct config config;
        struct config_why why;
        config_init(&config);
        assert_false(read_text(&config, wrong[i].file, &why));
        assert_string_equal(why.text, wrong[i].why);
    }
}

static void test_long_lines(void **state) {
    (void)state;
    char text[600];
    memset(text, 'a', sizeof text);
    memcpy(text, "cluster_name = ", 15);
    memcpy(text + sizeof text - 2, "\n", 2);
    struct config config;
    struct config_why why;
    config_init(&config);
    assert_false(read_text(&config, text, &why));
    assert_string_equal(why.text, "test.conf:1: the line is too long");
}

static void test_listeners_are_bounded(void **state) {
    (void)state;
    struct config config;
    struct config_why why;
    config_init(&config);
    for (int i = 0; i < LISTENERS_MAX; i++)
        assert_true(config_set(&config, "listeners.tcp.default", "5672", &why));
    assert_false(config_set(&config, "listeners.tcp.default", "5672", &why));
    assert_string_equal(why.text, "more than 16 listeners");
}

/* ---- the command line ---- */

enum { ARGUMENTS_MAX = 12 };

static enum options_verdict read_options(
    struct options *options, const char *const *arguments, struct config_why *why) {
    char *argv[ARGUMENTS_MAX + 1] = {(char *)(uintptr_t) "godwit"};
    int argc = 1;
    for (; arguments[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
    return options_read(options, argc, argv, why);
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_flags(void **state) {
    (void)state;
    struct options options;
    struct config_why why;
    assert_int_equal(read_options(&options, (const char *const[]){NULL}, &why), OPTIONS_RUN);
    assert_int_equal(options.config.listen.count, 1);
    assert_string_equal(options.config.listen.address[0].text, "127.0.0.1:5672");
    assert_int_equal(
        read_options(&options,
            ARGUMENTS("--listen", "127.0.0.1:1", "--listen=[::1]:2", "--shards", "4",
                "--management", "none", "--metrics", "[::1]:9", "--log-level", "debug"),
            &why),
        OPTIONS_RUN);
    assert_int_equal(options.config.listen.count, 2);
    assert_string_equal(options.config.listen.address[1].text, "[::1]:2");
    assert_int_equal(options.config.shards, 4);
    assert_true(options.config.management_none);
    assert_string_equal(options.config.metrics_ip.text, "[::1]");
    assert_int_equal(options.config.metrics_port, 9);
    assert_int_equal(options.config.log_level, LEVEL_DEBUG);
}

static const struct {
    const char *arguments[3];
    const char *why;
} wrong_flags[] = {
    {{"--lisen", "1"}, "unknown flag '--lisen'; did you mean '--listen'?"},
    {{"--metric=none"}, "unknown flag '--metric'; did you mean '--metrics'?"},
    {{"--zzzzzzzzzzzz"}, "unknown flag '--zzzzzzzzzzzz'; --help lists them"},
    {{"file"}, "unknown flag 'file'; --help lists them"},
    {{"--listen"}, "'--listen' needs a value: ADDR:PORT"},
    {{"--version=1"}, "'--version' takes no value"},
    {{"--listen-tls", "1"}, "--listen-tls: TLS is not in this version"},
    {{"--shards", "0"}, "'0' of '--shards' is not within 1 and 64"},
    {{"--shards", "65"}, "'65' of 'shards' is not within 0 and 64"},
    {{"--management", "15672"}, "'15672' is neither ADDRESS:PORT nor none"},
    {{"--metrics", "127.0.0.1:0"}, "'0' of 'prometheus.tcp.port' is not within 1 and 65535"},
    {{"--print-config=html"}, "'--print-config' prints no 'html'"},
    {{"--config", "/nonexistent/godwit.conf"},
        "cannot read '/nonexistent/godwit.conf': No such file or directory"},
};

static void test_wrong_flags(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong_flags); i++) {
        struct options options;
        struct config_why why = {""};
        assert_int_equal(read_options(&options, wrong_flags[i].arguments, &why), OPTIONS_WRONG);
        assert_string_equal(why.text, wrong_flags[i].why);
    }
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_flags_win_and_levels_reload(void **state) {
    (void)state;
    char path[] = "/tmp/godwit-config-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_file(path, "listeners.tcp.1 = 127.0.0.1:7\nmanagement.tcp = none\nheartbeat = 9\n");
    struct options options;
    struct config_why why;
    assert_int_equal(
        read_options(&options,
            ARGUMENTS("--listen", "127.0.0.1:8", "--config", path, "--management", "127.0.0.1:1"),
            &why),
        OPTIONS_RUN);
    assert_int_equal(options.config.listen.count, 1);
    assert_string_equal(options.config.listen.address[0].text, "127.0.0.1:8");
    assert_false(options.config.management_none);
    assert_int_equal(options.config.heartbeat, 9);
    write_file(path, "log.console.level = error\nheartbeat = 10\n");
    assert_true(options_reread(&options, &why));
    assert_int_equal(options.config.log_level, LEVEL_ERROR);
    assert_int_equal(options.config.heartbeat, 9);
    write_file(path, "log.console.level = nothing\n");
    assert_false(options_reread(&options, &why));
    assert_int_equal(options.config.log_level, LEVEL_ERROR);
    assert_int_equal(
        read_options(&options, ARGUMENTS("--config", path, "--log-level", "debug"), &why),
        OPTIONS_WRONG);
    write_file(path, "log.console.level = error\n");
    assert_int_equal(
        read_options(&options, ARGUMENTS("--config", path, "--log-level", "debug"), &why),
        OPTIONS_RUN);
    assert_true(options_reread(&options, &why));
    assert_int_equal(options.config.log_level, LEVEL_DEBUG);
    unlink(path);
}

/* What is printed as a sample says what is so without a file: every line may be uncommented. */
static void test_the_sample_can_be_read(void **state) {
    (void)state;
    char *sample = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&sample, &size);
    config_print_sample(file);
    fclose(file);
    struct config config;
    config_init(&config);
    uint32_t keys = 0;
    for (char *line = sample; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char key[100];
        char value[100];
        if (sscanf(line, "# %99[a-z_.] = %99[^\n]", key, value) != 2) continue;
        struct config_why why;
        assert_true(config_set(&config, key, value, &why));
        keys++;
    }
    assert_int_equal(keys, 26);
    assert_int_equal(config.frame_max, 131072);
    assert_int_equal(config.durability, DURABILITY_FSYNC);
    free(sample);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_a_file),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_listeners_are_bounded),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_wrong_flags),
        cmocka_unit_test(test_flags_win_and_levels_reload),
        cmocka_unit_test(test_the_sample_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
