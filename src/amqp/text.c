/* text: methods as one line, printed and parsed from methods.def. */
#include "amqp/text.h"

#include <stdio.h>
#include <stdlib.h>

#include "amqp/table.h"
#include "base/limits.h"
#include "base/str.h"

/* Where printing goes on; what does not fit is left out. */
struct line {
    char *at;
    char *end; /* the place of the last possible terminating zero */
};

PRINTF_LIKE(2, 3) static void put(struct line *line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line->at += str_format_list(line->at, (size_t)(line->end - line->at) + 1, format, arguments);
    va_end(arguments);
}

static void put_octet(struct line *line, uint8_t octet) {
    if (octet == '\'' || octet == '\\') {
        put(line, "\\%c", octet);
    } else if (octet >= 0x20 && octet < 0x7f) {
        put(line, "%c", octet);
    } else {
        put(line, "\\x%02x", octet);
    }
}

static void put_quoted(struct line *line, struct bytes bytes) {
    put(line, "'");
    for (uint32_t i = 0; i < bytes.size && line->at < line->end; i++) {
        put_octet(line, bytes.data[i]);
    }
    put(line, "'");
}

/* Prints the value of a field that contains no others. */
static void put_value(struct line *line, const struct field *field) {
    switch (field->type) {
    case 't': put(line, "%s", field->boolean ? "true" : "false"); break;
    case 'f':
    case 'd': put(line, "%.17g", field->real); break;
    case 'D': put(line, "%u:%d", field->decimal.scale, field->decimal.value); break;
    case 'T': put(line, "%llu", (unsigned long long)field->timestamp); break;
    case 'S':
    case 'x': put_quoted(line, field->bytes); break;
    default: put(line, "%lld", (long long)field->integer); break;
    }
}

/* One open table or array while printing or parsing. */
struct level {
    bool array;
    struct reader reader; /* printing: what is left of it */
    uint8_t *begun;       /* parsing: where its length goes */
};

static bool next_field(struct level *level, struct field *field) {
    return level->array ? table_array_next(&level->reader, field)
                        : table_next(&level->reader, field);
}

/* The table has been validated, so its depth fits the levels. */
static void put_valid_table(struct line *line, struct bytes table) {
    struct level levels[TABLE_DEPTH_MAX];
    uint32_t depth = 1;
    bool first = true;
    levels[0] = (struct level){.array = false, .reader = reader_over(table)};
    put(line, "{");
    while (depth > 0 && line->at < line->end) {
        struct level *level = &levels[depth - 1];
        struct field field;
        if (!next_field(level, &field)) {
            put(line, "%c", level->array ? ']' : '}');
            first = false;
            depth--;
            continue;
        }
        if (!first) put(line, ", ");
        first = false;
        if (!level->array) {
            put_quoted(line, field.name);
            put(line, "=");
        }
        put(line, field.type == 'V' ? "%c" : "%c:", field.type);
        if (field.type == 'F' || field.type == 'A') {
            check(depth < TABLE_DEPTH_MAX);
            bool array = field.type == 'A';
            levels[depth++] = (struct level){.array = array, .reader = reader_over(field.bytes)};
            put(line, "%c", array ? '[' : '{');
            first = true;
        } else if (field.type != 'V') {
            put_value(line, &field);
        }
    }
}

static void put_table(struct line *line, struct bytes table) {
    if (table_valid(table)) {
        put_valid_table(line, table);
    } else {
        put(line, "?");
        put_quoted(line, table);
    }
}

static void put_number(struct line *line, const char *name, uint64_t value) {
    if (value != 0) put(line, " %s=%llu", name, (unsigned long long)value);
}

static void put_text(struct line *line, const char *name, struct bytes value) {
    if (value.size == 0) return;
    put(line, " %s=", name);
    put_quoted(line, value);
}

static void put_arguments(struct line *line, const char *name, struct bytes table) {
    if (table.size == 0) return;
    put(line, " %s=", name);
    put_table(line, table);
}

static void put_bit(struct line *line, const char *name, bool set) {
    if (set) put(line, " %s", name);
}

/* The printers: each field word becomes one argument of the line. */
#define U8(name)      put_number(line, #name, arguments->name);
#define U16(name)     put_number(line, #name, arguments->name);
#define U32(name)     put_number(line, #name, arguments->name);
#define U64(name)     put_number(line, #name, arguments->name);
#define BIT(name)     put_bit(line, #name, arguments->name);
#define STR(name)     put_text(line, #name, arguments->name);
#define LONGSTR(name) put_text(line, #name, arguments->name);
#define TABLE(name)   put_arguments(line, #name, arguments->name);
#define NONE                                                                                       \
    (void)line;                                                                                    \
    (void)arguments;
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    static void print_##class##_##method(                                                          \
        struct line *line, const struct amqp_##class##_##method *arguments) {                      \
        fields                                                                                     \
    }
#include "amqp/methods.def"
#undef METHOD
#undef U8
#undef U16
#undef U32
#undef U64
#undef BIT
#undef STR
#undef LONGSTR
#undef TABLE
#undef NONE

size_t text_print(char *text, size_t size, const struct method *method) {
    check(size > 0);
    struct line line = {text, text + size - 1};
    put(&line, "%s", method_name(method->kind));
    switch (method->kind) {
#define METHOD(class, method_word, class_id, method_id, sender, fields)                            \
    case METHOD_##class##_##method_word:                                                           \
        print_##class##_##method_word(&line, &method->class##_##method_word);                      \
        break;
#include "amqp/methods.def"
#undef METHOD
    case METHOD_unknown:
    case METHOD_KIND_COUNT: break;
    }
    return (size_t)(line.at - text);
}

size_t text_print_table(char *text, size_t size, struct bytes table) {
    check(size > 0);
    struct line line = {text, text + size - 1};
    put_table(&line, table);
    return (size_t)(line.at - text);
}

/* Where parsing goes on; after the first mistake nothing more is taken. */
struct scan {
    const uint8_t *at;
    const uint8_t *end;
    struct writer *memory;
    bool bad;
};

static uint8_t peek(const struct scan *scan) {
    return !scan->bad && scan->at < scan->end ? *scan->at : 0;
}

/* Takes this octet if it comes next. */
static bool take_if(struct scan *scan, char octet) {
    if (peek(scan) != (uint8_t)octet || octet == 0) return false;
    scan->at++;
    return true;
}

/* Takes this octet, which has to come next. */
static void take(struct scan *scan, char octet) {
    if (!take_if(scan, octet)) scan->bad = true;
}

static bool is_word_octet(uint8_t octet) {
    return (octet >= 'a' && octet <= 'z') || (octet >= '0' && octet <= '9') || octet == '_' ||
           octet == '.';
}

/* A run of lower-case letters, digits, underscores and dots; borrowed from the line. */
static struct bytes take_word(struct scan *scan) {
    const uint8_t *began = scan->at;
    while (is_word_octet(peek(scan))) {
        scan->at++;
    }
    return bytes_of(began, (size_t)(scan->at - began));
}

/* What stands before the next separator, as a C text for the library's number readers. */
static void take_number_text(struct scan *scan, char *text, size_t size) {
    size_t count = 0;
    while (peek(scan) != 0 && !strchr(" ,:]}", peek(scan))) {
        if (count + 1 == size) {
            scan->bad = true;
            break;
        }
        text[count++] = (char)*scan->at++;
    }
    text[count] = 0;
}

static uint64_t take_unsigned(struct scan *scan, uint64_t value_max) {
    char text[32];
    uint64_t value = 0;
    take_number_text(scan, text, sizeof text);
    if (!str_to_u64(bytes_text(text), &value) || value > value_max) scan->bad = true;
    return value;
}

static int64_t take_signed(struct scan *scan, int64_t value_min, int64_t value_max) {
    if (!take_if(scan, '-')) return (int64_t)take_unsigned(scan, (uint64_t)value_max);
    return (int64_t)(0 - take_unsigned(scan, 0 - (uint64_t)value_min));
}

static double take_real(struct scan *scan) {
    char text[64];
    char *end = text;
    take_number_text(scan, text, sizeof text);
    double value = strtod(text, &end);
    if (end == text || *end != 0) scan->bad = true;
    return value;
}

static int hex_digit(uint8_t octet) {
    if (octet >= '0' && octet <= '9') return octet - '0';
    if (octet >= 'a' && octet <= 'f') return octet - 'a' + 10;
    return -1;
}

static uint8_t take_escaped(struct scan *scan) {
    if (take_if(scan, '\'')) return '\'';
    if (take_if(scan, '\\')) return '\\';
    take(scan, 'x');
    int high = hex_digit(peek(scan));
    if (high >= 0) scan->at++;
    int low = hex_digit(peek(scan));
    if (low >= 0) scan->at++;
    if (high < 0 || low < 0) scan->bad = true;
    return (uint8_t)(high * 16 + low);
}

/* Takes a quoted text and lays its octets into memory, where they stay. */
static struct bytes take_quoted(struct scan *scan) {
    const uint8_t *began = scan->memory->at;
    take(scan, '\'');
    while (!scan->bad && !take_if(scan, '\'')) {
        if (scan->at == scan->end) {
            scan->bad = true;
            break;
        }
        uint8_t octet = *scan->at++;
        write_u8(scan->memory, octet == '\\' ? take_escaped(scan) : octet);
        if (scan->memory->bad) scan->bad = true;
    }
    return bytes_of(began, (size_t)(scan->memory->at - began));
}

/* As take_quoted, with its length in front, as strings in tables have it. */
static void take_sized(struct scan *scan, size_t length_bytes) {
    uint8_t *length = writer_take(scan->memory, length_bytes);
    struct bytes text = take_quoted(scan);
    if (!length || scan->bad || (length_bytes == 1 && text.size > SHORTSTR_BYTES_MAX)) {
        scan->bad = true;
        return;
    }
    struct writer writer = writer_over(length, length_bytes);
    if (length_bytes == 1) {
        write_u8(&writer, (uint8_t)text.size);
    } else {
        write_u32(&writer, text.size);
    }
}

static int64_t take_integer(struct scan *scan, char type) {
    switch (type) {
    case 'b': return take_signed(scan, INT8_MIN, INT8_MAX);
    case 'B': return (int64_t)take_unsigned(scan, UINT8_MAX);
    case 's': return take_signed(scan, INT16_MIN, INT16_MAX);
    case 'u': return (int64_t)take_unsigned(scan, UINT16_MAX);
    case 'I': return take_signed(scan, INT32_MIN, INT32_MAX);
    case 'i': return (int64_t)take_unsigned(scan, UINT32_MAX);
    default: return take_signed(scan, INT64_MIN, INT64_MAX);
    }
}

static bool take_boolean(struct scan *scan) {
    struct bytes word = take_word(scan);
    bool value = bytes_equal(word, BYTES("true"));
    if (!value && !bytes_equal(word, BYTES("false"))) scan->bad = true;
    return value;
}

/* Takes the value of a field that contains no others and writes letter and value. */
static void take_value(struct scan *scan, char type) {
    struct field field = {.type = type};
    switch (type) {
    case 't': field.boolean = take_boolean(scan); break;
    case 'f':
    case 'd': field.real = take_real(scan); break;
    case 'D':
        field.decimal.scale = (uint8_t)take_unsigned(scan, UINT8_MAX);
        take(scan, ':');
        field.decimal.value = (int32_t)take_signed(scan, INT32_MIN, INT32_MAX);
        break;
    case 'T': field.timestamp = take_unsigned(scan, UINT64_MAX); break;
    case 'S':
    case 'x':
        write_u8(scan->memory, (uint8_t)type);
        take_sized(scan, 4);
        return;
    case 'b':
    case 'B':
    case 's':
    case 'u':
    case 'I':
    case 'i':
    case 'l':
    case 'L': field.integer = take_integer(scan, type); break;
    default: scan->bad = true; return;
    }
    table_array_put_field(scan->memory, &field);
}

/* Takes one field of the innermost level; a table or array opens a level. Gives the new depth. */
static uint32_t take_field(struct scan *scan, struct level *levels, uint32_t depth) {
    if (!levels[depth - 1].array) {
        take_sized(scan, 1);
        take(scan, '=');
    }
    char type = (char)peek(scan);
    if (type != 0) scan->at++;
    if (type == 'V') {
        write_u8(scan->memory, 'V');
        return depth;
    }
    take(scan, ':');
    if (type != 'F' && type != 'A') {
        take_value(scan, type);
        return depth;
    }
    take(scan, type == 'A' ? '[' : '{');
    if (depth == TABLE_DEPTH_MAX) scan->bad = true;
    if (scan->bad) return depth;
    bool array = type == 'A';
    uint8_t *begun =
        array ? table_begin_array(scan->memory, NULL) : table_begin(scan->memory, NULL);
    levels[depth] = (struct level){.array = array, .begun = begun};
    return depth + 1;
}

static struct bytes take_table(struct scan *scan) {
    struct level levels[TABLE_DEPTH_MAX];
    const uint8_t *began = scan->memory->at;
    if (take_if(scan, '?')) return take_quoted(scan);
    take(scan, '{');
    uint32_t depth = 1;
    bool first = true;
    levels[0] = (struct level){.array = false};
    while (depth > 0 && !scan->bad) {
        struct level *level = &levels[depth - 1];
        if (take_if(scan, level->array ? ']' : '}')) {
            if (--depth > 0) table_end(scan->memory, level->begun);
            first = false;
            continue;
        }
        if (!first) {
            take(scan, ',');
            take(scan, ' ');
        }
        uint32_t deeper = take_field(scan, levels, depth);
        first = deeper > depth;
        depth = deeper;
        if (scan->memory->bad) scan->bad = true;
    }
    return bytes_of(began, (size_t)(scan->memory->at - began));
}

/* The parsers: each field word becomes a comparison with the argument's name and, when it is the
 * one, the taking of its value. False when the method has no such argument. */
#define ARGUMENT(field, value)                                                                     \
    if (bytes_equal(name, BYTES(#field))) {                                                        \
        take(scan, '=');                                                                           \
        arguments->field = value;                                                                  \
        return true;                                                                               \
    }
#define U8(field)      ARGUMENT(field, (uint8_t)take_unsigned(scan, UINT8_MAX))
#define U16(field)     ARGUMENT(field, (uint16_t)take_unsigned(scan, UINT16_MAX))
#define U32(field)     ARGUMENT(field, (uint32_t)take_unsigned(scan, UINT32_MAX))
#define U64(field)     ARGUMENT(field, take_unsigned(scan, UINT64_MAX))
#define STR(field)     ARGUMENT(field, take_quoted(scan))
#define LONGSTR(field) ARGUMENT(field, take_quoted(scan))
#define TABLE(field)   ARGUMENT(field, take_table(scan))
#define BIT(field)                                                                                 \
    if (bytes_equal(name, BYTES(#field))) {                                                        \
        arguments->field = true;                                                                   \
        return true;                                                                               \
    }
#define NONE                                                                                       \
    (void)name;                                                                                    \
    (void)arguments;
#define METHOD(class, method, class_id, method_id, sender, fields)                                 \
    static bool parse_##class##_##method(                                                          \
        struct scan *scan, struct bytes name, struct amqp_##class##_##method *arguments) {         \
        (void)scan;                                                                                \
        fields return false;                                                                       \
    }
#include "amqp/methods.def"
#undef METHOD
#undef U8
#undef U16
#undef U32
#undef U64
#undef BIT
#undef STR
#undef LONGSTR
#undef TABLE
#undef NONE
#undef ARGUMENT

static bool parse_argument(struct scan *scan, struct bytes name, struct method *method) {
    switch (method->kind) {
#define METHOD(class, method_word, class_id, method_id, sender, fields)                            \
    case METHOD_##class##_##method_word:                                                           \
        return parse_##class##_##method_word(scan, name, &method->class##_##method_word);
#include "amqp/methods.def"
#undef METHOD
    case METHOD_unknown:
    case METHOD_KIND_COUNT: break;
    }
    return false;
}

static enum method_kind kind_named(struct bytes name) {
    for (int kind = METHOD_unknown + 1; kind < METHOD_KIND_COUNT; kind++) {
        if (bytes_equal(name, bytes_text(method_name((enum method_kind)kind)))) {
            return (enum method_kind)kind;
        }
    }
    return METHOD_unknown;
}

bool text_parse(struct bytes line, struct writer *memory, struct method *ret_method) {
    struct scan scan = {.at = line.data, .end = line.data + line.size, .memory = memory};
    struct method method;
    memset(&method, 0, sizeof method);
    method.kind = kind_named(take_word(&scan));
    if (method.kind == METHOD_unknown) return false;
    while (!scan.bad && scan.at < scan.end) {
        take(&scan, ' ');
        if (!parse_argument(&scan, take_word(&scan), &method)) return false;
    }
    if (scan.bad) return false;
    *ret_method = method;
    return true;
}
