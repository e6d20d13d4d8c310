/* exchange_headers: the bindings of a headers exchange, compared with a message's headers. */
#include "core/exchange_headers.h"

void headers_init(struct headers *headers, struct bytes table) {
    headers->table = table;
    headers->sorted = false;
}

void headers_deinit(struct headers *headers) {
    if (headers->sorted) term_list_deinit(&headers->list);
    headers->sorted = false;
}

enum binding_match headers_match_kind(struct bytes arguments) {
    struct field match;
    if (!table_find(arguments, BYTES("x-match"), &match)) return MATCH_ALL;
    if (term_is_text(&match, "any")) return MATCH_ANY;
    if (term_is_text(&match, "all-with-x")) return MATCH_ALL_WITH_X;
    if (term_is_text(&match, "any-with-x")) return MATCH_ANY_WITH_X;
    return MATCH_ALL;
}

/* The first field from `at` on whose name is not before `name`: by halving, so that a message of
 * very many headers costs each binding little. */
static uint32_t seek(const struct term_list *list, uint32_t at, struct bytes name) {
    uint32_t end = list->count;
    while (at < end) {
        uint32_t middle = at + (end - at) / 2;
        if (term_compare_names(list->fields[middle].name, name) < 0) {
            at = middle + 1;
        } else {
            end = middle;
        }
    }
    return at;
}

static bool skipped(const struct field *argument, bool with_x) {
    if (bytes_equal(argument->name, BYTES("x-match"))) return true;
    return !with_x && bytes_start_with(argument->name, BYTES("x-"));
}

/* One binding. Each header is compared once, also when names repeat. */
static bool matches(const struct binding *binding, const struct term_list *list) {
    bool any = binding->match == MATCH_ANY || binding->match == MATCH_ANY_WITH_X;
    bool with_x = binding->match == MATCH_ALL_WITH_X || binding->match == MATCH_ANY_WITH_X;
    struct reader reader = reader_over(binding_arguments(binding));
    struct field argument;
    uint32_t at = 0;
    while (table_next(&reader, &argument)) {
        if (skipped(&argument, with_x)) continue;
        at = seek(list, at, argument.name);
        bool found = at < list->count && bytes_equal(list->fields[at].name, argument.name);
        bool equal = found && (argument.type == 'V' || term_equal(&argument, &list->fields[at]));
        if (found) at++;
        if (equal && any) return true;
        if (!equal && !any) return false;
    }
    return !any;
}

void headers_match(struct headers *headers, const struct targets *targets, struct walk *walk) {
    if (!headers->sorted) {
        term_list_init(&headers->list, headers->table);
        headers->sorted = true;
    }
    const struct target *all = targets_all(targets);
    for (uint32_t i = 0; i < targets->count; i++) {
        if (matches(all[i].binding, &headers->list)) walk_follow(walk, &all[i]);
    }
}
