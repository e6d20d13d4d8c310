/* witness: what the disk itself says: what would be there if the power were lost now, and how much
 * room everything takes. */
#ifndef SIM_WITNESS_H
#define SIM_WITNESS_H

struct world;
struct letter;

/* A publish was confirmed: wherever it still waits in a durable queue, the disk must have it. Looks
 * at some confirms only, as each takes a recovery. */
void witness_confirm(struct world *world, const struct letter *letter);

/* All is at rest: files are no more than living messages and the settings explain. */
void witness_bounds(struct world *world);

#endif
