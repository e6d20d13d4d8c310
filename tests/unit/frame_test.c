/* frame_test: finding frames in any cut of the input, and writing them. */
#include "unit.h"

#include "amqp/frame.h"

static const char ACK_FRAME[] = "\x01\0\x07\0\0\0\x0d"
                                "\0\x3c\0\x50\0\0\0\0\0\0\0\x09\x01"
                                "\xce";

static void a_whole_frame(void **state) {
    (void)state;
    struct frame frame;
    uint32_t taken = 0;
    assert_int_equal(frame_parse(BYTES(ACK_FRAME), 4096, &frame, &taken), FRAME_COMPLETE);
    assert_int_equal(taken, sizeof ACK_FRAME - 1);
    assert_int_equal(frame.type, FRAME_METHOD);
    assert_int_equal(frame.channel, 7);
    assert_ptr_equal(frame.payload.data, ACK_FRAME + FRAME_HEADER_BYTES);
    assert_int_equal(frame.payload.size, 13);
}

static void every_cut_is_incomplete(void **state) {
    (void)state;
    for (uint32_t size = 0; size < sizeof ACK_FRAME - 1; size++) {
        uint8_t *copy = test_malloc(size ? size : 1);
        bytes_copy(copy, ACK_FRAME, size);
        struct frame frame;
        uint32_t taken = 77;
        assert_int_equal(frame_parse(bytes_of(copy, size), 4096, &frame, &taken), FRAME_INCOMPLETE);
        assert_int_equal(taken, 77);
        test_free(copy);
    }
}

static void what_follows_is_left(void **state) {
    (void)state;
    uint8_t input[64];
    struct writer writer = writer_over(input, sizeof input);
    write_bytes(&writer, BYTES(ACK_FRAME));
    frame_put_heartbeat(&writer);
    write_u8(&writer, FRAME_BODY);
    struct bytes left = writer_bytes(&writer);
    struct frame frame;
    uint32_t taken = 0;
    assert_int_equal(frame_parse(left, 4096, &frame, &taken), FRAME_COMPLETE);
    assert_int_equal(frame.type, FRAME_METHOD);
    left = bytes_of(left.data + taken, left.size - taken);
    assert_int_equal(frame_parse(left, 4096, &frame, &taken), FRAME_COMPLETE);
    assert_int_equal(frame.type, FRAME_HEARTBEAT);
    assert_int_equal(frame.channel, 0);
    assert_int_equal(frame.payload.size, 0);
    assert_int_equal(taken, FRAME_OVERHEAD_BYTES);
    left = bytes_of(left.data + taken, left.size - taken);
    assert_int_equal(frame_parse(left, 4096, &frame, &taken), FRAME_INCOMPLETE);
}

static void a_wrong_end_octet(void **state) {
    (void)state;
    uint8_t input[sizeof ACK_FRAME - 1];
    memcpy(input, ACK_FRAME, sizeof input);
    input[sizeof input - 1] = 0xcf;
    struct frame frame;
    uint32_t taken = 77;
    assert_int_equal(
        frame_parse(bytes_of(input, sizeof input), 4096, &frame, &taken), FRAME_BAD_END);
    assert_int_equal(taken, 77);
    assert_int_equal(frame.type, FRAME_METHOD);
    assert_int_equal(frame.channel, 7);
    assert_int_equal(frame.payload.size, 13);
}

/* The refusal comes with the header, before anybody waits for the payload. */
static void too_large_is_said_at_once(void **state) {
    (void)state;
    static const struct {
        uint32_t size, frame_max;
        enum frame_status expected;
    } cases[] = {
        {4096 - 8, 4096, FRAME_INCOMPLETE},
        {4096 - 7, 4096, FRAME_TOO_LARGE},
        {UINT32_MAX, 131072, FRAME_TOO_LARGE},
        {UINT32_MAX - 7, UINT32_MAX, FRAME_TOO_LARGE},
        {UINT32_MAX, 0, FRAME_INCOMPLETE},
        {0, 7, FRAME_TOO_LARGE},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t input[FRAME_HEADER_BYTES];
        struct writer writer = writer_over(input, sizeof input);
        write_u8(&writer, FRAME_BODY);
        write_u16(&writer, 3);
        write_u32(&writer, cases[i].size);
        struct frame frame = {0};
        uint32_t taken = 77;
        assert_int_equal(frame_parse(writer_bytes(&writer), cases[i].frame_max, &frame, &taken),
            cases[i].expected);
        assert_int_equal(taken, 77);
        if (cases[i].expected != FRAME_TOO_LARGE) continue;
        assert_int_equal(frame.type, FRAME_BODY);
        assert_int_equal(frame.channel, 3);
        assert_int_equal(frame.payload.size, cases[i].size);
        assert_null(frame.payload.data);
    }
}

static void unknown_types_are_the_callers_business(void **state) {
    (void)state;
    struct frame frame;
    uint32_t taken = 0;
    assert_int_equal(frame_parse(BYTES("\xff\0\0\0\0\0\0\xce"), 0, &frame, &taken), FRAME_COMPLETE);
    assert_int_equal(frame.type, 0xff);
}

static void a_method_frame(void **state) {
    (void)state;
    uint8_t memory[64];
    struct writer writer = writer_over(memory, sizeof memory);
    struct method method = {.kind = METHOD_basic_ack};
    method.basic_ack.delivery_tag = 9;
    method.basic_ack.multiple = true;
    frame_put_method(&writer, 7, &method);
    assert_false(writer.bad);
    assert_bytes(writer_bytes(&writer), ACK_FRAME, sizeof ACK_FRAME - 1);
}

static void a_header_frame(void **state) {
    (void)state;
    const char expected[] = "\x02\x01\x02\0\0\0\x0f"
                            "\0\x3c\0\0\x01\x02\x03\x04\x05\x06\x07\x08"
                            "\x10\0\x02"
                            "\xce";
    uint8_t memory[64];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_header(&writer, 0x0102, 0x0102030405060708, BYTES("\x10\0\x02"));
    assert_false(writer.bad);
    assert_bytes(writer_bytes(&writer), expected, sizeof expected - 1);
}

/* The body's bytes out of its frames, each of them checked against the maximum. */
static uint32_t collect_body(struct bytes frames, uint32_t frame_max, uint8_t *body) {
    uint32_t size = 0;
    while (frames.size != 0) {
        struct frame frame;
        uint32_t taken = 0;
        assert_int_equal(frame_parse(frames, frame_max, &frame, &taken), FRAME_COMPLETE);
        assert_int_equal(frame.type, FRAME_BODY);
        assert_int_equal(frame.channel, 5);
        assert_true(frame.payload.size > 0);
        memcpy(body + size, frame.payload.data, frame.payload.size);
        size += frame.payload.size;
        frames = bytes_of(frames.data + taken, frames.size - taken);
    }
    return size;
}

static void bodies_are_cut_to_frame_max(void **state) {
    (void)state;
    static const struct {
        uint32_t body_size, frame_max, frames;
    } cases[] = {
        {0, 4096, 0},
        {1, 4096, 1},
        {4088, 4096, 1},
        {4089, 4096, 2},
        {8176, 4096, 2},
        {8177, 4096, 3},
        {10000, 0, 1},
        {5, 9, 5},
    };
    static uint8_t body[10000], memory[20000], collected[10000];
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (uint8_t)(i * 7);
    }
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct writer writer = writer_over(memory, sizeof memory);
        frame_put_header(&writer, 5, cases[i].body_size, BYTES("\0\0"));
        size_t header = writer_size(&writer);
        frame_put_body(&writer, 5, bytes_of(body, cases[i].body_size), cases[i].frame_max);
        assert_false(writer.bad);
        size_t frames = writer_size(&writer) - header;
        assert_int_equal(frames, cases[i].body_size + cases[i].frames * FRAME_OVERHEAD_BYTES);
        assert_int_equal(
            frame_content_bytes(2, cases[i].body_size, cases[i].frame_max), writer_size(&writer));
        assert_int_equal(
            collect_body(bytes_of(memory + header, frames), cases[i].frame_max, collected),
            cases[i].body_size);
        assert_memory_equal(collected, body, cases[i].body_size);
    }
}

static void large_contents_are_counted(void **state) {
    (void)state;
    uint64_t size = (uint64_t)1 << 40;
    uint64_t frames = (size + 131063) / 131064;
    assert_true(frame_content_bytes(100, size, 131072) == 20 + 100 + size + frames * 8);
}

static void too_little_room_is_noticed(void **state) {
    (void)state;
    uint8_t memory[200];
    for (size_t room = 0; room < 38; room++) {
        memset(memory, 0xee, sizeof memory);
        struct writer writer = writer_over(memory, room);
        frame_put_header(&writer, 1, 10, BYTES("\0\0"));
        frame_put_body(&writer, 1, BYTES("0123456789"), 13);
        assert_true(writer.bad);
        for (size_t i = room; i < sizeof memory; i++) {
            assert_int_equal(memory[i], 0xee);
        }
    }
    struct writer writer = writer_over(memory, 7);
    frame_put_heartbeat(&writer);
    assert_true(writer.bad);
    assert_null(frame_begin(&writer, FRAME_BODY, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_frame),
        cmocka_unit_test(every_cut_is_incomplete),
        cmocka_unit_test(what_follows_is_left),
        cmocka_unit_test(a_wrong_end_octet),
        cmocka_unit_test(too_large_is_said_at_once),
        cmocka_unit_test(unknown_types_are_the_callers_business),
        cmocka_unit_test(a_method_frame),
        cmocka_unit_test(a_header_frame),
        cmocka_unit_test(bodies_are_cut_to_frame_max),
        cmocka_unit_test(large_contents_are_counted),
        cmocka_unit_test(too_little_room_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
