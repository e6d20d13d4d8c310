/* guess: which known word somebody may have meant. */
#ifndef DAEMON_GUESS_H
#define DAEMON_GUESS_H

#include "base/base.h"

/* The closest of words that are offered one by one. */
struct guess {
    const char *word; /* what was written; borrowed */
    const char *best; /* the closest so far, or NULL */
    uint32_t distance;
};

void guess_init(struct guess *guess, const char *word);

/* Offers a known word, borrowed as long as the guess. */
void guess_offer(struct guess *guess, const char *known);

/* The closest word, or NULL when none is close. */
const char *guess_closest(const struct guess *guess);

#endif
