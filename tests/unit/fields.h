/* fields: field tables for tests, written as lists: FIELDS(INT("x-expires", 5), TEXT("a", "b")). */
#ifndef TESTS_UNIT_FIELDS_H
#define TESTS_UNIT_FIELDS_H

#include "amqp/table.h"
#include "base/base.h"

#define NAMED(text)    .name = {(const uint8_t *)(text), (uint32_t)(sizeof(text) - 1)}
#define BYTES_OF(text) .bytes = {(const uint8_t *)(text), (uint32_t)(sizeof(text) - 1)}
#define TYPED_INT(field_name, letter, value)                                                       \
    { NAMED(field_name), .type = (letter), .integer = (value) }
#define INT(field_name, value)  TYPED_INT(field_name, 'I', value)
#define LONG(field_name, value) TYPED_INT(field_name, 'l', value)
#define TEXT(field_name, value)                                                                    \
    { NAMED(field_name), .type = 'S', BYTES_OF(value) }
#define BINARY(field_name, value)                                                                  \
    { NAMED(field_name), .type = 'x', BYTES_OF(value) }
#define BOOL(field_name, value)                                                                    \
    { NAMED(field_name), .type = 't', .boolean = (value) }
#define REAL(field_name, value)                                                                    \
    { NAMED(field_name), .type = 'd', .real = (value) }
#define STAMP(field_name, value)                                                                   \
    { NAMED(field_name), .type = 'T', .timestamp = (value) }
#define VOID(field_name)                                                                           \
    { NAMED(field_name), .type = 'V' }
/* The contents are given as bytes. */
#define ARRAY(field_name, value)                                                                   \
    { NAMED(field_name), .type = 'A', BYTES_OF(value) }
#define TABLE(field_name, value)                                                                   \
    { NAMED(field_name), .type = 'F', BYTES_OF(value) }
#define DECIMAL(field_name, places, number)                                                        \
    {                                                                                              \
        NAMED(field_name), .type = 'D', .decimal = {(places), (number) }                           \
    }

/* Up to 5 fields; those without a type are not there. */
#define FIELDS(...)                                                                                \
    {                                                                                              \
        .fields = { __VA_ARGS__ }                                                                  \
    }

struct fields {
    struct field fields[5];
};

/* The table of these fields, written into `room`. */
static inline struct bytes fields_table(const struct fields *fields, uint8_t *room, size_t size) {
    struct writer writer = writer_over(room, size);
    for (size_t i = 0; i < COUNT_OF(fields->fields); i++) {
        if (fields->fields[i].type != 0) table_put_field(&writer, &fields->fields[i]);
    }
    check(!writer.bad);
    check(table_valid(writer_bytes(&writer)));
    return writer_bytes(&writer);
}

#endif
