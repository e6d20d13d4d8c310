/* frame: fuzzes finding frames. The first two octets choose frame_max, the rest is the input. */
#include "amqp/frame.h"

#include "fuzz.h"

enum { OUTPUT_MAX = 1 << 20 };

/* What comes before the end of a frame is incomplete, or refused for its size. */
static void check_prefix(struct bytes input, uint32_t size, uint32_t frame_max) {
    struct frame frame;
    uint32_t taken = 77;
    enum frame_status status = frame_parse(bytes_of(input.data, size), frame_max, &frame, &taken);
    check(status == FRAME_INCOMPLETE);
    check(taken == 77);
}

/* Writing the frame again gives the bytes that were taken. */
static void check_written(const struct frame *frame, struct bytes taken) {
    static uint8_t memory[OUTPUT_MAX];
    struct writer writer = writer_over(memory, sizeof memory);
    uint8_t *begun = frame_begin(&writer, frame->type, frame->channel);
    write_bytes(&writer, frame->payload);
    frame_end(&writer, begun);
    if (taken.size <= sizeof memory) check(bytes_equal(writer_bytes(&writer), taken));
    if (frame->type != FRAME_BODY || frame->payload.size == 0) return;
    writer = writer_over(memory, sizeof memory);
    frame_put_body(&writer, frame->channel, frame->payload, 0);
    if (taken.size <= sizeof memory) check(bytes_equal(writer_bytes(&writer), taken));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    uint32_t frame_max = (uint32_t)(data[0] << 8 | data[1]);
    struct bytes input = bytes_of(data + 2, size - 2);
    for (;;) {
        struct frame frame;
        uint32_t taken = 0;
        enum frame_status status = frame_parse(input, frame_max, &frame, &taken);
        if (status == FRAME_TOO_LARGE)
            check((uint64_t)frame.payload.size + FRAME_OVERHEAD_BYTES > frame_max);
        if (status != FRAME_COMPLETE) return 0;
        check(taken <= input.size);
        check(taken == frame.payload.size + FRAME_OVERHEAD_BYTES);
        check(frame_max == 0 || taken <= frame_max);
        check(frame.payload.data == input.data + FRAME_HEADER_BYTES);
        check_prefix(input, taken - 1, frame_max);
        check_prefix(input, taken / 2, frame_max);
        check_written(&frame, bytes_of(input.data, taken));
        input = bytes_of(input.data + taken, input.size - taken);
    }
}
