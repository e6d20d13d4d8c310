/* admin: the thread that answers people and programs over HTTP. */
#include "admin/admin.h"

#include <pthread.h>
#include <stdatomic.h>

#include "admin/api.h"
#include "admin/node.h"
#include "admin/web.h"
#include "base/memory.h"
#include "net/loop.h"
#include "net/socket.h"

struct admin {
    struct broker *broker;
    struct node node;
    struct api api;
    struct backup *backup;
    struct loop *loop;
    struct web *web; /* NULL once closed */
    pthread_t thread;
    _Atomic bool ending;
};

static void on_request(void *owner, struct web_call *call) {
    struct admin *admin = owner;
    api_on_request(&admin->api, call);
}

static const struct web_events WEB_EVENTS = {on_request};

/* Questions that are back from a shard, in the order asked. */
static void read_mail(struct admin *admin, uint32_t from) {
    struct broker *broker = admin->broker;
    const struct mail *mail = NULL;
    bool any = false;
    while ((mail = mesh_peek(broker->mesh, from, broker->admin)) != NULL) {
        check(mail->kind == MAIL_VISITED);
        mail->visit->back(mail->visit);
        mesh_took(broker->mesh, from, broker->admin);
        any = true;
    }
    if (any) mesh_release(broker->mesh, from, broker->admin);
}

bool admin_turn(struct admin *admin, uint64_t now_ms) {
    struct broker *broker = admin->broker;
    for (uint32_t from = 0; from < broker->shard_count; from++)
        read_mail(admin, from);
    bool more = false;
    backup_turn(admin->backup);
    if (admin->web) {
        more = listing_turn(&admin->api.desk);
        web_turn(admin->web, now_ms);
    }
    mesh_publish(broker->mesh, broker->admin);
    return more;
}

/* ---- the loop's side ---- */

static bool do_turn(void *actor, uint64_t now_ms) {
    struct admin *admin = actor;
    if (atomic_load(&admin->ending)) loop_end(admin->loop);
    return admin_turn(admin, now_ms);
}

static bool may_sleep(void *actor) {
    struct admin *admin = actor;
    return mesh_may_sleep(admin->broker->mesh, admin->broker->admin);
}

static void awake(void *actor) {
    struct admin *admin = actor;
    mesh_awake(admin->broker->mesh, admin->broker->admin);
}

static uint64_t next_deadline(void *actor) {
    struct admin *admin = actor;
    return web_next_deadline(admin->web);
}

static const struct loop_actor ADMIN_ACTOR = {do_turn, may_sleep, awake, next_deadline};

static void *thread_main(void *context) {
    struct admin *admin = context;
    pthread_setname_np(pthread_self(), "admin");
    loop_run(admin->loop);
    return NULL;
}

/* ---- life ---- */

/* A copy is over, on its thread. */
static void ring(void *context) {
    struct admin *admin = context;
    loop_bell(admin->loop);
}

struct admin *admin_new(struct broker *broker, const struct admin_settings *settings) {
    struct admin *admin = NEW(struct admin);
    admin->broker = broker;
    admin->node = (struct node){.broker = broker,
        .data_dir = settings->data_dir,
        .descriptors_max = settings->descriptors_max,
        .synced = settings->synced};
    node_init(&admin->node);
    admin->loop = loop_new(&ADMIN_ACTOR, admin);
    admin->backup = backup_new(broker, settings->data_dir, ring, admin);
    api_init(&admin->api, &admin->node, admin->backup);
    admin->web = web_new(admin->loop, &WEB_EVENTS, admin);
    if (settings->management >= 0) web_listen(admin->web, settings->management, API_MANAGEMENT);
    if (settings->metrics >= 0) web_listen(admin->web, settings->metrics, API_METRICS);
    return admin;
}

void admin_start(struct admin *admin) {
    check(pthread_create(&admin->thread, NULL, thread_main, admin) == 0);
}

void admin_bell(struct admin *admin) {
    loop_bell(admin->loop);
}

void admin_stop(struct admin *admin) {
    atomic_store(&admin->ending, true);
    loop_bell(admin->loop);
    check(pthread_join(admin->thread, NULL) == 0);
    backup_stop(admin->backup);
}

void admin_close(struct admin *admin) {
    web_free(admin->web);
    admin->web = NULL;
    socket_close_finishing(admin->loop);
}

void admin_free(struct admin *admin) {
    if (!admin) return;
    backup_free(admin->backup);
    loop_free(admin->loop);
    mem_free(admin);
}
