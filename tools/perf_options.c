/* perf_options: what the command line of godwit-perf asks for. */
#include "tools/perf_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

/* Options without a letter; the others are known by theirs. */
enum {
    OPTION_HOST = 256,
    OPTION_PORT,
    OPTION_QUEUES,
    OPTION_PATTERN,
    OPTION_FROM,
    OPTION_TO,
    OPTION_AUTO_DELETE,
    OPTION_DURABLE,
    OPTION_PREDECLARED,
    OPTION_SERVER_PID,
    OPTION_WARMUP,
    OPTION_DRAIN,
    OPTION_STORED,
    OPTION_THREADS,
    OPTION_RAW,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_VERSION,
    OPTION_HELP,
};

static const char LETTERS[] = "h:x:y:u:e:t:k:s:c:aq:r:R:f:z:C:D:A:p";

static const struct option LONG[] = {
    {"uri", required_argument, NULL, 'h'},
    {"host", required_argument, NULL, OPTION_HOST},
    {"port", required_argument, NULL, OPTION_PORT},
    {"producers", required_argument, NULL, 'x'},
    {"consumers", required_argument, NULL, 'y'},
    {"queue", required_argument, NULL, 'u'},
    {"queues", required_argument, NULL, OPTION_QUEUES},
    {"queue-pattern", required_argument, NULL, OPTION_PATTERN},
    {"queue-pattern-from", required_argument, NULL, OPTION_FROM},
    {"queue-pattern-to", required_argument, NULL, OPTION_TO},
    {"exchange", required_argument, NULL, 'e'},
    {"type", required_argument, NULL, 't'},
    {"routing-key", required_argument, NULL, 'k'},
    {"size", required_argument, NULL, 's'},
    {"confirm", required_argument, NULL, 'c'},
    {"autoack", no_argument, NULL, 'a'},
    {"qos", required_argument, NULL, 'q'},
    {"multi-ack-every", required_argument, NULL, 'A'},
    {"rate", required_argument, NULL, 'r'},
    {"consumer-rate", required_argument, NULL, 'R'},
    {"flag", required_argument, NULL, 'f'},
    {"time", required_argument, NULL, 'z'},
    {"pmessages", required_argument, NULL, 'C'},
    {"cmessages", required_argument, NULL, 'D'},
    {"auto-delete", required_argument, NULL, OPTION_AUTO_DELETE},
    {"durable", no_argument, NULL, OPTION_DURABLE},
    {"predeclared", no_argument, NULL, 'p'},
    {"server-pid", required_argument, NULL, OPTION_SERVER_PID},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"drain", required_argument, NULL, OPTION_DRAIN},
    {"stored", required_argument, NULL, OPTION_STORED},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"raw", no_argument, NULL, OPTION_RAW},
    {"json", no_argument, NULL, OPTION_JSON},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const char HELP[] =
    "godwit-perf: puts load on an AMQP 0-9-1 broker and measures what comes out\n"
    "\n"
    "  -h, --uri URI             amqp://user:password@host:port/vhost\n"
    "      --host H  --port P    instead of a URI (127.0.0.1, 5672)\n"
    "  -x, --producers N         producers, a connection each (1)\n"
    "  -y, --consumers N         consumers, a connection each (1)\n"
    "  -u, --queue NAME          one queue for all; without, each consumer has its own\n"
    "      --queues N            N queues that producers and consumers are spread over\n"
    "      --queue-pattern P     their names, with a %d; --queue-pattern-from, -to: numbers\n"
    "  -e, --exchange NAME       exchange (named queues: the default one; else amq.TYPE)\n"
    "  -t, --type TYPE           direct, topic, fanout, headers (direct)\n"
    "  -k, --routing-key KEY     routing key, also of the bindings\n"
    "  -s, --size BYTES          size of a body (16); below 16 nothing is checked\n"
    "  -c, --confirm N           publisher confirms, at most N open per producer\n"
    "  -a, --autoack             no acknowledgements\n"
    "  -q, --qos N               prefetch per consumer (0: any number)\n"
    "  -A, --multi-ack-every N   one acknowledgement for N messages (1)\n"
    "  -r, --rate N              messages per second and producer\n"
    "  -R, --consumer-rate N     messages per second and consumer\n"
    "  -f, --flag FLAG           persistent, mandatory; may be repeated\n"
    "      --durable             durable queues (as -f persistent does)\n"
    "      --auto-delete BOOL    auto-delete queues (true)\n"
    "  -p, --predeclared         queues and exchange exist: declare and purge nothing\n"
    "  -z, --time SECONDS        measured time (until interrupted)\n"
    "  -C, --pmessages N         messages of each producer\n"
    "  -D, --cmessages N         messages of each consumer\n"
    "      --warmup SECONDS      before the measured time (0)\n"
    "      --drain SECONDS       at most, to empty the queues at the end (30)\n"
    "      --stored N            what N producers have left in an earlier run: order and bodies "
    "of\n"
    "                            that size are checked, but not how long it took\n"
    "      --server-pid PID,...  processes whose CPU and memory count, children too\n"
    "      --threads N           threads of the generator (1)\n"
    "      --raw                 frames through godwit-relay instead of a broker\n"
    "      --json                one JSON object on stdout\n"
    "      --quiet               no line per second\n"
    "      --version  --help\n"
    "\n"
    "Exit status: 0 fine, 1 messages lost, reordered or duplicated, or the run failed, 2 usage.\n";

static bool copy_text(char *to, struct bytes text) {
    if (text.size >= OPTIONS_TEXT_BYTES) return false;
    bytes_copy(to, text.data, text.size);
    to[text.size] = 0;
    return true;
}

static bool read_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number) {
    uint64_t number;
    if (!str_to_u64(bytes_text(text), &number) || number < min || number > max) return false;
    *ret_number = number;
    return true;
}

static bool read_small(const char *text, uint32_t min, uint32_t max, uint32_t *ret_number) {
    uint64_t number;
    if (!read_number(text, min, max, &number)) return false;
    *ret_number = (uint32_t)number;
    return true;
}

/* Seconds, with a fraction if need be. */
static bool read_seconds(const char *text, uint64_t *ret_ns) {
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != 0 || !(seconds >= 0) || seconds > 1e6) return false;
    *ret_ns = (uint64_t)(seconds * 1e9);
    return true;
}

static bool read_pids(struct options *options, const char *text) {
    while (*text != 0) {
        struct bytes one = bytes_of(text, strcspn(text, ","));
        uint64_t pid;
        if (options->pid_count == OPTIONS_PIDS_MAX || !str_to_u64(one, &pid) || pid > INT32_MAX) {
            return false;
        }
        options->pids[options->pid_count++] = (int)pid;
        text += one.size + (text[one.size] == ',');
    }
    return true;
}

static bool read_flag(struct options *options, const char *text) {
    if (strcmp(text, "persistent") == 0) {
        options->persistent = options->durable = true;
        return true;
    }
    options->mandatory = options->mandatory || strcmp(text, "mandatory") == 0;
    return strcmp(text, "mandatory") == 0;
}

/* Gives the part of *rest before the first of `marks`, and leaves what follows the mark; `mark` is
 * 0 when there is none and all of it was given. */
static struct bytes split(const char **rest, const char *marks, char *ret_mark) {
    struct bytes part = bytes_of(*rest, strcspn(*rest, marks));
    *ret_mark = (*rest)[part.size];
    *rest += part.size + (*ret_mark != 0);
    return part;
}

/* Percent-decodes, because the default vhost is written %2f. */
static bool copy_decoded(char *to, struct bytes text) {
    size_t size = 0;
    for (uint32_t i = 0; i < text.size && size < OPTIONS_TEXT_BYTES - 1; i++) {
        char hex[3] = {0};
        if (text.data[i] == '%' && i + 2 < text.size) {
            memcpy(hex, text.data + i + 1, 2);
            i += 2;
        }
        to[size++] = hex[0] ? (char)strtoul(hex, NULL, 16) : (char)text.data[i];
    }
    to[size] = 0;
    return size > 0 && size < OPTIONS_TEXT_BYTES - 1;
}

static bool read_uri(struct options *options, const char *text) {
    static const char SCHEME[] = "amqp://";
    if (strncmp(text, SCHEME, sizeof SCHEME - 1) != 0) return false;
    const char *rest = text + sizeof SCHEME - 1;
    char mark;
    const char *at = strchr(rest, '@');
    if (at) {
        const char *user = rest;
        if (!copy_decoded(options->user, split(&user, ":@", &mark))) return false;
        if (mark == ':' && !copy_decoded(options->password, split(&user, "@", &mark))) return false;
        rest = at + 1;
    }
    struct bytes host = split(&rest, ":/", &mark);
    if (host.size != 0 && !copy_text(options->host, host)) return false;
    uint64_t port = options->port;
    if (mark == ':') {
        struct bytes digits = split(&rest, "/", &mark);
        if (!str_to_u64(digits, &port) || port == 0 || port > 65535) return false;
    }
    options->port = (uint16_t)port;
    return *rest == 0 || copy_decoded(options->vhost, bytes_text(rest));
}

/* What the queue options said, until all are read. */
struct queue_words {
    uint32_t queues;
    uint32_t from;
    uint32_t to;
};

static bool take_load(struct options *options, int option, const char *value) {
    switch (option) {
    case 'x': return read_small(value, 0, OPTIONS_CLIENTS_MAX, &options->producers);
    case 'y': return read_small(value, 0, OPTIONS_CLIENTS_MAX, &options->consumers);
    case 's': return read_number(value, 0, OPTIONS_SIZE_MAX, &options->size);
    case 'c': return read_number(value, 1, OPTIONS_CONFIRM_MAX, &options->confirm);
    case 'q': return read_number(value, 0, 65535, &options->qos);
    case 'A': return read_number(value, 1, 65535, &options->multi_ack_every);
    case 'r': return read_number(value, 0, 1000000000, &options->rate);
    case 'R': return read_number(value, 0, 1000000000, &options->consumer_rate);
    case 'C': return read_number(value, 0, UINT64_MAX, &options->pmessages);
    case 'D': return read_number(value, 0, UINT64_MAX, &options->cmessages);
    case 'z': return read_seconds(value, &options->time_ns);
    case OPTION_WARMUP: return read_seconds(value, &options->warmup_ns);
    case OPTION_DRAIN: return read_seconds(value, &options->drain_ns);
    case OPTION_STORED: return read_small(value, 1, OPTIONS_CLIENTS_MAX, &options->stored);
    case OPTION_THREADS: return read_small(value, 1, OPTIONS_THREADS_MAX, &options->threads);
    case OPTION_SERVER_PID: return read_pids(options, value);
    default: return false;
    }
}

static bool take_place(
    struct options *options, struct queue_words *words, int option, const char *value) {
    uint32_t port;
    switch (option) {
    case 'h': return read_uri(options, value);
    case OPTION_HOST: return copy_text(options->host, bytes_text(value));
    case OPTION_PORT:
        if (!read_small(value, 1, 65535, &port)) return false;
        options->port = (uint16_t)port;
        return true;
    case 'u': return copy_text(options->queue, bytes_text(value));
    case 'e': return copy_text(options->exchange, bytes_text(value));
    case 't': return copy_text(options->type, bytes_text(value));
    case 'k': return copy_text(options->routing_key, bytes_text(value));
    case 'f': return read_flag(options, value);
    case OPTION_PATTERN: return strstr(value, "%d") && copy_text(options->queue, bytes_text(value));
    case OPTION_FROM: return read_small(value, 0, OPTIONS_QUEUES_MAX, &words->from);
    case OPTION_TO: return read_small(value, 0, OPTIONS_QUEUES_MAX, &words->to);
    case OPTION_QUEUES: return read_small(value, 1, OPTIONS_QUEUES_MAX, &words->queues);
    case OPTION_AUTO_DELETE:
        options->auto_delete = strcmp(value, "false") != 0;
        return !options->auto_delete || strcmp(value, "true") == 0;
    default: return take_load(options, option, value);
    }
}

static bool take_switch(struct options *options, int option) {
    switch (option) {
    case 'a': options->auto_ack = true; return true;
    case 'p': options->predeclared = true; return true;
    case OPTION_DURABLE: options->durable = true; return true;
    case OPTION_RAW: options->raw = true; return true;
    case OPTION_JSON: options->json = true; return true;
    case OPTION_QUIET: options->quiet = true; return true;
    default: return false;
    }
}

/* Decides what the options leave open, and refuses what does not go together. */
static const char *settle(struct options *options, const struct queue_words *words) {
    options->queue_first = words->from;
    if (words->to >= words->from && words->to != 0)
        options->queue_count = words->to - words->from + 1;
    if (words->queues != 0) options->queue_count = words->queues;
    if (options->queue_count == 0 && options->queue[0]) options->queue_count = 1;
    if (options->queue_count != 0 && !options->queue[0]) {
        str_format(options->queue, sizeof options->queue, "godwit-perf-%%d");
    }
    if (options->queue_count > 1 && !strstr(options->queue, "%d")) {
        size_t size = strlen(options->queue);
        str_format(options->queue + size, sizeof options->queue - size, "-%%d");
    }
    static const char *const types[] = {"direct", "topic", "fanout", "headers"};
    bool known = false;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        known = known || strcmp(options->type, types[i]) == 0;
    }
    if (!known && !options->exchange[0]) return "the exchange of an own --type needs a name";
    bool direct = strcmp(options->type, "direct") == 0;
    options->default_exchange =
        options->queue_count != 0 && direct && !options->exchange[0] && !options->routing_key[0];
    if (!options->default_exchange && !options->exchange[0]) {
        str_format(options->exchange, sizeof options->exchange, "amq.%.200s", options->type);
    }
    if (options->qos != 0 && options->multi_ack_every > options->qos) {
        return "--multi-ack-every above --qos: the consumer would wait for ever";
    }
    if (options->predeclared && options->queue_count == 0) return "--predeclared needs --queue";
    if (options->raw && options->producers != 1) return "--raw takes one producer";
    if (options->raw && options->confirm != 0 && (options->consumers != 1 || options->threads != 1))
        return "--raw --confirm takes one consumer and one thread";
    return NULL;
}

static const char *name_of(int option) {
    size_t i = 0;
    while (LONG[i].val != option) {
        i++;
    }
    return LONG[i].name;
}

enum options_verdict options_read(struct options *options, int argc, char **argv) {
    *options = (struct options){.host = "127.0.0.1",
        .port = 5672,
        .user = "guest",
        .password = "guest",
        .vhost = "/",
        .type = "direct",
        .producers = 1,
        .consumers = 1,
        .threads = 1,
        .size = 16,
        .multi_ack_every = 1,
        .drain_ns = 30000000000u,
        .auto_delete = true};
    struct queue_words words = {.from = 1};
    for (int option; (option = getopt_long(argc, argv, LETTERS, LONG, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            fputs(HELP, stdout);
            return OPTIONS_SHOWN;
        }
        if (option == OPTION_VERSION) {
            puts("godwit-perf " GODWIT_VERSION);
            return OPTIONS_SHOWN;
        }
        if (option == '?') return OPTIONS_WRONG;
        bool good =
            optarg ? take_place(options, &words, option, optarg) : take_switch(options, option);
        if (!good) {
            fprintf(stderr, "godwit-perf: '%s' does not go with --%s\n", optarg, name_of(option));
            return OPTIONS_WRONG;
        }
    }
    const char *complaint = optind < argc ? "arguments that are no options" : NULL;
    if (!complaint) complaint = settle(options, &words);
    if (!complaint) return OPTIONS_RUN;
    fprintf(stderr, "godwit-perf: %s\n", complaint);
    return OPTIONS_WRONG;
}

void options_queue_name(const struct options *options, uint32_t index, char *text) {
    const char *place = strstr(options->queue, "%d");
    if (!place) {
        str_format(text, OPTIONS_TEXT_BYTES, "%s", options->queue);
        return;
    }
    str_format(text, OPTIONS_TEXT_BYTES, "%.*s%u%s", (int)(place - options->queue), options->queue,
        options->queue_first + index, place + 2);
}

uint32_t options_queues(const struct options *options) {
    return options->queue_count != 0 ? options->queue_count : options->consumers;
}
