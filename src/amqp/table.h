/* table: field tables and arrays of the RabbitMQ dialect (t b B s u I i l L f d D S A T F V x).
 *
 * A table is carried around as its bytes, without the length prefix. table_valid() looks at all of
 * it once, with a loop and a stack of TABLE_DEPTH_MAX, never by recursion; walking a table assumes
 * that this was done. */
#ifndef AMQP_TABLE_H
#define AMQP_TABLE_H

#include "base/base.h"

struct field {
    struct bytes name; /* empty inside arrays */
    char type;         /* the dialect's letter */
    union {
        bool boolean;       /* t */
        int64_t integer;    /* b B s u I i l L (as s64, RabbitMQ's reading) */
        uint64_t timestamp; /* T */
        double real;        /* f d */
        struct {
            uint8_t scale;
            int32_t value;
        } decimal;          /* D */
        struct bytes bytes; /* S x, and the contents of F (table) and A (array) */
    };
};

/* True when `table` is well formed: names, known types, lengths, finite reals, and nesting of
 * tables and arrays up to TABLE_DEPTH_MAX, the outermost counted. */
bool table_valid(struct bytes table) MUST_USE;

/* As table_valid, for the contents of an array. */
bool table_array_valid(struct bytes array) MUST_USE;

/* Walks a valid table or array: start with reader_over(table), then until false. Bytes that were
 * never validated are safe to walk too: the walk ends at the first thing it cannot read. */
bool table_next(struct reader *reader, struct field *ret_field) MUST_USE;
bool table_array_next(struct reader *reader, struct field *ret_field) MUST_USE;

/* Finds the first field of that name in a valid table. */
bool table_find(struct bytes table, struct bytes name, struct field *ret_field) MUST_USE;

/* The signed value of any integer type; false for other types. */
bool field_integer(const struct field *field, int64_t *ret_value) MUST_USE;

/* Building: each writes one field. A nested table or array is what is written between begin and
 * end. `name` is at most 255 bytes, and NULL for an element of an array. The type of a field that
 * is put must be one of the dialect's letters. */
void table_put_text(struct writer *writer, const char *name, struct bytes value); /* S */
void table_put_bool(struct writer *writer, const char *name, bool value);         /* t */
void table_put_i64(struct writer *writer, const char *name, int64_t value);       /* l */
void table_put_i32(struct writer *writer, const char *name, int32_t value);       /* I */
void table_put_field(struct writer *writer, const struct field *field);           /* any */
uint8_t *table_begin(struct writer *writer, const char *name);                    /* F */
uint8_t *table_begin_array(struct writer *writer, const char *name);              /* A */
void table_array_put_field(struct writer *writer, const struct field *field);
void table_end(struct writer *writer, uint8_t *begun);

#endif
