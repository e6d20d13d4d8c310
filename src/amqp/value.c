/* value: AMQP's values as JSON. */
#include "amqp/value.h"

#include "amqp/table.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/str.h"

/* Octets of the UTF-8 character at the front, 0 when there is none. */
static uint32_t character_size(struct bytes text) {
    for (uint32_t size = 1; size <= 4 && size <= text.size; size++) {
        if (str_is_utf8(bytes_of(text.data, size))) return size;
    }
    return 0;
}

/* Each octet that belongs to no character is shown as U+FFFD, which takes three. */
static json_t *repaired_text(struct bytes text) {
    char *repaired = mem_raw((size_t)text.size * 3 + 1);
    size_t size = 0;
    while (text.size != 0) {
        uint32_t whole = character_size(text);
        if (whole != 0)
            bytes_copy(repaired + size, text.data, whole);
        else
            memcpy(repaired + size, "\xef\xbf\xbd", 3);
        size += whole ? whole : 3;
        whole = whole ? whole : 1;
        text = bytes_of(text.data + whole, text.size - whole);
    }
    json_t *value = json_stringn(repaired, size);
    mem_free(repaired);
    return value;
}

json_t *value_text(struct bytes text) {
    if (text.size == 0) return json_string("");
    if (str_is_utf8(text)) return json_stringn((const char *)text.data, text.size);
    return repaired_text(text);
}

static json_t *decimal(const struct field *field) {
    double value = field->decimal.value;
    for (unsigned i = 0; i < field->decimal.scale; i++)
        value /= 10;
    return json_real(value);
}

/* The value of a field that has no fields within it. */
static json_t *plain_value(const struct field *field) {
    int64_t integer = 0;
    switch (field->type) {
    case 't': return json_boolean(field->boolean);
    case 'T': return json_integer((json_int_t)field->timestamp);
    case 'f':
    case 'd': return json_real(field->real);
    case 'D': return decimal(field);
    case 'S':
    case 'x': return value_text(field->bytes);
    default: return field_integer(field, &integer) ? json_integer(integer) : json_null();
    }
}

/* A table or array that is being walked. */
struct level {
    struct reader reader;
    json_t *value;
    bool is_array;
};

static bool next_field(struct level *level, struct field *ret_field) {
    return level->is_array ? table_array_next(&level->reader, ret_field)
                           : table_next(&level->reader, ret_field);
}

static void put_value(struct level *level, const struct field *field, json_t *value) {
    if (level->is_array) {
        json_array_append_new(level->value, value);
        return;
    }
    json_t *name = value_text(field->name);
    json_object_set_new(level->value, json_string_value(name), value);
    json_decref(name);
}

json_t *value_table(struct bytes table) {
    struct level levels[TABLE_DEPTH_MAX];
    struct field field;
    json_t *outermost = json_object();
    levels[0] = (struct level){.reader = reader_over(table), .value = outermost};
    for (uint32_t depth = 1; depth > 0;) {
        struct level *level = &levels[depth - 1];
        if (!next_field(level, &field)) {
            depth--;
            continue;
        }
        bool nested = field.type == 'F' || field.type == 'A';
        if (!nested) {
            put_value(level, &field, plain_value(&field));
        } else if (depth < TABLE_DEPTH_MAX) {
            bool is_array = field.type == 'A';
            json_t *value = is_array ? json_array() : json_object();
            levels[depth++] = (struct level){
                .reader = reader_over(field.bytes), .value = value, .is_array = is_array};
            put_value(level, &field, value);
        }
    }
    return outermost;
}
