/* config: the settings of the broker: from their table, a file, and flags. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdio.h>

#include "base/base.h"

enum {
    CONFIG_TEXT_BYTES_MAX = 256, /* with the zero */
    CONFIG_WHY_BYTES_MAX = 512,
    LISTENERS_MAX = 16 /* AMQP addresses of one broker */
};

#define CONFIG_UNSET UINT64_MAX /* a SIZE or RATIO that was not given and has no default */

/* What a publisher confirm of a persistent message in a durable queue means. */
enum durability {
    DURABILITY_FSYNC, /* it is on disk, and survives the loss of power */
    DURABILITY_OS,    /* the operating system has it, and it survives the end of the process */
};

/* The texts are zero-terminated. */
struct config_text {
    char text[CONFIG_TEXT_BYTES_MAX];
};

struct config_listeners {
    struct config_text address[LISTENERS_MAX]; /* ADDRESS:PORT */
    uint32_t count;
};

struct config {
#define FIELD_NUMBER(field)                                  uint64_t field;
#define FIELD_SIZE(field)                                    uint64_t field;
#define FIELD_RATIO(field)                                   uint64_t field; /* hundredths */
#define FIELD_LEVEL(field)                                   uint64_t field; /* enum log_level */
#define FIELD_DURABILITY(field)                              uint64_t field; /* enum durability */
#define FIELD_NONE(field)                                    bool field;
#define FIELD_TEXT(field)                                    struct config_text field;
#define FIELD_LISTENER(field)                                /* several keys, one field: below */
#define SETTING(type, field, key, fallback, low, high, text) FIELD_##type(field)
#include "daemon/config.def"
#undef SETTING
#undef FIELD_NUMBER
#undef FIELD_SIZE
#undef FIELD_RATIO
#undef FIELD_LEVEL
#undef FIELD_NONE
#undef FIELD_DURABILITY
#undef FIELD_TEXT
#undef FIELD_LISTENER
    struct config_listeners listen;
};

/* Why something was refused, for people; zero-terminated. */
struct config_why {
    char text[CONFIG_WHY_BYTES_MAX];
};

/* Every setting at its default. */
void config_init(struct config *config);

/* Sets one value by its key; false with the reason, and nothing changed. */
bool config_set(
    struct config *config, const char *key, const char *value, struct config_why *ret_why) MUST_USE;

/* Reads "key = value" lines; "#" begins a comment. False with "PATH:LINE: reason", for the first
 * wrong line; lines before it have been taken. */
bool config_read(
    struct config *config, FILE *file, const char *path, struct config_why *ret_why) MUST_USE;

/* "ADDRESS:PORT" from an address, which may be an IPv6 one without brackets, and a port. */
void config_join(struct config_text *ret_address, const char *ip, uint64_t port);

/* The settings as a configuration file of comments, and as a manual page in man(7). */
void config_print_sample(FILE *file);
void config_print_manual(FILE *file);

#endif
