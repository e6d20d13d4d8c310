/* outgoing: messages on their way to a client: deliver, get-ok and return with header and bodies.
 *
 * Small messages are written as one stretch of bytes; the bodies of larger ones stay where they are
 * and the outbox holds a reference. */
#ifndef SESSION_OUTGOING_H
#define SESSION_OUTGOING_H

#include "amqp/method.h"
#include "core/message.h"
#include "session/outbox.h"

/* Whereto: the channel and its connection's limit on whole frames (0 is none). */
struct outgoing {
    struct outbox *outbox;
    uint32_t frame_max;
    uint16_t channel;
};

/* Each writes a method and the message behind it; exchange and routing key are the message's. */
void outgoing_put_deliver(const struct outgoing *outgoing, const struct amqp_basic_deliver *deliver,
    struct message *message);
void outgoing_put_get_ok(const struct outgoing *outgoing, const struct amqp_basic_get_ok *get_ok,
    struct message *message);

/* basic.return 312 NO_ROUTE. */
void outgoing_put_no_route(const struct outgoing *outgoing, struct message *message);

/* basic.ack or, with `ok` false, basic.nack of a publish. */
void outgoing_put_confirm(
    const struct outgoing *outgoing, uint64_t delivery_tag, bool multiple, bool ok);

#endif
