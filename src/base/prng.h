/* prng: a small seeded generator (xoshiro256**) for simulation, jitter and tests, not secrets. */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include "base/base.h"

struct prng {
    uint64_t state[4];
};

/* splitmix64 spreads the seed, so that near seeds give unrelated streams. */
static inline void prng_init(struct prng *prng, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        prng->state[i] = z ^ (z >> 31);
    }
}

static inline uint64_t prng_next(struct prng *prng) {
    uint64_t *s = prng->state;
    uint64_t rotated = s[1] * 5;
    uint64_t result = ((rotated << 7) | (rotated >> 57)) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

/* A number in [0, bound); bound must not be 0. The bias is below 2^-32 for bounds below 2^32. */
static inline uint64_t prng_below(struct prng *prng, uint64_t bound) {
    check(bound != 0);
    return prng_next(prng) % bound;
}

/* True in `percent` of 100 calls. */
static inline bool prng_chance(struct prng *prng, unsigned percent) {
    return prng_below(prng, 100) < percent;
}

#endif
