/* metadata_schema: the tables of meta.db, version by version. */
#ifndef STORE_METADATA_SCHEMA_H
#define STORE_METADATA_SCHEMA_H

#include "store/metadata_problem.h"

enum { METADATA_APPLICATION_ID = 0x476f6477 }; /* "Godw" in the file's header, for file(1) */

/* How a database comes to its newest version: steps[i] makes version i + 1 of version i. */
struct metadata_steps {
    const char *const *steps;
    int count;
};

/* The steps of this program. */
struct metadata_steps metadata_schema_steps(void);

/* Looks whose database it is, sets it up to be stable at every commit, and migrates it in one
 * transaction. A database that is refused has not been changed. */
int metadata_schema_adopt(sqlite3 *db, const char *path, struct metadata_steps steps,
    struct metadata_problem *problem) MUST_USE;

/* Looks whose database it is and whether it has the newest version; changes nothing. */
int metadata_schema_admit(sqlite3 *db, const char *path, struct metadata_steps steps,
    struct metadata_problem *problem) MUST_USE;

#endif
