/* table: fuzzes field tables against a second, recursive reading of the same grammar, and walks,
 * rebuilds and prints the valid ones. The first octet chooses between a table and an array. */
#include "amqp/table.h"

#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "amqp/text.h"
#include "base/limits.h"

static bool field_plausible(const struct field *field, uint32_t depth);

/* The grammar again: written with table_next, which has to read the same language. */
static bool plausible(struct bytes bytes, bool array, uint32_t depth) {
    if (depth > TABLE_DEPTH_MAX) return false;
    struct reader reader = reader_over(bytes);
    struct field field;
    while (array ? table_array_next(&reader, &field) : table_next(&reader, &field)) {
        if (!field_plausible(&field, depth)) return false;
        if (reader_left(&reader) == 0) return true;
    }
    return bytes.size == 0;
}

static bool field_plausible(const struct field *field, uint32_t depth) {
    check(field->type != 0 && strchr("tbBsuIilLfdDSATFVx", field->type));
    if (field->type == 'f' || field->type == 'd') return isfinite(field->real);
    if (field->type != 'F' && field->type != 'A') return true;
    return plausible(field->bytes, field->type == 'A', depth + 1);
}

/* Writing every field again gives the same bytes, except that true is written as 1. */
static void check_written(struct bytes bytes, bool array) {
    static uint8_t memory[1 << 16];
    if (bytes.size > sizeof memory) return;
    struct writer writer = writer_over(memory, sizeof memory);
    struct reader reader = reader_over(bytes);
    struct field field;
    while (array ? table_array_next(&reader, &field) : table_next(&reader, &field)) {
        const uint8_t *value =
            bytes.data + writer_size(&writer) + field.name.size + (array ? 1 : 2);
        size_t at = writer_size(&writer);
        if (array) {
            table_array_put_field(&writer, &field);
        } else {
            struct field found;
            check(table_find(bytes, field.name, &found));
            check(bytes_equal(found.name, field.name));
            table_put_field(&writer, &field);
        }
        check(!writer.bad);
        check(writer_size(&writer) == bytes.size - reader_left(&reader));
        size_t written = writer_size(&writer) - at;
        if (field.type == 't') {
            check((*value != 0) == field.boolean);
        } else {
            check(memcmp(memory + at, bytes.data + at, written) == 0);
        }
    }
    check(!reader.bad);
    check(writer_size(&writer) == bytes.size);
}

static void check_printed(struct bytes table) {
    static char text[1 << 16];
    size_t size = text_print_table(text, sizeof text, table);
    check(size < sizeof text);
    check(text[size] == 0);
    check(text[0] == '{');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    bool array = data[0] & 1;
    struct bytes bytes = bytes_of(data + 1, size - 1);
    bool valid = array ? table_array_valid(bytes) : table_valid(bytes);
    check(valid == plausible(bytes, array, 1));
    if (!valid) return 0;
    check_written(bytes, array);
    if (!array) check_printed(bytes);
    return 0;
}
