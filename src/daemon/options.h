/* options: what the command line says, on top of the configuration file. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "daemon/config.h"

struct options {
    struct config config;
    const char *config_path; /* borrowed from the arguments; NULL without --config */
    bool log_level_given;    /* by a flag, which beats the file also later */
    bool salvage;            /* start without what is damaged on disk */
};

enum options_verdict {
    OPTIONS_RUN,  /* go on */
    OPTIONS_DONE, /* --help and the like: all was said on stdout */
    OPTIONS_WRONG /* the reason is in ret_why */
};

/* Reads the arguments, then the file that they name, then lets the flags win. */
enum options_verdict options_read(
    struct options *options, int argc, char **argv, struct config_why *ret_why);

/* Reads the log level anew from the file; false with the reason, and nothing changed. */
bool options_reread(struct options *options, struct config_why *ret_why) MUST_USE;

#endif
