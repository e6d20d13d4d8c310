/* check: what happens when one of our own invariants does not hold. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *expression, const char *file, int line) {
    fprintf(stderr, "check failed: %s at %s:%d\n", expression, file, line);
    fflush(stderr);
    abort();
}
