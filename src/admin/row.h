/* row: one queue, connection, exchange or binding as RabbitMQ's HTTP API shows it. */
#ifndef ADMIN_ROW_H
#define ADMIN_ROW_H

#include <jansson.h>

#include "admin/survey.h"
#include "core/inventory.h"

/* Where the thing is. */
struct row_place {
    const char *vhost;
    const char *node;
};

/* Each gives a JSON object, owned by the caller. */
json_t *row_of_queue(const struct row_place *place, const struct queue_entry *entry,
    const struct survey_queue *figures);
json_t *row_of_client(const struct row_place *place, const struct survey_client *client);
json_t *row_of_exchange(const struct row_place *place, const struct inventory_exchange *exchange);
json_t *row_of_binding(const struct row_place *place, const struct inventory_binding *binding);

/* Leaves the named columns, separated by commas, alone. Takes the row. */
json_t *row_choose_columns(json_t *row, const char *columns);

#endif
