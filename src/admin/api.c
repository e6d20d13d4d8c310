/* api: what is asked over HTTP, and who answers it: RabbitMQ's paths, as far as there is something
 * to tell. Nearly all of it is reading. */
#include "admin/api.h"

#include <jansson.h>
#include <stdlib.h>

#include "admin/metrics.h"
#include "admin/overview.h"
#include "amqp/value.h"
#include "auth/access.h"
#include "base/str.h"

enum { PARAMETERS_MAX = 2 };

/* What a path's parts marked with ":" were. */
struct question {
    struct api *api;
    struct web_call *call;
    struct bytes parameters[PARAMETERS_MAX];
    uint32_t parameter_count;
};

static const char JSON_TYPE[] = "application/json";

void api_init(struct api *api, const struct node *node, struct backup *backup) {
    *api = (struct api){.node = node, .backup = backup, .desk = {.node = node}};
    list_init(&api->desk.busy);
}

/* ---- short answers ---- */

/* Takes the value. */
static void answer_json(struct web_call *call, uint16_t status, json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT);
    json_decref(value);
    web_answer(call, status, JSON_TYPE, bytes_text(text));
    free(text);
}

static void answer_error(
    struct web_call *call, uint16_t status, const char *error, const char *reason) {
    answer_json(call, status,
        json_pack("{s:s, s:o}", "error", error, "reason", value_text(bytes_text(reason))));
}

static void answer_missing(struct web_call *call) {
    answer_error(call, 404, "Object Not Found", "Not Found");
}

/* ---- health ---- */

static json_t *healthy(void) {
    return json_pack("{s:s}", "status", "ok");
}

static void put_alarm(json_t *alarms, const struct node *node, const char *resource) {
    json_array_append_new(alarms,
        json_pack("{s:o, s:s}", "node", value_text(bytes_text(node->name)), "resource", resource));
}

static void answer_alarms(struct question *question) {
    const struct node *node = question->api->node;
    if (!broker_alarm(node->broker)) {
        answer_json(question->call, 200, healthy());
        return;
    }
    json_t *alarms = json_array();
    if (atomic_load(&node->broker->memory.alarm)) put_alarm(alarms, node, "memory");
    if (broker_disk_alarm(node->broker)) put_alarm(alarms, node, "disk");
    answer_json(question->call, 503,
        json_pack("{s:s, s:s, s:o}", "status", "failed", "reason",
            "There are alarms in effect in the cluster", "alarms", alarms));
}

/* The one virtual host is there as long as the process is. */
static void answer_healthy(struct question *question) {
    answer_json(question->call, 200, healthy());
}

/* Without a login, for load balancers and supervisors. */
static void answer_health(struct question *question) {
    const struct node *node = question->api->node;
    const char *bad = broker_alarm(node->broker);
    if (!bad && atomic_load(&node->broker->definitions_failing))
        bad = "definitions cannot be written";
    char text[64];
    const char *good = node->synced ? "ok" : "ok, durability os";
    bool slow = !bad && broker_disk_slow(node->broker);
    str_format(text, sizeof text, "%s%s\n", bad ? bad : good, slow ? ", slow disk" : "");
    web_answer(question->call, bad ? 503 : 200, "text/plain", bytes_text(text));
}

/* ---- things that are known at once ---- */

static void answer_whoami(struct question *question) {
    json_t *user = value_text(web_request(question->call)->user);
    answer_json(
        question->call, 200, json_pack("{s:o, s:[s]}", "name", user, "tags", "administrator"));
}

static void answer_cluster_name(struct question *question) {
    const char *name = question->api->node->broker->settings.cluster_name;
    answer_json(question->call, 200, json_pack("{s:o}", "name", value_text(bytes_text(name))));
}

static json_t *describe_vhost(const struct question *question) {
    const char *name = vhost_name(question->api->node->broker->vhost);
    return json_pack("{s:o, s:b}", "name", value_text(bytes_text(name)), "tracing", 0);
}

static void answer_vhosts(struct question *question) {
    answer_json(question->call, 200, json_pack("[o]", describe_vhost(question)));
}

/* False, and answered, when there is no virtual host of the first parameter's name. */
static bool find_vhost(const struct question *question) {
    const struct vhost *vhost = question->api->node->broker->vhost;
    if (bytes_equal(question->parameters[0], bytes_text(vhost_name(vhost)))) return true;
    answer_missing(question->call);
    return false;
}

static void answer_vhost(struct question *question) {
    if (find_vhost(question)) answer_json(question->call, 200, describe_vhost(question));
}

/* ---- what takes questions to the shards ---- */

static void answer_overview(struct question *question) {
    report_start(question->api->node, question->call, JSON_TYPE, overview_print);
}

static void answer_nodes(struct question *question) {
    report_start(question->api->node, question->call, JSON_TYPE, overview_print_nodes);
}

static void answer_node(struct question *question) {
    const struct node *node = question->api->node;
    if (bytes_equal(question->parameters[0], bytes_text(node->name)))
        report_start(node, question->call, JSON_TYPE, overview_print_node);
    else
        answer_missing(question->call);
}

static void list_choice(struct question *question, struct listing_choice choice) {
    bool named = question->parameter_count == 2;
    if (question->parameter_count > 0 && !find_vhost(question)) return;
    if (named) choice.name = question->parameters[1];
    /* In paths RabbitMQ's default exchange, whose name is empty, is called so. */
    bool exchange = choice.kind == LISTING_EXCHANGES || choice.choose_source || choice.to_exchange;
    if (exchange && bytes_equal(choice.name, BYTES("amq.default"))) choice.name = BYTES("");
    if (choice.name.size > NAME_BYTES_MAX)
        answer_missing(question->call);
    else
        listing_start(&question->api->desk, question->call, &choice);
}

static void answer_queues(struct question *question) {
    list_choice(question, (struct listing_choice){.kind = LISTING_QUEUES});
}

static void answer_queue(struct question *question) {
    list_choice(question, (struct listing_choice){.kind = LISTING_QUEUES, .one = true});
}

static void answer_connections(struct question *question) {
    list_choice(question, (struct listing_choice){.kind = LISTING_CLIENTS});
}

static void answer_exchanges(struct question *question) {
    list_choice(question, (struct listing_choice){.kind = LISTING_EXCHANGES});
}

static void answer_exchange(struct question *question) {
    list_choice(question, (struct listing_choice){.kind = LISTING_EXCHANGES, .one = true});
}

static void answer_bindings(struct question *question) {
    list_choice(question, (struct listing_choice){.kind = LISTING_BINDINGS});
}

static void answer_queue_bindings(struct question *question) {
    list_choice(
        question, (struct listing_choice){.kind = LISTING_BINDINGS, .choose_destination = true});
}

static void answer_source_bindings(struct question *question) {
    list_choice(question, (struct listing_choice){.kind = LISTING_BINDINGS, .choose_source = true});
}

static void answer_destination_bindings(struct question *question) {
    list_choice(
        question, (struct listing_choice){
                      .kind = LISTING_BINDINGS, .choose_destination = true, .to_exchange = true});
}

static void print_metrics(
    const struct node *node, const struct figures *figures, struct web_call *call) {
    struct buffer buffer;
    (void)node;
    buffer_init(&buffer, METRICS_BYTES_MAX);
    metrics_print(figures, &buffer);
    web_put(call, buffer.data, buffer.size);
    buffer_deinit(&buffer);
}

static void answer_metrics(struct question *question) {
    report_start(question->api->node, question->call, METRICS_TYPE, print_metrics);
}

/* ---- backups ---- */

static void answer_backup_as(struct question *question, uint16_t status) {
    static const char *const states[] = {[BACKUP_NONE] = "none",
        [BACKUP_RUNNING] = "running",
        [BACKUP_DONE] = "done",
        [BACKUP_FAILED] = "failed"};
    struct backup_report report;
    backup_report(question->api->backup, &report);
    json_t *json =
        json_pack("{s:s, s:o, s:I, s:I, s:I}", "state", states[report.state], "directory",
            value_text(bytes_text(report.target)), "files", (json_int_t)report.counts.files,
            "bytes", (json_int_t)report.counts.bytes, "linked", (json_int_t)report.counts.linked);
    if (report.state == BACKUP_FAILED)
        json_object_set_new(json, "reason", value_text(bytes_text(report.why.text)));
    answer_json(question->call, status, json);
}

/* The last one, or the one that is running. */
static void answer_backup(struct question *question) {
    answer_backup_as(question, 200);
}

static void start_backup(struct question *question) {
    char target[BACKUP_PATH_BYTES_MAX];
    struct copier_why why;
    if (!http_query(web_request(question->call), "directory", target, sizeof target))
        answer_error(question->call, 400, "bad_request", "no directory is named");
    else if (backup_running(question->api->backup))
        answer_error(question->call, 409, "conflict", "a backup is running");
    else if (!backup_start(question->api->backup, target, &why))
        answer_error(question->call, 400, "bad_request", why.text);
    else
        answer_backup_as(question, 202);
}

/* ---- routes ---- */

struct route_to {
    enum api_place place;
    bool open; /* without a login */
    const char *path;
    void (*answer)(struct question *question);
    void (*post)(struct question *question); /* NULL: it can only be read */
};

static const struct route_to routes_to[] = {
    {API_METRICS, true, "metrics", answer_metrics, NULL},
    {API_MANAGEMENT, true, "health", answer_health, NULL},
    {API_MANAGEMENT, false, "api/health/checks/alarms", answer_alarms, NULL},
    {API_MANAGEMENT, false, "api/health/checks/local-alarms", answer_alarms, NULL},
    {API_MANAGEMENT, false, "api/health/checks/virtual-hosts", answer_healthy, NULL},
    {API_MANAGEMENT, false, "api/health/checks/node-is-quorum-critical", answer_healthy, NULL},
    {API_MANAGEMENT, false, "api/overview", answer_overview, NULL},
    {API_MANAGEMENT, false, "api/cluster-name", answer_cluster_name, NULL},
    {API_MANAGEMENT, false, "api/whoami", answer_whoami, NULL},
    {API_MANAGEMENT, false, "api/nodes", answer_nodes, NULL},
    {API_MANAGEMENT, false, "api/nodes/:node", answer_node, NULL},
    {API_MANAGEMENT, false, "api/vhosts", answer_vhosts, NULL},
    {API_MANAGEMENT, false, "api/vhosts/:vhost", answer_vhost, NULL},
    {API_MANAGEMENT, false, "api/vhosts/:vhost/connections", answer_connections, NULL},
    {API_MANAGEMENT, false, "api/connections", answer_connections, NULL},
    {API_MANAGEMENT, false, "api/queues", answer_queues, NULL},
    {API_MANAGEMENT, false, "api/queues/:vhost", answer_queues, NULL},
    {API_MANAGEMENT, false, "api/queues/:vhost/:name", answer_queue, NULL},
    {API_MANAGEMENT, false, "api/queues/:vhost/:name/bindings", answer_queue_bindings, NULL},
    {API_MANAGEMENT, false, "api/exchanges", answer_exchanges, NULL},
    {API_MANAGEMENT, false, "api/exchanges/:vhost", answer_exchanges, NULL},
    {API_MANAGEMENT, false, "api/exchanges/:vhost/:name", answer_exchange, NULL},
    {API_MANAGEMENT, false, "api/exchanges/:vhost/:name/bindings/source", answer_source_bindings,
        NULL},
    {API_MANAGEMENT, false, "api/exchanges/:vhost/:name/bindings/destination",
        answer_destination_bindings, NULL},
    {API_MANAGEMENT, false, "api/backup", answer_backup, start_backup},
    {API_MANAGEMENT, false, "api/bindings", answer_bindings, NULL},
    {API_MANAGEMENT, false, "api/bindings/:vhost", answer_bindings, NULL},
};

/* Compares the pattern with the path part by part, noting what stands for a ":name". */
static bool matches(
    const char *pattern, const struct http_request *request, struct question *question) {
    question->parameter_count = 0;
    for (uint32_t i = 0; i < request->segment_count; i++) {
        size_t size = strcspn(pattern, "/");
        if (size == 0) return false;
        if (pattern[0] == ':')
            question->parameters[question->parameter_count++] = request->segments[i];
        else if (!bytes_equal(request->segments[i], bytes_of(pattern, size)))
            return false;
        pattern += size;
        pattern += *pattern == '/';
    }
    return *pattern == 0;
}

static bool is_allowed(const struct web_call *call) {
    const struct http_request *request = web_request(call);
    return request->has_credentials &&
           access_login(request->user, request->password, web_is_local(call));
}

static void take_route(struct question *question, const struct route_to *route) {
    struct web_call *call = question->call;
    enum http_method method = web_request(call)->method;
    if (!route->open && !is_allowed(call))
        answer_error(call, 401, "not_authorized", "Login failed");
    else if (method == HTTP_POST && route->post)
        route->post(question);
    else if (method == HTTP_OTHER || method == HTTP_POST)
        answer_error(call, 405, "method_not_allowed", "this can only be read");
    else
        route->answer(question);
}

void api_on_request(struct api *api, struct web_call *call) {
    const struct http_request *request = web_request(call);
    struct question question = {.api = api, .call = call};
    bool many = request->segment_count > HTTP_SEGMENTS_MAX;
    for (size_t i = 0; i < COUNT_OF(routes_to) && !many; i++) {
        const struct route_to *route = &routes_to[i];
        if (web_place(call) != (uint32_t)route->place) continue;
        if (!matches(route->path, request, &question)) continue;
        take_route(&question, route);
        return;
    }
    answer_missing(call);
}
