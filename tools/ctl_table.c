/* ctl_table: rows of a list on standard output, as rabbitmqctl prints them. */
#include "tools/ctl_table.h"

#include <stdio.h>
#include <stdlib.h>

/* Names are a peer's: what would break the line or the terminal is shown as an escape. */
static void print_text(const char *text) {
    for (const char *at = text; *at; at++) {
        uint8_t c = (uint8_t)*at;
        if (c < ' ' || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

/* As a quoted string where RabbitMQ prints Erlang terms. */
static void print_term(json_t *value) {
    if (!json_is_string(value)) {
        ctl_table_print(value);
        return;
    }
    putchar('"');
    print_text(json_string_value(value));
    putchar('"');
}

/* [{"x-max-length",5},{"list",[1,2]}] */
static void print_table(json_t *object) {
    const char *key;
    json_t *value;
    bool first = true;
    putchar('[');
    json_object_foreach(object, key, value) {
        fputs(first ? "{\"" : ",{\"", stdout);
        print_text(key);
        fputs("\",", stdout);
        print_term(value);
        putchar('}');
        first = false;
    }
    putchar(']');
}

static void print_array(json_t *array) {
    size_t at;
    json_t *value;
    putchar('[');
    json_array_foreach(array, at, value) {
        if (at != 0) putchar(',');
        print_term(value);
    }
    putchar(']');
}

/* The depth of what a broker sends is bounded by its tables' depth. */
void ctl_table_print(json_t *value) {
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT: print_table(value); return;
    case JSON_ARRAY: print_array(value); return;
    case JSON_STRING: print_text(json_string_value(value)); return;
    case JSON_INTEGER: printf("%lld", (long long)json_integer_value(value)); return;
    case JSON_REAL: printf("%g", json_real_value(value)); return;
    case JSON_TRUE: fputs("true", stdout); return;
    case JSON_FALSE: fputs("false", stdout); return;
    case JSON_NULL: return;
    }
}

static void print_headers(const struct ctl_table *table) {
    for (uint32_t i = 0; i < table->column_count; i++)
        printf("%s%s", i == 0 ? "" : "\t", table->columns[i]->name);
    putchar('\n');
}

static void print_json(const struct ctl_table *table, json_t *row) {
    json_t *chosen = json_object();
    for (uint32_t i = 0; i < table->column_count; i++) {
        json_t *value = json_object_get(row, table->columns[i]->key);
        if (value) json_object_set(chosen, table->columns[i]->name, value);
    }
    char *text = json_dumps(chosen, JSON_COMPACT);
    printf("%s\n%s", table->rows == 0 ? "[" : ",", text);
    free(text);
    json_decref(chosen);
}

bool ctl_table_put(struct ctl_table *table, json_t *row) {
    if (table->json) {
        print_json(table, row);
        table->rows++;
        return !ferror(stdout);
    }
    if (table->rows++ == 0 && table->headers) print_headers(table);
    for (uint32_t i = 0; i < table->column_count; i++) {
        if (i != 0) putchar('\t');
        ctl_table_print(json_object_get(row, table->columns[i]->key));
    }
    putchar('\n');
    return !ferror(stdout);
}

bool ctl_table_end(struct ctl_table *table) {
    if (table->json) fputs(table->rows == 0 ? "[]\n" : "\n]\n", stdout);
    return fflush(stdout) == 0 && !ferror(stdout);
}
