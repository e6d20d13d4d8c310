/* access: who may log in, and who may do what.
 *
 * Every operation of every protocol passes access_authorize, also while there is one user and one
 * virtual host, so that permissions have one place to arrive in. */
#ifndef AUTH_ACCESS_H
#define AUTH_ACCESS_H

#include "base/base.h"

/* Who acts: a user who has logged in, in the virtual host that was entered. Strings are borrowed.
 */
struct access_subject {
    struct bytes user;
    struct bytes vhost;
    bool logged_in;
};

/* RabbitMQ's three rights on exchanges and queues, and the right to use a virtual host at all. */
enum access_operation { ACCESS_ENTER, ACCESS_CONFIGURE, ACCESS_WRITE, ACCESS_READ };

enum access_kind { ACCESS_VHOST, ACCESS_EXCHANGE, ACCESS_QUEUE };

/* What is acted upon. The name is borrowed. */
struct access_object {
    enum access_kind kind;
    struct bytes name;
};

/* Checks a user's password in a time that does not depend on where they differ. `loopback` tells
 * whether the peer is on this machine: guest may come from nowhere else. */
bool access_login(struct bytes user, struct bytes password, bool loopback) MUST_USE;

/* Tells whether the operation is allowed. */
bool access_authorize(const struct access_subject *subject, enum access_operation operation,
    struct access_object object) MUST_USE;

#endif
