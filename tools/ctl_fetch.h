/* ctl_fetch: asks a broker over HTTP, and cuts lists into their elements while they arrive. */
#ifndef TOOLS_CTL_FETCH_H
#define TOOLS_CTL_FETCH_H

#include <jansson.h>

#include "base/base.h"

/* Where the broker is and who asks; borrowed texts. */
struct ctl_fetch {
    const char *address; /* ADDR:PORT */
    const char *user;
    const char *password;
    long timeout_s; /* without a byte arriving; 0 waits for ever */
};

enum { CTL_WHY_BYTES_MAX = 512 };

/* Why there is no answer, for people. */
struct ctl_why {
    char text[CTL_WHY_BYTES_MAX];
};

/* Gets a JSON value; owned by the caller. NULL with the reason. */
json_t *ctl_fetch_value(const struct ctl_fetch *fetch, const char *path, struct ctl_why *ret_why);

/* Asks for something to be done, and gets the JSON that answers it; owned by the caller. NULL with
 * the reason. */
json_t *ctl_fetch_post(const struct ctl_fetch *fetch, const char *path, struct ctl_why *ret_why);

/* Gets a JSON array and calls back for each element, borrowed, as soon as it is there; stops when
 * `each` gives false. False with the reason. */
bool ctl_fetch_list(const struct ctl_fetch *fetch, const char *path,
    bool (*each)(void *context, json_t *element), void *context, struct ctl_why *ret_why) MUST_USE;

/* Percent-encodes one part of a path; cut at `size`. */
void ctl_fetch_encode(char *encoded, size_t size, const char *part);

#endif
