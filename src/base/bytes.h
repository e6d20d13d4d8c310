/* bytes: a borrowed slice of memory, and big-endian cursors over bytes with a sticky error.
 *
 * A reader that runs past its end gives zeroes and sets `bad`; a writer that runs past its end
 * writes nothing and sets `bad`. Callers look at the mark once, at the end. Bits pack into shared
 * octets as AMQP asks (spec 4.2.5.2): any other read or write closes the open octet. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    uint32_t size;
};

/* A string literal as bytes, without its terminating zero. */
#define BYTES(literal) ((struct bytes){(const uint8_t *)(literal), (uint32_t)sizeof(literal) - 1})

static inline struct bytes bytes_of(const void *data, size_t size) {
    return (struct bytes){data, (uint32_t)size};
}

/* The text up to its terminating zero; borrowed. */
static inline struct bytes bytes_text(const char *text) {
    return bytes_of(text, strlen(text));
}

static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool bytes_start_with(struct bytes a, struct bytes prefix) {
    return a.size >= prefix.size && (prefix.size == 0 || !memcmp(a.data, prefix.data, prefix.size));
}

/* Copies; `size` may be 0 and the pointers then NULL. The two must not overlap.
 *
 * When gcc can prove that a size is small, as that of a short string is, it copies by an inlined
 * `rep movs`, which takes longer to start than the library's memcpy takes to finish. The empty asm
 * keeps the size's history from the compiler. */
static inline void bytes_copy(void *to, const void *from, size_t size) {
    __asm__("" : "+r"(size));
    if (size != 0) memcpy(to, from, size);
}

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    uint8_t bits;
    uint8_t bit_next;
    bool bad;
};

static inline struct reader reader_over(struct bytes bytes) {
    return (struct reader){.at = bytes.data, .end = bytes.data ? bytes.data + bytes.size : NULL};
}

static inline size_t reader_left(const struct reader *reader) {
    return (size_t)(reader->end - reader->at);
}

/* Gives `size` bytes and moves on, or NULL with the mark set. */
static inline const uint8_t *reader_take(struct reader *reader, size_t size) {
    reader->bit_next = 0;
    if (reader_left(reader) < size) {
        reader->bad = true;
        reader->at = reader->end;
        return NULL;
    }
    const uint8_t *taken = reader->at;
    reader->at += size;
    return taken;
}

static inline uint8_t read_u8(struct reader *reader) {
    const uint8_t *p = reader_take(reader, 1);
    return p ? p[0] : 0;
}

static inline uint16_t read_u16(struct reader *reader) {
    const uint8_t *p = reader_take(reader, 2);
    if (!p) return 0;
    return (uint16_t)((p[0] << 8) | p[1]);
}

static inline uint32_t read_u32(struct reader *reader) {
    const uint8_t *p = reader_take(reader, 4);
    if (!p) return 0;
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return __builtin_bswap32(value);
}

static inline uint64_t read_u64(struct reader *reader) {
    const uint8_t *p = reader_take(reader, 8);
    if (!p) return 0;
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return __builtin_bswap64(value);
}

static inline bool read_bit(struct reader *reader) {
    if (reader->bit_next == 0) {
        uint8_t octet = read_u8(reader);
        reader->bits = octet;
    }
    bool set = (reader->bits >> reader->bit_next) & 1;
    reader->bit_next = (uint8_t)((reader->bit_next + 1) & 7);
    return set;
}

static inline struct bytes read_bytes(struct reader *reader, size_t size) {
    const uint8_t *p = reader_take(reader, size);
    return p ? bytes_of(p, size) : bytes_of(NULL, 0);
}

/* An AMQP short string: one octet of length, then the bytes. Borrowed from the input. */
static inline struct bytes read_shortstr(struct reader *reader) {
    return read_bytes(reader, read_u8(reader));
}

/* An AMQP long string: four octets of length, then the bytes. Borrowed from the input. */
static inline struct bytes read_longstr(struct reader *reader) {
    return read_bytes(reader, read_u32(reader));
}

struct writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    uint8_t bit_next;
    bool bad;
};

static inline struct writer writer_over(void *data, size_t size) {
    return (struct writer){.start = data, .at = data, .end = (uint8_t *)data + size};
}

static inline size_t writer_size(const struct writer *writer) {
    return (size_t)(writer->at - writer->start);
}

/* What has been written so far; borrowed from the writer's memory. */
static inline struct bytes writer_bytes(const struct writer *writer) {
    return bytes_of(writer->start, writer_size(writer));
}

/* Gives room for `size` bytes and moves on, or NULL with the mark set. */
static inline uint8_t *writer_take(struct writer *writer, size_t size) {
    writer->bit_next = 0;
    if (writer->bad || (size_t)(writer->end - writer->at) < size) {
        writer->bad = true;
        return NULL;
    }
    uint8_t *taken = writer->at;
    writer->at += size;
    return taken;
}

static inline void write_u8(struct writer *writer, uint8_t value) {
    uint8_t *p = writer_take(writer, 1);
    if (p) p[0] = value;
}

static inline void write_u16(struct writer *writer, uint16_t value) {
    uint8_t *p = writer_take(writer, 2);
    if (!p) return;
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void write_u32(struct writer *writer, uint32_t value) {
    uint8_t *p = writer_take(writer, 4);
    value = __builtin_bswap32(value);
    if (p) memcpy(p, &value, sizeof value);
}

static inline void write_u64(struct writer *writer, uint64_t value) {
    uint8_t *p = writer_take(writer, 8);
    value = __builtin_bswap64(value);
    if (p) memcpy(p, &value, sizeof value);
}

static inline void write_bit(struct writer *writer, bool set) {
    uint8_t bit = writer->bit_next;
    if (bit == 0) write_u8(writer, 0);
    if (writer->bad) return;
    if (set) writer->at[-1] |= (uint8_t)(1u << bit);
    writer->bit_next = (uint8_t)((bit + 1) & 7);
}

static inline void write_bytes(struct writer *writer, struct bytes bytes) {
    uint8_t *p = writer_take(writer, bytes.size);
    if (p) bytes_copy(p, bytes.data, bytes.size);
}

/* An AMQP short string; more than 255 bytes set the mark. */
static inline void write_shortstr(struct writer *writer, struct bytes bytes) {
    if (bytes.size > 255) {
        writer->bad = true;
        return;
    }
    write_u8(writer, (uint8_t)bytes.size);
    write_bytes(writer, bytes);
}

static inline void write_longstr(struct writer *writer, struct bytes bytes) {
    write_u32(writer, bytes.size);
    write_bytes(writer, bytes);
}

#endif
