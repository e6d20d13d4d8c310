/* properties: fuzzes the payload of header frames. What decodes must encode to the same bytes. */
#include "amqp/properties.h"

#include "fuzz.h"

#include "amqp/table.h"

enum { OUTPUT_MAX = 1 << 16, SPARE_FLAG = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct content_header header;
    if (!properties_read_header(bytes_of(data, size), &header)) return 0;
    check(header.properties.size == size - 12);
    struct properties properties;
    if (!properties_decode(header.properties, &properties)) return 0;
    if (properties.flags & PROPERTY_HAS_headers) check(table_valid(properties.headers));

    static uint8_t memory[OUTPUT_MAX];
    struct writer writer = writer_over(memory, sizeof memory);
    properties_encode(&writer, &properties);
    if (header.properties.size > sizeof memory) return 0;
    check(!writer.bad);
    struct bytes encoded = writer_bytes(&writer);
    check(encoded.size == header.properties.size);
    check(encoded.data[0] == header.properties.data[0]);
    check(encoded.data[1] == (header.properties.data[1] & ~SPARE_FLAG));
    check(memcmp(encoded.data + 2, header.properties.data + 2, encoded.size - 2) == 0);
    return 0;
}
