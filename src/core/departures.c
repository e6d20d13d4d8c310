/* departures: the names of durable exchanges that have gone, for whoever keeps them elsewhere too.
 */
#include "core/departures.h"

#include "base/limits.h"

/* The exchanges themselves took more memory than their names do here. */
void departures_init(struct departures *departures) {
    buffer_init(&departures->names, SIZE_MAX);
}

void departures_deinit(struct departures *departures) {
    buffer_deinit(&departures->names);
}

void departures_clear(struct departures *departures) {
    departures->names.size = 0;
}

void departures_add(struct departures *departures, struct bytes name) {
    check(name.size <= NAME_BYTES_MAX);
    uint8_t *room = buffer_room(&departures->names, 1 + (size_t)name.size);
    check(room != NULL);
    room[0] = (uint8_t)name.size;
    bytes_copy(room + 1, name.data, name.size);
    departures->names.size += 1 + (size_t)name.size;
}

bool departures_next(const struct departures *departures, size_t *at, struct bytes *ret_name) {
    if (*at == departures->names.size) return false;
    const uint8_t *entry = departures->names.data + *at;
    *ret_name = bytes_of(entry + 1, entry[0]);
    *at += 1 + (size_t)entry[0];
    return true;
}
