/* term: field values as RabbitMQ compares and prints them, and tables in one canonical form.
 *
 * RabbitMQ keeps a field as an Erlang term, and what it calls equal and how its reply texts spell a
 * value follow from that: integers of every width are one kind and equal floats of the same value;
 * short and long strings and byte arrays are one kind; tables and arrays are lists. */
#ifndef CORE_TERM_H
#define CORE_TERM_H

#include "amqp/table.h"
#include "base/base.h"

/* Text that grows to a bound and is cut there; always zero-terminated. Zeroed, it is empty. */
struct phrase {
    size_t size;
    char text[256];
};

/* Puts formatted text. */
void phrase_put(struct phrase *phrase, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts the bytes as they are. */
void phrase_put_bytes(struct phrase *phrase, struct bytes bytes);

/* Puts the value as Erlang prints terms: 5, true, <<"text">>, [{longstr,<<"a">>}], undefined. */
void phrase_put_term(struct phrase *phrase, const struct field *field);

/* Puts the value as it stands in quotes in RabbitMQ's texts: strings bare, all else as a term. */
void phrase_put_value(struct phrase *phrase, const struct field *field);

/* RabbitMQ's name of the field's type: "longstr", "signedint" and so on; static text. */
const char *term_type_name(const struct field *field);

/* True for the integer types, without timestamps. */
bool term_is_integer(const struct field *field);

/* True for f and d. */
bool term_is_real(const struct field *field);

/* True for S only: what RabbitMQ calls longstr. */
bool term_is_text(const struct field *field, const char *text);

/* Equality of values as the operator == of Erlang sees it: 1 equals 1.0, "a" equals the bytes "a".
 * The names and, outside of tables and arrays, the types of the fields do not matter. */
bool term_equal(const struct field *a, const struct field *b);

/* The order in which names are sorted: negative, 0 or positive. */
int term_compare_names(struct bytes a, struct bytes b);

/* The fields of a table, sorted by name; fields of the same name stay in their order. */
struct term_list {
    struct field *fields; /* inline_fields or owned memory */
    uint32_t count;
    uint32_t capacity;
    struct field inline_fields[16];
};

/* Sorts the fields of a valid table into `list`, which term_list_deinit releases. The strings stay
 * borrowed from `table`. */
void term_list_init(struct term_list *list, struct bytes table);
void term_list_deinit(struct term_list *list);

/* Writes the fields of a valid table sorted by name and in one spelling, so that tables are the
 * same to RabbitMQ's bindings just when the bytes are equal. Takes table.size bytes. */
void term_write_canonical(struct writer *writer, struct bytes table);

#endif
