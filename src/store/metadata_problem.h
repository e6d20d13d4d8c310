/* metadata_problem: SQLite's errors as errno and as a line for people. */
#ifndef STORE_METADATA_PROBLEM_H
#define STORE_METADATA_PROBLEM_H

#include <sqlite3.h>

#include "store/metadata.h"

/* The problem of a call on `db` that has just failed. Gives its errno, negative. */
int metadata_problem_of(
    struct metadata_problem *problem, sqlite3 *db, const char *path, const char *doing) MUST_USE;

/* A problem found by ourselves: the text says what is wrong with the file. Gives `error`. */
int metadata_problem_say(struct metadata_problem *problem, int error, const char *path,
    const char *format, ...) PRINTF_LIKE(4, 5);

#endif
