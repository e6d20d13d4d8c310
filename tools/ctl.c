/* ctl: godwitctl, the operator's tool: asks a broker over HTTP and prints what it answers, in the
 * form that scripts know from rabbitmqctl; looks at the data directory of one that is stopped. */
#include "tools/ctl_backup.h"
#include "tools/ctl_data.h"
#include "tools/ctl_fetch.h"
#include "tools/ctl_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, WORDS_MAX = 64, PATH_BYTES_MAX = 1024 };

/* What the command line says. */
struct ctl {
    struct ctl_fetch fetch;
    struct ctl_data data;
    const char *vhost;
    const char *formatter;
    bool quiet;  /* no line about what is being done */
    bool silent; /* nor column names */
    bool no_headers;
    bool help;
    const char *words[WORDS_MAX]; /* the command and its arguments */
    uint32_t word_count;
};

/* ---- lists ---- */

static const struct ctl_column queue_columns[] = {{"name", "name"}, {"messages", "messages"},
    {"messages_ready", "messages_ready"}, {"messages_unacknowledged", "messages_unacknowledged"},
    {"consumers", "consumers"}, {"durable", "durable"}, {"auto_delete", "auto_delete"},
    {"exclusive", "exclusive"}, {"arguments", "arguments"}, {"state", "state"}, {"type", "type"},
    {"message_bytes", "message_bytes"}, {"vhost", "vhost"}, {"node", "node"}, {NULL, NULL}};

static const struct ctl_column connection_columns[] = {{"name", "name"}, {"user", "user"},
    {"peer_host", "peer_host"}, {"peer_port", "peer_port"}, {"state", "state"},
    {"channels", "channels"}, {"consumers", "consumers"}, {"vhost", "vhost"},
    {"protocol", "protocol"}, {"user_provided_name", "user_provided_name"},
    {"messages_unacknowledged", "messages_unacknowledged"},
    {"messages_unconfirmed", "messages_unconfirmed"}, {"node", "node"}, {NULL, NULL}};

static const struct ctl_column exchange_columns[] = {{"name", "name"}, {"type", "type"},
    {"durable", "durable"}, {"auto_delete", "auto_delete"}, {"internal", "internal"},
    {"arguments", "arguments"}, {"vhost", "vhost"}, {NULL, NULL}};

static const struct ctl_column binding_columns[] = {{"source_name", "source"},
    {"source_kind", "source_kind"}, {"destination_name", "destination"},
    {"destination_kind", "destination_type"}, {"routing_key", "routing_key"},
    {"arguments", "arguments"}, {"vhost", "vhost"}, {NULL, NULL}};

static const struct ctl_column vhost_columns[] = {
    {"name", "name"}, {"tracing", "tracing"}, {NULL, NULL}};

struct listed {
    const char *command;
    const char *path;
    bool in_vhost;
    const char *defaults; /* columns when none are named */
    const struct ctl_column *columns;
};

static const struct listed lists[] = {
    {"list_queues", "api/queues", true, "name messages", queue_columns},
    {"list_connections", "api/connections", false, "user peer_host peer_port state",
        connection_columns},
    {"list_exchanges", "api/exchanges", true, "name type", exchange_columns},
    {"list_bindings", "api/bindings", true,
        "source_name source_kind destination_name destination_kind routing_key arguments",
        binding_columns},
    {"list_vhosts", "api/vhosts", false, "name", vhost_columns},
};

static int fail(int status, const char *text) {
    fprintf(stderr, "godwitctl: %s\n", text);
    return status;
}

static const struct ctl_column *find_column(
    const struct ctl_column *columns, const char *name, size_t size) {
    for (; columns->name; columns++) {
        if (strlen(columns->name) == size && memcmp(columns->name, name, size) == 0) return columns;
    }
    return NULL;
}

/* Takes the columns that a text names, separated by blanks; false, and said, when there is none of
 * a name. */
static bool add_columns(struct ctl_table *table, const struct listed *list, const char *text) {
    while (*text) {
        size_t size = strcspn(text, " ,");
        const struct ctl_column *column = find_column(list->columns, text, size);
        if (!column || table->column_count == CTL_COLUMNS_MAX) {
            fprintf(stderr, "godwitctl: %s has no column '%.*s'; it has", list->command, (int)size,
                text);
            for (column = list->columns; column->name; column++)
                fprintf(stderr, " %s", column->name);
            fputc('\n', stderr);
            return false;
        }
        table->columns[table->column_count++] = column;
        text += size;
        text += strspn(text, " ,");
    }
    return true;
}

/* The HTTP API does not say that the source of a binding is an exchange, as it always is. */
static bool put_row(void *context, json_t *row) {
    if (json_object_get(row, "source"))
        json_object_set_new(row, "source_kind", json_string("exchange"));
    return ctl_table_put(context, row);
}

static int run_list(const struct ctl *ctl, const struct listed *list) {
    char path[PATH_BYTES_MAX];
    char vhost[PATH_BYTES_MAX / 2];
    struct ctl_why why;
    bool json = strcmp(ctl->formatter, "json") == 0;
    struct ctl_table table = {.json = json, .headers = !ctl->silent && !ctl->no_headers};
    for (uint32_t i = 1; i < ctl->word_count; i++) {
        if (!add_columns(&table, list, ctl->words[i])) return EXIT_USAGE;
    }
    if (table.column_count == 0 && !add_columns(&table, list, list->defaults)) return EXIT_USAGE;
    if (!ctl->quiet && !ctl->silent && !json) {
        printf("Timeout: %.1f seconds ...\n", (double)ctl->fetch.timeout_s);
        printf(list->in_vhost ? "Listing %s for vhost %s ...\n" : "Listing %s ...\n",
            list->command + strlen("list_"), ctl->vhost);
    }
    ctl_fetch_encode(vhost, sizeof vhost, ctl->vhost);
    str_format(path, sizeof path, list->in_vhost ? "%s/%s" : "%s", list->path, vhost);
    if (!ctl_fetch_list(&ctl->fetch, path, put_row, &table, &why)) {
        fflush(stdout);
        return fail(EXIT_FAILED, why.text);
    }
    return ctl_table_end(&table) ? 0 : EXIT_FAILED;
}

/* ---- status ---- */

static long long number_of(json_t *object, const char *key) {
    return (long long)json_integer_value(json_object_get(object, key));
}

static const char *text_of(json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "?";
}

static const char *alarms_text(json_t *node) {
    bool memory = json_is_true(json_object_get(node, "mem_alarm"));
    bool disk = json_is_true(json_object_get(node, "disk_free_alarm"));
    if (memory) return disk ? "Memory alarm\nFree disk space alarm" : "Memory alarm";
    return disk ? "Free disk space alarm" : "(none)";
}

static void print_status(json_t *overview, json_t *node) {
    json_t *objects = json_object_get(overview, "object_totals");
    json_t *messages = json_object_get(overview, "queue_totals");
    double mebibyte = 1048576.0;
    printf("Runtime\n\n");
    printf("OS PID: %s\n", text_of(node, "os_pid"));
    printf("Uptime (seconds): %lld\n", number_of(node, "uptime") / 1000);
    printf("Godwit version: %s\n", text_of(overview, "godwit_version"));
    printf("Node name: %s\n", text_of(overview, "node"));
    printf("Shards: %lld\n", number_of(node, "processors"));
    printf("Data directory: %s\n", text_of(node, "data_dir"));
    printf("Durability: %s\n", text_of(node, "durability"));
    printf("\nAlarms\n\n%s\n", alarms_text(node));
    printf("\nMemory\n\n");
    printf("Resident: %.1f MiB\n", (double)number_of(node, "mem_used") / mebibyte);
    printf("Messages: %.1f MiB\n", (double)number_of(node, "mem_messages") / mebibyte);
    printf("Limit for messages: %.1f MiB\n", (double)number_of(node, "mem_limit") / mebibyte);
    printf("\nFile Descriptors\n\nTotal: %lld, limit: %lld\n", number_of(node, "fd_used"),
        number_of(node, "fd_total"));
    printf("\nTotals\n\n");
    printf("Connection count: %lld\n", number_of(objects, "connections"));
    printf("Channel count: %lld\n", number_of(objects, "channels"));
    printf("Consumer count: %lld\n", number_of(objects, "consumers"));
    printf("Exchange count: %lld\n", number_of(objects, "exchanges"));
    printf("Queue count: %lld\n", number_of(objects, "queues"));
    printf("Messages: %lld\n", number_of(messages, "messages"));
    printf("Messages ready: %lld\n", number_of(messages, "messages_ready"));
    printf("Messages unacknowledged: %lld\n", number_of(messages, "messages_unacknowledged"));
}

static void print_status_json(json_t *overview, json_t *node) {
    json_t *both = json_object();
    json_object_update(both, overview);
    json_object_update(both, node);
    json_dumpf(both, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(both);
}

static int run_status(const struct ctl *ctl) {
    struct ctl_why why;
    bool json = strcmp(ctl->formatter, "json") == 0;
    json_t *overview = ctl_fetch_value(&ctl->fetch, "api/overview", &why);
    json_t *nodes = overview ? ctl_fetch_value(&ctl->fetch, "api/nodes", &why) : NULL;
    json_t *node = json_array_get(nodes, 0);
    if (node && !ctl->quiet && !ctl->silent && !json)
        printf("Status of node %s ...\n", text_of(overview, "node"));
    if (node && json) print_status_json(overview, node);
    if (node && !json) print_status(overview, node);
    int status = node ? 0 : fail(EXIT_FAILED, nodes ? "the broker names no node" : why.text);
    json_decref(nodes);
    json_decref(overview);
    return status;
}

/* ---- other commands ---- */

static int run_backup(const struct ctl *ctl) {
    struct ctl_why why;
    bool json = strcmp(ctl->formatter, "json") == 0 || ctl->data.json;
    if (ctl->word_count != 2 || ctl->words[1][0] != '/')
        return fail(EXIT_USAGE, "backup DIR: an absolute path on the broker's machine");
    if (!ctl->quiet && !ctl->silent && !json) printf("Backing up to %s ...\n", ctl->words[1]);
    fflush(stdout);
    json_t *report = ctl_backup_make(&ctl->fetch, ctl->words[1], &why);
    if (!report) return fail(EXIT_FAILED, why.text);
    if (json)
        json_dumpf(report, stdout, JSON_INDENT(2));
    else
        printf("%lld files, %lld bytes copied, %lld files linked", number_of(report, "files"),
            number_of(report, "bytes"), number_of(report, "linked"));
    putchar('\n');
    json_decref(report);
    return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
}

static int run_data(struct ctl *ctl) {
    if (ctl->word_count != 3)
        return fail(EXIT_USAGE, "data verify DIR, or data dump DIR; godwitctl help says more");
    struct ctl_data *data = &ctl->data;
    data->path = ctl->words[2];
    data->json = data->json || strcmp(ctl->formatter, "json") == 0;
    data->headers = !ctl->silent && !ctl->no_headers;
    if (data->messages && data->records)
        return fail(EXIT_USAGE, "--messages or --records, not both");
    return ctl_data_run(data, ctl->words[1]);
}

static int print_help(void) {
    fputs("godwitctl: ask a running godwit, or look at the data of a stopped one\n\n"
          "Usage: godwitctl [OPTION]... COMMAND [ARGUMENT]...\n\nCommands:\n\n"
          "  status                      what the broker is, has and holds\n",
        stdout);
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        printf("  %-27s default columns: %s\n", lists[i].command, lists[i].defaults);
    fputs("  backup DIR                  have the broker copy its data directory, while it runs\n"
          "  data verify DIR             check the data directory of a stopped broker\n"
          "  data dump DIR               print its definitions, messages or records\n"
          "  version                     print the version of this tool\n"
          "  help                        print this\n\nOptions:\n\n"
          "  --management ADDR:PORT      where the broker is; 127.0.0.1:15672\n"
          "  -u, --user NAME             who asks; guest\n"
          "  --password TEXT             guest\n"
          "  -p, --vhost NAME            virtual host of a list; /\n"
          "  -q, --quiet                 no lines about what is being done\n"
          "  -s, --silent                nor column names\n"
          "  --no-table-headers          no column names\n"
          "  --formatter table|json      form of the output\n"
          "  -t, --timeout SECONDS       without a byte arriving; 60, 0 waits for ever\n\n"
          "Options of data:\n\n"
          "  --json                      as --formatter json\n"
          "  --verbose                   verify: a line for every file\n"
          "  --messages                  dump: the messages that live\n"
          "  --records                   dump: what the files hold, for engineers\n"
          "  --queue NAME                dump: of one queue; with -p, of that virtual host\n"
          "  --limit N                   dump: no more messages or records\n"
          "  --body                      dump: whole bodies, also long and binary ones\n",
        stdout);
    return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
}

static int run(struct ctl *ctl) {
    const char *command = ctl->help ? "help" : ctl->word_count ? ctl->words[0] : NULL;
    if (!command) return fail(EXIT_USAGE, "no command; godwitctl help lists them");
    if (strcmp(command, "help") == 0) return print_help();
    if (strcmp(command, "version") == 0) return puts(GODWIT_VERSION) < 0 ? EXIT_FAILED : 0;
    if (strcmp(command, "status") == 0) return run_status(ctl);
    if (strcmp(command, "backup") == 0) return run_backup(ctl);
    if (strcmp(command, "data") == 0) return run_data(ctl);
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        if (strcmp(command, lists[i].command) == 0) return run_list(ctl, &lists[i]);
    }
    fprintf(stderr, "godwitctl: unknown command '%.100s'; godwitctl help lists them\n", command);
    return EXIT_USAGE;
}

/* ---- options ---- */

static bool set_timeout(struct ctl *ctl, const char *value) {
    uint64_t seconds = 0;
    if (!str_to_u64(bytes_text(value), &seconds) || seconds > 86400) return false;
    ctl->fetch.timeout_s = (long)seconds;
    return true;
}

static bool set_formatter(struct ctl *ctl, const char *value) {
    ctl->formatter = value;
    return strcmp(value, "json") == 0 || strcmp(value, "table") == 0 ||
           strcmp(value, "pretty_table") == 0;
}

static bool is_option(const char *name, const char *brief, const char *full) {
    return strcmp(name, full) == 0 || (brief && strcmp(name, brief) == 0);
}

static bool take_data_switch(struct ctl_data *data, const char *name) {
    if (is_option(name, NULL, "--json"))
        data->json = true;
    else if (is_option(name, NULL, "--verbose"))
        data->verbose = true;
    else if (is_option(name, NULL, "--messages"))
        data->messages = true;
    else if (is_option(name, NULL, "--records"))
        data->records = true;
    else if (is_option(name, NULL, "--body"))
        data->body = true;
    else
        return false;
    return true;
}

/* An option without a value. */
static bool take_switch(struct ctl *ctl, const char *name) {
    if (is_option(name, "-q", "--quiet"))
        ctl->quiet = true;
    else if (is_option(name, "-s", "--silent"))
        ctl->silent = true;
    else if (is_option(name, NULL, "--no-table-headers"))
        ctl->no_headers = true;
    else if (is_option(name, "-h", "--help"))
        ctl->help = true;
    else
        return take_data_switch(&ctl->data, name);
    return true;
}

/* An option with a value; *ret_known tells whether there is such an option. */
static bool take_setting(struct ctl *ctl, const char *name, const char *value, bool *ret_known) {
    *ret_known = true;
    if (is_option(name, "-t", "--timeout")) return value && set_timeout(ctl, value);
    if (is_option(name, NULL, "--formatter")) return value && set_formatter(ctl, value);
    if (is_option(name, NULL, "--limit"))
        return value && str_to_u64(bytes_text(value), &ctl->data.limit);
    if (is_option(name, NULL, "--management"))
        ctl->fetch.address = value;
    else if (is_option(name, "-u", "--user"))
        ctl->fetch.user = value;
    else if (is_option(name, NULL, "--password"))
        ctl->fetch.password = value;
    else if (is_option(name, "-p", "--vhost"))
        ctl->vhost = ctl->data.vhost = value;
    else if (is_option(name, NULL, "--queue"))
        ctl->data.queue = value;
    else
        *ret_known = false;
    return value != NULL;
}

/* Takes the option at *at, "--name value" or "--name=value". */
static bool take_option(struct ctl *ctl, int argc, char **argv, int *at) {
    char name[64];
    const char *argument = argv[(*at)++];
    size_t size = strcspn(argument, "=");
    bool known = false;
    str_format(name, sizeof name, "%.*s", (int)size, argument);
    if (argument[size] == 0 && take_switch(ctl, name)) return true;
    const char *value = argument[size] == '=' ? argument + size + 1 : NULL;
    if (!value && *at < argc) value = argv[(*at)++];
    if (take_setting(ctl, name, value, &known)) {
        if (known) return true;
    }
    fprintf(stderr,
        known ? "godwitctl: '%s' needs another value\n"
              : "godwitctl: unknown option '%s'; godwitctl help lists them\n",
        name);
    return false;
}

int main(int argc, char **argv) {
    struct ctl ctl = {.fetch = {.address = "127.0.0.1:15672",
                          .user = "guest",
                          .password = "guest",
                          .timeout_s = 60},
        .data = {.limit = UINT64_MAX},
        .vhost = "/",
        .formatter = "table"};
    for (int at = 1; at < argc;) {
        if (argv[at][0] == '-') {
            if (!take_option(&ctl, argc, argv, &at)) return EXIT_USAGE;
        } else if (ctl.word_count < WORDS_MAX) {
            ctl.words[ctl.word_count++] = argv[at++];
        } else {
            return fail(EXIT_USAGE, "too many arguments");
        }
    }
    return run(&ctl);
}
