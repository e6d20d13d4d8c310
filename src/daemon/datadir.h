/* datadir: the directory that belongs to one running broker. */
#ifndef DAEMON_DATADIR_H
#define DAEMON_DATADIR_H

#include "daemon/config.h"
#include "store/file_header.h"

/* Makes the directory if it does not exist and locks it. Gives the descriptor that holds the lock
 * until the process ends, or -1 with the reason. */
int datadir_lock(const char *path, struct config_why *ret_why) MUST_USE;

enum { NODE_ID_BYTES = FILE_NODE_ID_BYTES };

/* The id of the node that the directory belongs to, which is made with it and never changes: 32 hex
 * digits in the file node.id. Gives 0, or -1 with the reason. */
int datadir_node_id(
    const char *path, uint8_t ret_id[NODE_ID_BYTES], struct config_why *ret_why) MUST_USE;

#endif
