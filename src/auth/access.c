/* access: one user, guest, in one virtual host, "/". */
#include "auth/access.h"

#define GUEST         BYTES("guest")
#define DEFAULT_VHOST BYTES("/")

/* Looks at every octet of `given` whatever it finds. Its length may be told by the time, as it may
 * by the length of the frame. */
static bool same_secret(struct bytes given, struct bytes secret) {
    uint32_t differs = given.size ^ secret.size;
    for (uint32_t i = 0; i < given.size; i++) {
        differs |= (uint32_t)(given.data[i] ^ secret.data[i % secret.size]);
    }
    return differs == 0;
}

bool access_login(struct bytes user, struct bytes password, bool loopback) {
    bool known = bytes_equal(user, GUEST);
    bool right = same_secret(password, GUEST);
    return known & right & loopback;
}

bool access_authorize(const struct access_subject *subject, enum access_operation operation,
    struct access_object object) {
    if (!subject->logged_in) return false;
    switch (operation) {
    case ACCESS_ENTER: return object.kind == ACCESS_VHOST;
    case ACCESS_CONFIGURE:
    case ACCESS_WRITE:
    case ACCESS_READ: return bytes_equal(subject->vhost, DEFAULT_VHOST);
    }
    unreachable_here();
}
