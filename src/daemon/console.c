/* console: the log's way to standard error: time, level and line in one write.
 *
 * A reader that does not read must not stop the broker: a line for which there is no room is lost
 * and counted, and the next one that is written says so. */
#include "daemon/console.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

/* "2026-11-24T00:13:31.123Z" */
static size_t put_time(char *text, size_t size) {
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    return str_format(text, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
        parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
        (int)(now.tv_nsec / 1000000));
}

/* A pipe is writable when it takes 4096 bytes in one piece, which is more than a line. */
static bool has_room(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) != 0;
}

static void console_write(void *context, enum log_level level, struct bytes line) {
    struct console *console = context;
    if (!has_room(console->fd)) {
        atomic_fetch_add(&console->lost, 1);
        return;
    }
    char text[LOG_LINE_BYTES_MAX + 128];
    size_t size = put_time(text, 32);
    size += str_format(text + size, 16, " %s ", log_level_name(level));
    memcpy(text + size, line.data, line.size);
    size += line.size;
    uint64_t lost = atomic_exchange(&console->lost, 0);
    if (lost != 0) size += str_format(text + size, 32, " lost=%llu", (unsigned long long)lost);
    text[size++] = '\n';
    if (write(console->fd, text, size) < 0) atomic_fetch_add(&console->lost, lost + 1);
}

void console_init(struct console *console, int fd, struct log *log, enum log_level level) {
    console->fd = fd;
    atomic_init(&console->lost, 0);
    *log = (struct log){.write = console_write, .context = console};
    atomic_init(&log->level, (int)level);
}
