/* hop: what a piece of mail costs on its way: to oneself, and to another thread.
 *
 * Prints nanoseconds per piece, least of several runs: posting an ENQUEUE op field by field,
 * showing it in batches, reading it on the other side. */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "shard/mailbox.h"

enum { PIECES = 4 * 1000 * 1000, RUNS = 7 };

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void no_bell(void *context, uint32_t actor) {
    (void)context;
    (void)actor;
}

static void post(struct mesh *mesh, uint32_t to, uint64_t number) {
    struct mail *mail = mesh_post(mesh, 0, to);
    mail->kind = MAIL_OP;
    mail->ref = number;
    mail->op = (struct op){.kind = OP_ENQUEUE, .now_ms = number};
}

/* Reads what is there; the sum keeps the compiler from leaving the reading out. */
static uint32_t read_all(struct mesh *mesh, uint32_t to, uint64_t *sum) {
    uint32_t count = 0;
    const struct mail *mail = NULL;
    while ((mail = mesh_peek(mesh, 0, to)) != NULL) {
        *sum += mail->ref + mail->op.now_ms;
        mesh_took(mesh, 0, to);
        count++;
    }
    if (count != 0) mesh_release(mesh, 0, to);
    return count;
}

static double to_oneself(struct mesh *mesh, uint32_t batch, uint64_t *sum) {
    double start = now_ns();
    for (uint32_t sent = 0; sent < PIECES; sent += batch) {
        for (uint32_t i = 0; i < batch; i++)
            post(mesh, 0, sent + i);
        mesh_publish(mesh, 0);
        read_all(mesh, 0, sum);
    }
    return (now_ns() - start) / PIECES;
}

struct reader_thread {
    struct mesh *mesh;
    uint32_t pieces;
    uint64_t sum;
};

static void *read_thread(void *context) {
    struct reader_thread *reader = context;
    uint32_t got = 0;
    while (got < reader->pieces)
        got += read_all(reader->mesh, 1, &reader->sum);
    return NULL;
}

static double to_another(struct mesh *mesh, uint32_t batch, uint64_t *sum) {
    uint32_t pieces = PIECES / batch * batch;
    struct reader_thread reader = {.mesh = mesh, .pieces = pieces};
    pthread_t thread;
    if (pthread_create(&thread, NULL, read_thread, &reader) != 0) return 0;
    double start = now_ns();
    for (uint32_t sent = 0; sent < pieces; sent += batch) {
        for (uint32_t i = 0; i < batch; i++)
            post(mesh, 1, sent + i);
        while (!mesh_publish(mesh, 0)) {
        }
    }
    pthread_join(thread, NULL);
    *sum += reader.sum;
    return (now_ns() - start) / pieces;
}

static void measure(const char *what, double (*run)(struct mesh *, uint32_t, uint64_t *)) {
    uint64_t sum = 0;
    for (uint32_t batch = 1; batch <= 256; batch *= 16) {
        double least = 1e18;
        for (int i = 0; i < RUNS; i++) {
            struct mesh *mesh = mesh_new(2, no_bell, NULL);
            double ns = run(mesh, batch, &sum);
            if (ns < least) least = ns;
            mesh_free(mesh);
        }
        printf("hop to %-8s batch %3u  %6.1f ns\n", what, batch, least);
    }
    if (sum == 0) printf("nothing was read\n");
}

int main(void) {
    measure("oneself", to_oneself);
    measure("another", to_another);
    return 0;
}
