/* file_header: one block, at fixed offsets, zeroes up to its checksum. */
#include "store/file_header.h"

#include "store/crc.h"
#include "store/le.h"

#define MAGIC 0x31465747u /* "GWF1" */

enum {
    AT_FORMAT = 4,
    AT_KIND = 6,
    AT_NODE_ID = 8,
    AT_SHARD = 24,
    AT_FILE_NO = 32,
    AT_FILE_ID = 40,
    AT_BASE = 48,
    AT_PREV_FILE = 56,
    AT_PREV_END = 64,
    AT_PREV_INDEX = 72,
    AT_CREATED = 80,
    AT_DURABLE = 88,
    AT_RELEASED = 96,
    AT_PREV_CRC = 104,
    AT_COMPAT = 108,
    AT_INCOMPAT = 112,
    AT_RO_COMPAT = 116,
    AT_CRC = FILE_HEADER_BYTES - 4,
};

uint32_t file_header_encode(const struct file_header *header, uint8_t *block) {
    memset(block, 0, FILE_HEADER_BYTES);
    le_put_u32(block, MAGIC);
    le_put_u16(block + AT_FORMAT, header->format);
    block[AT_KIND] = (uint8_t)header->kind;
    memcpy(block + AT_NODE_ID, header->node_id, FILE_NODE_ID_BYTES);
    le_put_u16(block + AT_SHARD, header->shard);
    le_put_u64(block + AT_FILE_NO, header->file_no);
    le_put_u64(block + AT_FILE_ID, header->file_id);
    le_put_u64(block + AT_BASE, header->base_lsn);
    le_put_u64(block + AT_PREV_FILE, header->prev_file_no);
    le_put_u64(block + AT_PREV_END, header->prev_end_lsn);
    le_put_u64(block + AT_PREV_INDEX, header->prev_index_lsn);
    le_put_u64(block + AT_CREATED, header->created_ms);
    le_put_u64(block + AT_DURABLE, header->durable_lsn);
    le_put_u64(block + AT_RELEASED, header->released_file_no);
    le_put_u32(block + AT_PREV_CRC, header->prev_crc);
    le_put_u32(block + AT_COMPAT, header->compat);
    le_put_u32(block + AT_INCOMPAT, header->incompat);
    le_put_u32(block + AT_RO_COMPAT, header->ro_compat);
    uint32_t crc = crc32c(block, AT_CRC);
    le_put_u32(block + AT_CRC, crc);
    return crc;
}

uint32_t file_header_crc(const uint8_t *block) {
    return le_get_u32(block + AT_CRC);
}

enum file_header_fault file_header_parse(const uint8_t *block, struct file_header *ret_header) {
    if (le_get_u32(block) != MAGIC) return FILE_HEADER_BAD;
    if (crc32c(block, AT_CRC) != le_get_u32(block + AT_CRC)) return FILE_HEADER_BAD;
    struct file_header header = {
        .format = le_get_u16(block + AT_FORMAT),
        .kind = block[AT_KIND],
        .shard = le_get_u16(block + AT_SHARD),
        .file_no = le_get_u64(block + AT_FILE_NO),
        .file_id = le_get_u64(block + AT_FILE_ID),
        .base_lsn = le_get_u64(block + AT_BASE),
        .prev_file_no = le_get_u64(block + AT_PREV_FILE),
        .prev_end_lsn = le_get_u64(block + AT_PREV_END),
        .prev_index_lsn = le_get_u64(block + AT_PREV_INDEX),
        .created_ms = le_get_u64(block + AT_CREATED),
        .durable_lsn = le_get_u64(block + AT_DURABLE),
        .released_file_no = le_get_u64(block + AT_RELEASED),
        .prev_crc = le_get_u32(block + AT_PREV_CRC),
        .compat = le_get_u32(block + AT_COMPAT),
        .incompat = le_get_u32(block + AT_INCOMPAT),
        .ro_compat = le_get_u32(block + AT_RO_COMPAT),
    };
    memcpy(header.node_id, block + AT_NODE_ID, FILE_NODE_ID_BYTES);
    if (header.format != FILE_FORMAT || header.incompat != 0 || header.ro_compat != 0)
        return FILE_HEADER_NEWER;
    if (block[AT_KIND] > FILE_SEGMENT) return FILE_HEADER_NEWER;
    *ret_header = header;
    return FILE_HEADER_GOOD;
}
