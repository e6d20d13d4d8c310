/* ctl_table: rows of a list on standard output, as rabbitmqctl prints them. */
#ifndef TOOLS_CTL_TABLE_H
#define TOOLS_CTL_TABLE_H

#include <jansson.h>

#include "base/base.h"

enum { CTL_COLUMNS_MAX = 32 };

/* A column: what it is called here, and in the HTTP API. */
struct ctl_column {
    const char *name;
    const char *key;
};

struct ctl_table {
    const struct ctl_column *columns[CTL_COLUMNS_MAX];
    uint32_t column_count;
    bool headers; /* a line of column names above the first row */
    bool json;
    uint64_t rows; /* printed so far */
};

/* Prints one row of the named columns. False when standard output takes no more. */
bool ctl_table_put(struct ctl_table *table, json_t *row);

/* Prints one value: text as it is, but for what would break the line; tables as Erlang terms. */
void ctl_table_print(json_t *value);

/* Ends the table. */
bool ctl_table_end(struct ctl_table *table);

#endif
