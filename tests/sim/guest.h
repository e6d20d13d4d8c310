/* guest: a model client: one connection, its handshake, its frames, and its channels. */
#ifndef SIM_GUEST_H
#define SIM_GUEST_H

#include "sim/lane.h"

#include "amqp/frame.h"

struct wire;

enum { GUEST_LANES_MAX = 4 };

enum guest_state {
    GUEST_AWAY,
    GUEST_SHAKING, /* hands */
    GUEST_OPEN,
    GUEST_CLOSING /* we have said close */
};

struct guest {
    struct world *world;
    struct wire *wire; /* NULL while away */
    uint32_t number;
    enum guest_state state;
    struct buffer input;
    struct lane *lanes[GUEST_LANES_MAX];
    uint32_t lane_count;
    uint32_t frame_max;
    uint16_t heartbeat_s;
    uint64_t said_ms;
    uint64_t heard_ms; /* when something was last taken from the wire */
    uint64_t opened_ms;
    uint32_t own_count; /* names of exclusive queues */
    bool garbled;       /* it has sent garbage: whatever follows is fine but a crash */
    bool blocked;
};

struct guest *guest_new(struct world *world, uint32_t number);
void guest_free(struct guest *guest);

/* Connects and begins the handshake. */
void guest_connect(struct guest *guest);

/* Closes in order, or hangs up. */
void guest_close(struct guest *guest);
void guest_drop(struct guest *guest);

/* Says a heartbeat when it is time. */
void guest_tick(struct guest *guest);

void guest_on_bytes(struct guest *guest, struct bytes bytes);
void guest_on_end(struct guest *guest);

/* Sends a method, or a message. */
void guest_send(struct guest *guest, uint16_t channel, const struct method *method);
void guest_send_message(struct guest *guest, uint16_t channel, const struct method *publish,
    const struct letter *letter);

/* Nothing is waited for. */
bool guest_quiet(const struct guest *guest);

/* ---- sim/acts.c: what it may do ---- */

/* The founder declares what nobody changes. */
void guest_found(struct guest *guest);

/* One random thing. */
void guest_act(struct guest *guest);

#endif
