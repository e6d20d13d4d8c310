/* frame: the envelope of everything on an AMQP connection (spec 4.2.3):
 *
 *     type (1)  channel (2)  size (4)  payload (size)  end octet 0xCE (1)
 */
#ifndef AMQP_FRAME_H
#define AMQP_FRAME_H

#include "amqp/method.h"
#include "base/base.h"

enum frame_type { FRAME_METHOD = 1, FRAME_HEADER = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };

enum {
    FRAME_HEADER_BYTES = 7,
    FRAME_OVERHEAD_BYTES = 8, /* header and end octet */
    FRAME_END = 0xce,
    FRAME_BYTES_MIN = 4096, /* spec 4.2.3: every peer must accept frames up to this size */

    /* RabbitMQ accepts frames that exceed frame_max by this much, because clients forget that
     * frame_max counts the envelope too. A session that does likewise adds it to what it gives to
     * frame_parse, and to the room it keeps for an incomplete frame. */
    FRAME_FUDGE_BYTES = 8,
};

/* The protocol header that a client opens with and that a refusal carries (spec 4.2.2). */
extern const uint8_t FRAME_PROTOCOL_HEADER[8];

struct frame {
    uint8_t type; /* as on the wire; may be none of enum frame_type */
    uint16_t channel;
    struct bytes payload; /* borrowed from the input */
};

enum frame_status {
    FRAME_COMPLETE,
    FRAME_INCOMPLETE, /* more bytes are needed; nothing was taken */
    FRAME_TOO_LARGE,  /* the size field exceeds frame_max - FRAME_OVERHEAD_BYTES */
    FRAME_BAD_END     /* the end octet is not 0xCE */
};

/* Looks for one whole frame at the start of `input`. frame_max counts the whole frame, 0 means no
 * limit. On FRAME_COMPLETE gives the frame and the number of input bytes it took. On
 * FRAME_TOO_LARGE and FRAME_BAD_END the type, channel and claimed size are given for the message;
 * a frame that is too large has no payload.data. FRAME_TOO_LARGE is said as soon as the header is
 * there, so that nobody waits for, or makes room for, a frame that will be refused. */
enum frame_status frame_parse(
    struct bytes input, uint32_t frame_max, struct frame *ret_frame, uint32_t *ret_taken);

/* Writes a whole method frame. */
void frame_put_method(struct writer *writer, uint16_t channel, const struct method *method);

/* Begins a frame whose payload the caller writes next; gives the token for frame_end, NULL when the
 * writer is full (its mark is set). */
uint8_t *frame_begin(struct writer *writer, uint8_t type, uint16_t channel);

/* Closes the frame begun at `begun` (NULL when the writer was full already): fills in the size and
 * writes the end octet. */
void frame_end(struct writer *writer, uint8_t *begun);

/* Writes a header frame: class, body size and the property bytes as they were received (flags and
 * values). */
void frame_put_header(
    struct writer *writer, uint16_t channel, uint64_t body_size, struct bytes properties);

/* Writes body frames for all of `body`, each at most frame_max bytes in whole (0 = no limit, else
 * more than FRAME_OVERHEAD_BYTES). An empty body gives no frame (spec 4.2.6.2). */
void frame_put_body(struct writer *writer, uint16_t channel, struct bytes body, uint32_t frame_max);

/* The bytes that a content of this size takes: header frame and body frames. */
uint64_t frame_content_bytes(uint32_t properties_size, uint64_t body_size, uint32_t frame_max);

/* Writes a heartbeat frame. */
void frame_put_heartbeat(struct writer *writer);

#endif
