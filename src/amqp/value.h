/* value: AMQP's values as JSON. */
#ifndef AMQP_VALUE_H
#define AMQP_VALUE_H

#include <jansson.h>

#include "base/base.h"

/* A JSON string; octets that are no UTF-8 become U+FFFD. Owned by the caller, as the next one. */
json_t *value_text(struct bytes text);

/* A field table as a JSON object, as RabbitMQ's HTTP API shows it: numbers and booleans as such,
 * everything that is text as a string, tables and arrays nested. `table` has been validated. */
json_t *value_table(struct bytes table);

#endif
