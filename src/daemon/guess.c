/* guess: which known word somebody may have meant. */
#include "daemon/guess.h"

enum { GUESS_BYTES_MAX = 63 }; /* longer words are compared by their beginnings */

void guess_init(struct guess *guess, const char *word) {
    *guess = (struct guess){.word = word, .distance = UINT32_MAX};
}

static uint32_t least(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t least_of_two = a < b ? a : b;
    return least_of_two < c ? least_of_two : c;
}

/* How many letters have to be put, left out or changed. One row of the usual table at a time. */
static uint32_t distance(const char *a, const char *b) {
    uint32_t row[GUESS_BYTES_MAX + 1];
    uint32_t a_size = (uint32_t)min_u64(strlen(a), GUESS_BYTES_MAX);
    uint32_t b_size = (uint32_t)min_u64(strlen(b), GUESS_BYTES_MAX);
    for (uint32_t k = 0; k <= b_size; k++)
        row[k] = k;
    for (uint32_t i = 1; i <= a_size; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t k = 1; k <= b_size; k++) {
            uint32_t change = diagonal + (a[i - 1] != b[k - 1]);
            diagonal = row[k];
            row[k] = least(row[k] + 1, row[k - 1] + 1, change);
        }
    }
    return row[b_size];
}

void guess_offer(struct guess *guess, const char *known) {
    uint32_t far = distance(guess->word, known);
    if (far >= guess->distance) return;
    guess->distance = far;
    guess->best = known;
}

/* Half of the letters may be wrong; then it is another word. */
const char *guess_closest(const struct guess *guess) {
    if (!guess->best) return NULL;
    return guess->distance <= strlen(guess->best) / 2 ? guess->best : NULL;
}
