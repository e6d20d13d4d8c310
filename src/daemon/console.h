/* console: the log's way to standard error. */
#ifndef DAEMON_CONSOLE_H
#define DAEMON_CONSOLE_H

#include "base/log.h"

/* Where the lines go and how many could not. */
struct console {
    int fd;
    _Atomic uint64_t lost; /* since the last line that was written */
};

/* A log that writes there. `console` is borrowed for its life. */
void console_init(struct console *console, int fd, struct log *log, enum log_level level);

#endif
