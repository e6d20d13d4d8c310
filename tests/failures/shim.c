/* shim: a library between the broker and the kernel that lets chosen calls fail.
 *
 * Built by conftest.py, loaded by LD_PRELOAD. The file that SHIM_RULES names is read at each call,
 * so that a test may change its mind while the broker runs. One rule per line:
 *
 *     CALL END ERRNO SKIP COUNT FROM TO
 *
 * CALL is write, short, sync, read, make, which is opening with O_CREAT, direct, which is opening
 * with O_DIRECT, or hold; END is how the file's path ends. The first SKIP such calls go through,
 * the next COUNT fail with ERRNO (a short write instead writes half, and a write that is held waits
 * until the rule is gone); for read and write only those that touch the bytes from FROM to TO.
 * "clock - 0 0 0 SECONDS 0" moves the wall clock, "free END 0 0 0 FREE ALL" is what statvfs() tells
 * of a path, in bytes. Calls are counted anew when the file changes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RULES_MAX = 8, TEXT_BYTES = 2048, EVENT_BYTES = 4096 };

struct rule {
    char call[16];
    char end[256];
    int error;
    long skip;
    long count;
    long from;
    long to;
    long seen;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char text[TEXT_BYTES];
static struct rule rules[RULES_MAX];
static int rule_count;

/* Reads the rules again if they have changed. Called with the lock. */
static void refresh(void) {
    char now[TEXT_BYTES] = "";
    const char *path = getenv("SHIM_RULES");
    long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    long size = syscall(SYS_read, fd, now, sizeof now - 1);
    syscall(SYS_close, fd);
    if (size < 0 || strcmp(now, text) == 0) return;
    memcpy(text, now, sizeof text);
    rule_count = 0;
    for (char *line = now, *end; rule_count < RULES_MAX && (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        struct rule *rule = &rules[rule_count];
        *rule = (struct rule){.seen = 0};
        rule_count += sscanf(line, "%15s %255s %d %ld %ld %ld %ld", rule->call, rule->end,
                          &rule->error, &rule->skip, &rule->count, &rule->from, &rule->to) == 7;
    }
}

static int ends_with(const char *path, const char *end) {
    size_t size = strlen(path), end_size = strlen(end);
    return size >= end_size && strcmp(path + size - end_size, end) == 0;
}

/* The errno that this call on a path shall have, or 0. */
static int verdict_on(const char *call, const char *path, long from, long to) {
    int error = 0;
    pthread_mutex_lock(&lock);
    refresh();
    for (int i = 0; i < rule_count && error == 0; i++) {
        struct rule *rule = &rules[i];
        if (strcmp(rule->call, call) != 0 || !ends_with(path, rule->end)) continue;
        if (to <= rule->from || from >= rule->to) continue;
        long number = rule->seen++;
        if (number >= rule->skip && number - rule->skip < rule->count) error = rule->error;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

/* The same for an open file. */
static int verdict(const char *call, int fd, long from, long to) {
    char link[64], path[512] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    return size < 0 ? 0 : verdict_on(call, path, from, to);
}

static ssize_t fail(int error) {
    errno = error;
    return -1;
}

int openat64(int directory, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    int error = flags & O_DIRECT ? verdict_on("direct", path, 0, 1) : 0;
    if (error == 0 && flags & O_CREAT) error = verdict_on("make", path, 0, 1);
    if (error != 0) return (int)fail(error);
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

int __openat64_2(int directory, const char *path, int flags) {
    return openat64(directory, path, flags);
}

/* Waits as long as a rule holds writes to these bytes. The file of rules is replaced by another
 * one: that is what wakes. */
static void wait_while_held(int fd, long from, long to) {
    char folder[TEXT_BYTES], event[EVENT_BYTES];
    if (verdict("hold", fd, from, to) == 0) return;
    snprintf(folder, sizeof folder, "%s", getenv("SHIM_RULES"));
    *strrchr(folder, '/') = 0;
    int watch = inotify_init1(IN_CLOEXEC);
    inotify_add_watch(watch, folder, IN_MOVED_TO);
    while (verdict("hold", fd, from, to) != 0)
        syscall(SYS_read, watch, event, sizeof event);
    syscall(SYS_close, watch);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    int error = verdict("write", fd, offset, offset + (long)size);
    if (error != 0) return fail(error);
    wait_while_held(fd, offset, offset + (long)size);
    if (verdict("short", fd, offset, offset + (long)size) != 0) size = size / 2 & ~(size_t)511;
    return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset) {
    int error = verdict("read", fd, offset, offset + (long)size);
    if (error != 0) return fail(error);
    return syscall(SYS_pread64, fd, data, size, offset);
}

int fsync(int fd) {
    int error = verdict("sync", fd, 0, 1);
    return error != 0 ? (int)fail(error) : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    int error = verdict("sync", fd, 0, 1);
    return error != 0 ? (int)fail(error) : (int)syscall(SYS_fdatasync, fd);
}

int statvfs64(const char *path, struct statvfs64 *ret_facts) {
    int (*real)(const char *, struct statvfs64 *) = dlsym(RTLD_NEXT, "statvfs64");
    int status = real(path, ret_facts);
    pthread_mutex_lock(&lock);
    refresh();
    for (int i = 0; i < rule_count && status == 0; i++) {
        if (strcmp(rules[i].call, "free") != 0 || !ends_with(path, rules[i].end)) continue;
        ret_facts->f_frsize = 1;
        ret_facts->f_bavail = ret_facts->f_bfree = (fsblkcnt64_t)rules[i].from;
        ret_facts->f_blocks = (fsblkcnt64_t)rules[i].to;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

int clock_gettime(clockid_t clock, struct timespec *ret_time) {
    int status = (int)syscall(SYS_clock_gettime, clock, ret_time);
    if (status != 0 || clock != CLOCK_REALTIME) return status;
    pthread_mutex_lock(&lock);
    refresh();
    for (int i = 0; i < rule_count; i++) {
        if (strcmp(rules[i].call, "clock") == 0) ret_time->tv_sec += rules[i].from;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}
