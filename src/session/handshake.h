/* handshake: the methods of channel 0: from start to open-ok, and the connection's closes. */
#ifndef SESSION_HANDSHAKE_H
#define SESSION_HANDSHAKE_H

#include "session/connection.h"

/* The protocol header was right: sends connection.start. */
void handshake_start(struct session *session);

/* The payload of a method frame on channel 0, of at least 4 bytes, while not closing. */
void handshake_on_method(struct session *session, struct bytes payload);

/* True for a method frame that is connection.close-ok. */
bool handshake_is_close_ok(const struct frame *frame);

/* The verdict on calls->login. */
void handshake_on_login(struct session *session, bool ok);

/* The answer to calls->open_vhost. */
void handshake_on_vhost(struct session *session, const struct answer *answer);

#endif
