/* recall: a broker's kept messages, read back before its shards run.
 *
 *     recall_begin     reads journals and segments, opens the journals behind them: keepers
 *     registrar_load    makes the queues (shard/registrar.h)
 *     recall_finish    first what is settled, then the messages that live, into the queues
 *
 * Nothing on disk is changed before the shards' first turns, but that leftovers are removed. Any
 * number of shards may have written, and any other number may follow. */
#ifndef SHARD_RECALL_H
#define SHARD_RECALL_H

#include "shard/keeper.h"
#include "shard/restore_index.h"
#include "store/recover.h"

struct recall_settings {
    struct disk *disk; /* to read; borrowed until recall_finish */
    bool salvage;      /* go on without what is damaged */
    struct keeper_settings keeper;
    /* A disk of the same directory for an archive, whose bell wakes that shard. Never NULL. */
    struct disk *(*open_disk)(void *context, uint32_t shard);
    void *context;
};

struct recall_report {
    uint64_t files;
    uint64_t segments;
    uint64_t bytes; /* in files, read or told by their indexes */
    uint64_t queues;
    uint64_t messages;   /* put back, once for each queue */
    uint64_t incomplete; /* large messages of which parts are missing, where that was salvaged */
};

struct recall;

/* Reads what has to be read and gives each shard of the broker its keeper. 0; -EBADMSG when
 * something is damaged and is not to be salvaged, or cannot be: recall_recovery tells what, and
 * there are no keepers; or another -errno. In each case recall_close follows in the end. */
int recall_begin(struct broker *broker, const struct recall_settings *settings,
    struct recall **ret_recall) MUST_USE;

/* What was found on disk. */
const struct recovery *recall_recovery(const struct recall *recall);

/* Puts the messages back into the queues of `index`. 0 or -errno. */
int recall_finish(struct recall *recall, const struct restore_index *index,
    struct recall_report *ret_report) MUST_USE;

/* Releases it. NULL is fine. */
void recall_close(struct recall *recall);

#endif
