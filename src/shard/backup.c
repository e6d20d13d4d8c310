/* backup: has a running broker's directory copied, one copy at a time. */
#include "shard/backup.h"

#include "base/memory.h"
#include "base/str.h"
#include "shard/keeper.h"

enum phase { IDLE, HOLDING, CUTTING, COPYING, LETTING_GO };

/* A file that a shard has told of. Of one that is kept in place only the name counts. */
struct cut {
    uint16_t writer;
    bool kept;
    struct journal_piece piece;
};

/* A shard's visitor; sent once in each phase but that of copying. */
struct visitor {
    struct visit visit;
    struct backup *backup;
    struct cut *cuts;
    size_t cut_count;
    size_t cut_capacity;
};

struct backup {
    struct broker *broker;
    const char *source;
    void (*bell)(void *context);
    void *context;
    enum phase phase;
    struct visitor *visitors; /* by shard */
    uint32_t out;             /* of them, at their shards */
    struct copier *copier;
    struct backup_report last; /* its counts once it is over */
};

/* ---- on the shards' threads ---- */

static void hold(struct shard *shard, struct visit *visit) {
    (void)visit;
    if (shard->keeper) shard->keeper->retirement.held = true;
}

static void let_go(struct shard *shard, struct visit *visit) {
    (void)visit;
    if (shard->keeper) shard->keeper->retirement.held = false;
}

/* The writer whose files are told. */
struct telling {
    struct visitor *visitor;
    uint16_t writer;
};

static struct cut *cut_put(struct visitor *visitor) {
    if (visitor->cut_count == visitor->cut_capacity) {
        visitor->cut_capacity = visitor->cut_capacity ? 2 * visitor->cut_capacity : 16;
        visitor->cuts = mem_resize(visitor->cuts, visitor->cut_capacity * sizeof *visitor->cuts);
    }
    return &visitor->cuts[visitor->cut_count++];
}

static void tell_piece(void *context, const struct journal_piece *piece) {
    const struct telling *telling = context;
    *cut_put(telling->visitor) = (struct cut){.writer = telling->writer, .piece = *piece};
}

/* One that its journal has not let go of yet is a piece of that. */
static void tell_kept(struct visitor *visitor, const struct archive *archive) {
    list_for (struct kept_file, file, &archive->segments, in_archive) {
        if (!file->kept || !file->segment) continue;
        struct cut *cut = cut_put(visitor);
        *cut = (struct cut){.writer = archive->number, .kept = true};
        bytes_copy(cut->piece.name, file->name, sizeof cut->piece.name);
    }
}

static void cut(struct shard *shard, struct visit *visit) {
    struct visitor *visitor = CONTAINER_OF(visit, struct visitor, visit);
    const struct keeper *keeper = shard->keeper;
    visitor->cut_count = 0;
    for (uint32_t i = 0; keeper && i < keeper->archive_count; i++) {
        struct telling telling = {.visitor = visitor, .writer = keeper->archives[i].number};
        journal_pieces(keeper->archives[i].journal, tell_piece, &telling);
        tell_kept(visitor, &keeper->archives[i]);
    }
}

/* ---- on the admin side ---- */

static void on_back(struct visit *visit);

static void visit_all(
    struct backup *backup, enum phase phase, void (*run)(struct shard *, struct visit *)) {
    struct broker *broker = backup->broker;
    backup->phase = phase;
    backup->out = broker->shard_count;
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        struct visitor *visitor = &backup->visitors[i];
        visitor->visit = (struct visit){.run = run, .back = on_back};
        *mesh_post(broker->mesh, broker->admin, i) =
            (struct mail){.kind = MAIL_VISIT, .visit = &visitor->visit};
    }
}

static void start_copying(struct backup *backup) {
    for (uint32_t i = 0; i < backup->broker->shard_count; i++) {
        const struct visitor *visitor = &backup->visitors[i];
        for (size_t j = 0; j < visitor->cut_count; j++) {
            const struct cut *cut = &visitor->cuts[j];
            if (cut->kept) {
                copier_add_kept(backup->copier, cut->piece.name);
            } else {
                copier_add(backup->copier, cut->writer, &cut->piece);
            }
        }
    }
    backup->phase = COPYING;
    if (!copier_start(backup->copier)) visit_all(backup, LETTING_GO, let_go);
}

static void say(const struct backup *backup, const char *event, enum log_level level) {
    struct log_line line;
    if (!backup->broker->log) return;
    log_begin(&line, event);
    log_put_text(&line, "directory", backup->last.target);
    if (backup->last.state == BACKUP_DONE) {
        log_put_number(&line, "files", backup->last.counts.files);
        log_put_number(&line, "bytes", backup->last.counts.bytes);
        log_put_number(&line, "linked", backup->last.counts.linked);
    }
    if (backup->last.state == BACKUP_FAILED) log_put_text(&line, "error", backup->last.why.text);
    log_end(&line, backup->broker->log, level);
}

static void finish(struct backup *backup) {
    struct backup_report *last = &backup->last;
    const char *failure = copier_failure(backup->copier);
    last->counts = copier_counts(backup->copier);
    last->state = failure ? BACKUP_FAILED : BACKUP_DONE;
    if (failure) str_format(last->why.text, sizeof last->why.text, "%s", failure);
    copier_free(backup->copier);
    backup->copier = NULL;
    backup->phase = IDLE;
    say(backup, failure ? "backup.failed" : "backup.done", failure ? LEVEL_ERROR : LEVEL_INFO);
}

static void on_back(struct visit *visit) {
    struct backup *backup = CONTAINER_OF(visit, struct visitor, visit)->backup;
    check(backup->out != 0);
    if (--backup->out != 0) return;
    switch (backup->phase) {
    case HOLDING: visit_all(backup, CUTTING, cut); return;
    case CUTTING: start_copying(backup); return;
    case LETTING_GO: finish(backup); return;
    case IDLE:
    case COPYING: break;
    }
    unreachable_here();
}

void backup_turn(struct backup *backup) {
    if (backup->phase == COPYING && copier_over(backup->copier))
        visit_all(backup, LETTING_GO, let_go);
}

bool backup_start(struct backup *backup, const char *target, struct copier_why *ret_why) {
    struct copier_settings settings = {.source = backup->source,
        .target = target,
        .bell = backup->bell,
        .context = backup->context};
    check(!backup_running(backup));
    backup->copier = copier_new(&settings, ret_why);
    if (!backup->copier) return false;
    backup->last = (struct backup_report){.state = BACKUP_RUNNING};
    str_format(backup->last.target, sizeof backup->last.target, "%s", target);
    say(backup, "backup.begun", LEVEL_INFO);
    visit_all(backup, HOLDING, hold);
    return true;
}

bool backup_running(const struct backup *backup) {
    return backup->phase != IDLE;
}

void backup_stop(struct backup *backup) {
    if (!backup->copier) return;
    copier_cancel(backup->copier);
    if (backup->phase == COPYING) copier_wait(backup->copier);
}

void backup_report(const struct backup *backup, struct backup_report *ret_report) {
    *ret_report = backup->last;
    if (backup->copier) ret_report->counts = copier_counts(backup->copier);
}

struct backup *backup_new(
    struct broker *broker, const char *source, void (*bell)(void *context), void *context) {
    struct backup *backup = NEW(struct backup);
    backup->broker = broker;
    backup->source = source;
    backup->bell = bell;
    backup->context = context;
    backup->visitors = mem_new_array(broker->shard_count, sizeof *backup->visitors);
    for (uint32_t i = 0; i < broker->shard_count; i++)
        backup->visitors[i].backup = backup;
    return backup;
}

void backup_free(struct backup *backup) {
    if (!backup) return;
    for (uint32_t i = 0; i < backup->broker->shard_count; i++)
        mem_free(backup->visitors[i].cuts);
    mem_free(backup->visitors);
    copier_free(backup->copier);
    mem_free(backup);
}
