/* definition_rows: exchanges, queues and bindings as rows of the metadata, and back.
 *
 * What a row says beside its key is its content: a version, flags, and what was declared
 * (docs/disk-format.md, "Definitions"). A version or flag that is not known is not read. */
#ifndef SHARD_DEFINITION_ROWS_H
#define SHARD_DEFINITION_ROWS_H

#include "base/buffer.h"
#include "core/topology.h"
#include "store/metadata.h"

/* The row of a virtual host. */
struct metadata_row definition_row_of_vhost(struct bytes vhost);

/* The row of what a change declares, binds or unbinds, by its kind. Deletions need the key only,
 * and have the row of the declare. `id` is a queue's, else 0. It borrows from the change and from
 * `room`, whose content it replaces. */
struct metadata_row definition_row_of(
    struct bytes vhost, const struct change *change, uint64_t id, struct buffer *room);

/* The row of an exchange by its name, to be removed. */
struct metadata_row definition_row_of_exchange(struct bytes vhost, struct bytes name);

/* What is to be done to have what the row says; its strings are borrowed from the row. Gives NULL,
 * or what is wrong with the row, as static text. */
const char *definition_row_read(const struct metadata_row *row, struct change *ret_change);

#endif
