/* ctl_verify: checks a data directory and says what is there and what is not as it was written. */
#include "tools/ctl_data.h"
#include "tools/ctl_living.h"
#include "tools/ctl_table.h"

#include <stdio.h>
#include <string.h>

#include "amqp/value.h"
#include "base/str.h"

struct verify {
    const struct ctl_data *data;
    struct ctl_home *home;
    struct ctl_living_counts counts;
    uint64_t message_bytes;
    int error; /* of the walk */
};

static const char *verdict_of(const struct verify *verify) {
    const struct recovery *recovery = verify->home->recovery;
    if (recovery && recover_verdict(recovery) == RECOVER_REFUSED) return "refused";
    return ctl_home_damaged(verify->home) || verify->error != 0 ? "damaged" : "clean";
}

static bool count_message(void *context, const struct ctl_living *living) {
    struct verify *verify = context;
    living->queue->messages++;
    living->queue->message_bytes += living->body.size;
    verify->message_bytes += living->body.size;
    return true;
}

/* ---- JSON ---- */

static json_t *file_json(const struct recover_file_report *file) {
    json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:I}", "file", file->name, "kind", file->what,
        "bytes", (json_int_t)file->bytes, "frames", (json_int_t)file->frames, "records",
        (json_int_t)file->records);
    if (!file->known) return json;
    json_object_set_new(json, "writer", json_integer(file->shard));
    json_object_set_new(json, "number", json_integer((json_int_t)file->number));
    return json;
}

static void put_target(
    const struct verify *verify, json_t *json, const struct record_target *target) {
    const struct ctl_queue *queue = ctl_home_queue(verify->home, target->queue);
    json_object_set_new(json, "queue_id", json_integer((json_int_t)target->queue));
    json_object_set_new(json, "seq", json_integer((json_int_t)target->seq));
    if (!queue) return;
    json_object_set_new(json, "queue", value_text(bytes_of(queue->name, queue->name_size)));
    json_object_set_new(json, "vhost", value_text(bytes_of(queue->vhost, queue->vhost_size)));
}

static json_t *damage_json(const struct verify *verify, const struct recover_damage *damage) {
    json_t *json = json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I}", "file", damage->name, "what",
        recover_damage_text(damage->kind), "writer", damage->shard, "number",
        (json_int_t)damage->file_no, "offset", (json_int_t)damage->offset, "size",
        (json_int_t)damage->size, "lsn", (json_int_t)damage->lsn);
    if (damage->error != 0)
        json_object_set_new(json, "error", json_string(strerror(damage->error)));
    if (damage->has_target) put_target(verify, json, &damage->target);
    return json;
}

static json_t *queue_json(const struct ctl_queue *queue) {
    return json_pack("{s:o, s:o, s:I, s:I, s:I}", "name",
        value_text(bytes_of(queue->name, queue->name_size)), "vhost",
        value_text(bytes_of(queue->vhost, queue->vhost_size)), "id", (json_int_t)queue->id,
        "messages", (json_int_t)queue->messages, "message_bytes", (json_int_t)queue->message_bytes);
}

static json_t *files_json(const struct recovery *recovery) {
    json_t *files = json_array();
    for (uint32_t i = 0; recovery && i < recover_file_count(recovery); i++) {
        struct recover_file_report file;
        recover_file_at(recovery, i, &file);
        json_array_append_new(files, file_json(&file));
    }
    return files;
}

static json_t *damages_json(const struct verify *verify) {
    const struct recovery *recovery = verify->home->recovery;
    json_t *damages = json_array();
    for (size_t i = 0; i < verify->home->wrong_count; i++) {
        json_t *what = value_text(bytes_text(verify->home->wrongs[i]));
        json_array_append_new(damages, json_pack("{s:o}", "what", what));
    }
    uint64_t count = recovery ? recover_damage_count(recovery) : 0;
    for (uint64_t i = 0; i < min_u64(count, RECOVER_DAMAGES_MAX); i++)
        json_array_append_new(damages, damage_json(verify, recover_damage_at(recovery, i)));
    return damages;
}

static void print_json(const struct verify *verify) {
    const struct ctl_home *home = verify->home;
    json_t *queues = json_array();
    for (size_t i = 0; i < home->queue_count; i++)
        json_array_append_new(queues, queue_json(&home->queues[i]));
    json_t *json = json_pack("{s:o, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "directory",
        value_text(bytes_text(home->path)), "verdict", verdict_of(verify), "damages",
        damages_json(verify), "files", files_json(home->recovery), "queues", queues, "messages",
        (json_int_t)verify->counts.messages, "message_bytes", (json_int_t)verify->message_bytes,
        "incomplete", (json_int_t)verify->counts.incomplete, "ownerless",
        (json_int_t)verify->counts.ownerless);
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

/* ---- lines ---- */

static void print_files(const struct recovery *recovery) {
    for (uint32_t i = 0; recovery && i < recover_file_count(recovery); i++) {
        struct recover_file_report file;
        recover_file_at(recovery, i, &file);
        printf("%s %s", file.what, file.name);
        if (file.known)
            printf(" writer=%u number=%llu", file.shard, (unsigned long long)file.number);
        printf(" bytes=%llu frames=%llu records=%llu\n", (unsigned long long)file.bytes,
            (unsigned long long)file.frames, (unsigned long long)file.records);
    }
}

static void print_name(const char *before, const char *name, uint32_t size) {
    json_t *text = value_text(bytes_of(name, size));
    fputs(before, stdout);
    ctl_table_print(text);
    json_decref(text);
}

static void print_target(const struct verify *verify, const struct record_target *target) {
    const struct ctl_queue *queue = ctl_home_queue(verify->home, target->queue);
    if (queue) {
        print_name(" queue=", queue->name, queue->name_size);
        print_name(" vhost=", queue->vhost, queue->vhost_size);
    } else {
        printf(" queue_id=%llu", (unsigned long long)target->queue);
    }
    printf(" seq=%llu", (unsigned long long)target->seq);
}

static void print_damage(const struct verify *verify, const struct recover_damage *damage) {
    printf("damaged: messages/%s %s: writer=%u number=%llu offset=%llu size=%llu",
        damage->name[0] ? damage->name : "(a journal file)", recover_damage_text(damage->kind),
        damage->shard, (unsigned long long)damage->file_no, (unsigned long long)damage->offset,
        (unsigned long long)damage->size);
    if (damage->has_target) print_target(verify, &damage->target);
    if (damage->error != 0) printf(" error=\"%s\"", strerror(damage->error));
    putchar('\n');
}

static void print_damages(const struct verify *verify) {
    const struct recovery *recovery = verify->home->recovery;
    for (size_t i = 0; i < verify->home->wrong_count; i++) {
        print_name("damaged: ", verify->home->wrongs[i], (uint32_t)strlen(verify->home->wrongs[i]));
        putchar('\n');
    }
    uint64_t count = recovery ? recover_damage_count(recovery) : 0;
    for (uint64_t i = 0; i < min_u64(count, RECOVER_DAMAGES_MAX); i++)
        print_damage(verify, recover_damage_at(recovery, i));
    if (count > RECOVER_DAMAGES_MAX)
        printf("damaged: and %llu more\n", (unsigned long long)(count - RECOVER_DAMAGES_MAX));
    if (verify->error != 0)
        printf("damaged: a second reading gave something else than the first\n");
}

static void print_queues(const struct ctl_home *home) {
    for (size_t i = 0; i < home->queue_count; i++) {
        const struct ctl_queue *queue = &home->queues[i];
        print_name("queue ", queue->name, queue->name_size);
        print_name(" vhost=", queue->vhost, queue->vhost_size);
        printf(" messages=%llu bytes=%llu\n", (unsigned long long)queue->messages,
            (unsigned long long)queue->message_bytes);
    }
}

static void print_lines(const struct verify *verify) {
    const struct ctl_home *home = verify->home;
    struct recover_counts counts = {0};
    if (home->recovery) counts = recover_counts(home->recovery);
    if (verify->data->verbose) print_files(home->recovery);
    print_damages(verify);
    print_queues(home);
    printf("definitions: virtual hosts %llu, exchanges %llu, queues %llu, bindings %llu\n",
        (unsigned long long)home->counts.vhosts, (unsigned long long)home->counts.exchanges,
        (unsigned long long)home->counts.queues, (unsigned long long)home->counts.bindings);
    printf("messages: %llu, %llu bytes; files read %llu, frames %llu, records %llu, %llu bytes\n",
        (unsigned long long)verify->counts.messages, (unsigned long long)verify->message_bytes,
        (unsigned long long)counts.files, (unsigned long long)counts.frames,
        (unsigned long long)counts.records, (unsigned long long)counts.bytes);
    if (verify->counts.ownerless != 0)
        printf("places of messages in queues that do not exist: %llu\n",
            (unsigned long long)verify->counts.ownerless);
    if (verify->counts.incomplete != 0)
        printf("incomplete messages: %llu\n", (unsigned long long)verify->counts.incomplete);
    printf("%s\n", verdict_of(verify));
}

int ctl_data_verify(const struct ctl_data *data, struct ctl_home *home) {
    struct verify verify = {.data = data, .home = home};
    bool refused = home->recovery && recover_verdict(home->recovery) == RECOVER_REFUSED;
    if (!refused) verify.error = ctl_living_walk(home, count_message, &verify, &verify.counts);
    if (data->json)
        print_json(&verify);
    else
        print_lines(&verify);
    bool clean = strcmp(verdict_of(&verify), "clean") == 0;
    return clean && fflush(stdout) == 0 ? 0 : 1;
}
