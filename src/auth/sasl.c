/* sasl: PLAIN (RFC 4616, without an authorization identity) and AMQPLAIN. */
#include "auth/sasl.h"

#include "amqp/table.h"

enum sasl_mechanism sasl_find(struct bytes name) {
    if (bytes_equal(name, BYTES("PLAIN"))) return SASL_PLAIN;
    if (bytes_equal(name, BYTES("AMQPLAIN"))) return SASL_AMQPLAIN;
    return SASL_NONE;
}

const char *sasl_name(enum sasl_mechanism mechanism) {
    switch (mechanism) {
    case SASL_NONE: return "";
    case SASL_PLAIN: return "PLAIN";
    case SASL_AMQPLAIN: return "AMQPLAIN";
    }
    unreachable_here();
}

/* NUL user NUL password: an authorization identity before the first NUL is refused, and so is a
 * third NUL. */
static enum sasl_verdict feed_plain(struct bytes response, struct sasl_login *ret_login) {
    if (response.size == 0 || response.data[0] != 0) return SASL_BAD;
    struct bytes rest = bytes_of(response.data + 1, response.size - 1);
    const uint8_t *second = rest.size ? memchr(rest.data, 0, rest.size) : NULL;
    if (!second) return SASL_BAD;
    struct bytes user = bytes_of(rest.data, (size_t)(second - rest.data));
    struct bytes password = bytes_of(second + 1, rest.size - user.size - 1);
    if (password.size != 0 && memchr(password.data, 0, password.size)) return SASL_BAD;
    *ret_login = (struct sasl_login){user, password};
    return SASL_DONE;
}

/* A field table, without a length, with LOGIN and PASSWORD as long strings. */
static enum sasl_verdict feed_amqplain(struct bytes response, struct sasl_login *ret_login) {
    if (!table_valid(response)) return SASL_BAD;
    struct field user;
    struct field password;
    if (!table_find(response, BYTES("LOGIN"), &user) || user.type != 'S') return SASL_BAD;
    if (!table_find(response, BYTES("PASSWORD"), &password)) return SASL_BAD;
    if (password.type != 'S') return SASL_BAD;
    *ret_login = (struct sasl_login){user.bytes, password.bytes};
    return SASL_DONE;
}

enum sasl_verdict sasl_feed(
    enum sasl_mechanism mechanism, struct bytes response, struct sasl_login *ret_login) {
    switch (mechanism) {
    case SASL_NONE: return SASL_BAD;
    case SASL_PLAIN: return feed_plain(response, ret_login);
    case SASL_AMQPLAIN: return feed_amqplain(response, ret_login);
    }
    unreachable_here();
}
