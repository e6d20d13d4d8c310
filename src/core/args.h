/* args: the arguments of exchanges and queues: which are known, what they may be, and when a
 * redeclare's are equivalent (args.def is the table). What they do is not decided here. */
#ifndef CORE_ARGS_H
#define CORE_ARGS_H

#include "core/change.h"

/* Names of types that a queue may ask for; all are served by the one kind of queue there is. */
enum args_queue_type { ARGS_CLASSIC, ARGS_QUORUM, ARGS_STREAM };

/* The type that x-queue-type asks for; classic when it is missing or unknown. */
enum args_queue_type args_queue_type(struct bytes arguments);

/* Checks the arguments and flags of a queue that is not there yet: types and values, then names
 * that its type does not take, then flags that the type cannot have. False with code and text. */
bool args_check_new_queue(const struct change_subject *subject, const struct change *change,
    struct change_result *ret_result);

/* Compares a redeclare's arguments with those of the queue that is there. Arguments that its type
 * does not know are not looked at. False with code and text. */
bool args_equivalent_queue(const struct change_subject *subject, struct bytes current,
    struct bytes received, struct change_result *ret_result);

/* The same for an exchange, where only alternate-exchange counts. */
bool args_equivalent_exchange(const struct change_subject *subject, struct bytes current,
    struct bytes received, struct change_result *ret_result);

/* Checks an argument that names an exchange: it is missing or a long string. False with the text
 * "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'". */
bool args_check_exchange_name(const struct change_subject *subject, struct bytes arguments,
    const char *argument, struct change_result *ret_result);

/* Checks x-match of a binding of a headers exchange. */
bool args_check_match(struct bytes arguments, struct change_result *ret_result);

#endif
