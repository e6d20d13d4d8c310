/* method: the expansions of methods.def: readers, writers, decoding, encoding and the facts. */
#include "amqp/method.h"

#include "base/str.h"

/* Inlined below with a constant kind, so that the test costs nothing. */
static inline bool has_content(enum method_kind kind) {
    return kind == METHOD_basic_publish || kind == METHOD_basic_deliver ||
           kind == METHOD_basic_return || kind == METHOD_basic_get_ok;
}

/* Names are UTF-8 wherever that is affordable: RabbitMQ does not look at the methods with content
 * either, whose routing keys are only ever compared. */
static inline struct bytes read_name(struct reader *reader, enum method_kind kind) {
    struct bytes name = read_shortstr(reader);
    if (!has_content(kind) && !str_is_utf8(name)) reader->bad = true;
    return name;
}

/* The readers: each field word becomes one read into the member of its name. */
#define U8(name)      arguments->name = read_u8(reader);
#define U16(name)     arguments->name = read_u16(reader);
#define U32(name)     arguments->name = read_u32(reader);
#define U64(name)     arguments->name = read_u64(reader);
#define BIT(name)     arguments->name = read_bit(reader);
#define STR(name)     arguments->name = read_name(reader, kind);
#define LONGSTR(name) arguments->name = read_longstr(reader);
#define TABLE(name)   arguments->name = read_longstr(reader);
#define NONE                                                                                       \
    (void)reader;                                                                                  \
    arguments->unused = 0;
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    void read_##class##_##method(                                                                  \
        struct reader *reader, struct amqp_##class##_##method *arguments) {                        \
        const enum method_kind kind = METHOD_##class##_##method;                                   \
        (void)kind;                                                                                \
        fields                                                                                     \
    }
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

/* The writers: each field word becomes one write of the member of its name. */
#define U8(name)      write_u8(writer, arguments->name);
#define U16(name)     write_u16(writer, arguments->name);
#define U32(name)     write_u32(writer, arguments->name);
#define U64(name)     write_u64(writer, arguments->name);
#define BIT(name)     write_bit(writer, arguments->name);
#define STR(name)     write_shortstr(writer, arguments->name);
#define LONGSTR(name) write_longstr(writer, arguments->name);
#define TABLE(name)   write_longstr(writer, arguments->name);
#define NONE                                                                                       \
    (void)writer;                                                                                  \
    (void)arguments;
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    void write_##class##_##method(                                                                 \
        struct writer *writer, const struct amqp_##class##_##method *arguments) {                  \
        fields                                                                                     \
    }
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

/* The facts by kind, from the table's columns. */
struct method_facts {
    uint16_t class_id;
    uint16_t method_id;
    uint8_t sender;
};

static const struct method_facts facts[METHOD_KIND_COUNT] = {
    [METHOD_unknown] = {0, 0, METHOD_BOTH},
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    [METHOD_##class##_##method] = {(class_id), (method_id), METHOD_##sender},
#include "amqp/methods.def"
#undef METHOD
};

/* Names as one text each, so that a log line needs no formatting. */
static const char *const names[METHOD_KIND_COUNT] = {
    [METHOD_unknown] = "unknown",
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    [METHOD_##class##_##method] = #class "." #method,
#include "amqp/methods.def"
#undef METHOD
};

#define IDS(class_id, method_id) (((uint32_t)(class_id) << 16) | (method_id))

enum method_kind method_find(uint16_t class_id, uint16_t method_id) {
    switch (IDS(class_id, method_id)) {
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    case IDS(class_id, method_id):                                                                 \
        return METHOD_##class##_##method;
#include "amqp/methods.def"
#undef METHOD
    default: return METHOD_unknown;
    }
}

uint16_t method_class_id(enum method_kind kind) {
    check(kind < METHOD_KIND_COUNT);
    return facts[kind].class_id;
}

uint16_t method_method_id(enum method_kind kind) {
    check(kind < METHOD_KIND_COUNT);
    return facts[kind].method_id;
}

enum method_sender method_sender(enum method_kind kind) {
    check(kind < METHOD_KIND_COUNT);
    return (enum method_sender)facts[kind].sender;
}

const char *method_name(enum method_kind kind) {
    check(kind < METHOD_KIND_COUNT);
    return names[kind];
}

bool method_has_content(enum method_kind kind) {
    return has_content(kind);
}

bool method_decode(struct bytes payload, struct method *ret_method) {
    struct reader reader = reader_over(payload);
    uint32_t ids = read_u32(&reader);
    switch (ids) {
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    case IDS(class_id, method_id):                                                                 \
        ret_method->kind = METHOD_##class##_##method;                                              \
        read_##class##_##method(&reader, &ret_method->class##_##method);                           \
        break;
#include "amqp/methods.def"
#undef METHOD
    default: ret_method->kind = METHOD_unknown; return false;
    }
    return !reader.bad && reader_left(&reader) == 0;
}

void method_encode(struct writer *writer, const struct method *method) {
    check(method->kind > METHOD_unknown);
    check(method->kind < METHOD_KIND_COUNT);
    switch (method->kind) {
#define METHOD(class, method_word, class_id, method_id, sender, fields)                            \
    case METHOD_##class##_##method_word:                                                           \
        write_u32(writer, IDS(class_id, method_id));                                               \
        write_##class##_##method_word(writer, &method->class##_##method_word);                     \
        break;
#include "amqp/methods.def"
#undef METHOD
    case METHOD_unknown:
    case METHOD_KIND_COUNT: unreachable_here();
    }
}
