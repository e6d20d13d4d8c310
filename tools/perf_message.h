/* perf_message: the frames of one basic.publish, made once for each destination. */
#ifndef TOOLS_PERF_MESSAGE_H
#define TOOLS_PERF_MESSAGE_H

#include "tools/perf_options.h"

struct message {
    uint8_t *data;       /* method, header and body frames */
    size_t size;         /* bytes of all frames */
    size_t stamp_offset; /* where the body begins */
};

/* What bodies are made of, but for the stamp. */
enum { MESSAGE_FILL = 'g' };

/* The name of the header that a headers exchange routes by; its value is the routing key. */
#define MESSAGE_HEADER "godwit-perf"

/* Makes the frames for a destination, cut to frame_max; released by message_deinit. */
void message_init(struct message *message, const struct options *options, struct bytes routing_key,
    uint32_t frame_max);
void message_deinit(struct message *message);

#endif
