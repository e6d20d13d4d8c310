/* base64url: bytes as url-safe text without padding. */
#include "session/base64url.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(struct bytes plain, uint8_t *ret_text) {
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    for (uint32_t i = 0; i < plain.size; i++) {
        bits = bits << 8 | plain.data[i];
        bit_count += 8;
        while (bit_count >= 6) {
            bit_count -= 6;
            *ret_text++ = (uint8_t)ALPHABET[bits >> bit_count & 63];
        }
    }
    if (bit_count != 0) *ret_text = (uint8_t)ALPHABET[bits << (6 - bit_count) & 63];
}

/* The character's 6 bits, or -1. */
static int value_of(uint8_t character) {
    if (character >= 'A' && character <= 'Z') return character - 'A';
    if (character >= 'a' && character <= 'z') return character - 'a' + 26;
    if (character >= '0' && character <= '9') return character - '0' + 52;
    if (character == '-') return 62;
    return character == '_' ? 63 : -1;
}

bool base64url_decode(struct bytes text, uint8_t *ret_plain, size_t size) {
    if (text.size != BASE64URL_CHARACTERS(size)) return false;
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        int value = value_of(text.data[i]);
        if (value < 0) return false;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count < 8) continue;
        bit_count -= 8;
        *ret_plain++ = (uint8_t)(bits >> bit_count);
    }
    return (bits & ((1u << bit_count) - 1)) == 0;
}
