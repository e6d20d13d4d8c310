/* survey: questions to the shards. What runs on the shard's thread is in the upper half. */
#include "admin/survey.h"

#include "base/memory.h"
#include "base/str.h"
#include "shard/client.h"
#include "shard/queue_host.h"

/* ---- on the shard's thread ---- */

static void copy_name(struct survey_name *to, struct bytes from) {
    to->size = (uint8_t)min_u64(from.size, sizeof to->data);
    bytes_copy(to->data, from.data, to->size);
}

static void describe_queue(struct survey *survey, const struct queue_slot *slot) {
    struct survey_queue *row = &survey->queues[survey->count++];
    row->queue = queue_self(slot->queue);
    row->ready = queue_ready_count(slot->queue);
    row->unacked = queue_unacked_count(slot->queue);
    row->bytes = queue_bytes(slot->queue);
    row->consumers = queue_consumer_count(slot->queue);
    copy_name(&row->name, name_bytes(slot->name));
}

static bool is_listed(const struct queue_slot *slot) {
    return slot->queue && !slot->forgotten && !queue_gone(slot->queue);
}

static void describe_queues(struct shard *shard, struct survey *survey) {
    uint32_t looked = 0;
    uint32_t looked_max = survey->single ? 1 : SURVEY_QUEUES_MAX;
    while (survey->at < shard->queue_capacity && survey->count < SURVEY_ROWS_MAX &&
           looked++ < looked_max) {
        const struct queue_slot *slot = queue_host_slot_at(shard, survey->at++);
        if (is_listed(slot)) describe_queue(survey, slot);
    }
    survey->more = survey->at < shard->queue_capacity;
}

static void sum_queues(struct shard *shard, struct survey *survey) {
    struct survey_sums *sums = &survey->sums;
    for (uint32_t looked = 0; looked < SURVEY_QUEUES_MAX && survey->at < shard->queue_capacity;
         looked++) {
        const struct queue_slot *slot = queue_host_slot_at(shard, survey->at++);
        if (!is_listed(slot)) continue;
        sums->queues++;
        sums->ready += queue_ready_count(slot->queue);
        sums->unacked += queue_unacked_count(slot->queue);
        sums->bytes += queue_bytes(slot->queue);
        sums->consumers += queue_consumer_count(slot->queue);
    }
    survey->more = survey->at < shard->queue_capacity;
}

static void describe_client(
    struct survey *survey, const struct client *client, const struct session_facts *facts) {
    struct survey_client *row = &survey->clients[survey->count++];
    row->state = facts->state;
    row->channels = facts->channels;
    row->consumers = facts->consumers;
    row->unacked = facts->unacked;
    row->unconfirmed = facts->unconfirmed;
    copy_name(&row->user, facts->user);
    copy_name(&row->vhost, facts->vhost);
    copy_name(&row->client_name, facts->client_name);
    str_format(row->peer, sizeof row->peer, "%s", client->peer);
}

static void look_at_clients(struct shard *shard, struct survey *survey) {
    bool describes = survey->kind == SURVEY_CLIENTS;
    uint32_t looked_max = describes ? SURVEY_ROWS_MAX : SURVEY_CLIENTS_MAX;
    uint64_t channels = 0;
    for (uint32_t looked = 0; looked < looked_max && survey->at < shard->client_capacity &&
                              channels < SURVEY_CHANNELS_MAX;
         looked++) {
        const struct client *client = shard->clients[survey->at++];
        if (!client || !client->socket) continue;
        struct session_facts facts;
        session_facts(client->session, &facts);
        channels += facts.channels;
        survey->sums.connections++;
        survey->sums.channels += facts.channels;
        survey->sums.unconfirmed += facts.unconfirmed;
        if (describes) describe_client(survey, client, &facts);
    }
    survey->more = survey->at < shard->client_capacity;
}

static void run(struct shard *shard, struct visit *visit) {
    struct survey *survey = CONTAINER_OF(visit, struct survey, visit);
    switch (survey->kind) {
    case SURVEY_QUEUES: describe_queues(shard, survey); return;
    case SURVEY_QUEUE_SUMS: sum_queues(shard, survey); return;
    case SURVEY_CLIENTS:
    case SURVEY_CLIENT_SUMS: look_at_clients(shard, survey); return;
    }
    unreachable_here();
}

/* ---- on the admin thread ---- */

/* It is back: the admin thread has got the mail. */
static void on_back(struct visit *visit) {
    struct survey *survey = CONTAINER_OF(visit, struct survey, visit);
    check(survey->out);
    survey->out = false;
    if (survey->unwanted)
        mem_free(survey);
    else
        survey->done(survey->asker, survey);
}

struct survey *survey_new(
    enum survey_kind kind, void (*done)(void *asker, struct survey *survey), void *asker) {
    bool rows = kind == SURVEY_QUEUES || kind == SURVEY_CLIENTS;
    struct survey *survey = mem_new(rows ? sizeof *survey : offsetof(struct survey, queues));
    survey->visit.run = run;
    survey->visit.back = on_back;
    survey->kind = kind;
    survey->done = done;
    survey->asker = asker;
    return survey;
}

void survey_free(struct survey *survey) {
    if (survey && survey->out)
        survey->unwanted = true; /* the shard does not look at this */
    else
        mem_free(survey);
}

void survey_ask(struct survey *survey, struct broker *broker) {
    check(!survey->out);
    check(survey->shard < broker->shard_count);
    survey->count = 0;
    survey->out = true;
    struct mail *mail = mesh_post(broker->mesh, broker->admin, survey->shard);
    *mail = (struct mail){.kind = MAIL_VISIT, .visit = &survey->visit};
}

bool survey_advance(struct survey *survey, const struct broker *broker) {
    check(!survey->out);
    if (survey->single) return false;
    if (survey->more) return true;
    if (survey->shard + 1 == broker->shard_count) return false;
    survey->shard++;
    survey->at = 0;
    return true;
}
