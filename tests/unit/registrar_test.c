/* registrar_test: which rows each change writes, what its answer waits for, what happens while
 * commits fail, and that after a crash there is what a commit said, at every place it can happen.
 */
#include "office.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>

#include "amqp/table.h"
#include "base/memory.h"
#include "base/prng.h"
#include "base/str.h"
#include "core/inventory.h"
#include "shard/queue_host.h"

/* ---- short words ---- */

static const connection_ref somebody = (connection_ref)1 << 24;

static struct change of_exchange(enum change_kind kind, const char *name, bool durable) {
    return (struct change){
        .kind = kind, .name = bytes_text(name), .type = BYTES("fanout"), .durable = durable};
}

static struct change of_queue(enum change_kind kind, const char *name, bool durable) {
    return (struct change){
        .kind = kind, .name = bytes_text(name), .durable = durable, .connection = somebody};
}

static struct change of_binding(enum change_kind kind, const char *source, const char *name) {
    return (struct change){.kind = kind,
        .source = bytes_text(source),
        .name = bytes_text(name),
        .connection = somebody};
}

/* The ticket of the answer, which has to be a good one. */
static uint64_t ask(struct office *office, struct change change) {
    const struct request *answer = office_ask(office, &change);
    if (answer->result.code != REPLY_OK) fail_msg("%s", answer->result.text);
    return answer->ticket;
}

static uint64_t exchange(struct office *office, const char *name, bool durable) {
    return ask(office, of_exchange(CHANGE_EXCHANGE_DECLARE, name, durable));
}

static uint64_t queue(struct office *office, const char *name, bool durable) {
    return ask(office, of_queue(CHANGE_QUEUE_DECLARE, name, durable));
}

static uint64_t bind(struct office *office, const char *source, const char *name) {
    return ask(office, of_binding(CHANGE_QUEUE_BIND, source, name));
}

static uint64_t unbind(struct office *office, const char *source, const char *name) {
    return ask(office, of_binding(CHANGE_QUEUE_UNBIND, source, name));
}

static uint64_t drop(struct office *office, const char *name) {
    return ask(office, of_queue(CHANGE_QUEUE_DELETE, name, false));
}

static bool kept(const struct office *office, enum metadata_kind kind, const char *name) {
    return memory_definitions_have(&office->memory, kind, name, NULL);
}

/* An office whose first commits are done. */
static void open_office(struct office *office) {
    office_init(office, 2);
    office_commit_all(office);
}

/* ---- rows and tickets ---- */

static void test_first_start(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_VHOST), 1);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_EXCHANGE), 7);
    assert_true(kept(&office, METADATA_EXCHANGE, "amq.topic"));
    uint64_t commits = office.memory.commits;
    office_crash(&office, false, 3);
    office_commit_all(&office);
    /* Nothing was missing: the second start only reserves ids. */
    assert_int_equal(office.memory.commits, commits + 1);
    assert_int_equal(office.committed[0], 0);
    office_deinit(&office);
}

static void test_declares_wait_for_their_batch(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    uint64_t before = office.committed[0];
    assert_true(queue(&office, "q", true) == before + 1);
    assert_true(office.rowed_ticket == before + 1);
    /* The first is on its way: all that follows gathers in the next one. */
    assert_true(exchange(&office, "x", true) == before + 2);
    assert_true(bind(&office, "x", "q") == before + 2);
    assert_true(queue(&office, "passing", false) == 0);
    assert_true(exchange(&office, "passing", false) == 0);
    assert_true(bind(&office, "x", "passing") == 0);
    assert_false(kept(&office, METADATA_QUEUE, "q"));
    office_commit(&office, 0);
    assert_true(office.committed[0] == before + 1);
    assert_true(office.committed[1] == before + 1);
    assert_true(kept(&office, METADATA_QUEUE, "q"));
    assert_false(kept(&office, METADATA_EXCHANGE, "x"));
    office_commit(&office, 0);
    assert_true(office.committed[1] == before + 2);
    assert_true(kept(&office, METADATA_EXCHANGE, "x"));
    assert_true(kept(&office, METADATA_QUEUE_BINDING, "q"));
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE), 1);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE_BINDING), 1);
    assert_false(office.memory.under_way);
    office_deinit(&office);
}

/* Who finds things done waits for them all the same, unless they are not durable. */
static void test_nothing_to_do(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    (void)queue(&office, "passing", false);
    (void)exchange(&office, "passing", false);
    (void)queue(&office, "q", true);
    (void)exchange(&office, "x", true);
    uint64_t ticket = bind(&office, "x", "q");
    assert_true(ticket != 0);
    assert_true(queue(&office, "q", true) == ticket);
    assert_true(exchange(&office, "x", true) == ticket);
    assert_true(bind(&office, "x", "q") == ticket);
    struct change passive = {.kind = CHANGE_QUEUE_DECLARE, .passive = true, .name = BYTES("q")};
    assert_true(ask(&office, passive) == ticket);
    assert_true(queue(&office, "passing", false) == 0);
    assert_true(exchange(&office, "passing", false) == 0);
    assert_true(bind(&office, "passing", "q") == 0);
    assert_true(bind(&office, "passing", "q") == 0);
    assert_true(drop(&office, "missing") == ticket);
    assert_true(unbind(&office, "x", "missing") == ticket);
    assert_true(ask(&office, of_exchange(CHANGE_EXCHANGE_DELETE, "missing", false)) == ticket);
    assert_true(ask(&office, of_exchange(CHANGE_EXCHANGE_DELETE, "passing", false)) == 0);
    office_commit_all(&office);
    assert_true(queue(&office, "q", true) == 0);
    assert_true(exchange(&office, "x", true) == 0);
    assert_true(bind(&office, "x", "q") == 0);
    assert_true(drop(&office, "missing") == 0);
    assert_false(office.memory.under_way);
    office_deinit(&office);
}

static void test_refusals_wait_for_nothing(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    (void)queue(&office, "q", true);
    (void)exchange(&office, "x", true);
    struct change change = of_queue(CHANGE_QUEUE_DECLARE, "q", false);
    const struct request *answer = office_ask(&office, &change);
    assert_int_equal(answer->result.code, REPLY_PRECONDITION_FAILED);
    assert_true(answer->ticket == 0);
    change = of_binding(CHANGE_QUEUE_BIND, "x", "missing");
    answer = office_ask(&office, &change);
    assert_int_equal(answer->result.code, REPLY_NOT_FOUND);
    assert_true(answer->ticket == 0);
    office_commit_all(&office);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE_BINDING), 0);
    office_deinit(&office);
}

static void test_exclusive_is_not_durable(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    (void)exchange(&office, "x", true);
    struct change change = of_queue(CHANGE_QUEUE_DECLARE, "mine", true);
    change.exclusive = true;
    assert_true(ask(&office, change) == 0);
    assert_true(office.rowed == 0);
    assert_true(bind(&office, "x", "mine") == 0);
    office_commit_all(&office);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE), 0);
    office_leave(&office, somebody);
    assert_int_equal(office.left, 1);
    assert_int_equal(office.forgotten_count, 1);
    assert_false(office.memory.under_way);
    office_deinit(&office);
}

/* ---- what goes ---- */

static void test_slot_waits_for_removal(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    (void)queue(&office, "q", true);
    queue_ref old = office.rowed;
    (void)queue(&office, "passing", false);
    office_commit_all(&office);
    (void)drop(&office, "passing");
    assert_int_equal(office.forgotten_count, 1);
    uint64_t ticket = drop(&office, "q");
    assert_true(ticket == office.committed[0] + 1);
    assert_null(vhost_find_queue(office.broker->vhost, BYTES("q")));
    assert_int_equal(office.forgotten_count, 1);
    /* A new one of that name has another slot, and its row comes behind the removal. */
    assert_true(queue(&office, "q", true) == ticket + 1);
    assert_true(office.rowed != old);
    assert_int_equal(office.forgotten_count, 1);
    office_commit(&office, 0);
    assert_int_equal(office.forgotten_count, 2);
    assert_true(office.forgotten == old);
    assert_false(kept(&office, METADATA_QUEUE, "q"));
    office_commit(&office, 0);
    assert_true(kept(&office, METADATA_QUEUE, "q"));
    office_deinit(&office);
}

/* Made and deleted before anything is stable. */
static void test_short_life(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    (void)exchange(&office, "busy", true); /* so that what follows is in one batch */
    uint64_t ticket = queue(&office, "q", true);
    (void)exchange(&office, "x", true);
    (void)bind(&office, "x", "q");
    assert_true(drop(&office, "q") == ticket);
    (void)queue(&office, "q", true);
    (void)bind(&office, "x", "q");
    office_commit_all(&office);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE), 1);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE_BINDING), 1);
    assert_int_equal(office.forgotten_count, 1);
    office_deinit(&office);
}

static void test_cascades(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    struct change change = of_exchange(CHANGE_EXCHANGE_DECLARE, "auto", true);
    change.auto_delete = true;
    (void)ask(&office, change);
    change.name = BYTES("far");
    (void)ask(&office, change);
    (void)exchange(&office, "x", true);
    (void)queue(&office, "q", true);
    (void)queue(&office, "passing", false);
    (void)bind(&office, "auto", "q");
    (void)bind(&office, "auto", "passing");
    (void)bind(&office, "x", "q");
    (void)ask(&office, of_binding(CHANGE_EXCHANGE_BIND, "far", "auto"));
    office_commit_all(&office);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE_BINDING), 2);
    assert_true(kept(&office, METADATA_EXCHANGE_BINDING, "auto"));
    assert_true(unbind(&office, "auto", "q") != 0);
    office_commit_all(&office);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE_BINDING), 1);
    assert_true(kept(&office, METADATA_EXCHANGE, "auto"));
    /* The last binding was not durable, nor was its queue; the exchanges were. */
    uint64_t ticket = drop(&office, "passing");
    assert_true(ticket == office.committed[0] + 1);
    assert_int_equal(office.forgotten_count, 1);
    office_commit_all(&office);
    assert_false(kept(&office, METADATA_EXCHANGE, "auto"));
    assert_false(kept(&office, METADATA_EXCHANGE, "far"));
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_EXCHANGE_BINDING), 0);
    (void)ask(&office, of_exchange(CHANGE_EXCHANGE_DELETE, "x", false));
    office_commit_all(&office);
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_QUEUE_BINDING), 0);
    assert_true(kept(&office, METADATA_QUEUE, "q"));
    office_deinit(&office);
}

static void test_queue_ends_by_itself(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    struct change change = of_queue(CHANGE_QUEUE_DECLARE, "q", true);
    change.auto_delete = true;
    (void)ask(&office, change);
    office_commit_all(&office);
    office_end_queue(&office, "q");
    assert_int_equal(office.forgotten_count, 0);
    office_commit_all(&office);
    assert_int_equal(office.forgotten_count, 1);
    assert_false(kept(&office, METADATA_QUEUE, "q"));
    office_deinit(&office);
}

/* ---- trouble ---- */

static void test_failing_commits(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    uint64_t before = office.committed[0];
    uint64_t ticket = queue(&office, "q", true);
    uint64_t commits = office.memory.commits;
    office_commit(&office, -ENOSPC);
    assert_true(atomic_load(&office.broker->definitions_failing));
    assert_true(office.committed[0] == before);
    assert_true(registrar_next_deadline(office.registrar) == office.now_ms + 1000);
    /* Changes go on in memory, and are not handed over before the time has come. */
    assert_true(exchange(&office, "x", true) == ticket + 1);
    office.now_ms += 999;
    office_settle(&office);
    assert_true(office.memory.commits == commits);
    office.now_ms += 1;
    office_settle(&office);
    assert_true(office.memory.commits == commits + 1);
    assert_true(registrar_next_deadline(office.registrar) == UINT64_MAX);
    office_commit(&office, -EIO);
    assert_int_equal(office.lines, 1);
    assert_string_equal(office.line[0], "definitions.failed error=\"told to fail\"");
    office.now_ms += 1000;
    office_settle(&office);
    office_commit(&office, 0);
    assert_false(atomic_load(&office.broker->definitions_failing));
    assert_string_equal(office.line[1], "definitions.healed");
    assert_true(office.committed[1] == ticket);
    assert_true(kept(&office, METADATA_QUEUE, "q"));
    assert_false(kept(&office, METADATA_EXCHANGE, "x"));
    office_commit(&office, 0);
    assert_true(kept(&office, METADATA_EXCHANGE, "x"));
    assert_int_equal(office.lines, 2);
    assert_true(registrar_settled(office.registrar));
    office_deinit(&office);
}

/* Before the first commit there are no ids: only durable queues have to wait for them. */
static void test_no_ids(void **state) {
    (void)state;
    struct office office;
    office_init(&office, 2);
    struct change change = of_queue(CHANGE_QUEUE_DECLARE, "q", true);
    office_send(&office, &change);
    office_settle(&office);
    assert_null(office.answers);
    assert_false(registrar_idle(office.registrar));
    assert_true(queue(&office, "passing", false) == 0);
    assert_true(exchange(&office, "x", true) == 2);
    office_commit(&office, -ENOSPC);
    office.now_ms += 1000;
    office_settle(&office);
    assert_null(vhost_find_queue(office.broker->vhost, BYTES("q")));
    office_commit(&office, 0);
    assert_non_null(vhost_find_queue(office.broker->vhost, BYTES("q")));
    assert_true(registrar_idle(office.registrar));
    office_commit_all(&office);
    assert_true(kept(&office, METADATA_QUEUE, "q"));
    office_deinit(&office);
}

/* A table of one field that is as large as wanted. */
static struct bytes filler(uint8_t *room, size_t size) {
    struct writer writer = writer_over(room, size);
    uint8_t *text = mem_new(size);
    table_put_text(&writer, "a", bytes_of(text, size - 8));
    mem_free(text);
    check(!writer.bad);
    return writer_bytes(&writer);
}

/* While commits fail, what waits for them is bounded; nothing of it is lost or out of order. */
static void test_full(void **state) {
    (void)state;
    enum { SIZE = 1024 * 1024 };
    struct office office;
    open_office(&office);
    uint8_t *room = mem_new(SIZE);
    struct change change = of_queue(CHANGE_QUEUE_DECLARE, "gone", true);
    change.auto_delete = true;
    (void)ask(&office, change);
    office_commit_all(&office);
    (void)exchange(&office, "failing", true);
    office_commit(&office, -ENOSPC);
    change = of_exchange(CHANGE_EXCHANGE_DECLARE, "", true);
    change.arguments = filler(room, SIZE);
    char name[16];
    for (int i = 0; i < 40; i++) {
        str_format(name, sizeof name, "x%d", i);
        change.name = bytes_text(name);
        office_send(&office, &change);
    }
    office_settle(&office);
    office_end_queue(&office, "gone");
    assert_non_null(vhost_find_queue(office.broker->vhost, BYTES("gone")));
    uint32_t answers = 0;
    for (const struct request *at = office.answers; at; at = at->next)
        answers++;
    assert_int_equal(answers, 33);
    assert_true(queue(&office, "passing", false) == 0);
    struct change last = of_binding(CHANGE_QUEUE_BIND, "x39", "passing");
    office_send(&office, &last);
    office_settle(&office);
    office.now_ms += 1000;
    office_settle(&office);
    office_commit_all(&office);
    assert_true(registrar_settled(office.registrar));
    assert_int_equal(memory_definitions_count(&office.memory, METADATA_EXCHANGE), 7 + 1 + 40);
    assert_null(vhost_find_queue(office.broker->vhost, BYTES("gone")));
    assert_int_equal(vhost_binding_count(office.broker->vhost), 1);
    assert_int_equal(office.answers->result.code, REPLY_OK);
    mem_free(room);
    office_deinit(&office);
}

static void test_giving_up(void **state) {
    (void)state;
    struct office office;
    open_office(&office);
    (void)queue(&office, "q", true);
    office_commit(&office, -ENOSPC);
    (void)drop(&office, "q");
    assert_false(registrar_settled(office.registrar));
    registrar_give_up(office.registrar);
    office_settle(&office);
    assert_int_equal(office.forgotten_count, 1);
    assert_true(registrar_settled(office.registrar));
    assert_true(exchange(&office, "x", true) == 0);
    office_deinit(&office);
}

/* ---- crashes ---- */

enum { LINES_MAX = 256, DUMP_BYTES_MAX = 64 * 1024 };

/* What is durable, as text: sorted lines. */
struct dump {
    const struct vhost *vhost;
    bool all; /* what is not durable, too */
    uint32_t count;
    char lines[LINES_MAX][160];
    char text[DUMP_BYTES_MAX];
};

static void dump_line(struct dump *dump, const char *text) {
    assert_true(dump->count < LINES_MAX);
    str_format(dump->lines[dump->count++], sizeof dump->lines[0], "%s\n", text);
}

#define NAME(bytes) (int)(bytes).size, (const char *)(bytes).data

static void dump_exchange(void *context, const struct inventory_exchange *exchange) {
    struct dump *dump = context;
    char text[160];
    if (!exchange->durable && !dump->all) return;
    str_format(text, sizeof text, "exchange %.*s %s %d %d %d %u", NAME(exchange->name),
        exchange->type, exchange->durable, exchange->auto_delete, exchange->internal,
        exchange->arguments.size);
    dump_line(dump, text);
}

static void dump_queue(void *context, const struct queue_entry *entry) {
    struct dump *dump = context;
    char text[160];
    if (!entry->durable && !dump->all) return;
    str_format(text, sizeof text, "queue %.*s %d %d %u", NAME(entry->name), entry->durable,
        entry->auto_delete, entry->arguments.size);
    dump_line(dump, text);
}

static bool is_durable(const struct vhost *vhost, struct bytes exchange) {
    struct inventory_exchange found;
    return inventory_find_exchange(vhost, exchange, &found) && found.durable;
}

static void dump_binding(void *context, const struct inventory_binding *binding) {
    struct dump *dump = context;
    char text[160];
    bool end = binding->to_exchange ? is_durable(dump->vhost, binding->destination)
                                    : vhost_find_queue(dump->vhost, binding->destination)->durable;
    if (!dump->all && !(end && is_durable(dump->vhost, binding->source))) return;
    str_format(text, sizeof text, "binding %.*s %.*s %d %.*s %u", NAME(binding->source),
        NAME(binding->destination), binding->to_exchange, NAME(binding->routing_key),
        binding->arguments.size);
    dump_line(dump, text);
}

static int compare_lines(const void *a, const void *b) {
    return strcmp(a, b);
}

static const char *dump_of(struct dump *dump, const struct vhost *vhost, bool all) {
    dump->vhost = vhost;
    dump->all = all;
    dump->count = 0;
    struct inventory_slice slice[3];
    for (int i = 0; i < 3; i++)
        slice[i] = (struct inventory_slice){.slots = UINT32_MAX, .context = dump};
    assert_false(inventory_exchanges(vhost, &slice[0], dump_exchange));
    assert_false(inventory_queues(vhost, &slice[1], dump_queue));
    assert_false(inventory_bindings(vhost, &slice[2], dump_binding));
    qsort(dump->lines, dump->count, sizeof dump->lines[0], compare_lines);
    size_t size = 0;
    dump->text[0] = 0;
    for (uint32_t i = 0; i < dump->count; i++)
        size += str_format(dump->text + size, sizeof dump->text - size, "%s", dump->lines[i]);
    return dump->text;
}

enum { STEPS = 60, NAMES = 5 };

/* What was durable after the changes of each batch. */
struct history {
    char *after[STEPS + 2]; /* by ticket; NULL: no batch of that number */
};

static struct change random_change(struct prng *prng, char names[3][8], uint8_t *room) {
    static const char *const types[] = {"direct", "fanout", "topic", "headers"};
    static const char *const keys[] = {"", "a", "a.#"};
    str_format(names[0], 8, "x%d", (int)prng_below(prng, NAMES));
    str_format(names[1], 8, "x%d", (int)prng_below(prng, NAMES));
    str_format(names[2], 8, "q%d", (int)prng_below(prng, NAMES));
    enum change_kind kind = (enum change_kind)prng_below(prng, CHANGE_QUEUE_UNBIND + 1);
    bool of_queue = kind >= CHANGE_QUEUE_DECLARE;
    bool declares = kind == CHANGE_EXCHANGE_DECLARE || kind == CHANGE_QUEUE_DECLARE;
    struct change change = {.kind = kind,
        .name = bytes_text(names[of_queue ? 2 : 0]),
        .source = bytes_text(names[1]),
        .connection = somebody,
        .durable = prng_below(prng, 4) != 0,
        .auto_delete = prng_below(prng, 2) == 0,
        .exclusive = kind == CHANGE_QUEUE_DECLARE && prng_below(prng, 6) == 0,
        .internal = kind == CHANGE_EXCHANGE_DECLARE && prng_below(prng, 6) == 0,
        .type = bytes_text(types[prng_below(prng, COUNT_OF(types))]),
        .routing_key = bytes_text(keys[prng_below(prng, COUNT_OF(keys))])};
    struct writer writer = writer_over(room, 64);
    if (prng_below(prng, 3) == 0) table_put_i32(&writer, declares ? "y" : "n", 1);
    if (prng_below(prng, 3) == 0) table_put_i32(&writer, declares ? "z" : "m", 2);
    change.arguments = writer_bytes(&writer);
    return change;
}

/* One thing happens; its ticket must be that of the batch which has what it changed. */
static void step(
    struct office *office, struct prng *prng, struct dump *before, struct dump *after) {
    char names[3][8];
    uint8_t room[64];
    struct change change = random_change(prng, names, room);
    (void)dump_of(before, office->broker->vhost, false);
    const struct queue_entry *entry = vhost_find_queue(office->broker->vhost, change.name);
    uint64_t happens = prng_below(prng, 20);
    if (happens == 0) {
        office_leave(office, somebody);
    } else if (happens < 4 && change.kind == CHANGE_QUEUE_DELETE && entry && entry->auto_delete) {
        office_end_queue(office, names[2]);
    } else {
        const struct request *answer = office_ask(office, &change);
        bool changed = strcmp(before->text, dump_of(after, office->broker->vhost, false)) != 0;
        uint64_t open = atomic_load(&office->broker->ticket_open);
        if (changed) assert_true(answer->ticket == open);
        if (changed) assert_true(open > atomic_load(&office->broker->ticket_stable));
        assert_true(answer->ticket == 0 || answer->result.code == REPLY_OK);
    }
    (void)dump_of(after, office->broker->vhost, false);
}

static void remember(struct history *history, uint64_t ticket, const char *text) {
    assert_true(ticket < COUNT_OF(history->after));
    mem_free(history->after[ticket]);
    history->after[ticket] = mem_text(bytes_text(text));
}

/* Queues that were loaded are found by their ids, and only they. */
static void check_ids(const struct office *office, uint64_t *highest) {
    uint32_t found = 0;
    uint64_t most = *highest;
    for (uint32_t i = 0; i < office->broker->shard_count; i++) {
        const struct shard *shard = office->broker->shards[i];
        for (uint32_t k = 0; k < shard->queue_capacity; k++) {
            const struct queue_slot *slot = queue_host_slot_at(shard, k);
            if (!slot->queue || slot->id == 0) continue;
            bool loaded = slot->ticket == 0;
            queue_ref self = queue_self(slot->queue);
            assert_true(restore_index_find(&office->index, slot->id) == (loaded ? self : 0));
            found += loaded;
            if (slot->id > most) most = slot->id;
        }
    }
    assert_true(found <= office->index.count);
    *highest = most;
}

/* A life of `steps` steps and then a crash, loaded again with another number of shards. */
static void live_and_crash(uint64_t seed, int steps) {
    struct prng prng;
    struct history history = {0};
    struct dump *before = NEW(struct dump);
    struct dump *after = NEW(struct dump);
    prng_init(&prng, seed);
    struct office office;
    open_office(&office);
    uint64_t first = office.committed[0], highest = 0;
    remember(&history, first, dump_of(after, office.broker->vhost, false));
    for (int i = 0; i < steps; i++) {
        uint64_t open = atomic_load(&office.broker->ticket_open);
        step(&office, &prng, before, after);
        uint64_t now_open = atomic_load(&office.broker->ticket_open);
        /* What changed nothing durable belongs to no batch. */
        if (strcmp(before->text, after->text) != 0) remember(&history, now_open, after->text);
        assert_true(now_open >= open);
        if (office.memory.under_way && prng_below(&prng, 3) == 0) office_commit(&office, 0);
        check_ids(&office, &highest);
    }
    bool committed = prng_below(&prng, 2) == 0;
    uint64_t stable = atomic_load(&office.broker->ticket_stable);
    assert_true(office.committed[0] == stable);
    if (committed && office.memory.pending.count != 0) stable++;
    while (!history.after[stable])
        stable--; /* a batch whose changes came to nothing */
    office_crash(&office, committed, 1 + (uint32_t)prng_below(&prng, 4));
    assert_string_equal(dump_of(after, office.broker->vhost, true), history.after[stable]);
    assert_int_equal(office.index.count, vhost_queue_count(office.broker->vhost));
    check_ids(&office, &highest);
    office_commit_all(&office);
    (void)queue(&office, "another", true);
    const struct shard *shard = office.broker->shards[ref_shard(office.rowed)];
    assert_true(queue_host_slot_at(shard, ref_slot(office.rowed))->id > highest);
    for (size_t i = 0; i < COUNT_OF(history.after); i++)
        mem_free(history.after[i]);
    mem_free(before);
    mem_free(after);
    office_deinit(&office);
}

static void test_crashes(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 600; seed++)
        live_and_crash(seed, (int)(seed % STEPS));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_start),
        cmocka_unit_test(test_declares_wait_for_their_batch),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_refusals_wait_for_nothing),
        cmocka_unit_test(test_exclusive_is_not_durable),
        cmocka_unit_test(test_slot_waits_for_removal),
        cmocka_unit_test(test_short_life),
        cmocka_unit_test(test_cascades),
        cmocka_unit_test(test_queue_ends_by_itself),
        cmocka_unit_test(test_failing_commits),
        cmocka_unit_test(test_no_ids),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_giving_up),
        cmocka_unit_test(test_crashes),
    };
    return cmocka_run_group_tests_name("registrar", tests, NULL, NULL);
}
