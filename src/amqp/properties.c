/* properties: the content header's flags and the 14 basic properties. */
#include "amqp/properties.h"

#include "amqp/table.h"

/* The flag bits that name a property. */
enum {
    FLAGS_KNOWN = 0
#define PROPERTY(name, type, bit) | (1 << (bit))
#include "amqp/properties.def"
#undef PROPERTY
    ,
    FLAG_CONTINUES = 1, /* another flag word follows; no property ever needed one */
};

/* One read per type of property. */
#define READ_SHORTSTR(reader)  read_shortstr(reader)
#define READ_TABLE(reader)     read_longstr(reader)
#define READ_OCTET(reader)     read_u8(reader)
#define READ_TIMESTAMP(reader) read_u64(reader)

bool properties_decode(struct bytes encoded, struct properties *ret_properties) {
    struct reader reader = reader_over(encoded);
    uint16_t flags = read_u16(&reader);
    if (flags & FLAG_CONTINUES) return false;
    struct properties *p = ret_properties;
    p->flags = flags & FLAGS_KNOWN;
#define PROPERTY(name, type, bit)                                                                  \
    if (flags & (1 << (bit))) p->name = READ_##type(&reader);
#include "amqp/properties.def"
#undef PROPERTY
    if (reader.bad || reader_left(&reader) != 0) return false;
    return !(flags & PROPERTY_HAS_headers) || table_valid(p->headers);
}

bool properties_read_header(struct bytes payload, struct content_header *ret_header) {
    struct reader reader = reader_over(payload);
    uint16_t class_id = read_u16(&reader);
    uint16_t weight = read_u16(&reader);
    uint64_t body_size = read_u64(&reader);
    if (reader.bad || weight != 0) return false;
    ret_header->class_id = class_id;
    ret_header->body_size = body_size;
    ret_header->properties = read_bytes(&reader, reader_left(&reader));
    return true;
}

/* One write per type of property. */
#define WRITE_SHORTSTR(writer, value)  write_shortstr(writer, value)
#define WRITE_TABLE(writer, value)     write_longstr(writer, value)
#define WRITE_OCTET(writer, value)     write_u8(writer, value)
#define WRITE_TIMESTAMP(writer, value) write_u64(writer, value)

void properties_encode(struct writer *writer, const struct properties *properties) {
    uint16_t flags = properties->flags & FLAGS_KNOWN;
    write_u16(writer, flags);
#define PROPERTY(name, type, bit)                                                                  \
    if (flags & (1 << (bit))) WRITE_##type(writer, properties->name);
#include "amqp/properties.def"
#undef PROPERTY
}
