/* vhost_route: where a publish goes: the walk from exchange to exchange.
 *
 * It only reads, so that any number of threads may walk at once; what it has seen it keeps in lists
 * of its own. Every exchange is visited once, which also ends cycles. An exchange whose bindings
 * lead nowhere, not even to another exchange, hands on to its alternate exchange. */
#include "core/vhost.h"

static void visit(const struct vhost *vhost, const struct exchange *exchange,
    const struct exchange_visit *what, struct walk *walk) {
    walk->found = 0;
    exchange_route(exchange, what, walk);
    if (walk->found != 0 || !exchange->has_alternate) return;
    const struct exchange *alternate = vhost_find_exchange(vhost, exchange->alternate);
    if (alternate && walk->exchanges.count < EXCHANGE_HOPS_MAX) {
        (void)routes_add(&walk->exchanges, (uintptr_t)alternate);
    }
}

/* The default exchange has no bindings: a key is the name of a queue. */
static void route_by_name(
    const struct vhost *vhost, const struct route_query *query, struct routes *routes) {
    for (uint32_t i = 0; i < query->routing_key_count; i++) {
        const struct bound_queue *queue = vhost_find_bound_queue(vhost, query->routing_keys[i]);
        if (queue) (void)routes_add(routes, queue->entry.queue);
    }
}

enum route_status vhost_route_query(const struct vhost *vhost, const struct route_query *query,
    struct routes *routes, bool *ret_by_headers) {
    check(query->routing_key_count > 0);
    *ret_by_headers = false;
    if (query->exchange.size == 0) {
        route_by_name(vhost, query, routes);
        return ROUTE_OK;
    }
    const struct exchange *first = vhost_find_exchange(vhost, query->exchange);
    if (!first) return ROUTE_NO_EXCHANGE;
    if (first->internal) return ROUTE_INTERNAL;
    struct walk walk = {.queues = routes};
    struct headers headers;
    struct exchange_visit what = {query->routing_keys, query->routing_key_count, &headers};
    headers_init(&headers, query->headers);
    routes_init(&walk.exchanges);
    (void)routes_add(&walk.exchanges, (uintptr_t)first);
    for (uint32_t i = 0; i < walk.exchanges.count; i++) {
        const struct exchange *exchange = (struct exchange *)(uintptr_t)walk.exchanges.queues[i];
        if (exchange->kind == EXCHANGE_HEADERS) *ret_by_headers = true;
        visit(vhost, exchange, &what, &walk);
    }
    routes_deinit(&walk.exchanges);
    headers_deinit(&headers);
    return ROUTE_OK;
}

enum route_status vhost_route(const struct vhost *vhost, struct bytes exchange,
    struct bytes routing_key, struct bytes headers, struct routes *routes, bool *ret_by_headers) {
    struct route_query query = {exchange, &routing_key, 1, headers};
    return vhost_route_query(vhost, &query, routes, ret_by_headers);
}
