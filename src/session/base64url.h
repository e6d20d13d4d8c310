/* base64url: bytes as url-safe text without padding, for names that the broker makes up: they are
 * routing keys and consumer tags, and end up in logs and addresses. */
#ifndef SESSION_BASE64URL_H
#define SESSION_BASE64URL_H

#include "base/base.h"

/* How many characters `size` bytes become. */
#define BASE64URL_CHARACTERS(size) (((size)*8 + 5) / 6)

/* Writes BASE64URL_CHARACTERS(plain.size) characters. */
void base64url_encode(struct bytes plain, uint8_t *ret_text);

/* Reads `size` bytes out of exactly BASE64URL_CHARACTERS(size) characters. False when one of them
 * is not of the alphabet or says more than the bytes: each value has one spelling. */
bool base64url_decode(struct bytes text, uint8_t *ret_plain, size_t size) MUST_USE;

#endif
