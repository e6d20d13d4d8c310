/* seam_pager: what becomes of messages that are on disk only is counted here (sim/edges.h), and
 * spoiled by planted bugs: see sim/seam.c. */
#include "sim/edges.h"
#include "sim/inspect.h"
#include "sim/plant.h"
#include "sim/world.h"

#include <errno.h>

#include "core/entries.h"
#include "core/queue.h"
#include "shard/keeper.h"
#include "shard/kept_record.h"
#include "shard/queue_host.h"

/* The linker's names. */
uint32_t __wrap_queue_page_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget);
uint32_t __real_queue_page_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget);
bool __wrap_queue_give(struct queue *queue, uint64_t seq, struct message *message);
bool __real_queue_give(struct queue *queue, uint64_t seq, struct message *message);
uint32_t __wrap_queue_spill_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget);
uint32_t __real_queue_spill_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget);
bool __wrap_kept_record_put(
    const struct kept_record *kept, struct segment_build *build, uint64_t *ret_offset);
bool __real_kept_record_put(
    const struct kept_record *kept, struct segment_build *build, uint64_t *ret_offset);
void __wrap_spill_on_back(struct spill *spill, struct queue_slot *slot, uint64_t seq);
void __real_spill_on_back(struct spill *spill, struct queue_slot *slot, uint64_t seq);
void __wrap_spill_forget(struct spill *spill, struct queue_slot *slot);
void __real_spill_forget(struct spill *spill, struct queue_slot *slot);
void __wrap_spill_on_request(struct spill *spill, struct disk_request *request);
void __real_spill_on_request(struct spill *spill, struct disk_request *request);
void __wrap_queue_skip_away(struct queue *queue);
void __real_queue_skip_away(struct queue *queue);
void __wrap_queue_restore(
    struct queue *queue, const struct queue_restored *list, size_t count, uint64_t next_seq);
void __real_queue_restore(
    struct queue *queue, const struct queue_restored *list, size_t count, uint64_t next_seq);
void __wrap_entries_fold(struct entries *entries, uint64_t number);
void __real_entries_fold(struct entries *entries, uint64_t number);
void __wrap_entries_put_folded(struct entries *entries, bool redelivered);
void __real_entries_put_folded(struct entries *entries, bool redelivered);
void __wrap_shelf_leave(struct shelf *shelf, uint64_t seq, uint64_t live, struct kept_file *from,
    const struct shelf_place *place, uint32_t shard);
void __real_shelf_leave(struct shelf *shelf, uint64_t seq, uint64_t live, struct kept_file *from,
    const struct shelf_place *place, uint32_t shard);
void __wrap_shelf_lose(struct shelf *shelf, uint64_t seq, uint32_t shard);
void __real_shelf_lose(struct shelf *shelf, uint64_t seq, uint32_t shard);
uint64_t __wrap_shelf_next_lost(const struct shelf *shelf, uint64_t seq);
uint64_t __real_shelf_next_lost(const struct shelf *shelf, uint64_t seq);
enum record_fault __wrap_record_parse(struct bytes bytes, struct record_view *ret_view);
enum record_fault __real_record_parse(struct bytes bytes, struct record_view *ret_view);
void __wrap_queue_host_on_given(struct shard *shard, struct queue_slot *slot);
void __real_queue_host_on_given(struct shard *shard, struct queue_slot *slot);
void __wrap_pager_park(
    struct pager *pager, struct queue_slot *slot, uint32_t from, const struct mail *mail);
void __real_pager_park(
    struct pager *pager, struct queue_slot *slot, uint32_t from, const struct mail *mail);
void __wrap_pager_on_request(struct pager *pager, struct disk_request *request);
void __real_pager_on_request(struct pager *pager, struct disk_request *request);
void __wrap_retrieval_on_request(struct retrieval *retrieval, struct disk_request *request);
void __real_retrieval_on_request(struct retrieval *retrieval, struct disk_request *request);
void __wrap_retirement_on_evacuated(struct retirement *retirement, struct evacuation *evacuation);
void __real_retirement_on_evacuated(struct retirement *retirement, struct evacuation *evacuation);
bool __wrap_broker_is_pressed(const struct broker *broker);
bool __real_broker_is_pressed(const struct broker *broker);

/* One run is one process and one thread. */
static uint64_t occasions;
static bool reading; /* a read of the broker's is looked at */

static bool every(uint64_t n) {
    return ++occasions % n == 0;
}

/* ---- queues ---- */

uint32_t __wrap_queue_page_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget) {
    uint64_t away = queue_away_count(queue);
    if (plant_on(PLANT_gone_unstable)) end = queue_next_seq(queue);
    uint32_t gone = __real_queue_page_out(queue, seq, end, budget);
    edges_add(EDGE_unacked_out, gone - (queue_away_count(queue) - away));
    return gone;
}

bool __wrap_queue_give(struct queue *queue, uint64_t seq, struct message *message) {
    bool elsewhere = plant_on(PLANT_given_elsewhere) && queue_wants(queue, seq + 1) && every(10);
    bool given = __real_queue_give(queue, elsewhere ? seq + 1 : seq, message);
    edges_add(EDGE_given, given);
    return given;
}

void __wrap_queue_skip_away(struct queue *queue) {
    struct world *world = edges_world();
    if (!world->ghost) inspect_lost(world, queue);
    __real_queue_skip_away(queue);
}

void __wrap_queue_restore(
    struct queue *queue, const struct queue_restored *list, size_t count, uint64_t next_seq) {
    __real_queue_restore(queue, list, count, next_seq);
    edges_add(EDGE_restored, queue_away_count(queue));
}

void __wrap_entries_fold(struct entries *entries, uint64_t number) {
    __real_entries_fold(entries, number);
    struct chunk **slot = entries_slot(entries, number);
    if (!entries_is_folded(*slot)) return;
    edges_add(EDGE_folded, 1);
    if (plant_on(PLANT_fold_forgets))
        *slot = entries_folded_mark(entries_mark_flags(*slot) & (uint8_t)~ENTRY_REDELIVERED);
}

void __wrap_entries_put_folded(struct entries *entries, bool redelivered) {
    edges_add(EDGE_folded, 1);
    __real_entries_put_folded(entries, redelivered && !plant_on(PLANT_fold_forgets));
}

void __wrap_queue_host_on_given(struct shard *shard, struct queue_slot *slot) {
    if (plant_on(PLANT_given_unsaid) && every(3)) return;
    __real_queue_host_on_given(shard, slot);
}

/* ---- reads ---- */

void __wrap_pager_park(
    struct pager *pager, struct queue_slot *slot, uint32_t from, const struct mail *mail) {
    edges_add(EDGE_gets_parked, 1);
    if (plant_on(PLANT_get_forgotten) && every(3)) return;
    __real_pager_park(pager, slot, from, mail);
}

void __wrap_pager_on_request(struct pager *pager, struct disk_request *request) {
    edges_add(EDGE_reads_failed, request->status != 0);
    if (plant_on(PLANT_blocks_unread) && request->size == DISK_BLOCK_BYTES) request->status = -EIO;
    reading = true;
    __real_pager_on_request(pager, request);
    reading = false;
}

void __wrap_retrieval_on_request(struct retrieval *retrieval, struct disk_request *request) {
    edges_add(EDGE_reads_failed, request->status != 0);
    reading = true;
    __real_retrieval_on_request(retrieval, request);
    reading = false;
}

enum record_fault __wrap_record_parse(struct bytes bytes, struct record_view *ret_view) {
    if (reading && plant_on(PLANT_read_unchecked)) return record_parse_known(bytes, ret_view);
    return __real_record_parse(bytes, ret_view);
}

/* ---- spill files ---- */

uint32_t __wrap_queue_spill_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget) {
    if (plant_on(PLANT_spilled_unwritten)) end = queue_next_seq(queue);
    return __real_queue_spill_out(queue, seq, end, budget);
}

/* In spill files queues have other ids than in others. */
bool __wrap_kept_record_put(
    const struct kept_record *kept, struct segment_build *build, uint64_t *ret_offset) {
    struct kept_record changed = *kept;
    struct message *message = NULL;
    uint64_t seq = kept->targets->seq + 1;
    uint32_t budget = 1;
    const struct queue_slot *slot = NULL;
    queue_ref ref = kept->targets->queue;
    bool spilled = ref >> REF_SLOT_BITS != 0;
    struct world *world = edges_world();
    if (spilled && plant_on(PLANT_spilled_elsewhere))
        slot = queue_host_slot(world->broker->shards[ref_shard(ref)], ref);
    if (slot && queue_next_spillable(slot->queue, &seq, seq + 1, &budget, &message) && message)
        changed.message = message;
    return __real_kept_record_put(&changed, build, ret_offset);
}

void __wrap_spill_on_back(struct spill *spill, struct queue_slot *slot, uint64_t seq) {
    if (plant_on(PLANT_spill_uncounted) && every(5)) return;
    __real_spill_on_back(spill, slot, seq);
}

void __wrap_spill_forget(struct spill *spill, struct queue_slot *slot) {
    if (plant_on(PLANT_spill_remembered) && !queue_gone(slot->queue)) return;
    __real_spill_forget(spill, slot);
}

void __wrap_spill_on_request(struct spill *spill, struct disk_request *request) {
    edges_add(EDGE_spill_failed, request->kind == DISK_MAKE && request->status != 0);
    __real_spill_on_request(spill, request);
}

/* ---- shelves and files ---- */

void __wrap_shelf_leave(struct shelf *shelf, uint64_t seq, uint64_t live, struct kept_file *from,
    const struct shelf_place *place, uint32_t shard) {
    if (plant_on(PLANT_leave_forgotten)) return;
    __real_shelf_leave(shelf, seq, live, from, place, shard);
}

void __wrap_shelf_lose(struct shelf *shelf, uint64_t seq, uint32_t shard) {
    struct kept_file *file = shelf->stays[shelf_find(shelf, seq)].file;
    __real_shelf_lose(shelf, seq, shard);
    if (plant_on(PLANT_lost_file_goes)) file->broken = false;
}

uint64_t __wrap_shelf_next_lost(const struct shelf *shelf, uint64_t seq) {
    return plant_on(PLANT_lost_settled) ? UINT64_MAX : __real_shelf_next_lost(shelf, seq);
}

void __wrap_retirement_on_evacuated(struct retirement *retirement, struct evacuation *evacuation) {
    edges_add(EDGE_files_broken, atomic_load(&evacuation->broken));
    __real_retirement_on_evacuated(retirement, evacuation);
}

bool __wrap_broker_is_pressed(const struct broker *broker) {
    bool pressed = edges_pressed() || __real_broker_is_pressed(broker);
    edges_add(EDGE_pressed, pressed);
    return pressed;
}
