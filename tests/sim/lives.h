/* lives: a broker's birth, its deaths, and what comes after. */
#ifndef SIM_LIVES_H
#define SIM_LIVES_H

#include "base/base.h"

struct world;

/* Makes a broker, which gets back what the vault has. */
void life_begin(struct world *world);

/* Frees a broker that has come to rest. What it may still have to do with its disk is not done. */
void life_end(struct world *world);

/* The node dies where it stands, and the next broker begins. Nobody is connected then. */
void life_crash(struct world *world);

/* The same, but in order: the broker stops, and the next one begins. */
void life_restart(struct world *world);

#endif
