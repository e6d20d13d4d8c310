/* datadir: the directory that belongs to one running broker. */
#ifndef DAEMON_DATADIR_H
#define DAEMON_DATADIR_H

#include "daemon/config.h"

/* Makes the directory if it does not exist and locks it. Gives the descriptor that holds the lock
 * until the process ends, or -1 with the reason. */
int datadir_lock(const char *path, struct config_why *ret_why) MUST_USE;

#endif
