/* overview: the figures as RabbitMQ's HTTP API shows them: /api/overview and /api/nodes. */
#ifndef ADMIN_OVERVIEW_H
#define ADMIN_OVERVIEW_H

#include "admin/report.h"

/* Each is a report_print. */
void overview_print(const struct node *node, const struct figures *figures, struct web_call *call);
void overview_print_nodes(
    const struct node *node, const struct figures *figures, struct web_call *call);
void overview_print_node(
    const struct node *node, const struct figures *figures, struct web_call *call);

#endif
