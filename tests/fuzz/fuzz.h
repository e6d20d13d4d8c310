/* fuzz: the one function that a fuzz target has. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Called by libFuzzer with an input in memory of its exact size; gives 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
