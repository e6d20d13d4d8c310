/* outbox_test: the bytes leave in order, whole, once; idle outboxes and pools hold nothing. */
#include "unit.h"

#include "base/memory.h"
#include "base/prng.h"
#include "session/outbox.h"

struct fixture {
    struct chunk_pool chunks;
    struct message_pool *messages;
    uint64_t total;
    struct outbox outbox;
};

static int set_up(void **state) {
    struct fixture *f = NEW(struct fixture);
    f->messages = message_pool_new(0);
    outbox_init(&f->outbox, &f->chunks, f->messages, &f->total);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    outbox_deinit(&f->outbox);
    assert_int_equal(f->chunks.used_count, 0);
    chunk_pool_deinit(&f->chunks);
    assert_int_equal(message_pool_count(f->messages), 0);
    message_pool_free(f->messages);
    mem_free(f);
    return 0;
}

static struct message *message_of(struct fixture *f, uint32_t size, uint8_t fill) {
    struct message *message =
        message_new(f->messages, BYTES("e"), BYTES("k"), bytes_of("\0\0", 2), size);
    memset(message_body_data(message), fill, size);
    return message;
}

static void assert_idle(const struct fixture *f) {
    assert_int_equal(f->total, 0);
    assert_int_equal(f->outbox.size, 0);
    assert_int_equal(f->outbox.count, 0);
    assert_null(f->outbox.pieces);
    assert_null(f->outbox.tail);
    assert_int_equal(f->chunks.used_count, 0);
}

static void small_writes_share_a_piece(void **state) {
    struct fixture *f = *state;
    assert_idle(f);
    for (int i = 0; i < 100; i++) {
        struct writer writer = outbox_writer(&f->outbox, 64);
        write_u32(&writer, (uint32_t)i);
        outbox_keep(&f->outbox, &writer);
    }
    struct iovec vectors[4];
    assert_int_equal(outbox_vectors(&f->outbox, vectors, 4), 1);
    assert_int_equal(vectors[0].iov_len, 400);
    assert_int_equal(f->outbox.size, 400);
    outbox_written(&f->outbox, 3);
    assert_int_equal(outbox_vectors(&f->outbox, vectors, 4), 1);
    assert_int_equal(vectors[0].iov_len, 397);
    assert_memory_equal(vectors[0].iov_base, "\0\0\0\0\1\0\0\0\2", 9);
    outbox_written(&f->outbox, 397);
    assert_idle(f);
}

static void nothing_kept_is_nothing_held(void **state) {
    struct fixture *f = *state;
    struct writer writer = outbox_writer(&f->outbox, 10);
    outbox_keep(&f->outbox, &writer);
    outbox_put(&f->outbox, bytes_of("", 0));
    assert_idle(f);
}

static void bodies_go_by_reference(void **state) {
    struct fixture *f = *state;
    struct message *message = message_of(f, 10000, 'b');
    outbox_put(&f->outbox, BYTES("head"));
    outbox_put_body(&f->outbox, message, 100, 9900);
    outbox_put(&f->outbox, BYTES("tail"));
    message_unref(f->messages, message);
    assert_int_equal(message_pool_count(f->messages), 1);
    struct iovec vectors[4];
    assert_int_equal(outbox_vectors(&f->outbox, vectors, 2), 2);
    assert_int_equal(outbox_vectors(&f->outbox, vectors, 4), 3);
    assert_ptr_equal(vectors[1].iov_base, message_body_data(message) + 100);
    assert_int_equal(vectors[1].iov_len, 9900);
    assert_ptr_equal((uint8_t *)vectors[2].iov_base, (uint8_t *)vectors[0].iov_base + 4);
    outbox_written(&f->outbox, 4 + 9899);
    assert_int_equal(message_pool_count(f->messages), 1);
    outbox_written(&f->outbox, 1);
    assert_int_equal(message_pool_count(f->messages), 0);
    outbox_written(&f->outbox, 4);
    assert_idle(f);
}

static void deinit_drops_what_waits(void **state) {
    struct fixture *f = *state;
    struct message *message = message_of(f, 5000, 'b');
    outbox_put(&f->outbox, BYTES("head"));
    outbox_put_body(&f->outbox, message, 0, 5000);
    message_unref(f->messages, message);
    outbox_deinit(&f->outbox);
    assert_idle(f);
    outbox_put(&f->outbox, BYTES("again"));
    assert_int_equal(f->outbox.size, 5);
}

static void large_writes_get_their_own_chunk(void **state) {
    struct fixture *f = *state;
    outbox_put(&f->outbox, BYTES("x"));
    struct writer writer = outbox_writer(&f->outbox, 300000);
    assert_int_equal(writer.end - writer.at, 300000);
    write_bytes(&writer, BYTES("y"));
    memset(writer_take(&writer, 299999), 'y', 299999);
    outbox_keep(&f->outbox, &writer);
    assert_int_equal(f->outbox.size, 300001);
    outbox_written(&f->outbox, 300001);
    assert_idle(f);
    assert_int_equal(f->chunks.spare_count, 1);
}

/* ---- moving ---- */

/* Another outbox with the same pools. */
static void init_other(struct fixture *f, struct outbox *other) {
    outbox_init(other, &f->chunks, f->messages, &f->total);
}

static void moved_bodies_stay_where_they_are(void **state) {
    struct fixture *f = *state;
    struct outbox other;
    init_other(f, &other);
    struct message *message = message_of(f, 10000, 'b');
    outbox_put(&other, BYTES("head"));
    outbox_put_body(&other, message, 0, 10000);
    outbox_put(&other, BYTES("tail"));
    message_unref(f->messages, message);
    outbox_put(&f->outbox, BYTES("first"));
    /* The body is cut in two: each part has its reference. */
    outbox_move(&f->outbox, &other, 4 + 6000);
    assert_int_equal(f->outbox.size, 5 + 4 + 6000);
    assert_int_equal(other.size, 4000 + 4);
    assert_int_equal(f->total, 5 + 4 + 10000 + 4);
    struct iovec vectors[4];
    assert_int_equal(outbox_vectors(&f->outbox, vectors, 4), 2);
    assert_memory_equal(vectors[0].iov_base, "firsthead", 9);
    assert_ptr_equal(vectors[1].iov_base, message_body_data(message));
    outbox_written(&f->outbox, 9 + 6000);
    assert_int_equal(message_pool_count(f->messages), 1);
    outbox_move(&f->outbox, &other, other.size);
    assert_int_equal(outbox_vectors(&f->outbox, vectors, 4), 2);
    assert_ptr_equal(vectors[0].iov_base, message_body_data(message) + 6000);
    assert_memory_equal(vectors[1].iov_base, "tail", 4);
    assert_null(other.pieces);
    assert_null(other.tail);
    outbox_written(&f->outbox, 4004);
    assert_int_equal(message_pool_count(f->messages), 0);
    assert_idle(f);
}

/* Large pieces go by reference although the outbox they come from still writes into their chunk. */
static void a_moved_tail_has_two_owners(void **state) {
    static uint8_t bytes[6000];
    struct fixture *f = *state;
    struct outbox other;
    init_other(f, &other);
    outbox_put(&other, bytes_of(bytes, sizeof bytes));
    outbox_put(&other, BYTES("kept"));
    outbox_move(&f->outbox, &other, sizeof bytes);
    assert_int_equal(f->chunks.used_count, 1);
    outbox_put(&other, BYTES("more"));
    outbox_written(&f->outbox, sizeof bytes);
    assert_int_equal(f->outbox.size, 0);
    struct iovec vectors[2];
    assert_int_equal(outbox_vectors(&other, vectors, 2), 1);
    assert_int_equal(vectors[0].iov_len, 8);
    assert_memory_equal(vectors[0].iov_base, "keptmore", 8);
    outbox_put(&other, bytes_of(bytes, sizeof bytes));
    outbox_move(&f->outbox, &other, other.size);
    outbox_deinit(&other);
    assert_int_equal(f->outbox.size, 8 + sizeof bytes);
    outbox_deinit(&f->outbox);
    assert_idle(f);
}

/* ---- random traffic ---- */

/* What the model expects to leave, and what has left. */
struct model {
    uint8_t *data;
    size_t size;
    size_t written;
};

static void model_put(struct model *model, const void *data, size_t size) {
    model->data = mem_resize(model->data, model->size + size);
    bytes_copy(model->data + model->size, data, size);
    model->size += size;
}

static void put_something(
    struct fixture *f, struct outbox *outbox, struct model *model, struct prng *prng) {
    uint8_t bytes[20000];
    uint8_t fill = (uint8_t)prng_next(prng);
    size_t size = prng_chance(prng, 80) ? prng_below(prng, 200) : prng_below(prng, sizeof bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(fill + i);
    uint64_t way = prng_below(prng, 3);
    if (way == 0) {
        outbox_put(outbox, bytes_of(bytes, size));
    } else if (way == 1) {
        struct writer writer = outbox_writer(outbox, size + prng_below(prng, 100));
        write_bytes(&writer, bytes_of(bytes, size));
        outbox_keep(outbox, &writer);
    } else {
        struct message *message = message_of(f, (uint32_t)size + 7, 0);
        bytes_copy(message_body_data(message) + 3, bytes, size);
        outbox_put_body(outbox, message, 3, (uint32_t)size);
        message_unref(f->messages, message);
    }
    model_put(model, bytes, size);
}

static void write_something(struct fixture *f, struct model *model, struct prng *prng) {
    struct iovec vectors[5];
    uint32_t count = outbox_vectors(&f->outbox, vectors, 1 + (uint32_t)prng_below(prng, 5));
    size_t given = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(vectors[i].iov_len > 0);
        assert_memory_equal(
            vectors[i].iov_base, model->data + model->written + given, vectors[i].iov_len);
        given += vectors[i].iov_len;
    }
    if (given == 0) return;
    size_t written = prng_chance(prng, 50) ? given : 1 + prng_below(prng, given);
    outbox_written(&f->outbox, written);
    model->written += written;
}

static void random_traffic_leaves_in_order(void **state) {
    struct fixture *f = *state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct prng prng;
        struct model model = {0};
        prng_init(&prng, seed);
        for (int step = 0; step < 300; step++) {
            if (prng_chance(&prng, 55)) {
                put_something(f, &f->outbox, &model, &prng);
            } else {
                write_something(f, &model, &prng);
            }
            assert_int_equal(f->outbox.size, model.size - model.written);
        }
        while (model.written < model.size)
            write_something(f, &model, &prng);
        assert_idle(f);
        mem_free(model.data);
    }
}

/* Some is put right there, some comes from another outbox in parts. */
static void what_is_moved_keeps_its_order(void **state) {
    struct fixture *f = *state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct prng prng;
        struct outbox other;
        struct model model = {0};
        struct model waiting = {0};
        prng_init(&prng, seed);
        init_other(f, &other);
        for (int step = 0; step < 300; step++) {
            uint64_t what = prng_below(&prng, 4);
            if (what == 0) {
                put_something(f, &f->outbox, &model, &prng);
            } else if (what == 1) {
                put_something(f, &other, &waiting, &prng);
            } else if (what == 2) {
                uint64_t size = prng_below(&prng, other.size + 1);
                outbox_move(&f->outbox, &other, size);
                model_put(&model, waiting.data + waiting.written, size);
                waiting.written += size;
            } else {
                write_something(f, &model, &prng);
            }
            assert_int_equal(f->outbox.size, model.size - model.written);
            assert_int_equal(other.size, waiting.size - waiting.written);
            assert_int_equal(f->total, f->outbox.size + other.size);
        }
        outbox_deinit(&other);
        while (model.written < model.size)
            write_something(f, &model, &prng);
        assert_idle(f);
        mem_free(model.data);
        mem_free(waiting.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(small_writes_share_a_piece, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_kept_is_nothing_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_go_by_reference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deinit_drops_what_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_writes_get_their_own_chunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(moved_bodies_stay_where_they_are, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_moved_tail_has_two_owners, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_traffic_leaves_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_moved_keeps_its_order, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
