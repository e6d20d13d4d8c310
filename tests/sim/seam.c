/* seam: the planted bugs themselves. Each function stands before one of the broker's own, which the
 * linker then calls __real_...; without a plant it only passes on. */
#include "sim/plant.h"

#include <unistd.h>

#include "session/channel.h"
#include "session/confirms.h"
#include "shard/client.h"
#include "shard/mailbox.h"

/* The linker's names. */
const struct mail *__wrap_mesh_peek(struct mesh *mesh, uint32_t from, uint32_t to);
const struct mail *__real_mesh_peek(struct mesh *mesh, uint32_t from, uint32_t to);
void __wrap_mesh_took(struct mesh *mesh, uint32_t from, uint32_t to);
void __real_mesh_took(struct mesh *mesh, uint32_t from, uint32_t to);
void __wrap_connection_put(struct session *session, uint16_t channel, const struct method *method);
void __real_connection_put(struct session *session, uint16_t channel, const struct method *method);
void __wrap_client_publish(
    void *host, const struct publish *publish, struct publish_result *ret_result);
void __real_client_publish(
    void *host, const struct publish *publish, struct publish_result *ret_result);
void __wrap_channel_on_tx_rollback(
    struct channel *channel, const struct amqp_tx_rollback *arguments);
void __real_channel_on_tx_rollback(
    struct channel *channel, const struct amqp_tx_rollback *arguments);
bool __wrap_confirms_next(struct confirms *confirms, struct confirm_word *ret_word);
bool __real_confirms_next(struct confirms *confirms, struct confirm_word *ret_word);
uint64_t __wrap_session_tick(struct session *session, uint64_t now_ms);
uint64_t __real_session_tick(struct session *session, uint64_t now_ms);

/* One run is one process and one thread. */
static struct {
    uint64_t count;     /* of the occasions that a plant had */
    bool repeat;        /* the mail just peeked comes once more */
    uint32_t rollbacks; /* that became commits and are not answered */
    queue_ref last_queue;
    struct confirm_word repeated_word;
} sown;

static bool every(uint64_t n) {
    return ++sown.count % n == 0;
}

bool plant_loses_bell(void) {
    return plant_on(PLANT_bell_lost) && every(50);
}

/* ---- mail to queues ---- */

static bool spoil_enqueue(struct mail *mail) {
    struct message *message = mail->op.message;
    queue_ref queue = mail->ref;
    if (plant_on(PLANT_body_changed) && message->body_size != 0 && every(10))
        message_body_data(message)[0] ^= 1;
    if (plant_on(PLANT_wrong_queue) && sown.last_queue && every(10) &&
        ref_shard(sown.last_queue) == ref_shard(queue))
        mail->ref = sown.last_queue;
    if (plant_on(PLANT_enqueue_drops) && every(10))
        mail->ref = ref_make(ref_shard(queue), ref_slot(queue), ref_generation(queue) ^ 0x800000);
    sown.last_queue = queue;
    return false;
}

/* True when the mail is to get lost. */
static bool spoil_op(struct mail *mail) {
    struct op *op = &mail->op;
    if (op->kind == OP_ENQUEUE) return spoil_enqueue(mail);
    if (op->kind == OP_CONSUME && plant_on(PLANT_prefetch_one_more))
        op->consume.prefetch += op->consume.prefetch != 0;
    if (op->kind == OP_SETTLE && plant_on(PLANT_settle_lost)) return every(10);
    if (op->kind == OP_SETTLE && plant_on(PLANT_ack_requeues) && every(10)) op->kind = OP_REQUEUE;
    if (op->kind == OP_REQUEUE && plant_on(PLANT_requeue_drops) && every(3)) op->kind = OP_SETTLE;
    return false;
}

/* ---- mail to connections ---- */

static void deliver_twice(const struct effect *effect) {
    if (effect->flags & EFFECT_NO_ACK || !every(10)) return;
    message_ref(effect->message, 1);
    sown.repeat = true;
}

static void spoil_delivery(struct mesh *mesh, uint32_t from, uint32_t to, struct mail *mail) {
    struct effect *effect = &mail->effect;
    if (plant_on(PLANT_flag_forgotten)) effect->flags &= (uint8_t)~EFFECT_REDELIVERED;
    if (plant_on(PLANT_delivered_twice)) deliver_twice(effect);
    if (plant_on(PLANT_consumer_cancelled) && every(10)) {
        struct mail *lost = mesh_post(mesh, from, to);
        *lost = *mail;
        lost->effect.kind = EFFECT_CONSUMER_LOST;
        lost->effect.message = NULL;
    }
}

static void spoil_effect(struct mesh *mesh, uint32_t from, uint32_t to, struct mail *mail) {
    struct effect *effect = &mail->effect;
    if (effect->kind == EFFECT_DELIVER) spoil_delivery(mesh, from, to, mail);
    if (effect->kind == EFFECT_STATED && plant_on(PLANT_one_too_many)) effect->messages++;
    if (effect->kind == EFFECT_GOT && plant_on(PLANT_depends_on_the_process))
        effect->messages += (uint32_t)getpid();
    if (effect->kind == EFFECT_GET_EMPTY && plant_on(PLANT_get_from_nowhere) && every(5))
        effect->code = REPLY_NOT_FOUND;
}

/* ---- all mail ---- */

/* True when the mail is to get lost. */
static bool spoil(struct mesh *mesh, uint32_t from, uint32_t to, struct mail *mail) {
    switch ((int)mail->kind) {
    case MAIL_OP: return spoil_op(mail);
    case MAIL_EFFECT: spoil_effect(mesh, from, to, mail); return false;
    case MAIL_WATERMARK:
        if (plant_on(PLANT_watermark_too_far) && every(10)) mail->watermark.applied += 1000000;
        if (plant_on(PLANT_confirm_unstable)) mail->watermark.stable = mail->watermark.applied;
        return plant_on(PLANT_watermarks_lost) && ++sown.count > 20;
    case MAIL_REPLY: return plant_on(PLANT_answer_lost);
    case MAIL_CREDIT: return plant_on(PLANT_credit_lost);
    case MAIL_CHANGED: return plant_on(PLANT_change_unanswered) && every(20);
    case MAIL_FENCED: return plant_on(PLANT_fence_lost) && mail->number != 0 && every(10);
    case MAIL_FORGET: return plant_on(PLANT_queue_not_forgotten) && every(3);
    case MAIL_RELEASE: return plant_on(PLANT_message_not_sent_home) && every(5);
    default: return false;
    }
}

/* Puts the mail behind what is there already. True when it did. */
static bool delay(struct mesh *mesh, uint32_t from, uint32_t to, const struct mail *mail) {
    if (!plant_on(PLANT_enqueue_delayed)) return false;
    if (mail->kind != MAIL_OP || mail->op.kind != OP_ENQUEUE || !every(10)) return false;
    *mesh_post(mesh, from, to) = *mail;
    return true;
}

const struct mail *__wrap_mesh_peek(struct mesh *mesh, uint32_t from, uint32_t to) {
    for (;;) {
        const struct mail *mail = __real_mesh_peek(mesh, from, to);
        if (!mail || plant_on(PLANT_none)) return mail;
        bool again = sown.repeat;
        sown.repeat = false;
        if (again) return mail;
        /* Mail lies in the ring until it is taken: it may be changed there. */
        struct mail *planted = (struct mail *)(uintptr_t)mail;
        if (!delay(mesh, from, to, mail) && !spoil(mesh, from, to, planted)) return mail;
        __real_mesh_took(mesh, from, to);
        mesh_release(mesh, from, to);
    }
}

void __wrap_mesh_took(struct mesh *mesh, uint32_t from, uint32_t to) {
    if (!sown.repeat) __real_mesh_took(mesh, from, to);
}

/* ---- words to the client ---- */

void __wrap_connection_put(struct session *session, uint16_t channel, const struct method *method) {
    struct method said = *method;
    bool twice = said.kind == METHOD_basic_qos_ok && plant_on(PLANT_reply_twice) && every(5);
    if (said.kind == METHOD_queue_bind_ok && plant_on(PLANT_reply_to_another) && every(4))
        said.kind = METHOD_queue_unbind_ok;
    if (said.kind == METHOD_tx_commit_ok && sown.rollbacks != 0) {
        sown.rollbacks--;
        said.kind = METHOD_tx_rollback_ok;
    }
    __real_connection_put(session, channel, &said);
    if (twice) __real_connection_put(session, channel, &said);
}

bool __wrap_confirms_next(struct confirms *confirms, struct confirm_word *ret_word) {
    if (sown.repeated_word.seqno != 0) {
        *ret_word = sown.repeated_word;
        sown.repeated_word.seqno = 0;
        return true;
    }
    bool more = __real_confirms_next(confirms, ret_word);
    if (more && plant_on(PLANT_confirm_twice) && every(5)) sown.repeated_word = *ret_word;
    return more;
}

/* ---- what clients ask ---- */

void __wrap_client_publish(
    void *host, const struct publish *publish, struct publish_result *ret_result) {
    __real_client_publish(host, publish, ret_result);
    if (plant_on(PLANT_return_forgotten) && ret_result->code == REPLY_OK && ret_result->queues == 0)
        ret_result->queues = 1;
}

void __wrap_channel_on_tx_rollback(
    struct channel *channel, const struct amqp_tx_rollback *arguments) {
    if (!plant_on(PLANT_rollback_commits) || !channel->tx) {
        __real_channel_on_tx_rollback(channel, arguments);
        return;
    }
    sown.rollbacks++;
    channel_on_tx_commit(channel, &(struct amqp_tx_commit){0});
}

/* ---- time ---- */

uint64_t __wrap_session_tick(struct session *session, uint64_t now_ms) {
    uint64_t due = __real_session_tick(session, plant_on(PLANT_heartbeat_silent) ? 1000 : now_ms);
    return plant_on(PLANT_heartbeat_silent) ? UINT64_MAX : due;
}
