/* wire: one simulated connection: a byte stream in each direction, which the world delivers in any
 * pieces at any time. */
#ifndef SIM_WIRE_H
#define SIM_WIRE_H

#include <sys/uio.h>

#include "base/buffer.h"

struct client;
struct world;

struct wire {
    struct world *world;
    struct client *client; /* the broker's side; NULL before it was adopted and after it ended */
    uint32_t shard;
    uint32_t number;
    struct buffer up;   /* client to broker */
    struct buffer down; /* broker to client */
    uint64_t heard_ms;  /* when the broker last got bytes */
    uint64_t silent_ms; /* the longest that it heard nothing */
    bool adopted;
    bool want_read;
    bool want_write;
    bool told_writable; /* and it has not written since */
    bool broker_closed; /* what is in `down` still arrives, then the end */
    bool peer_closed;   /* by the client; the broker learns of it some time later */
};

/* Releases the streams. */
void wire_free(struct wire *wire);

/* Client's side: bytes on their way. */
void wire_send(struct wire *wire, struct bytes bytes);

/* Client's side: closes at once; what is in `up` may or may not arrive. */
void wire_hang_up(struct wire *wire);

/* Everything that is on its way to the client arrives. */
void wire_flush_down(struct wire *wire);

/* One random thing that can happen to the wire: bytes delivered up or down, room found, an end
 * noticed. False when nothing can happen. `all` delivers everything there is. */
bool wire_step(struct wire *wire, bool all);

/* struct shard_io's functions. */
int64_t wire_write(void *socket, const struct iovec *vectors, uint32_t count);
void wire_want(void *socket, bool read, bool write);
void wire_close(void *socket);

#endif
