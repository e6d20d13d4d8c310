/* plant: bugs that are planted into the broker on purpose, at its seams, to show that each checker
 * finds what it is for. The linker puts the functions of sim/seam.c between the broker's own, in
 * this program only (--wrap): the broker's code knows nothing of them. */
#ifndef SIM_PLANT_H
#define SIM_PLANT_H

#include "sim/verdict.h"

/* PLANT(name, the checker that must find it, what it does) */
#define PLANTS                                                                                     \
    PLANT(watermark_too_far, invariant, "a watermark counts publishes that were never sent")       \
    PLANT(reply_twice, reply, "every fifth basic.qos is answered twice")                           \
    PLANT(reply_to_another, reply, "a queue.bind is answered with queue.unbind-ok")                \
    PLANT(get_from_nowhere, close, "an empty stable queue is taken for a missing one")             \
    PLANT(confirm_twice, confirm, "an ack of a publish is said twice")                             \
    PLANT(return_forgotten, returned, "an unroutable mandatory publish counts as routed")          \
    PLANT(body_changed, content, "one bit of a body flips on its way to the queue")                \
    PLANT(rollback_commits, phantom, "a rollback publishes what it should forget")                 \
    PLANT(wrong_queue, route, "a message goes to the queue of the message before it")              \
    PLANT(delivered_twice, twice, "a delivery is mailed twice")                                    \
    PLANT(ack_requeues, settled, "some acks give the message back")                                \
    PLANT(flag_forgotten, redelivered, "a redelivery does not say that it is one")                 \
    PLANT(enqueue_delayed, order, "a message is overtaken by those behind it")                     \
    PLANT(consumer_cancelled, tag, "a consumer hears that its queue is gone, which it is not")     \
    PLANT(prefetch_one_more, prefetch, "a consumer gets one message above its prefetch")           \
    PLANT(requeue_drops, lost, "some messages that are given back vanish")                         \
    PLANT(answer_lost, lost, "a direct reply gets lost")                                           \
    PLANT(enqueue_drops, counts, "some messages vanish on their way to the queue")                 \
    PLANT(one_too_many, counts, "declare-ok counts one message too many")                          \
    PLANT(watermarks_lost, liveness, "no more watermarks after a while: confirms never come")      \
    PLANT(change_unanswered, liveness, "the registrar's answer gets lost")                         \
    PLANT(fence_lost, liveness, "a fence does not come back")                                      \
    PLANT(bell_lost, liveness, "a shard that sleeps is not woken")                                 \
    PLANT(confirm_unstable, early_confirm, "a watermark says stable for all that is applied")      \
    PLANT(ack_unrecorded, resurrected, "every fifth settlement is not recorded")                   \
    PLANT(facts_lost, resurrected, "a file goes without its facts having been put again")          \
    PLANT(bits_wrong, lost, "bits of what is settled say so of a message more")                    \
    PLANT(facts_end_early, resurrected, "a queue's facts end with their first slice")              \
    PLANT(delivered_unrecorded, unflagged, "how far was delivered is not recorded")                \
    PLANT(answer_unstable, lost, "a declare is answered before it is stable")                      \
    PLANT(segment_unlisted, lost, "a manifest does not list the last segment")                     \
    PLANT(manifest_wrong, damage, "a manifest lists segments that there are not")                  \
    PLANT(parts_mixed, content, "parts of a large message are those before them")                  \
    PLANT(segment_not_empty, bounded, "a segment counts one message that it does not have")        \
    PLANT(fold_forgets, unflagged, "a folded chunk forgets that its messages were delivered")      \
    PLANT(given_elsewhere, twice, "a message comes back to the place behind its own")              \
    PLANT(kept_unlisted, lost, "a manifest does not list files that are kept")                     \
    PLANT(leave_forgotten, lost, "what did not get into a file is still looked for in it")         \
    PLANT(read_unchecked, content, "what was read is believed without its checksum")               \
    PLANT(gone_unstable, lost, "messages go out of memory before they are stable")                 \
    PLANT(get_forgotten, liveness, "a get that waits for a read is forgotten")                     \
    PLANT(given_unsaid, liveness, "nobody hears that the next message is back")                    \
    PLANT(blocks_unread, lost, "of a piece with a bad block everything is given up")               \
    PLANT(spilled_unwritten, invariant, "messages are let go that are in no spill file")           \
    PLANT(spilled_elsewhere, twice, "a spill file has a message in place of the one behind it")    \
    PLANT(spill_uncounted, invariant, "some that come back from a spill file are not counted")     \
    PLANT(spill_remembered, invariant, "after a purge spill files are still taken for needed")     \
    PLANT(lost_file_goes, lost, "a file is given back in which something could not be read")       \
    PLANT(lost_settled, lost, "what could not be read counts as settled")                          \
    PLANT(credit_lost, liveness, "byte credit does not come back to a queue")                      \
    PLANT(heartbeat_silent, heartbeat, "the broker says no heartbeats")                            \
    PLANT(queue_not_forgotten, memory, "the mail that frees a deleted queue gets lost")            \
    PLANT(message_not_sent_home, memory, "released messages do not get home")                      \
    PLANT(settle_lost, counts, "an ack gets lost: the message stays unacked for ever")             \
    PLANT(depends_on_the_process, replay, "a count differs from process to process")

enum plant {
    PLANT_none,
#define PLANT(name, checker, text) PLANT_##name,
    PLANTS
#undef PLANT
        PLANT_COUNT
};

/* The one bug that is planted from now on. */
void plant_choose(enum plant plant);
bool plant_choose_named(const char *name);
bool plant_on(enum plant plant);

/* True when a bell is to be lost. */
bool plant_loses_bell(void);

/* Static text; and who must find it. */
const char *plant_name(enum plant plant);
const char *plant_text(enum plant plant);
enum checker plant_checker(enum plant plant);

#endif
