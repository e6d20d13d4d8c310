/* table: field tables and arrays of the RabbitMQ dialect, validated with a loop and a stack. */
#include "amqp/table.h"

#include "base/limits.h"

/* The bytes of a value whose type fixes its size; 0 for the others and for unknown letters. */
static uint32_t fixed_size(char type) {
    switch (type) {
    case 't':
    case 'b':
    case 'B': return 1;
    case 's':
    case 'u': return 2;
    case 'I':
    case 'i':
    case 'f': return 4;
    case 'D': return 5;
    case 'l':
    case 'L':
    case 'd':
    case 'T': return 8;
    default: return 0;
    }
}

/* One open table or array while validating. */
struct level {
    const uint8_t *end;
    bool array;
};

/* RabbitMQ's parser takes no NaN and no infinity, and nothing above this one expects them. */
static bool real_is_finite(uint64_t bits, uint64_t exponent) {
    return (bits & exponent) != exponent;
}

/* Skips a value that is not a container; false when its type is unknown. */
static bool skip_value(struct reader *reader, char type) {
    if (type == 'f') return real_is_finite(read_u32(reader), 0x7f800000u);
    if (type == 'd') return real_is_finite(read_u64(reader), 0x7ff0000000000000u);
    uint32_t size = fixed_size(type);
    if (size != 0) {
        (void)reader_take(reader, size);
        return true;
    }
    if (type == 'V') return true;
    if (type != 'S' && type != 'x') return false;
    (void)read_longstr(reader);
    return true;
}

/* Each turn of the loop either leaves a level or uses up at least one byte, so the work is bounded
 * by the size of the input plus the depth. */
static bool container_valid(struct bytes bytes, bool array) {
    struct level levels[TABLE_DEPTH_MAX];
    struct reader reader = reader_over(bytes);
    uint32_t depth = 0;
    levels[0] = (struct level){reader.end, array};
    for (;;) {
        if (reader.at == levels[depth].end) {
            if (depth == 0) return true;
            reader.end = levels[--depth].end;
            continue;
        }
        if (!levels[depth].array) (void)read_shortstr(&reader);
        char type = (char)read_u8(&reader);
        if (type == 'F' || type == 'A') {
            struct bytes inner = read_longstr(&reader);
            if (reader.bad || depth + 1 == TABLE_DEPTH_MAX) return false;
            levels[++depth] = (struct level){reader.at, type == 'A'};
            reader.end = reader.at;
            reader.at -= inner.size;
            continue;
        }
        if (!skip_value(&reader, type) || reader.bad) return false;
    }
}

bool table_valid(struct bytes table) {
    return container_valid(table, false);
}

bool table_array_valid(struct bytes array) {
    return container_valid(array, true);
}

static double real_of_u64(uint64_t bits) {
    double real;
    memcpy(&real, &bits, sizeof real);
    return real;
}

static double real_of_u32(uint32_t bits) {
    float real;
    memcpy(&real, &bits, sizeof real);
    return (double)real;
}

/* Reads type and value; false when the type is unknown or the value is cut short, which a valid
 * table does not contain. */
static bool read_value(struct reader *reader, struct field *field) {
    field->type = (char)read_u8(reader);
    switch (field->type) {
    case 't': field->boolean = read_u8(reader) != 0; break;
    case 'b': field->integer = (int8_t)read_u8(reader); break;
    case 'B': field->integer = read_u8(reader); break;
    case 's': field->integer = (int16_t)read_u16(reader); break;
    case 'u': field->integer = read_u16(reader); break;
    case 'I': field->integer = (int32_t)read_u32(reader); break;
    case 'i': field->integer = read_u32(reader); break;
    case 'l':
    case 'L': field->integer = (int64_t)read_u64(reader); break;
    case 'f': field->real = real_of_u32(read_u32(reader)); break;
    case 'd': field->real = real_of_u64(read_u64(reader)); break;
    case 'D':
        field->decimal.scale = read_u8(reader);
        field->decimal.value = (int32_t)read_u32(reader);
        break;
    case 'T': field->timestamp = read_u64(reader); break;
    case 'S':
    case 'x':
    case 'F':
    case 'A': field->bytes = read_longstr(reader); break;
    case 'V': break;
    default: return false;
    }
    return !reader->bad;
}

bool table_next(struct reader *reader, struct field *ret_field) {
    if (reader_left(reader) == 0) return false;
    ret_field->name = read_shortstr(reader);
    return read_value(reader, ret_field);
}

bool table_array_next(struct reader *reader, struct field *ret_field) {
    if (reader_left(reader) == 0) return false;
    ret_field->name = bytes_of(NULL, 0);
    return read_value(reader, ret_field);
}

bool table_find(struct bytes table, struct bytes name, struct field *ret_field) {
    struct reader reader = reader_over(table);
    struct field field;
    while (table_next(&reader, &field)) {
        if (!bytes_equal(field.name, name)) continue;
        *ret_field = field;
        return true;
    }
    return false;
}

bool field_integer(const struct field *field, int64_t *ret_value) {
    switch (field->type) {
    case 'b':
    case 'B':
    case 's':
    case 'u':
    case 'I':
    case 'i':
    case 'l':
    case 'L': *ret_value = field->integer; return true;
    default: return false;
    }
}

static uint64_t u64_of_real(double real) {
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits;
}

static uint32_t u32_of_real(double real) {
    float narrow = (float)real;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    return bits;
}

/* The name of a field, then its type. Elements of arrays have no name: NULL. */
static void put_name(struct writer *writer, const char *name, char type) {
    if (name) write_shortstr(writer, bytes_text(name));
    write_u8(writer, (uint8_t)type);
}

void table_put_text(struct writer *writer, const char *name, struct bytes value) {
    put_name(writer, name, 'S');
    write_longstr(writer, value);
}

void table_put_bool(struct writer *writer, const char *name, bool value) {
    put_name(writer, name, 't');
    write_u8(writer, value);
}

void table_put_i64(struct writer *writer, const char *name, int64_t value) {
    put_name(writer, name, 'l');
    write_u64(writer, (uint64_t)value);
}

void table_put_i32(struct writer *writer, const char *name, int32_t value) {
    put_name(writer, name, 'I');
    write_u32(writer, (uint32_t)value);
}

void table_array_put_field(struct writer *writer, const struct field *field) {
    write_u8(writer, (uint8_t)field->type);
    switch (field->type) {
    case 't': write_u8(writer, field->boolean); break;
    case 'b':
    case 'B': write_u8(writer, (uint8_t)field->integer); break;
    case 's':
    case 'u': write_u16(writer, (uint16_t)field->integer); break;
    case 'I':
    case 'i': write_u32(writer, (uint32_t)field->integer); break;
    case 'l':
    case 'L': write_u64(writer, (uint64_t)field->integer); break;
    case 'f': write_u32(writer, u32_of_real(field->real)); break;
    case 'd': write_u64(writer, u64_of_real(field->real)); break;
    case 'D':
        write_u8(writer, field->decimal.scale);
        write_u32(writer, (uint32_t)field->decimal.value);
        break;
    case 'T': write_u64(writer, field->timestamp); break;
    case 'S':
    case 'x':
    case 'F':
    case 'A': write_longstr(writer, field->bytes); break;
    case 'V': break;
    default: unreachable_here();
    }
}

void table_put_field(struct writer *writer, const struct field *field) {
    write_shortstr(writer, field->name);
    table_array_put_field(writer, field);
}

static uint8_t *begin_container(struct writer *writer, const char *name, char type) {
    put_name(writer, name, type);
    return writer_take(writer, 4);
}

uint8_t *table_begin(struct writer *writer, const char *name) {
    return begin_container(writer, name, 'F');
}

uint8_t *table_begin_array(struct writer *writer, const char *name) {
    return begin_container(writer, name, 'A');
}

void table_end(struct writer *writer, uint8_t *begun) {
    writer->bit_next = 0;
    if (writer->bad) return;
    struct writer field = writer_over(begun, 4);
    write_u32(&field, (uint32_t)(writer->at - begun - 4));
}
