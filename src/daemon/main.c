/* main: start order and exit codes (0 told to stop, 1 could not go on, 2 usage or configuration).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/str.h"
#include "daemon/console.h"
#include "daemon/datadir.h"
#include "daemon/machine.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/server.h"
#include "net/listener.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What lives as long as the process. */
struct daemon {
    struct options options;
    struct console console;
    struct log log;
    int data_lock;
    int listeners[LISTENERS_MAX];
    int management; /* -1: none */
    int metrics;
    uint8_t node_id[NODE_ID_BYTES];
};

static int complain(int status, const struct config_why *why) {
    fprintf(stderr, "godwit: %s\n", why->text);
    return status;
}

/* ---- addresses ---- */

/* Binds an address; false with the reason. All addresses are those of IPv4 where there is no IPv6.
 */
static bool bind_to(const char *address, int *ret_fd, struct config_why *why) {
    static const char all[] = "[::]:";
    int error = listener_bind(address, ret_fd);
    if (error == -EAFNOSUPPORT && strncmp(address, all, sizeof all - 1) == 0) {
        char other[CONFIG_TEXT_BYTES_MAX];
        str_format(other, sizeof other, "0.0.0.0:%s", address + sizeof all - 1);
        error = listener_bind(other, ret_fd);
    }
    if (error == 0) return true;
    str_format(why->text, sizeof why->text, "cannot listen on %.300s: %s", address,
        error == -EINVAL ? "it is no address of this machine and port" : strerror(-error));
    return false;
}

static bool bind_http(
    bool none, const struct config_text *ip, uint64_t port, int *ret_fd, struct config_why *why) {
    struct config_text address;
    *ret_fd = -1;
    if (none) return true;
    config_join(&address, ip->text, port);
    return bind_to(address.text, ret_fd, why);
}

static bool bind_all(struct daemon *daemon, struct config_why *why) {
    const struct config *config = &daemon->options.config;
    for (uint32_t i = 0; i < config->listen.count; i++) {
        if (!bind_to(config->listen.address[i].text, &daemon->listeners[i], why)) return false;
    }
    if (!bind_http(config->management_none, &config->management_ip, config->management_port,
            &daemon->management, why))
        return false;
    return bind_http(
        config->metrics_none, &config->metrics_ip, config->metrics_port, &daemon->metrics, why);
}

/* ---- the data directory ---- */

static bool open_data(
    struct daemon *daemon, struct metadata **ret_metadata, struct config_why *why) {
    struct metadata_settings settings = {
        .directory = daemon->options.config.data_dir.text, .create = true};
    struct metadata_problem problem;
    if (datadir_node_id(settings.directory, daemon->node_id, why) != 0) return false;
    if (metadata_open(&settings, ret_metadata, &problem) == 0) return true;
    str_format(why->text, sizeof why->text, "%s", problem.text);
    return false;
}

/* ---- what is said ---- */

static void say_start(struct daemon *daemon, const struct server_options *options) {
    struct log_line line;
    log_begin(&line, "server.starting");
    log_put_text(&line, "version", GODWIT_VERSION);
    log_put_number(&line, "shards", options->shards);
    log_put_number(&line, "memory_limit", options->memory_limit);
    log_put_text(&line, "data_dir", daemon->options.config.data_dir.text);
    log_put_number(&line, "descriptors", options->descriptors_max);
    log_end(&line, &daemon->log, LEVEL_INFO);
    if (options->durability == DURABILITY_FSYNC) return;
    log_begin(&line, "server.durability_os");
    log_put_text(&line, "note",
        "confirmed messages survive the end of the broker, but not the loss of power");
    log_end(&line, &daemon->log, LEVEL_WARNING);
}

static void say_http(
    struct daemon *daemon, const char *what, const struct config_text *ip, uint64_t port) {
    struct config_text address;
    struct log_line line;
    config_join(&address, ip->text, port);
    log_begin(&line, "server.listening");
    log_put_text(&line, "for", what);
    log_put_text(&line, "address", address.text);
    log_end(&line, &daemon->log, LEVEL_INFO);
}

/* The last line of the start is written whatever the log level: scripts wait for it. */
static void say_ready(struct daemon *daemon) {
    const struct config *config = &daemon->options.config;
    struct log_line line;
    for (uint32_t i = 0; i < config->listen.count; i++) {
        log_begin(&line, "server.listening");
        log_put_text(&line, "for", "amqp");
        log_put_text(&line, "address", config->listen.address[i].text);
        log_end(&line, &daemon->log, LEVEL_INFO);
    }
    if (daemon->management >= 0)
        say_http(daemon, "management", &config->management_ip, config->management_port);
    if (daemon->metrics >= 0)
        say_http(daemon, "metrics", &config->metrics_ip, config->metrics_port);
    log_begin(&line, "server.ready");
    daemon->log.write(daemon->log.context, LEVEL_INFO, bytes_of(line.text, line.size));
    notify_send("READY=1");
}

/* SIGHUP: the log level, from the file. */
static void on_reload(void *context) {
    struct daemon *daemon = context;
    struct config_why why;
    struct log_line line;
    bool ok = options_reread(&daemon->options, &why);
    log_begin(&line, "config.reloaded");
    if (ok)
        atomic_store(&daemon->log.level, (int)daemon->options.config.log_level);
    else
        log_put_text(&line, "error", why.text);
    log_put_text(&line, "level", log_level_name((enum log_level)daemon->options.config.log_level));
    log_end(&line, &daemon->log, ok ? LEVEL_INFO : LEVEL_ERROR);
}

/* ---- the start ---- */

static uint64_t memory_limit(const struct config *config) {
    if (config->memory_absolute != 0) return config->memory_absolute;
    return machine_memory_bytes() / 100 * config->memory_relative;
}

static struct server_options server_options(struct daemon *daemon) {
    const struct config *config = &daemon->options.config;
    uint32_t shards = config->shards ? (uint32_t)config->shards : machine_shards(machine_cores());
    return (struct server_options){
        .shards = shards,
        .memory_limit = memory_limit(config),
        .descriptors_max = machine_raise_descriptors(),
        .listeners = daemon->listeners,
        .listener_count = config->listen.count,
        .management = daemon->management,
        .metrics = daemon->metrics,
        .data_dir = config->data_dir.text,
        .durability = (enum durability)config->durability,
        .journal_budget = config->journal_budget,
        .room = {.absolute = config->disk_absolute,
            .relative = config->disk_relative,
            .memory = machine_memory_bytes(),
            .journal_budget = config->journal_budget,
            .reserve = config->disk_reserve,
            .shards = shards},
        .salvage = daemon->options.salvage,
        .log = &daemon->log,
        .session = {.product = config->product_name.text,
            .version = config->product_version.text,
            .cluster_name = config->cluster_name.text,
            .frame_max = (uint32_t)config->frame_max,
            .channel_max = (uint16_t)config->channel_max,
            .heartbeat_s = (uint16_t)config->heartbeat,
            .message_bytes_max = config->max_message_size},
    };
}

int main(int argc, char **argv) {
    struct daemon daemon;
    struct config_why why;
    switch (options_read(&daemon.options, argc, argv, &why)) {
    case OPTIONS_RUN: break;
    case OPTIONS_DONE: return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
    case OPTIONS_WRONG: return complain(EXIT_USAGE, &why);
    }
    const struct config *config = &daemon.options.config;
    console_init(&daemon.console, STDERR_FILENO, &daemon.log, (enum log_level)config->log_level);
    daemon.data_lock = datadir_lock(config->data_dir.text, &why);
    if (daemon.data_lock < 0) return complain(EXIT_FAILED, &why);
    if (!bind_all(&daemon, &why)) return complain(EXIT_FAILED, &why);
    struct server_options options = server_options(&daemon);
    if (options.shards > SHARDS_MAX) options.shards = SHARDS_MAX;
    say_start(&daemon, &options);
    if (!open_data(&daemon, &options.metadata, &why)) return complain(EXIT_FAILED, &why);
    bytes_copy(options.node_id, daemon.node_id, sizeof options.node_id);
    struct server *server = server_start(&options, &why);
    if (!server) return complain(EXIT_FAILED, &why);
    say_ready(&daemon);
    server_run(server, on_reload, &daemon);
    notify_send("STOPPING=1");
    server_free(server);
    close(daemon.data_lock);
    return 0;
}
