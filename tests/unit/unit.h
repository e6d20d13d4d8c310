/* unit: cmocka with the headers it wants, and checks on bytes for the unit tests. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* cmocka.h wants the four above before it. */
#include <cmocka.h>

#include "base/base.h"

/* The bytes have exactly this content. */
static inline void assert_bytes(struct bytes bytes, const void *data, size_t size) {
    assert_int_equal(bytes.size, size);
    if (size != 0) assert_memory_equal(bytes.data, data, size);
}

/* The bytes are exactly this text. */
static inline void assert_text(struct bytes bytes, const char *text) {
    assert_bytes(bytes, text, strlen(text));
}

#endif
