/* complaint: faults for frames that are wrong as frames, and methods that cannot be read, in
 * RabbitMQ's words: octets are shown as Erlang shows a binary. */
#include "session/complaint.h"

#include "base/str.h"

enum {
    OCTETS_SHOWN_MAX = 16,       /* of a frame that is complained about */
    UNDECODABLE_SHOWN_MAX = 128, /* octets; their text is more than a reply text takes */
};

static bool is_printable(struct bytes octets) {
    for (uint32_t i = 0; i < octets.size; i++) {
        uint8_t c = octets.data[i];
        if ((c < ' ' || c > '~') && c != '\n' && c != '\r' && c != '\t') return false;
    }
    return octets.size != 0;
}

static const char *escape_of(uint8_t c) {
    switch (c) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '"': return "\\\"";
    case '\\': return "\\\\";
    default: return NULL;
    }
}

/* As Erlang writes a binary: <<0,10>>, or <<"abc">> when `as_text` and all of it is printable. */
static void show_octets(char *text, size_t size, struct bytes octets, bool as_text) {
    bool quoted = as_text && is_printable(octets);
    size_t used = str_format(text, size, "<<%s", quoted ? "\"" : "");
    for (uint32_t i = 0; i < octets.size; i++) {
        uint8_t c = octets.data[i];
        const char *escape = escape_of(c);
        if (!quoted) {
            used += str_format(text + used, size - used, i == 0 ? "%u" : ",%u", (unsigned)c);
        } else if (escape) {
            used += str_format(text + used, size - used, "%s", escape);
        } else {
            used += str_format(text + used, size - used, "%c", c);
        }
    }
    str_format(text + used, size - used, "%s>>", quoted ? "\"" : "");
}

struct shown_frame {
    char text[128];
};

/* "type 1, all octets = <<0,10>>" */
static struct shown_frame show_frame(const struct frame *frame) {
    struct bytes octets = frame->payload.data ? frame->payload : bytes_of(NULL, 0);
    bool all = octets.size <= OCTETS_SHOWN_MAX;
    if (!all) octets.size = OCTETS_SHOWN_MAX;
    struct shown_frame shown;
    size_t used = str_format(shown.text, sizeof shown.text,
        "type %u, %s octets = ", (unsigned)frame->type, all ? "all" : "first 16");
    show_octets(shown.text + used, sizeof shown.text - used, octets, true);
    return shown;
}

/* True when the arguments have the right lengths: then a string was no UTF-8. */
static bool lengths_fit(enum method_kind kind, struct bytes arguments) {
    struct reader reader = reader_over(arguments);
    switch (kind) {
#define U8(name)      read_u8(&reader);
#define U16(name)     read_u16(&reader);
#define U32(name)     read_u32(&reader);
#define U64(name)     read_u64(&reader);
#define BIT(name)     read_bit(&reader);
#define STR(name)     read_shortstr(&reader);
#define LONGSTR(name) read_longstr(&reader);
#define TABLE(name)   read_longstr(&reader);
#define NONE
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    case METHOD_##class##_##method:                                                                \
        fields break;
#include "amqp/methods.def"
#undef METHOD
#undef U8
#undef U16
#undef U32
#undef U64
#undef BIT
#undef STR
#undef LONGSTR
#undef TABLE
#undef NONE
    case METHOD_unknown:
    case METHOD_KIND_COUNT: return false;
    }
    return !reader.bad && reader_left(&reader) == 0;
}

void complaint_undecodable(struct session *session, enum method_kind kind, struct bytes payload) {
    enum { METHOD_IDS_BYTES = 4 };
    struct bytes arguments = {payload.data + METHOD_IDS_BYTES, payload.size - METHOD_IDS_BYTES};
    if (lengths_fit(kind, arguments)) {
        connection_fault(session, REPLY_FRAME_ERROR, METHOD_unknown, "Malformed UTF-8 in shortstr");
        return;
    }
    char text[UNDECODABLE_SHOWN_MAX * 4 + 8];
    struct bytes shown = arguments;
    if (shown.size > UNDECODABLE_SHOWN_MAX) shown.size = UNDECODABLE_SHOWN_MAX;
    show_octets(text, sizeof text, shown, false);
    connection_fault(session, REPLY_FRAME_ERROR, kind, "cannot decode %s", text);
}

void complaint_unknown_frame(struct session *session, const struct frame *frame) {
    struct shown_frame shown = show_frame(frame);
    connection_fault(session, REPLY_FRAME_ERROR, METHOD_unknown, "%s: unknown_frame", shown.text);
}

void complaint_unexpected_frame(struct session *session, const struct frame *frame) {
    struct shown_frame shown = show_frame(frame);
    connection_fault(session, REPLY_UNEXPECTED_FRAME, METHOD_unknown, "%s", shown.text);
}

void complaint_broken_frame(
    struct session *session, enum frame_status status, const struct frame *frame) {
    struct shown_frame shown = show_frame(frame);
    if (session->state == CONNECTION_CLOSING) {
        connection_drop(session);
    } else if (status == FRAME_TOO_LARGE) {
        connection_fault(session, REPLY_FRAME_ERROR, METHOD_unknown, "%s: {frame_too_large,%u,%u}",
            shown.text, frame->payload.size, session->frame_max - FRAME_OVERHEAD_BYTES);
    } else {
        connection_fault(session, REPLY_FRAME_ERROR, METHOD_unknown,
            "%s: {invalid_frame_end_marker,%u}", shown.text,
            (unsigned)frame->payload.data[frame->payload.size]);
    }
}
