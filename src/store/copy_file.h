/* copy_file: files of one directory into another: their bytes, or a second name. */
#ifndef STORE_COPY_FILE_H
#define STORE_COPY_FILE_H

#include <stdatomic.h>

#include "base/base.h"

/* From where to where. */
struct copy_file {
    int from; /* directories */
    int to;
    const _Atomic bool *cancelled; /* looked at now and then: ends with -ECANCELED */
    _Atomic uint64_t *bytes;       /* counts what is copied */
};

/* Copies the first `used` bytes of a file, or all when that is UINT64_MAX; the rest of it up to its
 * size reads as zeroes and takes no room. Stable when it returns 0; else -errno. */
int copy_file_bytes(const struct copy_file *copy, const char *name, uint64_t used) MUST_USE;

/* Gives a file that never changes a second name; where that does not work, copies it. Stable after
 * the directory is synced. *ret_linked tells which. 0 or -errno. */
int copy_file_link(const struct copy_file *copy, const char *name, bool *ret_linked) MUST_USE;

/* Makes a file of these bytes, stable. 0 or -errno. */
int copy_file_make(int directory, const char *name, const void *data, size_t size) MUST_USE;

#endif
