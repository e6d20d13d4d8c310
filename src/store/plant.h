/* plant: places where the build of the store's simulator can plant a bug, to see it found.
 *
 * Elsewhere PLANTED() is false at compile time and leaves nothing behind. The names are listed in
 * store/plants.def. */
#ifndef STORE_PLANT_H
#define STORE_PLANT_H

#ifdef GODWIT_PLANTS
#include <stdbool.h>

enum plant {
    PLANT_NONE,
#define PLANT(name, text) PLANT_##name,
#include "store/plants.def"
#undef PLANT
    PLANTS
};

/* True while this bug is to be there; the simulator provides it. */
bool plant_is(enum plant plant);

#define PLANTED(name) plant_is(PLANT_##name)
#else
#define PLANTED(name) 0
#endif

#endif
