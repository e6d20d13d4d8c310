/* lane: a model client's channel. */
#include "sim/lane.h"

#include "sim/guest.h"
#include "sim/witness.h"
#include "sim/world.h"

#include "amqp/table.h"
#include "base/memory.h"
#include "base/str.h"

/* ---- life ---- */

struct lane *lane_new(struct guest *guest, uint16_t number) {
    struct lane *lane = NEW(struct lane);
    lane->guest = guest;
    lane->number = number;
    lane->holds = mem_new_array(LANE_HELD_MAX, sizeof *lane->holds);
    lane->settlements = mem_new_array(LETTERS_MAX * 2, sizeof *lane->settlements);
    lane->sent = mem_new_array(LETTERS_MAX, sizeof *lane->sent);
    lane->unconfirmed = mem_new_array(LETTERS_MAX, sizeof *lane->unconfirmed);
    buffer_init(&lane->incoming.body, SIZE_MAX);
    return lane;
}

static void forget_consumers(struct lane *lane) {
    for (uint32_t i = 0; i < lane->consumer_count; i++)
        mem_free(lane->consumers[i].last);
    lane->consumer_count = 0;
}

void lane_free(struct lane *lane) {
    forget_consumers(lane);
    mem_free(lane->holds);
    mem_free(lane->settlements);
    mem_free(lane->sent);
    mem_free(lane->unconfirmed);
    buffer_deinit(&lane->incoming.body);
    mem_free(lane);
}

void lane_open(struct lane *lane) {
    struct card *card = lane->guest->world->card;
    check(lane->state == LANE_SHUT);
    if (card->lane_count == LANE_UIDS_MAX) return;
    lane->uid = card->lane_count++;
    card->lanes[lane->uid] = lane;
    lane->state = LANE_OPENING;
    lane->crossed = lane->doomed = lane->risky = lane->tx_risky = false;
    lane->confirms = lane->tx = lane->recovering = false;
    lane->expect_count = lane->hold_count = 0;
    lane->settlement_count = lane->settlement_sure = 0;
    lane->sent_count = lane->sent_sure = 0;
    lane->next_tag = 1;
    lane->seqno = 0;
    lane->prefetch = lane->shared = lane->shared_unacked = lane->reply_consumer = 0;
    lane->shared_strict = true;
    lane->incoming.expected = false;
    memset(lane->last_got, 0, sizeof lane->last_got);
    forget_consumers(lane);
    (void)lane_ask(lane, &(struct method){.kind = METHOD_channel_open}, METHOD_channel_open_ok);
}

bool lane_may_be_closed(const struct lane *lane) {
    if (lane->risky || lane->tx_risky || lane->guest->garbled) return true;
    if (lane->guest->heartbeat_s != 0) return true;
    for (uint32_t i = 0; i < lane->expect_count; i++) {
        if (lane->expects[i].risky) return true;
    }
    return false;
}

/* What is delivered to nobody is lost, where nobody has to ack it. */
static void end_consumers(struct lane *lane) {
    for (uint32_t i = 0; i < lane->consumer_count; i++) {
        struct model_consumer *consumer = &lane->consumers[i];
        if (consumer->no_ack && !consumer->over) consumer->queue->leaky = true;
    }
    for (uint32_t i = 0; i < lane->expect_count; i++) {
        const struct expect *expect = &lane->expects[i];
        if (!expect->queue) continue;
        bool takes = expect->reply == METHOD_basic_get_ok && expect->flag;
        /* A get may have taken a message, a purge all of them, at any time from now on. */
        if (takes || expect->reply == METHOD_queue_purge_ok) expect->queue->leaky = true;
    }
}

void lane_end(struct lane *lane, bool gently) {
    struct card *card = lane->guest->world->card;
    if (lane->state == LANE_SHUT) return;
    end_consumers(lane);
    enum copy_state acked = gently ? COPY_SETTLED : COPY_UNSURE;
    for (uint32_t i = lane->settlement_sure; i < lane->settlement_count; i++) {
        const struct settlement *settlement = &lane->settlements[i];
        card_leave(card, settlement->queue, settlement->letter, lane, acked);
    }
    lane_release_all(lane);
    for (uint32_t i = lane->sent_sure; i < lane->sent_count; i++) {
        struct letter *letter = lane->sent[i];
        if (letter->fate == LETTER_KEPT)
            letter->fate = LETTER_DEAD;
        else if (letter->fate == LETTER_SENT && gently)
            letter->fate = LETTER_SURE;
    }
    lane->expect_count = 0;
    lane->seqno = 0;
    lane->doomed = false;
    lane->state = LANE_SHUT;
    card->lanes[lane->uid] = NULL;
}

/* ---- asking ---- */

void lane_say(struct lane *lane, const struct method *method) {
    guest_send(lane->guest, lane->number, method);
}

struct expect *lane_ask(struct lane *lane, const struct method *method, enum method_kind reply) {
    check(lane->expect_count < LANE_EXPECTS_MAX);
    lane_say(lane, method);
    struct expect *expect = &lane->expects[lane->expect_count++];
    *expect = (struct expect){
        .reply = reply,
        .settled_mark = lane->settlement_count,
        .sent_mark = lane->tx ? lane->tx_mark : lane->sent_count,
        .risky = lane->risky,
    };
    lane->risky = false;
    return expect;
}

void lane_published(struct lane *lane, struct letter *letter) {
    letter->lane = lane->uid;
    lane->sent[lane->sent_count++] = letter;
    letter->fate = lane->tx ? LETTER_KEPT : LETTER_SENT;
    if (lane->confirms) lane->unconfirmed[lane->seqno++] = letter;
}

/* ---- holding and settling ---- */

static struct model_consumer *consumer_of(struct lane *lane, const struct hold *hold) {
    return hold->consumer == UINT32_MAX ? NULL : &lane->consumers[hold->consumer];
}

static void count_down(struct lane *lane, const struct hold *hold) {
    struct model_consumer *consumer = consumer_of(lane, hold);
    if (!consumer) return;
    consumer->unacked--;
    lane->shared_unacked--;
}

static void settle_one(struct lane *lane, struct hold *hold, bool requeue) {
    struct card *card = lane->guest->world->card;
    if (requeue) {
        card_leave(card, hold->queue, hold->letter, lane, COPY_RELEASED);
    } else {
        check(lane->settlement_count < LETTERS_MAX * 2);
        lane->settlements[lane->settlement_count++] =
            (struct settlement){hold->queue, hold->letter};
    }
    count_down(lane, hold);
}

/* Keeps the holds that are not marked by tag 0. */
static void compact(struct lane *lane) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < lane->hold_count; i++) {
        if (lane->holds[i].tag != 0) lane->holds[kept++] = lane->holds[i];
    }
    lane->hold_count = kept;
}

void lane_settle(struct lane *lane, uint64_t tag, bool multiple, bool requeue) {
    for (uint32_t i = 0; i < lane->hold_count; i++) {
        struct hold *hold = &lane->holds[i];
        if (hold->in_tx || !(multiple ? hold->tag <= tag : hold->tag == tag)) continue;
        if (lane->tx) {
            hold->in_tx = true;
            hold->requeue = requeue;
            continue;
        }
        settle_one(lane, hold, requeue);
        hold->tag = 0;
    }
    compact(lane);
}

void lane_release_all(struct lane *lane) {
    struct card *card = lane->guest->world->card;
    /* Also what is on its way here and has not been seen. */
    for (uint32_t i = 0; i < lane->consumer_count; i++)
        lane->consumers[i].queue->shaken = true;
    for (uint32_t i = 0; i < lane->expect_count; i++) {
        if (lane->expects[i].queue) lane->expects[i].queue->shaken = true;
    }
    for (uint32_t i = 0; i < lane->hold_count; i++) {
        card_leave(card, lane->holds[i].queue, lane->holds[i].letter, lane, COPY_RELEASED);
        count_down(lane, &lane->holds[i]);
    }
    lane->hold_count = 0;
}

void lane_commit(struct lane *lane) {
    for (uint32_t i = 0; i < lane->hold_count; i++) {
        struct hold *hold = &lane->holds[i];
        if (!hold->in_tx) continue;
        settle_one(lane, hold, hold->requeue);
        hold->tag = 0;
    }
    compact(lane);
    lane->tx_mark = lane->sent_count;
    for (uint32_t i = lane->sent_sure; i < lane->sent_count; i++) {
        if (lane->sent[i]->fate == LETTER_KEPT) lane->sent[i]->fate = LETTER_SENT;
    }
}

void lane_roll_back(struct lane *lane) {
    for (uint32_t i = 0; i < lane->hold_count; i++)
        lane->holds[i].in_tx = false;
    lane->tx_mark = lane->sent_count;
    for (uint32_t i = lane->sent_sure; i < lane->sent_count; i++) {
        if (lane->sent[i]->fate == LETTER_KEPT) lane->sent[i]->fate = LETTER_DEAD;
    }
}

/* ---- replies ---- */

/* What was sent before an answered request has been done. */
static void be_sure(struct lane *lane, const struct expect *expect) {
    struct world *world = lane->guest->world;
    for (; lane->settlement_sure < expect->settled_mark; lane->settlement_sure++) {
        const struct settlement *settlement = &lane->settlements[lane->settlement_sure];
        struct copy *copy = card_copy(world->card, settlement->queue, settlement->letter);
        bool ours = copy->state == COPY_HELD && copy->holder == lane->uid;
        card_leave(world->card, settlement->queue, settlement->letter, lane, COPY_SETTLED);
        copy->sealed = copy->sealed || (ours && expect->reply == METHOD_tx_commit_ok);
    }
    for (; lane->sent_sure < expect->sent_mark; lane->sent_sure++) {
        struct letter *letter = lane->sent[lane->sent_sure];
        if (letter->fate == LETTER_KEPT) break;
        if (letter->fate != LETTER_DEAD && letter->mandatory && letter->unroutable)
            world_fail(world, returned, "message %u should have been returned before %s",
                card_number(world->card, letter), method_name(expect->reply));
        if (letter->fate == LETTER_SENT) letter->fate = LETTER_SURE;
    }
}

static void on_declared(
    struct lane *lane, const struct amqp_queue_declare_ok *declared, const struct expect *expect) {
    struct world *world = lane->guest->world;
    lane->counted_messages = declared->message_count;
    lane->counted_consumers = declared->consumer_count;
    char name[64];
    str_format(
        name, sizeof name, "%.*s", (int)declared->queue.size, (const char *)declared->queue.data);
    if (expect->queue) expect->queue->declared = true;
    if (expect->value != 0) return; /* a reply key, looked at */
    if (!expect->queue) {
        /* Named by the server. */
        uint32_t before = world->card->queue_count;
        struct card_queue *queue = card_queue(world->card, name);
        if (!bytes_start_with(declared->queue, BYTES("amq.gen-")) ||
            (queue && world->card->queue_count == before))
            world_fail(world, reply, "the server names a queue '%s'", name);
        if (queue) queue->exclusive = true;
        return;
    }
    if (strcmp(name, expect->queue->name) != 0)
        world_fail(world, reply, "declare of '%s' is answered for '%s'", expect->queue->name, name);
}

static void on_qos(struct lane *lane, const struct expect *expect) {
    if (!expect->flag) {
        lane->prefetch = expect->value;
        lane->shared = 0;
        lane->shared_strict = false;
        return;
    }
    if (lane->consumer_count != 0 || lane->shared != 0) lane->shared_strict = false;
    lane->shared = expect->value;
}

static void on_consumed(struct lane *lane, struct bytes tag, const struct expect *expect) {
    char name[16];
    size_t size = str_format(name, sizeof name, "c%u", expect->consumer);
    if (!bytes_equal(tag, bytes_of(name, size)))
        world_fail(lane->guest->world, reply, "consumer %s is called '%.*s'", name, (int)tag.size,
            (const char *)tag.data);
}

/* What was committed survives. */
static void on_committed(struct lane *lane, const struct expect *expect) {
    for (uint32_t i = 0; i < expect->sent_mark; i++) {
        struct letter *letter = lane->sent[i];
        letter->firm = letter->firm || (letter->in_tx && letter->fate == LETTER_SURE);
    }
}

static void act_on_reply(
    struct lane *lane, const struct method *method, const struct expect *expect) {
    struct world *world = lane->guest->world;
    switch ((int)method->kind) {
    case METHOD_channel_open_ok: lane->state = LANE_OPEN; return;
    case METHOD_tx_commit_ok: on_committed(lane, expect); return;
    case METHOD_queue_declare_ok: on_declared(lane, &method->queue_declare_ok, expect); return;
    case METHOD_basic_qos_ok: on_qos(lane, expect); return;
    case METHOD_basic_recover_ok: lane->recovering = false; return;
    case METHOD_queue_purge_ok: expect->queue->purged_at = ++world->card->clock; return;
    case METHOD_basic_consume_ok:
        on_consumed(lane, method->basic_consume_ok.consumer_tag, expect);
        lane->consumers[expect->consumer].active = true;
        return;
    case METHOD_basic_cancel_ok:
        on_consumed(lane, method->basic_cancel_ok.consumer_tag, expect);
        lane->consumers[expect->consumer].over = true;
        lane->consumers[expect->consumer].queue->shaken = true;
        return;
    case METHOD_channel_close_ok:
        if (!lane->crossed) lane_end(lane, true);
        lane->state = LANE_SHUT;
        return;
    default: return;
    }
}

static void on_reply(struct lane *lane, const struct method *method) {
    struct world *world = lane->guest->world;
    bool fits = lane->expect_count != 0;
    if (fits) {
        enum method_kind wanted = lane->expects[0].reply;
        fits = method->kind == wanted ||
               (method->kind == METHOD_basic_get_empty && wanted == METHOD_basic_get_ok);
    }
    if (!fits)
        world_fail(world, reply, "client %u.%u gets %s, waits for %s", lane->guest->number,
            lane->number, method_name(method->kind),
            lane->expect_count ? method_name(lane->expects[0].reply) : "nothing");
    struct expect expect = lane->expects[0];
    lane->expect_count--;
    memmove(lane->expects, lane->expects + 1, lane->expect_count * sizeof expect);
    if (!lane->crossed) be_sure(lane, &expect);
    act_on_reply(lane, method, &expect);
}

/* ---- what comes unasked ---- */

static void confirm_one(struct lane *lane, uint64_t seqno, bool ok) {
    struct world *world = lane->guest->world;
    struct letter *letter = lane->unconfirmed[seqno - 1];
    uint32_t number = card_number(world->card, letter);
    lane->unconfirmed[seqno - 1] = NULL;
    if (letter->mandatory && letter->unroutable && !letter->returned)
        world_fail(world, returned, "message %u is confirmed before it was returned", number);
    if (ok && letter->fate == LETTER_SENT) letter->fate = LETTER_SURE;
    letter->firm = letter->firm || ok;
    if (ok) witness_confirm(world, letter);
}

static void on_confirm(struct lane *lane, uint64_t tag, bool multiple, bool ok) {
    struct world *world = lane->guest->world;
    if (tag == 0 || tag > lane->seqno || !lane->unconfirmed[tag - 1])
        world_fail(world, confirm, "client %u.%u: confirm of %llu, which is not open (%llu sent)",
            lane->guest->number, lane->number, (unsigned long long)tag,
            (unsigned long long)lane->seqno);
    for (uint64_t i = multiple ? 1 : tag; i <= tag; i++) {
        if (lane->unconfirmed[i - 1]) confirm_one(lane, i, ok);
    }
}

static void on_server_cancel(struct lane *lane, struct bytes tag) {
    struct world *world = lane->guest->world;
    uint64_t index = UINT64_MAX;
    bool known = tag.size > 1 && str_to_u64(bytes_of(tag.data + 1, tag.size - 1), &index) &&
                 index < lane->consumer_count;
    if (!known || lane->consumers[index].over || lane->consumers[index].queue->stable)
        world_fail(world, tag, "client %u.%u: consumer '%.*s' is cancelled", lane->guest->number,
            lane->number, (int)tag.size, (const char *)tag.data);
    lane->consumers[index].over = true;
}

static void on_server_close(struct lane *lane, const struct amqp_channel_close *close) {
    struct world *world = lane->guest->world;
    if (!lane_may_be_closed(lane))
        world_fail(world, close, "client %u.%u was closed: %u %.*s", lane->guest->number,
            lane->number, close->reply_code, (int)close->reply_text.size,
            (const char *)close->reply_text.data);
    bool closing = lane->state == LANE_CLOSING;
    lane_end(lane, false);
    lane_say(lane, &(struct method){.kind = METHOD_channel_close_ok});
    if (!closing) return;
    /* Ours has crossed theirs: its close-ok still comes. */
    lane->state = LANE_CLOSING;
    lane->crossed = true;
    lane->expects[lane->expect_count++] = (struct expect){.reply = METHOD_channel_close_ok};
}

static void begin_content(struct lane *lane, const struct method *method) {
    struct incoming *incoming = &lane->incoming;
    if (incoming->expected) world_fail(lane->guest->world, content, "a content within another one");
    incoming->expected = true;
    incoming->has_header = false;
    incoming->method = *method;
    buffer_deinit(&incoming->body);
    /* The strings are the wire's: keep them by encoding and decoding once more. */
    struct writer writer = writer_over(incoming->strings, sizeof incoming->strings);
    method_encode(&writer, method);
    check(!writer.bad);
    check(method_decode(writer_bytes(&writer), &incoming->method));
}

void lane_on_method(struct lane *lane, const struct method *method) {
    struct world *world = lane->guest->world;
    if (lane->state == LANE_SHUT)
        world_fail(world, reply, "client %u.%u gets %s while it is closed", lane->guest->number,
            lane->number, method_name(method->kind));
    if (lane->incoming.expected)
        world_fail(world, content, "%s within a content", method_name(method->kind));
    switch ((int)method->kind) {
    case METHOD_basic_deliver:
    case METHOD_basic_get_ok:
    case METHOD_basic_return: begin_content(lane, method); return;
    case METHOD_basic_ack:
        on_confirm(lane, method->basic_ack.delivery_tag, method->basic_ack.multiple, true);
        return;
    case METHOD_basic_nack:
        on_confirm(lane, method->basic_nack.delivery_tag, method->basic_nack.multiple, false);
        return;
    case METHOD_basic_cancel: on_server_cancel(lane, method->basic_cancel.consumer_tag); return;
    case METHOD_channel_close: on_server_close(lane, &method->channel_close); return;
    default: on_reply(lane, method);
    }
}

/* ---- contents ---- */

static void content_step(struct lane *lane) {
    struct incoming *incoming = &lane->incoming;
    if (incoming->body.size < incoming->size) return;
    if (incoming->body.size > incoming->size)
        world_fail(lane->guest->world, content, "more body than announced");
    incoming->expected = false;
    struct expect asked = lane->expect_count ? lane->expects[0] : (struct expect){0};
    if (incoming->method.kind == METHOD_basic_get_ok) on_reply(lane, &incoming->method);
    lane_on_content(lane, &asked);
}

static void take_properties(struct incoming *incoming, const struct properties *properties) {
    struct field field;
    bool headers = properties->flags & PROPERTY_HAS_headers;
    struct bytes reply_to =
        properties->flags & PROPERTY_HAS_reply_to ? properties->reply_to : BYTES("");
    str_format(incoming->reply_to, sizeof incoming->reply_to, "%.*s", (int)reply_to.size,
        (const char *)reply_to.data);
    incoming->has_cc = headers && table_find(properties->headers, BYTES("CC"), &field);
    incoming->has_bcc = headers && table_find(properties->headers, BYTES("BCC"), &field);
}

void lane_on_header(struct lane *lane, const struct content_header *header) {
    struct incoming *incoming = &lane->incoming;
    struct properties properties;
    bool fine = incoming->expected && !incoming->has_header && header->class_id == 60 &&
                properties_decode(header->properties, &properties) &&
                properties.flags & PROPERTY_HAS_message_id && properties.message_id.size < 16;
    if (!fine) world_fail(lane->guest->world, content, "a header that makes no sense");
    incoming->has_header = true;
    incoming->size = header->body_size;
    str_format(incoming->message_id, sizeof incoming->message_id, "%.*s",
        (int)properties.message_id.size, (const char *)properties.message_id.data);
    take_properties(incoming, &properties);
    content_step(lane);
}

void lane_on_body(struct lane *lane, struct bytes body) {
    struct incoming *incoming = &lane->incoming;
    if (!incoming->expected || !incoming->has_header)
        world_fail(lane->guest->world, content, "a body that belongs to nothing");
    check(buffer_put(&incoming->body, body.data, body.size));
    content_step(lane);
}
