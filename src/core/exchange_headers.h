/* exchange_headers: the bindings of a headers exchange, compared with a message's headers.
 *
 * A binding's arguments and the headers are both sorted by name and merged. The argument x-match
 * says whether all or any of the arguments must be found; `all` and `any` skip arguments whose name
 * begins with "x-". A void argument asks for presence only. All of it as RabbitMQ does. */
#ifndef CORE_EXCHANGE_HEADERS_H
#define CORE_EXCHANGE_HEADERS_H

#include "core/binding.h"
#include "core/term.h"

/* A message's headers, sorted when the first headers exchange asks for them. */
struct headers {
    struct bytes table;
    bool sorted;
    struct term_list list;
};

/* `table` is a valid field table, borrowed until headers_deinit. */
void headers_init(struct headers *headers, struct bytes table);
void headers_deinit(struct headers *headers);

/* How a binding with these arguments, valid for a headers exchange, compares. */
enum binding_match headers_match_kind(struct bytes arguments);

/* Follows every binding that the headers match: O(bindings). */
void headers_match(struct headers *headers, const struct targets *targets, struct walk *walk);

#endif
