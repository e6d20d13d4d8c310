/* http: fuzzes the heads of HTTP requests: any input, cut anywhere, and what is found in it. */
#include "admin/http.h"

#include "fuzz.h"

#include <string.h>

/* All of what a request points to is its own. */
static void check_within(struct bytes part, const void *memory, size_t size) {
    if (part.size == 0) return;
    const uint8_t *start = memory;
    check(part.data >= start);
    check(part.data + part.size <= start + size);
}

static void check_request(const struct http_request *request, uint32_t input_size) {
    check(request->head_size > 0);
    check(request->head_size <= input_size);
    if (request->segment_count != UINT32_MAX) check(request->segment_count <= HTTP_SEGMENTS_MAX);
    for (uint32_t i = 0; i < request->segment_count && i < HTTP_SEGMENTS_MAX; i++)
        check_within(request->segments[i], request->target, sizeof request->target);
    check_within(request->query, request->target, sizeof request->target);
    check_within(request->user, request->credentials, sizeof request->credentials);
    check_within(request->password, request->credentials, sizeof request->credentials);
    char value[64];
    if (http_query(request, "page", value, sizeof value)) check(strlen(value) < sizeof value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct http_request request;
    static struct http_request shorter;
    if (size > HTTP_HEAD_BYTES_MAX) return 0;
    struct bytes input = bytes_of(data, size);
    enum http_verdict verdict = http_read(input, &request);
    if (verdict != HTTP_COMPLETE) return 0;
    check_request(&request, input.size);
    /* What follows the head does not matter, and without its last octet it is not complete. */
    check(http_read(bytes_of(data, request.head_size), &shorter) == HTTP_COMPLETE);
    check(shorter.head_size == request.head_size);
    check(http_read(bytes_of(data, request.head_size - 1), &shorter) == HTTP_MORE);
    return 0;
}
