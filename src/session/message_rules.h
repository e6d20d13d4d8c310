/* message_rules: what RabbitMQ demands of a message's properties, in its order and its words. */
#ifndef SESSION_MESSAGE_RULES_H
#define SESSION_MESSAGE_RULES_H

#include "amqp/properties.h"

/* Checks user_id against the login, expiration, the types of CC and BCC, and delivery_mode. False
 * with the text of the fault, which is always PRECONDITION_FAILED. */
bool message_rules_check(
    const struct properties *properties, struct bytes user, char ret_text[256]) MUST_USE;

/* The contents of the CC or BCC array; empty when there is none. Borrowed from `headers`. */
struct bytes message_rules_copies(struct bytes headers, const char *name);

/* Writes the headers table's contents without BCC, which no consumer may see. Never longer than
 * `headers`. */
void message_rules_write_headers(struct writer *writer, struct bytes headers);

#endif
