/* message_rules: what RabbitMQ demands of a message's properties, in its order and its words. */
#include "session/message_rules.h"

#include "amqp/table.h"
#include "base/str.h"
#include "core/term.h"

enum { TEXT_BYTES = 256 };

/* RabbitMQ's highest expiration: ten years. */
static const uint64_t EXPIRATION_MS_MAX = 315360000000;

static bool user_is(struct bytes claimed, struct bytes user, char *ret_text) {
    if (bytes_equal(claimed, user)) return true;
    str_format(ret_text, TEXT_BYTES,
        "user_id property set to '%.*s' but authenticated user was '%.*s'", (int)claimed.size,
        (const char *)claimed.data, (int)user.size, (const char *)user.data);
    return false;
}

/* How many of the first bytes are an integer as Erlang reads one: a sign and digits. 0 is none. */
static uint32_t integer_size(struct bytes text) {
    uint32_t at = text.size != 0 && (text.data[0] == '-' || text.data[0] == '+');
    uint32_t first_digit = at;
    while (at < text.size && text.data[at] >= '0' && text.data[at] <= '9')
        at++;
    return at == first_digit ? 0 : at;
}

/* "{value_negative,-5}". Erlang breaks the line between the two when they pass its 80th column. */
static bool refuse_value(struct bytes text, const char *reason, char *ret_text) {
    enum { COLUMNS = 80 };
    struct bytes digits = text;
    bool negative = digits.data[0] == '-';
    if (digits.data[0] == '-' || digits.data[0] == '+')
        digits = bytes_of(digits.data + 1, digits.size - 1);
    while (digits.size > 1 && digits.data[0] == '0')
        digits = bytes_of(digits.data + 1, digits.size - 1);
    size_t indent = str_format(ret_text, TEXT_BYTES, "invalid expiration '%.*s': ", (int)text.size,
        (const char *)text.data);
    size_t width = strlen("{,}") + strlen(reason) + negative + digits.size;
    bool breaks = indent + width > COLUMNS;
    str_format(ret_text + indent, TEXT_BYTES - indent, "{%s,%s%*s%s%.*s}", reason,
        breaks ? "\n" : "", breaks ? (int)indent + 1 : 0, "", negative ? "-" : "", (int)digits.size,
        (const char *)digits.data);
    return false;
}

/* What follows the integer, quoted as Erlang quotes. */
static void refuse_rest(struct bytes text, uint32_t integer_size, char *ret_text) {
    struct phrase rest = {0};
    for (uint32_t i = integer_size; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') phrase_put(&rest, "\\");
        phrase_put_bytes(&rest, bytes_of(&text.data[i], 1));
    }
    str_format(ret_text, TEXT_BYTES, "invalid expiration '%.*s': {leftover_string,\"%s\"}",
        (int)text.size, (const char *)text.data, rest.text);
}

static bool expiration_is_valid(struct bytes text, char *ret_text) {
    uint32_t size = integer_size(text);
    if (size == 0) {
        str_format(ret_text, TEXT_BYTES, "invalid expiration '%.*s': no_integer", (int)text.size,
            (const char *)text.data);
        return false;
    }
    if (size < text.size) {
        refuse_rest(text, size, ret_text);
        return false;
    }
    bool sign = text.data[0] == '-' || text.data[0] == '+';
    uint64_t value = 0;
    bool fits = str_to_u64(bytes_of(text.data + sign, text.size - sign), &value);
    if (text.data[0] == '-' && (!fits || value != 0))
        return refuse_value(text, "value_negative", ret_text);
    if (!fits || value > EXPIRATION_MS_MAX) return refuse_value(text, "value_too_large", ret_text);
    return true;
}

static bool copies_are_valid(struct bytes headers, const char *name, char *ret_text) {
    struct field field;
    if (!table_find(headers, bytes_text(name), &field) || field.type == 'A') return true;
    str_format(ret_text, TEXT_BYTES, "invalid message: {unacceptable_type_in_header,\"%s\",%s}",
        name, term_type_name(&field));
    return false;
}

bool message_rules_check(
    const struct properties *properties, struct bytes user, char ret_text[256]) {
    const struct properties *p = properties;
    if ((p->flags & PROPERTY_HAS_user_id) && !user_is(p->user_id, user, ret_text)) return false;
    if ((p->flags & PROPERTY_HAS_expiration) && !expiration_is_valid(p->expiration, ret_text))
        return false;
    if (p->flags & PROPERTY_HAS_headers) {
        if (!copies_are_valid(p->headers, "CC", ret_text)) return false;
        if (!copies_are_valid(p->headers, "BCC", ret_text)) return false;
    }
    if (!(p->flags & PROPERTY_HAS_delivery_mode)) return true;
    if (p->delivery_mode == 1 || p->delivery_mode == 2) return true;
    str_format(ret_text, TEXT_BYTES, "invalid message: {delivery_mode_unknown,%u}",
        (unsigned)p->delivery_mode);
    return false;
}

struct bytes message_rules_copies(struct bytes headers, const char *name) {
    struct field field;
    bool found = table_find(headers, bytes_text(name), &field) && field.type == 'A';
    return found ? field.bytes : bytes_of(NULL, 0);
}

void message_rules_write_headers(struct writer *writer, struct bytes headers) {
    struct reader reader = reader_over(headers);
    struct field field;
    const uint8_t *from = reader.at;
    while (table_next(&reader, &field)) {
        /* The bytes of a field are kept as they came; only BCC's are left out. */
        if (!bytes_equal(field.name, BYTES("BCC")))
            write_bytes(writer, bytes_of(from, (size_t)(reader.at - from)));
        from = reader.at;
    }
}
