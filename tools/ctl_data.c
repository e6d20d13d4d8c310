/* ctl_data: the commands that look at the data directory of a stopped broker. */
#include "tools/ctl_data.h"

#include <stdio.h>
#include <string.h>

int ctl_data_run(const struct ctl_data *data, const char *command) {
    struct ctl_home home;
    struct ctl_why why;
    int status = 1;
    bool verify = strcmp(command, "verify") == 0;
    if (!verify && strcmp(command, "dump") != 0) {
        fprintf(stderr, "godwitctl: data has 'verify' and 'dump', not '%.100s'\n", command);
        return 2;
    }
    if (!ctl_home_open(&home, data->path, &why))
        fprintf(stderr, "godwitctl: %s\n", why.text);
    else
        status = verify ? ctl_data_verify(data, &home) : ctl_data_dump(data, &home);
    ctl_home_close(&home);
    return status;
}
