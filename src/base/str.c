/* str: bounded text: formatting into a fixed buffer, numbers, UTF-8. */
#include "base/str.h"

#include <stdio.h>

size_t str_format_list(char *text, size_t size, const char *format, va_list arguments) {
    check(size > 0);
    int written = vsnprintf(text, size, format, arguments);
    check(written >= 0);
    return (size_t)written < size ? (size_t)written : size - 1;
}

size_t str_format(char *text, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t written = str_format_list(text, size, format, arguments);
    va_end(arguments);
    return written;
}

bool str_to_u64(struct bytes text, uint64_t *ret_value) {
    if (text.size == 0 || text.size > 20) return false;
    uint64_t value = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');
        if (digit > 9) return false;
        if (__builtin_mul_overflow(value, (uint64_t)10, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)digit, &value)) return false;
    }
    *ret_value = value;
    return true;
}

/* The number of continuation octets after `lead`, or -1 when it cannot lead. */
static int continuation_count(uint8_t lead) {
    if (lead < 0x80) return 0;
    if (lead >= 0xc2 && lead <= 0xdf) return 1;
    if (lead >= 0xe0 && lead <= 0xef) return 2;
    if (lead >= 0xf0 && lead <= 0xf4) return 3;
    return -1;
}

/* Unicode 15, table 3-7: the second octet's range is narrower after some leads. */
static bool second_octet_fits(uint8_t lead, uint8_t second) {
    if (lead == 0xe0) return second >= 0xa0;
    if (lead == 0xed) return second <= 0x9f;
    if (lead == 0xf0) return second >= 0x90;
    if (lead == 0xf4) return second <= 0x8f;
    return true;
}

bool str_is_utf8(struct bytes text) {
    for (uint32_t i = 0; i < text.size;) {
        int more = continuation_count(text.data[i]);
        if (more < 0 || (uint32_t)more >= text.size - i) return false;
        if (more > 0 && !second_octet_fits(text.data[i], text.data[i + 1])) return false;
        for (int k = 1; k <= more; k++) {
            if ((text.data[i + (uint32_t)k] & 0xc0) != 0x80) return false;
        }
        i += (uint32_t)more + 1;
    }
    return true;
}
