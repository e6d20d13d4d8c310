/* inspect: what a recovered broker holds, compared with what the card says it may and must. */
#ifndef SIM_INSPECT_H
#define SIM_INSPECT_H

struct world;

/* Looks into every durable queue before anybody takes a turn; from then on the card knows exactly
 * what is there. */
void inspect_recovered(struct world *world);

#endif
