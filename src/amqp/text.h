/* text: methods as one line, printed and parsed from methods.def, for traces and test scripts.
 *
 *     queue.declare queue='orders' durable arguments={'x-max-length'=I:10, 'x'=A:[S:'a', V]}
 *
 * A line is the method's name and then its arguments that are not zero, false or empty: numbers in
 * decimal, bits by their name alone, strings in quotes. Inside quotes \' and \\ stand for
 * themselves and \xHH for any octet; what is not printable ASCII is printed so. A table is
 * {'name'=letter:value, ...}, an array [letter:value, ...], with the letters of amqp/table.h and
 * decimals as D:scale:value. A table that is not valid is printed as its bytes: ?'\x05...'. */
#ifndef AMQP_TEXT_H
#define AMQP_TEXT_H

#include "amqp/method.h"
#include "base/base.h"

/* Prints a method into `text` of `size` bytes, always zero-terminated, cut when too long. Gives the
 * number of bytes written without the zero. */
size_t text_print(char *text, size_t size, const struct method *method);

/* Prints a table's contents alone, the same way. */
size_t text_print_table(char *text, size_t size, struct bytes table);

/* Reads a line that text_print could have printed; arguments may be missing and come in any order.
 * Strings and tables are laid into `memory` and borrowed from it; four times the line's bytes are
 * always enough. False when the line is malformed, names no method
 * or argument, or does not fit. */
bool text_parse(struct bytes line, struct writer *memory, struct method *ret_method) MUST_USE;

#endif
