/* str: bounded text: formatting into a fixed buffer, numbers, UTF-8. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>

#include "base/base.h"

/* Formats into `text` of `size` bytes, always zero-terminated, cut when too long. Gives the number
 * of bytes written without the zero. */
size_t str_format(char *text, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);
size_t str_format_list(char *text, size_t size, const char *format, va_list arguments)
    PRINTF_LIKE(3, 0);

/* Reads an unsigned decimal that fills all of `text`. False on anything else or on overflow. */
bool str_to_u64(struct bytes text, uint64_t *ret_value) MUST_USE;

/* True when `text` is well-formed UTF-8. */
bool str_is_utf8(struct bytes text) MUST_USE;

#endif
