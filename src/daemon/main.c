/* main: options, start order, exit codes (0 fine, 1 runtime failure, 2 usage or configuration). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/str.h"
#include "daemon/machine.h"
#include "daemon/server.h"
#include "net/listener.h"

enum { LISTEN_MAX = 16, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct options {
    const char *listen[LISTEN_MAX];
    uint32_t listen_count;
    const char *data_dir;
    uint32_t shards;
};

static void parse(int argc, char **argv, struct options *options) {
    static const struct option known[] = {{"listen", required_argument, NULL, 'l'},
        {"data-dir", required_argument, NULL, 'd'}, {"shards", required_argument, NULL, 's'},
        {"management", required_argument, NULL, 'm'}, {"metrics", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0}};
    int option = 0;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        uint64_t number = 0;
        if (option == 'l' && options->listen_count < LISTEN_MAX)
            options->listen[options->listen_count++] = optarg;
        if (option == 'd') options->data_dir = optarg;
        if (option == 's' && str_to_u64(bytes_text(optarg), &number))
            options->shards = (uint32_t)number;
        if (option == '?') exit(EXIT_USAGE);
    }
}

int main(int argc, char **argv) {
    struct options options = {.data_dir = "./data"};
    parse(argc, argv, &options);
    if (options.listen_count == 0) options.listen[options.listen_count++] = "127.0.0.1:5672";
    if (options.shards == 0) options.shards = machine_cores();
    int fds[LISTEN_MAX];
    for (uint32_t i = 0; i < options.listen_count; i++) {
        int error = listener_bind(options.listen[i], &fds[i]);
        if (error == 0) continue;
        fprintf(stderr, "cannot listen on %s: %s\n", options.listen[i], strerror(-error));
        return EXIT_FAILED;
    }
    machine_raise_descriptors();
    struct server_options server_options = {
        .shards = options.shards,
        .memory_limit = machine_memory_bytes() / 10 * 6,
        .listeners = fds,
        .listener_count = options.listen_count,
        .session = {.product = "Godwit",
            .version = GODWIT_VERSION,
            .cluster_name = "godwit",
            .frame_max = FRAME_MAX_DEFAULT,
            .channel_max = CHANNELS_PER_CONNECTION_MAX,
            .heartbeat_s = HEARTBEAT_S_DEFAULT,
            .message_bytes_max = MESSAGE_BYTES_MAX_DEFAULT},
    };
    struct server *server = server_start(&server_options);
    fprintf(stderr, "ready\n");
    server_run(server, NULL, NULL);
    server_free(server);
    return 0;
}
