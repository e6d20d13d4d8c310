/* log: lines of one event each, `connection.closed peer=127.0.0.1:5000 reason=heartbeat`.
 *
 * A line is put together here, without I/O or clock; where it goes and what time it was is the
 * business of the sink that the process gives. Values come from anywhere, so they are escaped: a
 * line stays one line, whatever a peer calls itself. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>

#include "base/base.h"

enum log_level { LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARNING, LEVEL_ERROR, LEVEL_COUNT };

enum {
    LOG_LINE_BYTES_MAX = 1024, /* what a pipe takes in one piece is at least 4096 */
    LOG_VALUE_BYTES_MAX = 256  /* shown of one value; a cut one ends in "..." */
};

/* Where lines go. `write` may be called by any thread. */
struct log {
    _Atomic int level; /* enum log_level: what is below it is not written */
    void (*write)(void *context, enum log_level level, struct bytes line);
    void *context;
};

/* "debug", "info", "warning", "error"; static text. */
const char *log_level_name(enum log_level level);

/* False when there is no level of that name. RabbitMQ's "critical" is error here. */
bool log_level_find(struct bytes name, enum log_level *ret_level) MUST_USE;

/* True when a line of that level would be written; false without a log. */
bool log_wants(const struct log *log, enum log_level level);

/* A line being put together: first log_begin, then its values, then log_end. */
struct log_line {
    size_t size;
    char text[LOG_LINE_BYTES_MAX];
};

/* Begins a line for an event, "noun.verb". */
void log_begin(struct log_line *line, const char *event);

/* Puts key=value; the value in quotes, escaped and cut as needed. What does not fit is left out. */
void log_put(struct log_line *line, const char *key, struct bytes value);
void log_put_text(struct log_line *line, const char *key, const char *value);
void log_put_number(struct log_line *line, const char *key, uint64_t value);

/* Gives the line to the log if it wants the level. */
void log_end(struct log_line *line, const struct log *log, enum log_level level);

/* Keeps a flood of events from becoming a flood of lines: so many in each second, the rest are
 * counted. All zero is a fresh one; one thread uses it. */
struct log_budget {
    uint64_t second;
    uint32_t spent;
    uint32_t withheld;
};

enum { LOG_LINES_PER_SECOND = 100 };

/* True when one more line may be written at now_ms. *ret_withheld tells how many were not since
 * the last line that was; it is not 0 only with true. */
bool log_budget_take(struct log_budget *budget, uint64_t now_ms, uint32_t *ret_withheld) MUST_USE;

#endif
