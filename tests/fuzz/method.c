/* method: fuzzes decoding methods. What decodes must encode to something that decodes the same, and
 * print to a line that parses to the same. */
#include "amqp/method.h"

#include "../unit/method_any.h"
#include "fuzz.h"

#include "amqp/text.h"

enum { OUTPUT_MAX = 1 << 16 };

static void check_encoded(const struct method *method) {
    static uint8_t first[OUTPUT_MAX], second[OUTPUT_MAX];
    struct writer writer = writer_over(first, sizeof first);
    method_encode(&writer, method);
    if (writer.bad) return;
    struct bytes encoded = writer_bytes(&writer);
    struct method again;
    check(method_decode(encoded, &again));
    check(methods_equal(method, &again));
    writer = writer_over(second, sizeof second);
    method_encode(&writer, &again);
    check(bytes_equal(encoded, writer_bytes(&writer)));
}

/* Lines are compared, not tables: any octet but 0 reads as true and is printed so. */
static void check_printed(const struct method *method) {
    static char first[OUTPUT_MAX], second[OUTPUT_MAX];
    static uint8_t memory[4 * OUTPUT_MAX];
    size_t size = text_print(first, sizeof first, method);
    if (size == sizeof first - 1) return;
    struct writer writer = writer_over(memory, sizeof memory);
    struct method parsed;
    check(text_parse(bytes_of(first, size), &writer, &parsed));
    check(writer_size(&writer) <= 4 * size);
    size_t again = text_print(second, sizeof second, &parsed);
    check(bytes_equal(bytes_of(first, size), bytes_of(second, again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct method method;
    if (!method_decode(bytes_of(data, size), &method)) return 0;
    check(method.kind > METHOD_unknown);
    check(method.kind < METHOD_KIND_COUNT);
    check(size >= 4);
    check_encoded(&method);
    check_printed(&method);
    return 0;
}
