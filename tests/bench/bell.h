/* bell: what the disk's thread rings and a benchmark of the store waits for; and its ends. */
#ifndef TESTS_BENCH_BELL_H
#define TESTS_BENCH_BELL_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "store/journal.h"

struct bell {
    pthread_mutex_t mutex;
    pthread_cond_t rung;
    bool rings;
};

static inline void bell_init(struct bell *bell) {
    pthread_mutex_init(&bell->mutex, NULL);
    pthread_cond_init(&bell->rung, NULL);
    bell->rings = false;
}

/* Of any thread; takes a struct bell. */
static inline void bell_ring(void *context) {
    struct bell *bell = context;
    pthread_mutex_lock(&bell->mutex);
    bell->rings = true;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->mutex);
}

static inline void bell_wait(struct bell *bell) {
    pthread_mutex_lock(&bell->mutex);
    while (!bell->rings)
        pthread_cond_wait(&bell->rung, &bell->mutex);
    bell->rings = false;
    pthread_mutex_unlock(&bell->mutex);
}

/* Ends the benchmark with an errno. */
static inline void fails(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

/* Makes a directory of its own in `parent`, for the benchmark to fill and to empty. */
static inline void make_scratch(char *path, size_t path_size, const char *parent) {
    str_format(path, path_size, "%s/bench-store-XXXXXX", parent);
    if (!mkdtemp(path)) fails(parent, errno);
}

/* Journal calls: nobody retires files here, and any trouble is the end. */
static inline void on_file_left(void *context, uint64_t file_no, uint64_t position) {
    (void)context;
    (void)file_no;
    (void)position;
}

static inline void on_trouble(void *context, enum journal_trouble trouble, int error) {
    (void)context;
    (void)trouble;
    if (error != 0) fails("journal", error);
}

#endif
