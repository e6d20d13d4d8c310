/* plant: bugs that are planted into the broker on purpose, at its seams, to show that each checker
 * finds what it is for. The linker puts the functions of sim/plant.c between the broker's own, in
 * this program only (--wrap): the broker's code knows nothing of them. */
#ifndef SIM_PLANT_H
#define SIM_PLANT_H

#include "sim/verdict.h"

/* PLANT(name, the checker that must find it) */
#define PLANTS PLANT(second_run_differs, replay)

enum plant {
    PLANT_none,
#define PLANT(name, checker) PLANT_##name,
    PLANTS
#undef PLANT
        PLANT_COUNT
};

/* The one bug that is planted from now on. */
void plant_choose(enum plant plant);
bool plant_choose_named(const char *name);
bool plant_on(enum plant plant);

const char *plant_name(enum plant plant);
enum checker plant_checker(enum plant plant);

#endif
