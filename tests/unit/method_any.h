/* method_any: methods with random arguments, and whether two methods are equal, from methods.def.
 */
#ifndef TESTS_UNIT_METHOD_ANY_H
#define TESTS_UNIT_METHOD_ANY_H

#include "amqp/method.h"
#include "amqp/table.h"
#include "base/prng.h"

/* Octets that random strings are slices of; valid UTF-8 wherever it is cut. */
static const char ANY_LETTERS[] =
    "abcdefgh'ijk\\lmn\topq rstuvwxyz.ABCDEFGHIJKLMNOPQRSTUVWXYZ*#0123456789-_=";

static inline struct bytes any_text(struct prng *prng, uint32_t size_max) {
    uint64_t from = prng_below(prng, sizeof ANY_LETTERS);
    uint64_t room = min_u64(sizeof ANY_LETTERS - 1 - from, size_max);
    return bytes_of(&ANY_LETTERS[from], prng_below(prng, room + 1));
}

/* A valid table in memory that lives as long as the program: one of a few. */
static inline struct bytes any_table(struct prng *prng) {
    static uint8_t memory[3][256];
    uint64_t which = prng_below(prng, COUNT_OF(memory) + 1);
    if (which == COUNT_OF(memory)) return bytes_of(NULL, 0);
    struct writer writer = writer_over(memory[which], sizeof memory[which]);
    table_put_text(&writer, "x-dead-letter-exchange", BYTES("dlx"));
    if (which > 0) table_put_i32(&writer, "x-max-length", -60000);
    if (which > 1) {
        uint8_t *array = table_begin_array(&writer, "deep");
        uint8_t *inner = table_begin(&writer, NULL);
        table_put_bool(&writer, "bit", true);
        table_end(&writer, inner);
        table_put_i64(&writer, NULL, INT64_MIN);
        table_end(&writer, array);
    }
    return writer_bytes(&writer);
}

/* The fillers: each field word becomes a random value. */
#define U8(name)      arguments->name = (uint8_t)prng_next(prng);
#define U16(name)     arguments->name = (uint16_t)prng_next(prng);
#define U32(name)     arguments->name = (uint32_t)prng_next(prng);
#define U64(name)     arguments->name = prng_next(prng);
#define BIT(name)     arguments->name = prng_chance(prng, 50);
#define STR(name)     arguments->name = any_text(prng, 255);
#define LONGSTR(name) arguments->name = any_text(prng, 1000);
#define TABLE(name)   arguments->name = any_table(prng);
#define NONE          arguments->unused = 0;
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    static inline void any_##class##_##method(                                                     \
        struct prng *prng, struct amqp_##class##_##method *arguments) {                            \
        (void)prng;                                                                                \
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

/* A method of this kind with random arguments, borrowed from memory that does not go away. */
static inline struct method any_method(struct prng *prng, enum method_kind kind) {
    struct method method;
    memset(&method, 0, sizeof method);
    method.kind = kind;
    switch (kind) {
#define METHOD(class, method_word, class_id, method_id, sender, fields)                            \
    case METHOD_##class##_##method_word:                                                           \
        any_##class##_##method_word(prng, &method.class##_##method_word);                          \
        break;
#include "amqp/methods.def"
#undef METHOD
    case METHOD_unknown:
    case METHOD_KIND_COUNT: break;
    }
    return method;
}

/* The comparisons: each field word becomes one. */
#define U8(name)      &&a->name == b->name
#define U16(name)     &&a->name == b->name
#define U32(name)     &&a->name == b->name
#define U64(name)     &&a->name == b->name
#define BIT(name)     &&a->name == b->name
#define STR(name)     &&bytes_equal(a->name, b->name)
#define LONGSTR(name) &&bytes_equal(a->name, b->name)
#define TABLE(name)   &&bytes_equal(a->name, b->name)
#define NONE          &&a != b
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    static inline bool equal_##class##_##method(                                                   \
        const struct amqp_##class##_##method *a, const struct amqp_##class##_##method *b) {        \
        return true fields;                                                                        \
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

/* True when two different structs hold the same kind with the same arguments. */
static inline bool methods_equal(const struct method *a, const struct method *b) {
    if (a->kind != b->kind) return false;
    switch (a->kind) {
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    case METHOD_##class##_##method:                                                                \
        return equal_##class##_##method(&a->class##_##method, &b->class##_##method);
#include "amqp/methods.def"
#undef METHOD
    case METHOD_unknown:
    case METHOD_KIND_COUNT: break;
    }
    return false;
}

#endif
