/* reply_to: the keys of direct reply-to. */
#include "session/reply_to.h"

#include "session/base64url.h"

enum {
    PREFIX_BYTES = REPLY_TO_KEY_BYTES - REPLY_TO_TOKEN_BYTES,
    ADDRESS_BYTES = 10, /* connection and channel, before the random bytes */
    PLAIN_BYTES = ADDRESS_BYTES + REPLY_TO_RANDOM_BYTES,
};

static_assert(BASE64URL_CHARACTERS(PLAIN_BYTES) == REPLY_TO_TOKEN_BYTES, "all of it is encoded");

static const char PREFIX[] = REPLY_TO_QUEUE ".";

void reply_to_make(connection_ref connection, uint16_t channel,
    const uint8_t random[REPLY_TO_RANDOM_BYTES], uint8_t ret_key[REPLY_TO_KEY_BYTES]) {
    uint8_t plain[PLAIN_BYTES];
    struct writer writer = writer_over(plain, sizeof plain);
    write_u64(&writer, connection);
    write_u16(&writer, channel);
    write_bytes(&writer, bytes_of(random, REPLY_TO_RANDOM_BYTES));
    check(!writer.bad);
    memcpy(ret_key, PREFIX, PREFIX_BYTES);
    base64url_encode(bytes_of(plain, sizeof plain), ret_key + PREFIX_BYTES);
}

bool reply_to_parse(struct bytes key, connection_ref *ret_connection, uint16_t *ret_channel) {
    if (key.size != REPLY_TO_KEY_BYTES) return false;
    if (memcmp(key.data, PREFIX, PREFIX_BYTES) != 0) return false;
    uint8_t plain[PLAIN_BYTES];
    struct bytes token = bytes_of(key.data + PREFIX_BYTES, REPLY_TO_TOKEN_BYTES);
    if (!base64url_decode(token, plain, sizeof plain)) return false;
    struct reader reader = reader_over(bytes_of(plain, sizeof plain));
    *ret_connection = read_u64(&reader);
    *ret_channel = read_u16(&reader);
    return true;
}

bool reply_to_equal(struct bytes key, const uint8_t own[REPLY_TO_KEY_BYTES]) {
    if (key.size != REPLY_TO_KEY_BYTES) return false;
    uint8_t different = 0;
    for (uint32_t i = 0; i < REPLY_TO_KEY_BYTES; i++)
        different |= key.data[i] ^ own[i];
    return different == 0;
}
