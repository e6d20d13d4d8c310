/* verdict: what a run found, where the process that watches it can read it even if the run dies. */
#ifndef SIM_VERDICT_H
#define SIM_VERDICT_H

#include "sim/edges.h"

/* Every checker by name; each has at least one planted bug that it finds (sim/plant.c). */
#define VERDICT_CHECKERS                                                                           \
    CHECKER(invariant) /* a check() of the broker itself */                                        \
    CHECKER(reply)     /* one reply for each request, in order, or a close */                      \
    CHECKER(close)     /* nobody is closed who gave no reason */                                   \
    CHECKER(confirm)   /* each publish confirmed once, none that was not published */              \
    CHECKER(returned)  /* returned if and only if mandatory and unroutable, before its confirm */  \
    CHECKER(content)   /* what arrives is what was published */                                    \
    CHECKER(phantom)   /* nothing arrives that was rolled back, returned or never published */     \
    CHECKER(route)     /* nothing arrives where it was not routed */                               \
    CHECKER(twice)     /* nothing is unacked in two places */                                      \
    CHECKER(settled)   /* what was settled never comes back */                                     \
    CHECKER(redelivered) /* the flag tells the truth */                                            \
    CHECKER(order)       /* per publisher, queue and consumer */                                   \
    CHECKER(tag)         /* delivery tags count up; consumers are known */                         \
    CHECKER(prefetch)    /* never more unacked than asked for */                                   \
    CHECKER(lost)        /* what was confirmed is there in the end, and after a crash */           \
    CHECKER(resurrected) /* what was settled for good, or never kept, stays away after a crash */  \
    CHECKER(unflagged)   /* what was delivered before a crash says so when it comes again */       \
    CHECKER(early_confirm) /* at the moment of a confirm the disk has what it promises */          \
    CHECKER(bounded)       /* disk use follows what lives */                                       \
    CHECKER(damage)        /* recovery finds no damage that nobody did */                          \
    CHECKER(counts)        /* what declare-ok and purge-ok say is true */                          \
    CHECKER(liveness)      /* everything settles once the faults are off */                        \
    CHECKER(heartbeat)     /* a silent broker says so in time */                                   \
    CHECKER(memory)        /* all messages, queues and connections are gone in the end */          \
    CHECKER(replay)        /* a seed does the same thing twice */

enum checker {
    CHECKER_none,
#define CHECKER(name) CHECKER_##name,
    VERDICT_CHECKERS
#undef CHECKER
        CHECKER_COUNT
};

struct verdict {
    uint64_t seed;
    uint64_t step;
    uint64_t hash; /* of all that happened */
    uint64_t letters;
    uint64_t deliveries;
    uint64_t operations; /* of the disk */
    uint64_t fail_at;    /* the one of them that is to fail, and no other; 0: as the seed says */
    bool fired;          /* it did */
    struct edge_counts edges;
    enum checker checker; /* none: nothing was found */
    char text[480];
};

/* "confirm"; static text. */
const char *verdict_checker_name(enum checker checker);

/* Notes the finding and ends the process with 1. */
_Noreturn void verdict_fail(struct verdict *verdict, enum checker checker, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Makes a failed check() of the broker, a crash and an endless loop end up in `verdict` too. */
void verdict_watch(struct verdict *verdict);

#endif
