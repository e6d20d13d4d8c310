/* departures: the names of durable exchanges that have gone, for whoever keeps them elsewhere too.
 *
 * An exchange may go because something else does: its last binding. Who changes a virtual host
 * learns of all of them here (vhost_watch). */
#ifndef CORE_DEPARTURES_H
#define CORE_DEPARTURES_H

#include "base/buffer.h"

struct departures {
    struct buffer names; /* short strings, in the order of their going */
};

void departures_init(struct departures *departures);
void departures_deinit(struct departures *departures);

/* Forgets the names, for the next change. */
void departures_clear(struct departures *departures);

/* Adds a name of at most 255 bytes. */
void departures_add(struct departures *departures, struct bytes name);

/* Walks the names from *at, which is 0 at first; false at the end. Borrowed from the list. */
bool departures_next(const struct departures *departures, size_t *at, struct bytes *ret_name);

#endif
