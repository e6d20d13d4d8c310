/* home: the directory of one node: who uses it, and whose it is.
 *
 *     DIR/LOCK       held by the broker that runs, for as long as it does
 *     DIR/node.id    32 hex digits, made with the directory
 *     DIR/meta.db    definitions (store/metadata.h)
 *     DIR/messages/  journals and segments (docs/disk-format.md)
 *     DIR/reserve/   room for when the disk is full (store/reserve.h) */
#ifndef STORE_HOME_H
#define STORE_HOME_H

#include "store/file_header.h"

enum {
    HOME_HOLDER_BYTES = 32,
    HOME_NODE_ID_TEXT_BYTES = 2 * FILE_NODE_ID_BYTES + 1, /* with the terminating zero */
};

enum home_use {
    HOME_RUN,  /* as a broker, alone; makes the lock's file */
    HOME_LOOK, /* to read, with others who do, and without making anything */
};

/* Locks the directory that is open as `directory`. Gives a descriptor that holds the lock until it
 * is closed; -EWOULDBLOCK when somebody else has it, with what the file says of them ("" if
 * nothing); for HOME_LOOK -ENOENT when there is no file, so that no broker runs; or -errno. */
int home_lock(int directory, enum home_use use, char ret_holder[HOME_HOLDER_BYTES]) MUST_USE;

/* Reads node.id: 1 with the id; 0 when there is none; -EBADMSG when it is not what was written; or
 * -errno. */
int home_node_id(int directory, uint8_t ret_id[FILE_NODE_ID_BYTES]) MUST_USE;

/* Makes node.id, under another name first: a file of that name is whole. 0 or -errno. */
int home_make_node_id(int directory) MUST_USE;

/* The id as hex digits. */
void home_node_id_text(const uint8_t id[FILE_NODE_ID_BYTES], char text[HOME_NODE_ID_TEXT_BYTES]);

#endif
