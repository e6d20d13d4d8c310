/* plant: bugs planted at the broker's seams. */
#include "sim/plant.h"

static enum plant chosen;

void plant_choose(enum plant plant) {
    chosen = plant;
}

bool plant_on(enum plant plant) {
    return chosen == plant;
}

static const struct {
    const char *name;
    enum checker checker;
    const char *text;
} plants[PLANT_COUNT] = {{"none", CHECKER_none, ""},
#define PLANT(name, checker, text) {#name, CHECKER_##checker, text},
    PLANTS
#undef PLANT
};

const char *plant_name(enum plant plant) {
    return plants[plant].name;
}

const char *plant_text(enum plant plant) {
    return plants[plant].text;
}

enum checker plant_checker(enum plant plant) {
    return plants[plant].checker;
}

bool plant_choose_named(const char *name) {
    for (int i = 0; i < PLANT_COUNT; i++) {
        if (!bytes_equal(bytes_text(plants[i].name), bytes_text(name))) continue;
        chosen = (enum plant)i;
        return true;
    }
    return false;
}
