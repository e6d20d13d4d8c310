/* reply: the reply codes of closes and returns, from replies.def (spec 1.6). */
#ifndef AMQP_REPLY_H
#define AMQP_REPLY_H

#include "base/base.h"

/* REPLY(ACCESS_REFUSED, 403, CHANNEL): REPLY_ACCESS_REFUSED = 403, ... */
enum reply_code {
    REPLY_OK = 0, /* no error; not on the wire */
#define REPLY(name, code, scope) REPLY_##name = (code),
#include "amqp/replies.def"
#undef REPLY
};

/* "ACCESS_REFUSED" for 403; "UNKNOWN" for a code that is not in the table. Static text. */
const char *reply_name(enum reply_code code);

/* True when the code closes the connection, false when it closes the channel. */
bool reply_closes_connection(enum reply_code code);

#endif
