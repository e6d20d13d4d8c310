/* routes: a list of distinct 64-bit ids that is cheap while it is short and never quadratic.
 *
 * It is struct routes of core/topology.h: the queues of one publish. The walks of routing also keep
 * their sets of visited places in it, as pointers turned into ids. */
#ifndef CORE_ROUTES_H
#define CORE_ROUTES_H

#include "core/topology.h"

/* Adds `id` unless it is there; true when it was new. */
bool routes_add(struct routes *routes, uint64_t id);

/* Adds `id`, of which the caller knows that it is not there. A list that is filled by this alone
 * may hold an id twice. */
void routes_append(struct routes *routes, uint64_t id);

#endif
