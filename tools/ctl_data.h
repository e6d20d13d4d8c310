/* ctl_data: the commands that look at the data directory of a stopped broker. */
#ifndef TOOLS_CTL_DATA_H
#define TOOLS_CTL_DATA_H

#include "tools/ctl_home.h"

/* What the command line says. */
struct ctl_data {
    const char *path;
    const char *vhost; /* NULL: all */
    const char *queue; /* NULL: all */
    uint64_t limit;    /* rows */
    bool json;
    bool verbose;
    bool headers; /* a line of column names */
    bool messages;
    bool records;
    bool body; /* whole, whatever it is */
};

/* Checks everything and says what is there. Gives the exit status. */
int ctl_data_verify(const struct ctl_data *data, struct ctl_home *home);

/* Prints definitions, messages or records. Gives the exit status. */
int ctl_data_dump(const struct ctl_data *data, struct ctl_home *home);

/* Runs `verify` or `dump`. Gives the exit status: 0, 1 damaged or refused, 2 no such command. */
int ctl_data_run(const struct ctl_data *data, const char *command);

#endif
