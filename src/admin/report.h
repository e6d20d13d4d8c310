/* report: an answer that needs everything counted first: the metrics, the overview, the node. */
#ifndef ADMIN_REPORT_H
#define ADMIN_REPORT_H

#include "admin/figures.h"
#include "admin/web.h"

/* Puts what the figures are shown as; web_end follows. */
typedef void (*report_print)(
    const struct node *node, const struct figures *figures, struct web_call *call);

/* Asks all shards, one after the other, and prints the sums as the answer to the call. `type` is
 * static text, `node` is borrowed. */
void report_start(
    const struct node *node, struct web_call *call, const char *type, report_print print);

#endif
