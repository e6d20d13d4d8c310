/* ctl_home: the data directory of a stopped broker, opened to be looked at: nothing in it changes.
 *
 * What cannot be used at all is refused. What is only damaged is opened as far as it goes, and said
 * to be so. */
#ifndef TOOLS_CTL_HOME_H
#define TOOLS_CTL_HOME_H

#include "tools/ctl_fetch.h"

#include "store/disk_posix.h"
#include "store/home.h"
#include "store/ledger.h"
#include "store/metadata.h"
#include "store/recover.h"

/* A durable queue. */
struct ctl_queue {
    uint64_t id;
    char *vhost; /* their bytes, and a zero behind them */
    char *name;
    uint32_t vhost_size;
    uint32_t name_size;
    uint64_t messages; /* that live, as far as they were counted */
    uint64_t message_bytes;
};

/* How many rows of a kind there are. */
struct ctl_row_counts {
    uint64_t vhosts;
    uint64_t exchanges;
    uint64_t queues;
    uint64_t bindings;
};

struct ctl_home {
    const char *path;
    int directory;
    int lock; /* -1: there is none, and no broker */
    uint8_t node_id[FILE_NODE_ID_BYTES];
    bool has_node_id;
    struct metadata *metadata; /* NULL when it cannot be read */
    struct ctl_queue *queues;  /* by rising id */
    size_t queue_count;
    size_t queue_capacity;
    struct ctl_row_counts counts;
    struct disk_posix *posix;
    struct recovery *recovery; /* NULL without messages, or when their node is not known */
    char (*wrongs)[METADATA_PROBLEM_BYTES]; /* damage outside of messages/, for people */
    size_t wrong_count;
};

/* Opens everything. False with the reason. In each case ctl_home_close follows. */
bool ctl_home_open(struct ctl_home *home, const char *path, struct ctl_why *ret_why) MUST_USE;

/* Gives it back to who wants to start a broker on it. */
void ctl_home_close(struct ctl_home *home);

/* The queue of an id, or NULL when no queue has it. */
struct ctl_queue *ctl_home_queue(const struct ctl_home *home, uint64_t id);

/* Whether anything is damaged. */
bool ctl_home_damaged(const struct ctl_home *home);

#endif
