/* term: field values as RabbitMQ compares and prints them, and tables in one canonical form. */
#include "core/term.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/str.h"

void phrase_put(struct phrase *phrase, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof phrase->text - phrase->size;
    phrase->size += str_format_list(phrase->text + phrase->size, room, format, arguments);
    va_end(arguments);
}

void phrase_put_bytes(struct phrase *phrase, struct bytes bytes) {
    size_t size = min_u64(bytes.size, sizeof phrase->text - 1 - phrase->size);
    bytes_copy(phrase->text + phrase->size, bytes.data, size);
    phrase->size += size;
    phrase->text[phrase->size] = 0;
}

static bool phrase_full(const struct phrase *phrase) {
    return phrase->size == sizeof phrase->text - 1;
}

const char *term_type_name(const struct field *field) {
    switch (field->type) {
    case 't': return "bool";
    case 'b': return "byte";
    case 'B': return "unsignedbyte";
    case 's': return "short";
    case 'u': return "unsignedshort";
    case 'I': return "signedint";
    case 'i': return "unsignedint";
    case 'l':
    case 'L': return "long";
    case 'f': return "float";
    case 'd': return "double";
    case 'D': return "decimal";
    case 'S': return "longstr";
    case 'x': return "binary";
    case 'T': return "timestamp";
    case 'F': return "table";
    case 'A': return "array";
    default: return "void";
    }
}

bool term_is_integer(const struct field *field) {
    int64_t value;
    return field_integer(field, &value);
}

bool term_is_real(const struct field *field) {
    return field->type == 'f' || field->type == 'd';
}

bool term_is_text(const struct field *field, const char *text) {
    return field->type == 'S' && bytes_equal(field->bytes, bytes_text(text));
}

static bool is_list(const struct field *field) {
    return field->type == 'F' || field->type == 'A';
}

static bool is_string(const struct field *field) {
    return field->type == 'S' || field->type == 'x';
}

/* ---- printing ---- */

/* The fewest digits that read back as the same number, in the shorter of the two notations, which
 * both have a point: 99.5, 6.0e4, 1.2e-4. */
static void put_real(struct phrase *phrase, double real) {
    char text[32], digits[20] = "";
    for (int precision = 0; precision <= 16; precision++) {
        str_format(text, sizeof text, "%.*e", precision, real < 0 ? -real : real);
        if (strtod(text, NULL) == (real < 0 ? -real : real)) break;
    }
    const char *mark = strchr(text, 'e');
    check(mark != NULL);
    int exponent = (int)strtol(mark + 1, NULL, 10);
    int count = 0;
    for (const char *at = text; at < mark; at++) {
        if (*at != '.') digits[count++] = *at;
    }
    char scientific[32], plain[32];
    const char *tail = count > 1 ? digits + 1 : "0";
    str_format(scientific, sizeof scientific, "%c.%se%d", digits[0], tail, exponent);
    int places = count - 1 - exponent; /* behind the point */
    bool readable = exponent > -8 && exponent < 20;
    str_format(plain, sizeof plain, "%.*f", readable && places > 1 ? places : 1,
        readable ? (real < 0 ? -real : real) : 0.0);
    bool shorter = !readable || strlen(scientific) < strlen(plain);
    phrase_put(phrase, "%s%s", real < 0 ? "-" : "", shorter ? scientific : plain);
}

/* <<"text">>, as Erlang prints a binary of printable octets, or its octets' numbers. */
static void put_binary(struct phrase *phrase, struct bytes bytes) {
    bool printable = true;
    for (uint32_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] < 0x20 || bytes.data[i] == 0x7f) printable = false;
    }
    phrase_put(phrase, printable && bytes.size ? "<<\"" : "<<");
    for (uint32_t i = 0; i < bytes.size && !phrase_full(phrase); i++) {
        uint8_t octet = bytes.data[i];
        if (!printable) phrase_put(phrase, i ? ",%u" : "%u", octet);
        if (printable && (octet == '"' || octet == '\\')) phrase_put(phrase, "\\");
        if (printable) phrase_put_bytes(phrase, bytes_of(&octet, 1));
    }
    phrase_put(phrase, printable && bytes.size ? "\">>" : ">>");
}

static void put_scalar(struct phrase *phrase, const struct field *field) {
    int64_t integer;
    if (field_integer(field, &integer)) {
        phrase_put(phrase, "%" PRId64, integer);
        return;
    }
    switch (field->type) {
    case 't': phrase_put(phrase, field->boolean ? "true" : "false"); break;
    case 'f':
    case 'd': put_real(phrase, field->real); break;
    case 'T': phrase_put(phrase, "%" PRIu64, field->timestamp); break;
    case 'D':
        phrase_put(
            phrase, "{%u,%" PRIu32 "}", field->decimal.scale, (uint32_t)field->decimal.value);
        break;
    case 'S':
    case 'x': put_binary(phrase, field->bytes); break;
    default: phrase_put(phrase, "undefined"); break;
    }
}

/* A table or array that is being walked. */
struct level {
    struct reader reader;
    bool array;
    bool started;
};

static struct level level_of(const struct field *field) {
    return (struct level){.reader = reader_over(field->bytes), .array = field->type == 'A'};
}

static bool level_next(struct level *level, struct field *ret_field) {
    if (level->array) return table_array_next(&level->reader, ret_field);
    return table_next(&level->reader, ret_field);
}

void phrase_put_term(struct phrase *phrase, const struct field *field) {
    if (!is_list(field)) {
        put_scalar(phrase, field);
        return;
    }
    struct level levels[TABLE_DEPTH_MAX];
    uint32_t depth = 1;
    levels[0] = level_of(field);
    phrase_put(phrase, "[");
    while (depth > 0 && !phrase_full(phrase)) {
        struct level *level = &levels[depth - 1];
        struct field item;
        if (!level_next(level, &item)) {
            phrase_put(phrase, --depth > 0 ? "]}" : "]");
            continue;
        }
        phrase_put(phrase, level->started ? ",{" : "{");
        level->started = true;
        if (!level->array) {
            put_binary(phrase, item.name);
            phrase_put(phrase, ",");
        }
        phrase_put(phrase, "%s,", term_type_name(&item));
        if (is_list(&item)) {
            check(depth < TABLE_DEPTH_MAX);
            levels[depth++] = level_of(&item);
            phrase_put(phrase, "[");
        } else {
            put_scalar(phrase, &item);
            phrase_put(phrase, "}");
        }
    }
}

void phrase_put_value(struct phrase *phrase, const struct field *field) {
    if (is_string(field)) {
        phrase_put_bytes(phrase, field->bytes);
    } else {
        phrase_put_term(phrase, field);
    }
}

/* ---- comparing ---- */

/* Timestamps are integers like any other, but unsigned. */
static bool to_integer(const struct field *field, bool *ret_negative, uint64_t *ret_bits) {
    int64_t integer;
    if (field->type == 'T') {
        *ret_negative = false;
        *ret_bits = field->timestamp;
        return true;
    }
    if (!field_integer(field, &integer)) return false;
    *ret_negative = integer < 0;
    *ret_bits = (uint64_t)integer;
    return true;
}

/* Compares exactly: a double is not made of the integer, which might round it. */
static bool real_equals_integer(double real, bool negative, uint64_t bits) {
    if (negative) {
        return real >= -9223372036854775808.0 && real < 0 && (double)(int64_t)real == real &&
               (uint64_t)(int64_t)real == bits;
    }
    return real >= 0 && real < 18446744073709551616.0 && (double)(uint64_t)real == real &&
           (uint64_t)real == bits;
}

static bool scalars_equal(const struct field *a, const struct field *b) {
    bool a_negative, b_negative;
    uint64_t a_bits, b_bits;
    bool a_integer = to_integer(a, &a_negative, &a_bits);
    bool b_integer = to_integer(b, &b_negative, &b_bits);
    if (a_integer && b_integer) return a_negative == b_negative && a_bits == b_bits;
    if (a_integer) return term_is_real(b) && real_equals_integer(b->real, a_negative, a_bits);
    if (b_integer) return term_is_real(a) && real_equals_integer(a->real, b_negative, b_bits);
    if (term_is_real(a)) return term_is_real(b) && a->real == b->real;
    if (is_string(a)) return is_string(b) && bytes_equal(a->bytes, b->bytes);
    if (a->type != b->type) return false;
    if (a->type == 't') return a->boolean == b->boolean;
    if (a->type == 'D') {
        return a->decimal.scale == b->decimal.scale && a->decimal.value == b->decimal.value;
    }
    return true;
}

static char plain_type(char type) {
    return type == 'L' ? 'l' : type;
}

/* Two lists that are being walked side by side. */
struct level_pair {
    struct level a;
    struct level b;
};

/* Whether two elements agree, apart from what lists contain. */
static bool elements_agree(const struct field *a, const struct field *b) {
    if (!bytes_equal(a->name, b->name)) return false;
    if (plain_type(a->type) != plain_type(b->type)) return false;
    return is_list(a) || scalars_equal(a, b);
}

static bool lists_equal(const struct field *a, const struct field *b) {
    if (a->type != b->type) return a->bytes.size == 0 && b->bytes.size == 0;
    struct level_pair pairs[TABLE_DEPTH_MAX];
    uint32_t depth = 1;
    pairs[0] = (struct level_pair){level_of(a), level_of(b)};
    while (depth > 0) {
        struct level_pair *pair = &pairs[depth - 1];
        struct field a_item, b_item;
        bool a_more = level_next(&pair->a, &a_item);
        bool b_more = level_next(&pair->b, &b_item);
        if (a_more != b_more) return false;
        if (!a_more) {
            depth--;
            continue;
        }
        if (!elements_agree(&a_item, &b_item)) return false;
        if (!is_list(&a_item)) continue;
        check(depth < TABLE_DEPTH_MAX);
        pairs[depth++] = (struct level_pair){level_of(&a_item), level_of(&b_item)};
    }
    return true;
}

bool term_equal(const struct field *a, const struct field *b) {
    if (is_list(a) || is_list(b)) return is_list(a) && is_list(b) && lists_equal(a, b);
    return scalars_equal(a, b);
}

/* ---- sorting ---- */

int term_compare_names(struct bytes a, struct bytes b) {
    uint32_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    if (order != 0) return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

/* Fields of one name keep the order in which they lie in memory, which makes the sort stable. */
static int compare_fields(const void *a_field, const void *b_field) {
    const struct field *a = a_field, *b = b_field;
    int order = term_compare_names(a->name, b->name);
    if (order != 0) return order;
    return a->name.data < b->name.data ? -1 : a->name.data > b->name.data;
}

static struct field *room_for_field(struct term_list *list) {
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity * 2;
        if (list->fields == list->inline_fields) {
            list->fields = mem_raw(capacity * sizeof *list->fields);
            memcpy(list->fields, list->inline_fields, sizeof list->inline_fields);
        } else {
            list->fields = mem_resize(list->fields, capacity * sizeof *list->fields);
        }
        list->capacity = capacity;
    }
    return &list->fields[list->count++];
}

void term_list_init(struct term_list *list, struct bytes table) {
    list->fields = list->inline_fields;
    list->count = 0;
    list->capacity = COUNT_OF(list->inline_fields);
    bool sorted = true;
    struct reader reader = reader_over(table);
    struct field field;
    while (table_next(&reader, &field)) {
        struct field *last = list->count ? &list->fields[list->count - 1] : NULL;
        if (last && term_compare_names(last->name, field.name) > 0) sorted = false;
        *room_for_field(list) = field;
    }
    if (!sorted) qsort(list->fields, list->count, sizeof *list->fields, compare_fields);
}

void term_list_deinit(struct term_list *list) {
    if (list->fields != list->inline_fields) mem_free(list->fields);
    list->fields = NULL;
    list->count = 0;
}

void term_write_canonical(struct writer *writer, struct bytes table) {
    if (table.size == 0) return;
    struct term_list list;
    term_list_init(&list, table);
    for (uint32_t i = 0; i < list.count; i++) {
        list.fields[i].type = plain_type(list.fields[i].type);
        table_put_field(writer, &list.fields[i]);
    }
    term_list_deinit(&list);
}
