/* metadata_copy: a copy of meta.db, while somebody changes it. */
#ifndef STORE_METADATA_COPY_H
#define STORE_METADATA_COPY_H

#include "store/metadata.h"

/* Copies the database of a directory, as it is at one moment, into another directory, where it must
 * not be yet. 0 and stable, or an error as of metadata_open. */
int metadata_copy(const char *from, const char *to, struct metadata_problem *ret_problem) MUST_USE;

#endif
