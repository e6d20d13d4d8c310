/* change: how requests to change the topology are answered, and the words that refusals share. */
#ifndef CORE_CHANGE_H
#define CORE_CHANGE_H

#include "core/topology.h"

/* For "%s '%.*s' in vhost '%s'": what RabbitMQ calls a thing in its texts. */
#define CHANGE_NAME(bytes) (int)(bytes).size, (const char *)(bytes).data

/* The change was carried out, or there was nothing to do. */
void change_accept(struct change_result *ret_result, queue_ref queue);

/* Refuses: code and text, cut at 255 bytes. Gives false, so that a check can return it. */
bool change_refuse(struct change_result *ret_result, enum reply_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* An exchange or queue of a virtual host, for texts. */
struct change_subject {
    const char *kind; /* "queue", "exchange" */
    struct bytes name;
    const char *vhost;
};

/* 406 "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is
 * 'false'". The values come with their quotes. */
bool change_refuse_inequivalent(struct change_result *ret_result,
    const struct change_subject *subject, const char *argument, const char *received,
    const char *current);

/* True when the flags are equal, else refuses as above. */
bool change_same_flag(struct change_result *ret_result, const struct change_subject *subject,
    const char *argument, bool received, bool current);

/* 404 "no queue 'q' in vhost '/'" */
bool change_refuse_missing(struct change_result *ret_result, const struct change_subject *subject);

#endif
