/* definition: what the row of a virtual host, exchange, queue or binding says beside its key
 * (docs/disk-format.md, "Definitions"). A version or flag that is not known is not read. */
#ifndef STORE_DEFINITION_H
#define STORE_DEFINITION_H

#include "base/buffer.h"
#include "store/metadata.h"

enum { DEFINITION_VERSION = 1 }; /* the first byte, and all there is of a virtual host or binding */

struct definition {
    bool auto_delete;
    bool internal;      /* exchanges only */
    struct bytes type;  /* the same */
    struct bytes table; /* arguments; a binding has them in its key */
};

/* The content of a row of this kind; borrowed from `room`, whose content it replaces. */
struct bytes definition_write(
    enum metadata_kind kind, const struct definition *definition, struct buffer *room);

/* Reads a row; what it gives is borrowed from the row, and the table is not looked at. NULL, or
 * what is wrong with the row, as static text that follows its name. */
const char *definition_read(
    const struct metadata_row *row, struct definition *ret_definition) MUST_USE;

/* What is wrong with a row that no version has written. */
extern const char DEFINITION_NEVER_WRITTEN[];

#endif
