/* reckoning: the end of a seed: the faults stop, everything settles, and the books must balance. */
#ifndef SIM_RECKONING_H
#define SIM_RECKONING_H

struct world;

/* Settles, compares the counts, drains every queue, looks for what was lost, takes everything down
 * and looks for what was not released. The broker is empty afterwards. */
void reckoning(struct world *world);

/* The other end: the broker stops, or its connections are dropped, in the middle of everything.
 * What it keeps is written; its queues and keepers are gone afterwards. */
void reckoning_stop(struct world *world);

#endif
