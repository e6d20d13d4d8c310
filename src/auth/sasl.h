/* sasl: what a client's login says, by mechanism: a response goes in, user and password come out.
 *
 * Both mechanisms are done after one response; a mechanism with challenges will add a verdict. */
#ifndef AUTH_SASL_H
#define AUTH_SASL_H

#include "base/base.h"

enum sasl_mechanism { SASL_NONE, SASL_PLAIN, SASL_AMQPLAIN };

enum sasl_verdict {
    SASL_DONE, /* user and password are there */
    SASL_BAD   /* the response is malformed, or there is no such mechanism */
};

/* Borrowed from the response. */
struct sasl_login {
    struct bytes user;
    struct bytes password;
};

/* The names that are offered, separated by spaces. */
#define SASL_MECHANISMS "PLAIN AMQPLAIN"

/* The mechanism of that name, exactly as offered; SASL_NONE for any other. */
enum sasl_mechanism sasl_find(struct bytes name);

/* "PLAIN"; static text. */
const char *sasl_name(enum sasl_mechanism mechanism);

/* Reads a response. *ret_login is untouched unless the verdict is SASL_DONE. */
enum sasl_verdict sasl_feed(
    enum sasl_mechanism mechanism, struct bytes response, struct sasl_login *ret_login) MUST_USE;

#endif
