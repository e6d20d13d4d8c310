/* definitions_thread: definitions in meta.db, committed by a thread of their own.
 *
 * The metadata belongs to whoever's turn it is: to the registrar, and to the thread between the
 * beginning and the end of a commit. */
#include "shard/definitions_thread.h"

#include <errno.h>
#include <pthread.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/reserve.h"

struct definitions_thread {
    struct definitions definitions;
    struct metadata *metadata;
    struct reserve *reserve;
    void (*bell)(void *context);
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock from here on. */
    bool committing; /* the thread's turn */
    bool ended;      /* a commit has, and nobody has heard of it */
    bool stopping;
    uint32_t ids;
    struct definitions_outcome outcome;
    char problem[METADATA_PROBLEM_BYTES];
};

static struct definitions_thread *thread_of(struct definitions *definitions) {
    return CONTAINER_OF(definitions, struct definitions_thread, definitions);
}

/* ---- the thread ---- */

/* Ids first: they are given even if the rows cannot be written. */
static int commit_once(struct definitions_thread *thread, struct definitions_outcome *outcome) {
    int error = 0;
    if (thread->ids != outcome->id_count) {
        error = metadata_queue_ids(thread->metadata, thread->ids, &outcome->id_first);
        if (!error) outcome->id_count = thread->ids;
    }
    return error ? error : metadata_commit(thread->metadata);
}

static void commit_now(struct definitions_thread *thread, struct definitions_outcome *outcome) {
    *outcome = (struct definitions_outcome){0};
    int error = commit_once(thread, outcome);
    if (error == -ENOSPC && thread->reserve && reserve_give(thread->reserve))
        error = commit_once(thread, outcome);
    outcome->error = error;
    if (error)
        str_format(thread->problem, sizeof thread->problem, "%s", metadata_why(thread->metadata));
}

static void *thread_main(void *context) {
    struct definitions_thread *thread = context;
    pthread_setname_np(pthread_self(), "definitions");
    pthread_mutex_lock(&thread->lock);
    while (thread->committing || !thread->stopping) {
        if (!thread->committing) {
            pthread_cond_wait(&thread->changed, &thread->lock);
            continue;
        }
        struct definitions_outcome outcome;
        pthread_mutex_unlock(&thread->lock);
        commit_now(thread, &outcome);
        pthread_mutex_lock(&thread->lock);
        thread->outcome = outcome;
        thread->outcome.problem = thread->problem;
        thread->committing = false;
        thread->ended = true;
        pthread_cond_broadcast(&thread->changed);
        thread->bell(thread->context);
    }
    pthread_mutex_unlock(&thread->lock);
    return NULL;
}

/* ---- what the registrar calls ---- */

static int load(struct definitions *definitions, metadata_row_fn each, void *context,
    struct metadata_problem *ret_problem) {
    struct definitions_thread *thread = thread_of(definitions);
    ret_problem->text[0] = 0;
    int error = metadata_load(thread->metadata, each, context);
    /* What `each` found wrong it has told itself. */
    if (error && ret_problem->text[0] == 0)
        str_format(
            ret_problem->text, sizeof ret_problem->text, "%s", metadata_why(thread->metadata));
    return error;
}

static void commit(
    struct definitions *definitions, const struct metadata_batch *batch, uint32_t ids) {
    struct definitions_thread *thread = thread_of(definitions);
    struct metadata_change change;
    size_t at = 0;
    while (metadata_batch_next(batch, &at, &change)) {
        int error = 0;
        if (change.removes)
            metadata_remove(thread->metadata, &change.row);
        else
            error = metadata_put(thread->metadata, &change.row);
        check(error == 0); /* it had room in the batch that it comes from */
    }
    pthread_mutex_lock(&thread->lock);
    check(!thread->committing);
    check(!thread->ended);
    thread->ids = ids;
    thread->committing = true;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
}

static bool done(struct definitions *definitions, struct definitions_outcome *ret_outcome) {
    struct definitions_thread *thread = thread_of(definitions);
    pthread_mutex_lock(&thread->lock);
    bool ended = thread->ended;
    if (ended) *ret_outcome = thread->outcome;
    thread->ended = false;
    pthread_mutex_unlock(&thread->lock);
    return ended;
}

struct definitions *definitions_thread_seam(struct definitions_thread *thread) {
    return &thread->definitions;
}

void definitions_thread_wait(struct definitions_thread *thread) {
    pthread_mutex_lock(&thread->lock);
    while (thread->committing)
        pthread_cond_wait(&thread->changed, &thread->lock);
    pthread_mutex_unlock(&thread->lock);
}

/* ---- life ---- */

struct definitions_thread *definitions_thread_new(struct metadata *metadata,
    struct reserve *reserve, void (*bell)(void *context), void *context) {
    struct definitions_thread *thread = NEW(struct definitions_thread);
    thread->definitions = (struct definitions){load, commit, done};
    thread->metadata = metadata;
    thread->reserve = reserve;
    thread->bell = bell;
    thread->context = context;
    check(pthread_mutex_init(&thread->lock, NULL) == 0);
    check(pthread_cond_init(&thread->changed, NULL) == 0);
    check(pthread_create(&thread->thread, NULL, thread_main, thread) == 0);
    return thread;
}

void definitions_thread_free(struct definitions_thread *thread) {
    if (!thread) return;
    pthread_mutex_lock(&thread->lock);
    thread->stopping = true;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
    pthread_join(thread->thread, NULL);
    pthread_cond_destroy(&thread->changed);
    pthread_mutex_destroy(&thread->lock);
    metadata_close(thread->metadata);
    mem_free(thread);
}
