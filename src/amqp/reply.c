/* reply: the expansions of replies.def. */
#include "amqp/reply.h"

const char *reply_name(enum reply_code code) {
    switch (code) {
#define REPLY(name, code, scope)                                                                   \
    case REPLY_##name:                                                                             \
        return #name;
#include "amqp/replies.def"
#undef REPLY
    case REPLY_OK: return "OK";
    }
    return "UNKNOWN";
}

enum reply_scope { SCOPE_NOTHING, SCOPE_CHANNEL, SCOPE_CONNECTION };

bool reply_closes_connection(enum reply_code code) {
    switch (code) {
#define REPLY(name, code, scope)                                                                   \
    case REPLY_##name:                                                                             \
        return SCOPE_##scope == SCOPE_CONNECTION;
#include "amqp/replies.def"
#undef REPLY
    case REPLY_OK: return false;
    }
    return false;
}
