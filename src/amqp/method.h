/* method: AMQP methods between bytes and structs, all of it expanded from methods.def.
 *
 * A line METHOD(queue, declare, 50, 10, CLIENT, U16(reserved_1) STR(queue) BIT(passive) ...) gives:
 *   struct amqp_queue_declare           the arguments, named as in the specification
 *   METHOD_queue_declare                its place in enum method_kind
 *   read_queue_declare / write_queue_declare
 * Strings and tables are borrowed slices of the input: STR a short string, LONGSTR a long string,
 * TABLE the bytes of a field table without its length prefix, not yet validated (amqp/table.h). */
#ifndef AMQP_METHOD_H
#define AMQP_METHOD_H

#include "base/base.h"

/* The argument structs: each field word becomes a member. A method without arguments has one
 * unused member, because ISO C wants one. */
#define U8(name)      uint8_t name;
#define U16(name)     uint16_t name;
#define U32(name)     uint32_t name;
#define U64(name)     uint64_t name;
#define BIT(name)     bool name;
#define STR(name)     struct bytes name;
#define LONGSTR(name) struct bytes name;
#define TABLE(name)   struct bytes name;
#define NONE          char unused;
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    struct amqp_##class##_##method {                                                               \
        fields                                                                                     \
    };
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

enum method_kind {
    METHOD_unknown = 0,
#define METHOD(class, method, class_id, method_id, sender, fields) METHOD_##class##_##method,
#include "amqp/methods.def"
#undef METHOD
    METHOD_KIND_COUNT
};

/* Who may send a method (spec 1.4). */
enum method_sender { METHOD_CLIENT = 1, METHOD_SERVER = 2, METHOD_BOTH = 3 };

/* Any method with its arguments. */
struct method {
    enum method_kind kind;
    union {
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    struct amqp_##class##_##method class##_##method;
#include "amqp/methods.def"
#undef METHOD
    };
};

/* The kind for a pair of wire ids, METHOD_unknown when there is none. */
enum method_kind method_find(uint16_t class_id, uint16_t method_id);

/* The wire ids, 0 for METHOD_unknown. */
uint16_t method_class_id(enum method_kind kind);
uint16_t method_method_id(enum method_kind kind);

/* Who may send it. */
enum method_sender method_sender(enum method_kind kind);

/* "queue.declare"; static text. */
const char *method_name(enum method_kind kind);

/* True for the methods that a header frame and bodies follow: publish, return, deliver, get-ok. */
bool method_has_content(enum method_kind kind);

/* Decodes the payload of a method frame (class id, method id, arguments). Strings stay borrowed
 * from `payload`. Unknown ids give false with ret_method->kind METHOD_unknown; arguments that are
 * malformed give false with the kind set: cut short, octets after the last one, or a short string
 * that is not UTF-8 in a method without content. RabbitMQ answers each of these with 501. */
bool method_decode(struct bytes payload, struct method *ret_method) MUST_USE;

/* Writes class id, method id and arguments. A string that is too long sets the writer's mark. */
void method_encode(struct writer *writer, const struct method *method);

/* One typed pair for each method; the ids are not part of it. A read that is refused sets the
 * reader's mark. */
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    void read_##class##_##method(                                                                  \
        struct reader *reader, struct amqp_##class##_##method *arguments);                         \
    void write_##class##_##method(                                                                 \
        struct writer *writer, const struct amqp_##class##_##method *arguments);
#include "amqp/methods.def"
#undef METHOD

#endif
