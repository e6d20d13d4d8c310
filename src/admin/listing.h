/* listing: lists of queues, connections, exchanges and bindings, a slice at a time.
 *
 * Queues and connections are asked of the shards, exchanges and bindings are read under the
 * topology's lock; either way a slice is small, and the next one is taken when the client has
 * read enough of it. So a list is no picture of one moment, and in no particular order. */
#ifndef ADMIN_LISTING_H
#define ADMIN_LISTING_H

#include "admin/node.h"
#include "admin/web.h"
#include "base/list.h"

/* Lists that have something to do without waiting for anybody; all zero but for list_init. */
struct listing_desk {
    const struct node *node;
    struct list busy;
};

enum listing_kind { LISTING_QUEUES, LISTING_CLIENTS, LISTING_EXCHANGES, LISTING_BINDINGS };

/* What of it. Empty names do not choose. */
struct listing_choice {
    enum listing_kind kind;
    bool one;           /* QUEUES, EXCHANGES: the one of that name, not in a list */
    bool choose_source; /* BINDINGS: those of this source, which may be the empty name */
    bool choose_destination;
    bool to_exchange;
    struct bytes name; /* at most 255 bytes */
};

/* Answers a call with a list; the query's page, page_size, name and columns are honoured. */
void listing_start(
    struct listing_desk *desk, struct web_call *call, const struct listing_choice *choice);

/* A slice of each list that has one ready; true when there is more. */
bool listing_turn(struct listing_desk *desk);

#endif
