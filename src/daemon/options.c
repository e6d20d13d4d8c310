/* options: what the command line says, on top of the configuration file. */
#include "daemon/options.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/guess.h"

/* One pass over the flags finds --config and what ends the program; a second one, after the file
 * has been read, sets the rest. */
struct flag {
    const char *name;
    const char *takes; /* NULL: nothing */
    bool (*set)(struct options *options, const char *value, struct config_why *why);
    const char *text;
};

/* ---- what flags do ---- */

static bool set_config(struct options *options, const char *value, struct config_why *why) {
    (void)options, (void)value, (void)why; /* the first pass did it */
    return true;
}

static bool set_data_dir(struct options *options, const char *value, struct config_why *why) {
    return config_set(&options->config, "data_dir", value, why);
}

static bool set_durability(struct options *options, const char *value, struct config_why *why) {
    return config_set(&options->config, "durability", value, why);
}

static bool set_salvage(struct options *options, const char *value, struct config_why *why) {
    (void)value, (void)why;
    options->salvage = true;
    return true;
}

static bool set_listen(struct options *options, const char *value, struct config_why *why) {
    return config_set(&options->config, "listeners.tcp.default", value, why);
}

static bool set_listen_tls(struct options *options, const char *value, struct config_why *why) {
    (void)options, (void)value;
    str_format(why->text, sizeof why->text, "--listen-tls: TLS is not in this version");
    return false;
}

/* Where something listens: "none", or an address and a port. */
static bool set_address(
    struct config *config, const char *noun, const char *value, struct config_why *why) {
    char key[64];
    str_format(key, sizeof key, "%s.tcp", noun);
    if (strcmp(value, "none") == 0) return config_set(config, key, value, why);
    const char *colon = strrchr(value, ':');
    if (!colon || colon == value || colon - value >= CONFIG_TEXT_BYTES_MAX) {
        str_format(why->text, sizeof why->text, "'%.100s' is neither ADDRESS:PORT nor none", value);
        return false;
    }
    char ip[CONFIG_TEXT_BYTES_MAX];
    str_format(ip, sizeof ip, "%.*s", (int)(colon - value), value);
    str_format(key, sizeof key, "%s.tcp.ip", noun);
    if (!config_set(config, key, ip, why)) return false;
    str_format(key, sizeof key, "%s.tcp.port", noun);
    return config_set(config, key, colon + 1, why);
}

static bool set_management(struct options *options, const char *value, struct config_why *why) {
    options->config.management_none = false;
    return set_address(&options->config, "management", value, why);
}

static bool set_metrics(struct options *options, const char *value, struct config_why *why) {
    options->config.metrics_none = false;
    return set_address(&options->config, "prometheus", value, why);
}

static bool set_shards(struct options *options, const char *value, struct config_why *why) {
    if (strcmp(value, "0") != 0) return config_set(&options->config, "shards", value, why);
    str_format(why->text, sizeof why->text, "'0' of '--shards' is not within 1 and 64");
    return false;
}

static bool set_log_level(struct options *options, const char *value, struct config_why *why) {
    options->log_level_given = true;
    return config_set(&options->config, "log.console.level", value, why);
}

static const struct flag flags[] = {
    {"--config", "FILE", set_config, "read settings from FILE; flags win over it"},
    {"--data-dir", "DIR", set_data_dir, "keep files in DIR; default ./data"},
    {"--listen", "ADDR:PORT", set_listen, "accept AMQP there; may be repeated; 127.0.0.1:5672"},
    {"--listen-tls", "ADDR:PORT", set_listen_tls, "refused: TLS is not in this version"},
    {"--management", "ADDR:PORT", set_management, "HTTP interface, or none; 127.0.0.1:15672"},
    {"--metrics", "ADDR:PORT", set_metrics, "Prometheus' /metrics, or none; 127.0.0.1:15692"},
    {"--shards", "N", set_shards, "event loops, 1 to 64; one per core granted, 1 on two"},
    {"--durability", "WORD", set_durability, "what a confirm means: fsync (on disk) or os; fsync"},
    {"--salvage", NULL, set_salvage, "start without what is damaged on disk, and say what that is"},
    {"--log-level", "LEVEL", set_log_level, "debug, info, warning or error; info"},
    {"--print-config", "[=man]", NULL, "print a file with every setting and its default"},
    {"--version", NULL, NULL, "print the version"},
    {"--help", NULL, NULL, "print this"},
    {NULL, NULL, NULL, NULL},
};

/* ---- flags that end the program ---- */

static void print_help(void) {
    fputs("godwit: a message broker for AMQP 0-9-1\n\nUsage: godwit [FLAG]...\n\n", stdout);
    for (const struct flag *flag = flags; flag->name; flag++) {
        char left[64];
        str_format(left, sizeof left, "%s %s", flag->name, flag->takes ? flag->takes : "");
        printf("  %-26s %s\n", left, flag->text);
    }
    fputs("\nThe manual is godwit(8), the settings are in godwit.conf(5).\n", stdout);
}

static bool print_config(const char *what) {
    if (strcmp(what, "man") == 0)
        config_print_manual(stdout);
    else if (strcmp(what, "sample") == 0)
        config_print_sample(stdout);
    else
        return false;
    return true;
}

/* ---- reading ---- */

static const struct flag *find_flag(const char *argument, size_t size) {
    for (const struct flag *flag = flags; flag->name; flag++) {
        if (strlen(flag->name) == size && memcmp(flag->name, argument, size) == 0) return flag;
    }
    return NULL;
}

static void refuse_flag(const char *argument, struct config_why *why) {
    char word[64];
    str_format(word, sizeof word, "%.*s", (int)strcspn(argument, "="), argument);
    struct guess guess;
    guess_init(&guess, word);
    for (const struct flag *flag = flags; flag->name; flag++)
        guess_offer(&guess, flag->name);
    const char *meant = word[0] == '-' ? guess_closest(&guess) : NULL;
    if (meant)
        str_format(
            why->text, sizeof why->text, "unknown flag '%s'; did you mean '%s'?", word, meant);
    else
        str_format(why->text, sizeof why->text, "unknown flag '%s'; --help lists them", word);
}

/* One flag with its value, "--flag value" or "--flag=value". */
struct given {
    const struct flag *flag;
    const char *value; /* NULL: none */
};

/* Takes the flag at *at and moves on; false with the reason. */
static bool next_given(
    int argc, char **argv, int *at, struct given *ret_given, struct config_why *why) {
    const char *argument = argv[(*at)++];
    size_t size = strcspn(argument, "=");
    const struct flag *flag = find_flag(argument, size);
    *ret_given = (struct given){.flag = flag};
    if (!flag) {
        refuse_flag(argument, why);
        return false;
    }
    if (argument[size] == '=') ret_given->value = argument + size + 1;
    bool wants = flag->set != NULL && flag->takes != NULL;
    if (wants && !ret_given->value && *at < argc) ret_given->value = argv[(*at)++];
    bool has = ret_given->value != NULL;
    if (wants == has || (has && flag->takes)) return true;
    str_format(why->text, sizeof why->text,
        wants ? "'%s' needs a value: %s" : "'%s' takes no value", flag->name, flag->takes);
    return false;
}

/* Does what a flag without a setting asks for. */
static enum options_verdict say(const struct given *given, struct config_why *why) {
    if (strcmp(given->flag->name, "--help") == 0) print_help();
    if (strcmp(given->flag->name, "--version") == 0) printf("godwit %s\n", GODWIT_VERSION);
    if (strcmp(given->flag->name, "--print-config") != 0) return OPTIONS_DONE;
    if (print_config(given->value ? given->value : "sample")) return OPTIONS_DONE;
    str_format(why->text, sizeof why->text, "'--print-config' prints no '%.50s'", given->value);
    return OPTIONS_WRONG;
}

static bool read_file(struct config *config, const char *path, struct config_why *why) {
    FILE *file = fopen(path, "re");
    if (!file) {
        str_format(why->text, sizeof why->text, "cannot read '%.300s': %s", path, strerror(errno));
        return false;
    }
    bool ok = config_read(config, file, path, why);
    fclose(file);
    return ok;
}

static bool apply(
    const struct given *given, struct options *options, bool *listening, struct config_why *why) {
    bool listens = strcmp(given->flag->name, "--listen") == 0;
    if (listens && !*listening) options->config.listen.count = 0;
    *listening |= listens;
    return given->flag->set(options, given->value, why);
}

enum options_verdict options_read(
    struct options *options, int argc, char **argv, struct config_why *ret_why) {
    *options = (struct options){0};
    config_init(&options->config);
    struct given given;
    for (int at = 1; at < argc;) {
        if (!next_given(argc, argv, &at, &given, ret_why)) return OPTIONS_WRONG;
        if (!given.flag->set) return say(&given, ret_why);
        if (given.flag->set == set_config) options->config_path = given.value;
    }
    const char *path = options->config_path;
    if (path && !read_file(&options->config, path, ret_why)) return OPTIONS_WRONG;
    bool listening = false;
    for (int at = 1; at < argc;) {
        if (!next_given(argc, argv, &at, &given, ret_why)) return OPTIONS_WRONG;
        if (!apply(&given, options, &listening, ret_why)) return OPTIONS_WRONG;
    }
    if (options->config.listen.count == 0 && !options->config.listen_none)
        return set_listen(options, "127.0.0.1:5672", ret_why) ? OPTIONS_RUN : OPTIONS_WRONG;
    return OPTIONS_RUN;
}

bool options_reread(struct options *options, struct config_why *ret_why) {
    if (!options->config_path || options->log_level_given) return true;
    struct config config;
    config_init(&config);
    if (!read_file(&config, options->config_path, ret_why)) return false;
    options->config.log_level = config.log_level;
    return true;
}
