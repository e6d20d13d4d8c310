/* topology_test: requests and their answers, as RabbitMQ 3.10 gave them on the wire; routing
 * between exchanges; what goes when something else goes. */
#include "fields.h"
#include "unit.h"

#include "base/memory.h"
#include "base/str.h"
#include "core/exchange.h"
#include "core/topology.h"
#include "core/vhost.h"

/* Requests are written as short lists; what they do not mention is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

struct broker {
    struct topology *topology;
    struct vhost *vhost;
};

static int setup(void **state) {
    struct broker *broker = NEW(struct broker);
    broker->topology = topology_new_seeded(77);
    broker->vhost = topology_find_vhost(broker->topology, BYTES("/"));
    *state = broker;
    return 0;
}

static int teardown(void **state) {
    struct broker *broker = *state;
    vhost_check(broker->vhost);
    topology_free(broker->topology);
    mem_free(broker);
    return 0;
}

/* ---- a script of requests ---- */

enum { PASSIVE = 1, DURABLE = 2, EXCLUSIVE = 4, AUTO_DELETE = 8, INTERNAL = 16, IF_UNUSED = 32 };

enum { FIRST = 1, SECOND = 2 }; /* connections */

struct request {
    enum change_kind kind;
    const char *name;
    const char *source; /* of a binding; of an exchange its type */
    const char *routing_key;
    int flags;
    int connection;
    struct fields fields;
};

/* Does a request as the broker does: queues are made at once. */
static void ask(struct vhost *vhost, const struct request *request, struct change_result *result) {
    static uint8_t room[512];
    struct change change = {
        .kind = request->kind,
        .passive = request->flags & PASSIVE,
        .durable = request->flags & DURABLE,
        .exclusive = request->flags & EXCLUSIVE,
        .auto_delete = request->flags & AUTO_DELETE,
        .internal = request->flags & INTERNAL,
        .if_unused = request->flags & IF_UNUSED,
        .connection = (connection_ref)request->connection,
        .name = bytes_text(request->name),
        .source = bytes_text(request->source ? request->source : ""),
        .type = bytes_text(request->source ? request->source : ""),
        .routing_key = bytes_text(request->routing_key ? request->routing_key : ""),
        .arguments = fields_table(&request->fields, room, sizeof room),
    };
    memset(result, 0xee, sizeof *result);
    uint64_t before = vhost_generation(vhost);
    if (vhost_answer(vhost, &change, result)) {
        assert_true(vhost_generation(vhost) == before);
        return;
    }
    if (change.kind == CHANGE_QUEUE_DECLARE) {
        vhost_check_new_queue(vhost, &change, result);
        assert_int_equal(result->code, REPLY_OK);
        queue_ref queue = ref_make(1, (uint32_t)before, (uint32_t)before + 1);
        vhost_put_queue(vhost, &change, queue);
        result->queue = queue;
        assert_true(vhost_generation(vhost) > before);
    } else if (change.kind == CHANGE_QUEUE_DELETE) {
        if (vhost_use_queue(vhost, change.name, change.connection, result)) {
            assert_true(vhost_remove_queue(vhost, change.name, result->queue));
            assert_true(vhost_generation(vhost) > before);
        }
    } else {
        vhost_change(vhost, &change, result);
    }
    vhost_check(vhost);
}

/* Does what has to succeed. */
static void must(struct vhost *vhost, const struct request *request) {
    struct change_result result;
    ask(vhost, request, &result);
    if (result.code != REPLY_OK) fail_msg("%s: %s", request->name, result.text);
    assert_string_equal(result.text, "");
}

#define MUST(vhost, ...) must(vhost, &(struct request){__VA_ARGS__})
#define EXCHANGE(vhost, name, type, flags)                                                         \
    MUST(vhost, CHANGE_EXCHANGE_DECLARE, name, type, NULL, flags)
#define QUEUE(vhost, name)                  MUST(vhost, CHANGE_QUEUE_DECLARE, name, NULL, NULL, 0)
#define BIND(vhost, queue, exchange, key)   MUST(vhost, CHANGE_QUEUE_BIND, queue, exchange, key)
#define UNBIND(vhost, queue, exchange, key) MUST(vhost, CHANGE_QUEUE_UNBIND, queue, exchange, key)
#define LINK(vhost, to, from, key)          MUST(vhost, CHANGE_EXCHANGE_BIND, to, from, key)

#define LOCKED(name)                                                                               \
    "cannot obtain exclusive access to locked queue '" name "' in vhost '/'. It could be "         \
    "originally declared on another connection or the exclusive property value does not match "    \
    "that of the original declaration."
#define DEFAULT_REFUSED "operation not permitted on the default exchange"
#define UNEQUAL(what, kind, name, received, current)                                               \
    "inequivalent arg '" what "' for " kind " '" name "' in vhost '/': received '" received        \
    "' but current is '" current "'"

static const struct {
    struct request request;
    int code;
    const char *text;
} script[] = {
    /* Exchanges: the type is looked at first, then the name, then what is there. */
    {{CHANGE_EXCHANGE_DECLARE, "e", "nope"}, 503, "unknown exchange type 'nope'"},
    {{CHANGE_EXCHANGE_DECLARE, "e", ""}, 503, "invalid exchange type ''"},
    {{CHANGE_EXCHANGE_DECLARE, "", "nope"}, 503, "unknown exchange type 'nope'"},
    {{CHANGE_EXCHANGE_DECLARE, "", "direct"}, 403, DEFAULT_REFUSED},
    {{CHANGE_EXCHANGE_DECLARE, "", "", NULL, PASSIVE}, 403, DEFAULT_REFUSED},
    {{CHANGE_EXCHANGE_DECLARE, "e", "", NULL, PASSIVE}, 404, "no exchange 'e' in vhost '/'"},
    {{CHANGE_EXCHANGE_DECLARE, "amq.e", "direct"}, 403,
        "exchange name 'amq.e' contains reserved prefix 'amq.*'"},
    {{CHANGE_EXCHANGE_DECLARE, "amq.direct", "direct", NULL, DURABLE}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "amq.direct", "", NULL, PASSIVE}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "amq.direct", "direct"}, 406,
        UNEQUAL("durable", "exchange", "amq.direct", "false", "true")},
    {{CHANGE_EXCHANGE_DECLARE, "amq.direct", "fanout"}, 406,
        UNEQUAL("type", "exchange", "amq.direct", "fanout", "direct")},
    {{CHANGE_EXCHANGE_DECLARE, "amq.rabbitmq.trace", "topic", NULL, DURABLE | INTERNAL}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "amq.match", "headers", NULL, DURABLE}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "amq.headers", "headers", NULL, DURABLE}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "amq.fanout", "fanout", NULL, DURABLE}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "amq.topic", "topic", NULL, DURABLE}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "e", "direct", .fields = FIELDS(INT("alternate-exchange", 5))}, 406,
        "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'e' in vhost '/'"},
    {{CHANGE_EXCHANGE_DECLARE, "e", "direct", .fields = FIELDS(TEXT("alternate-exchange", "ae"))},
        0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "e", "direct", .fields = FIELDS(TEXT("alternate-exchange", "ae"))},
        0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "e", "direct"}, 406,
        "inequivalent arg 'alternate-exchange' for exchange 'e' in vhost '/': received none but "
        "current is the value 'ae' of type 'longstr'"},
    {{CHANGE_EXCHANGE_DECLARE, "e", "direct", NULL, AUTO_DELETE | INTERNAL}, 406,
        UNEQUAL("auto_delete", "exchange", "e", "true", "false")},
    {{CHANGE_EXCHANGE_DECLARE, "e", "direct", NULL, INTERNAL}, 406,
        UNEQUAL("internal", "exchange", "e", "true", "false")},
    {{CHANGE_EXCHANGE_DELETE, ""}, 403, DEFAULT_REFUSED},
    {{CHANGE_EXCHANGE_DELETE, "amq.nope"}, 403,
        "deletion of system exchange 'amq.nope' in vhost '/' not allowed"},
    {{CHANGE_EXCHANGE_DELETE, "missing"}, 0, ""},
    {{CHANGE_EXCHANGE_DELETE, "missing", .flags = IF_UNUSED}, 0, ""},
    /* Queues. */
    {{CHANGE_QUEUE_DECLARE, "q", .flags = PASSIVE}, 404, "no queue 'q' in vhost '/'"},
    {{CHANGE_QUEUE_DECLARE, "amq.q"}, 403, "queue name 'amq.q' contains reserved prefix 'amq.*'"},
    {{CHANGE_QUEUE_DECLARE, "amq.q", .flags = PASSIVE}, 404, "no queue 'amq.q' in vhost '/'"},
    {{CHANGE_QUEUE_DECLARE, "q", .fields = FIELDS(INT("x-expires", 0))}, 406,
        "invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}"},
    {{CHANGE_QUEUE_DECLARE, "q", .flags = DURABLE, .fields = FIELDS(INT("x-expires", 9))}, 0, ""},
    {{CHANGE_QUEUE_DECLARE, "q", .flags = DURABLE, .fields = FIELDS(LONG("x-expires", 9))}, 0, ""},
    {{CHANGE_QUEUE_DECLARE, "q", .flags = PASSIVE}, 0, ""},
    {{CHANGE_QUEUE_DECLARE, "q", .flags = AUTO_DELETE}, 406,
        UNEQUAL("durable", "queue", "q", "false", "true")},
    {{CHANGE_QUEUE_DECLARE, "q", .flags = DURABLE | AUTO_DELETE}, 406,
        UNEQUAL("auto_delete", "queue", "q", "true", "false")},
    {{CHANGE_QUEUE_DECLARE, "q", .flags = DURABLE}, 406,
        "inequivalent arg 'x-expires' for queue 'q' in vhost '/': received none but current is the "
        "value '9' of type 'signedint'"},
    {{CHANGE_QUEUE_DECLARE, "q", .flags = EXCLUSIVE, .connection = FIRST}, 405, LOCKED("q")},
    {{CHANGE_QUEUE_DECLARE, "own", .flags = DURABLE | EXCLUSIVE, .connection = FIRST}, 0, ""},
    {{CHANGE_QUEUE_DECLARE, "own", .flags = EXCLUSIVE, .connection = FIRST}, 0, ""},
    {{CHANGE_QUEUE_DECLARE, "own", .flags = DURABLE | EXCLUSIVE, .connection = FIRST}, 0, ""},
    {{CHANGE_QUEUE_DECLARE, "own", .connection = FIRST}, 405, LOCKED("own")},
    {{CHANGE_QUEUE_DECLARE, "own", .flags = EXCLUSIVE, .connection = SECOND}, 405, LOCKED("own")},
    {{CHANGE_QUEUE_DECLARE, "own", .flags = PASSIVE, .connection = FIRST}, 0, ""},
    {{CHANGE_QUEUE_DECLARE, "own", .flags = PASSIVE, .connection = SECOND}, 405, LOCKED("own")},
    {{CHANGE_QUEUE_DELETE, "own", .connection = SECOND}, 405, LOCKED("own")},
    {{CHANGE_QUEUE_DELETE, "missing"}, 404, "no queue 'missing' in vhost '/'"},
    /* Bindings: the default exchange, then what is missing, then arguments, then locks. */
    {{CHANGE_QUEUE_BIND, "q", ""}, 403, DEFAULT_REFUSED},
    {{CHANGE_QUEUE_BIND, "missing", ""}, 403, DEFAULT_REFUSED},
    {{CHANGE_QUEUE_UNBIND, "q", ""}, 403, DEFAULT_REFUSED},
    {{CHANGE_EXCHANGE_BIND, "", "e"}, 403, DEFAULT_REFUSED},
    {{CHANGE_EXCHANGE_BIND, "e", ""}, 403, DEFAULT_REFUSED},
    {{CHANGE_EXCHANGE_UNBIND, "", "e"}, 403, DEFAULT_REFUSED},
    {{CHANGE_QUEUE_BIND, "q", "missing"}, 404, "no exchange 'missing' in vhost '/'"},
    {{CHANGE_QUEUE_BIND, "none", "missing"}, 404, "no exchange 'missing' in vhost '/'"},
    {{CHANGE_QUEUE_BIND, "none", "e"}, 404, "no queue 'none' in vhost '/'"},
    {{CHANGE_EXCHANGE_BIND, "none", "e"}, 404, "no exchange 'none' in vhost '/'"},
    {{CHANGE_QUEUE_UNBIND, "none", "e"}, 0, ""},
    {{CHANGE_QUEUE_UNBIND, "q", "missing"}, 0, ""},
    {{CHANGE_EXCHANGE_UNBIND, "none", "missing"}, 0, ""},
    {{CHANGE_QUEUE_BIND, "own", "amq.headers", .fields = FIELDS(TEXT("x-match", "foo")),
         .connection = SECOND},
        406,
        "Invalid x-match field value <<\"foo\">>; expected all, any, all-with-x, or any-with-x"},
    {{CHANGE_QUEUE_BIND, "q", "amq.headers", .fields = FIELDS(INT("x-match", 5))}, 406,
        "Invalid x-match field type signedint (value 5); expected longstr"},
    {{CHANGE_QUEUE_BIND, "q", "amq.match", .fields = FIELDS(ARRAY("x-match", "I\0\0\0\1"))}, 406,
        "Invalid x-match field type array (value [{signedint,1}]); expected longstr"},
    {{CHANGE_QUEUE_BIND, "q", "amq.headers", .fields = FIELDS(TEXT("x-match", "any-with-x"))}, 0,
        ""},
    {{CHANGE_QUEUE_BIND, "q", "amq.fanout", .fields = FIELDS(TEXT("x-match", "foo"))}, 0, ""},
    {{CHANGE_QUEUE_BIND, "own", "e", "k", .connection = SECOND}, 405, LOCKED("own")},
    {{CHANGE_QUEUE_UNBIND, "own", "e", "k", .connection = SECOND}, 0, ""},
    {{CHANGE_QUEUE_BIND, "own", "e", "k", .connection = FIRST}, 0, ""},
    {{CHANGE_QUEUE_UNBIND, "own", "e", "k", .connection = SECOND}, 405, LOCKED("own")},
    {{CHANGE_EXCHANGE_DELETE, "e", .flags = IF_UNUSED}, 406, "exchange 'e' in vhost '/' in use"},
    {{CHANGE_EXCHANGE_BIND, "amq.rabbitmq.trace", "e", "k"}, 0, ""},
    {{CHANGE_QUEUE_DELETE, "own", .connection = FIRST}, 0, ""},
    {{CHANGE_EXCHANGE_DELETE, "e", .flags = IF_UNUSED}, 406, "exchange 'e' in vhost '/' in use"},
    {{CHANGE_EXCHANGE_UNBIND, "amq.rabbitmq.trace", "e", "k"}, 0, ""},
    {{CHANGE_EXCHANGE_DELETE, "e", .flags = IF_UNUSED}, 0, ""},
    {{CHANGE_EXCHANGE_DECLARE, "e", "", NULL, PASSIVE}, 404, "no exchange 'e' in vhost '/'"},
};

static void answers(void **state) {
    struct broker *broker = *state;
    for (size_t i = 0; i < COUNT_OF(script); i++) {
        struct change_result result;
        ask(broker->vhost, &script[i].request, &result);
        if ((int)result.code != script[i].code || strcmp(result.text, script[i].text) != 0) {
            fail_msg("line %zu: %d %s", i, (int)result.code, result.text);
        }
    }
}

static void queues_are_named_in_answers(void **state) {
    struct broker *broker = *state;
    struct change_result made, again, passive;
    ask(broker->vhost, &(struct request){CHANGE_QUEUE_DECLARE, "q"}, &made);
    ask(broker->vhost, &(struct request){CHANGE_QUEUE_DECLARE, "q"}, &again);
    ask(broker->vhost, &(struct request){CHANGE_QUEUE_DECLARE, "q", .flags = PASSIVE}, &passive);
    assert_true(made.queue != 0);
    assert_true(again.queue == made.queue);
    assert_true(passive.queue == made.queue);
    /* Another life of the queue: what was meant for the first one does not hit it. */
    MUST(broker->vhost, CHANGE_QUEUE_DELETE, "q");
    QUEUE(broker->vhost, "q");
    assert_false(vhost_remove_queue(broker->vhost, BYTES("q"), made.queue));
    assert_non_null(vhost_find_queue(broker->vhost, BYTES("q")));
    assert_false(vhost_remove_queue(broker->vhost, BYTES("other"), made.queue));
}

/* Very many bindings go by and by; then the rest goes with the exchange, or with the queue. */
static void what_has_many_bindings_is_thinned(void **state) {
    enum { MANY = 1000 };
    struct broker *broker = *state;
    struct vhost *vhost = broker->vhost;
    for (int queues = 0; queues <= 1; queues++) {
        MUST(vhost, CHANGE_EXCHANGE_DECLARE, "x", "topic");
        QUEUE(vhost, "q");
        for (int i = 0; i < MANY; i++) {
            char key[16];
            str_format(key, sizeof key, "k%d", i);
            MUST(vhost, CHANGE_QUEUE_BIND, "q", "x", key);
        }
        struct change change = {
            .kind = queues ? CHANGE_QUEUE_DELETE : CHANGE_EXCHANGE_DELETE,
            .name = queues ? BYTES("q") : BYTES("x"),
        };
        struct change unused = {
            .kind = CHANGE_EXCHANGE_DELETE, .name = BYTES("x"), .if_unused = true};
        assert_false(vhost_takes_many(vhost, &unused));
        uint32_t before = vhost_binding_count(vhost);
        uint64_t generation = vhost_generation(vhost);
        while (vhost_takes_many(vhost, &change)) {
            vhost_thin(vhost, &change);
            vhost_check(vhost);
            assert_true(vhost_binding_count(vhost) < before);
            assert_true(vhost_generation(vhost) == generation);
            before = vhost_binding_count(vhost);
        }
        assert_in_range(before, 1, MANY / 2);
        MUST(vhost, queues ? CHANGE_QUEUE_DELETE : CHANGE_EXCHANGE_DELETE, queues ? "q" : "x");
        assert_true(vhost_generation(vhost) > generation);
        assert_int_equal(vhost_binding_count(vhost), 0);
        if (!queues) MUST(vhost, CHANGE_QUEUE_DELETE, "q");
    }
}

static void take_room(struct vhost *vhost) {
    struct vhost_room room;
    vhost_take_room(vhost, &room);
    vhost_use_room(&room);
    vhost_end_room(&room);
    vhost_check(vhost);
}

/* Large tables stay as they are while bindings go, and are made smaller between. */
static void tables_become_smaller_afterwards(void **state) {
    enum { MANY = 4000 };
    static const char *const kinds[] = {"direct", "topic"};
    struct broker *broker = *state;
    struct vhost *vhost = broker->vhost;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        MUST(vhost, CHANGE_EXCHANGE_DECLARE, "x", kinds[k]);
        QUEUE(vhost, "q");
        for (int i = 0; i < MANY; i++) {
            char key[16];
            str_format(key, sizeof key, "k%d", i);
            MUST(vhost, CHANGE_QUEUE_BIND, "q", "x", key);
        }
        struct map *table = exchange_table(vhost_find_exchange(vhost, BYTES("x")));
        uint32_t slots = map_slot_count(&vhost->bindings);
        uint32_t slots_of_x = map_slot_count(table);
        assert_true(slots >= MANY && slots_of_x >= MANY);
        struct change change = {.kind = CHANGE_QUEUE_DELETE, .name = BYTES("q")};
        while (vhost_takes_many(vhost, &change))
            vhost_thin(vhost, &change);
        assert_int_equal(map_slot_count(&vhost->bindings), slots);
        assert_int_equal(map_slot_count(table), slots_of_x);
        take_room(vhost);
        assert_true(map_slot_count(&vhost->bindings) <= 1024);
        assert_true(map_slot_count(table) <= 1024);
        MUST(vhost, CHANGE_QUEUE_DELETE, "q");
        MUST(vhost, CHANGE_EXCHANGE_DELETE, "x");
        take_room(vhost);
    }
}

static void the_broker_may_name_queues(void **state) {
    struct broker *broker = *state;
    struct change change = {
        .kind = CHANGE_QUEUE_DECLARE, .name = BYTES("amq.gen-abc"), .server_named = true};
    struct change_result result;
    assert_false(vhost_answer(broker->vhost, &change, &result));
    vhost_check_new_queue(broker->vhost, &change, &result);
    assert_int_equal(result.code, REPLY_OK);
    vhost_put_queue(broker->vhost, &change, 9);
    /* A client may look at it but not declare it again. */
    change.server_named = false;
    assert_true(vhost_answer(broker->vhost, &change, &result));
    assert_int_equal(result.code, REPLY_ACCESS_REFUSED);
    change.passive = true;
    assert_true(vhost_answer(broker->vhost, &change, &result));
    assert_int_equal(result.code, REPLY_OK);
    assert_true(result.queue == 9);
}

static void an_entry_keeps_what_was_declared(void **state) {
    struct broker *broker = *state;
    MUST(broker->vhost, CHANGE_QUEUE_DECLARE, "q", NULL, NULL, DURABLE | EXCLUSIVE | AUTO_DELETE,
        SECOND, FIELDS(INT("x-max-length", 3)));
    const struct queue_entry *entry = vhost_find_queue(broker->vhost, BYTES("q"));
    struct field field;
    assert_text(entry->name, "q");
    assert_true(entry->exclusive);
    assert_true(entry->auto_delete);
    assert_false(entry->durable);
    assert_true(entry->owner == SECOND);
    assert_true(table_find(entry->arguments, BYTES("x-max-length"), &field));
    assert_int_equal(field.integer, 3);
    assert_string_equal(vhost_name(broker->vhost), "/");
    assert_null(topology_find_vhost(broker->topology, BYTES("other")));
}

/* ---- routing ---- */

/* The names of the queues that a message goes to, in the order of their names, as one text. */
static const char *route_keys(const struct vhost *vhost, const char *exchange,
    const char *const *keys, uint32_t count, bool *ret_by_headers) {
    static char text[256];
    struct bytes routing_keys[4];
    assert_true(count <= COUNT_OF(routing_keys));
    for (uint32_t i = 0; i < count; i++)
        routing_keys[i] = bytes_text(keys[i]);
    struct route_query query = {
        .exchange = bytes_text(exchange),
        .routing_keys = routing_keys,
        .routing_key_count = count,
        .headers = BYTES("\1hI\0\0\0\1"),
    };
    struct routes routes;
    routes_init(&routes);
    enum route_status status = vhost_route_query(vhost, &query, &routes, ret_by_headers);
    text[0] = 0;
    size_t size = 0;
    for (char name = 'a'; name <= 'z'; name++) {
        const struct queue_entry *entry = vhost_find_queue(vhost, bytes_of(&name, 1));
        for (uint32_t i = 0; entry && i < routes.count; i++) {
            if (routes.queues[i] != entry->queue) continue;
            size += str_format(text + size, sizeof text - size, "%c", name);
        }
    }
    assert_int_equal(size, routes.count);
    routes_deinit(&routes);
    if (status == ROUTE_NO_EXCHANGE) return "404";
    return status == ROUTE_INTERNAL ? "403" : text;
}

static const char *route(const struct vhost *vhost, const char *exchange, const char *key) {
    bool by_headers;
    const char *text = route_keys(vhost, exchange, &key, 1, &by_headers);
    assert_false(by_headers);
    return text;
}

static void the_default_exchange_routes_by_name(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    QUEUE(vhost, "a");
    assert_string_equal(route(vhost, "", "a"), "a");
    assert_string_equal(route(vhost, "", "b"), "");
    assert_string_equal(route(vhost, "missing", "a"), "404");
    assert_string_equal(route(vhost, "amq.rabbitmq.trace", "a"), "403");
    assert_int_equal(vhost_binding_count(vhost), 0);
    assert_int_equal(vhost_queue_count(vhost), 1);
    assert_int_equal(vhost_exchange_count(vhost), 7);
    MUST(vhost, CHANGE_QUEUE_DELETE, "a");
    assert_string_equal(route(vhost, "", "a"), "");
}

static void each_kind_routes_its_way(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    QUEUE(vhost, "a");
    QUEUE(vhost, "b");
    BIND(vhost, "a", "amq.direct", "k");
    BIND(vhost, "b", "amq.direct", "k");
    BIND(vhost, "b", "amq.direct", "l");
    BIND(vhost, "a", "amq.fanout", "k");
    BIND(vhost, "b", "amq.fanout", "");
    BIND(vhost, "a", "amq.topic", "x.*");
    BIND(vhost, "b", "amq.topic", "#.y");
    MUST(vhost, CHANGE_QUEUE_BIND, "a", "amq.headers", .fields = FIELDS(INT("h", 1)));
    MUST(vhost, CHANGE_QUEUE_BIND, "b", "amq.headers", .fields = FIELDS(INT("h", 2)));
    assert_string_equal(route(vhost, "amq.direct", "k"), "ab");
    assert_string_equal(route(vhost, "amq.direct", "l"), "b");
    assert_string_equal(route(vhost, "amq.direct", ""), "");
    assert_string_equal(route(vhost, "amq.fanout", "z"), "ab");
    assert_string_equal(route(vhost, "amq.topic", "x.y"), "ab");
    assert_string_equal(route(vhost, "amq.topic", "x."), "a");
    assert_string_equal(route(vhost, "amq.topic", "y"), "b");
    bool by_headers;
    const char *const keys[] = {"l", "k"};
    assert_string_equal(route_keys(vhost, "amq.headers", keys, 1, &by_headers), "a");
    assert_true(by_headers);
    assert_string_equal(route_keys(vhost, "amq.direct", keys, 2, &by_headers), "ab");
    assert_false(by_headers);
    const char *const names[] = {"b", "b", "a"};
    assert_string_equal(route_keys(vhost, "", names, 3, &by_headers), "ab");
}

/* The same key with other arguments is another binding; width and type of a value count. */
static void bindings_are_known_by_all_they_say(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    QUEUE(vhost, "a");
    for (int round = 0; round < 2; round++) {
        MUST(vhost, CHANGE_QUEUE_BIND, "a", "amq.direct", "k", .fields = FIELDS(INT("n", 1)));
        MUST(vhost, CHANGE_QUEUE_BIND, "a", "amq.direct", "k", .fields = FIELDS(LONG("n", 1)));
        MUST(vhost, CHANGE_QUEUE_BIND, "a", "amq.direct", "k",
            .fields = FIELDS(BOOL("z", true), INT("n", 1)));
        MUST(vhost, CHANGE_QUEUE_BIND, "a", "amq.direct", "k",
            .fields = FIELDS(INT("n", 1), BOOL("z", true)));
        BIND(vhost, "a", "amq.direct", "k");
        assert_int_equal(vhost_binding_count(vhost), 4);
    }
    assert_string_equal(route(vhost, "amq.direct", "k"), "a");
    UNBIND(vhost, "a", "amq.direct", "k");
    UNBIND(vhost, "a", "amq.direct", "other");
    MUST(vhost, CHANGE_QUEUE_UNBIND, "a", "amq.direct", "k",
        .fields = FIELDS(BOOL("z", true), INT("n", 1)));
    MUST(vhost, CHANGE_QUEUE_UNBIND, "a", "amq.direct", "k", .fields = FIELDS(INT("n", 1)));
    assert_int_equal(vhost_binding_count(vhost), 1);
    assert_string_equal(route(vhost, "amq.direct", "k"), "a");
    MUST(vhost, CHANGE_QUEUE_UNBIND, "a", "amq.direct", "k", .fields = FIELDS(LONG("n", 1)));
    assert_string_equal(route(vhost, "amq.direct", "k"), "");
    assert_int_equal(vhost_binding_count(vhost), 0);
}

static void exchanges_lead_on_and_cycles_end(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    QUEUE(vhost, "a");
    QUEUE(vhost, "b");
    EXCHANGE(vhost, "one", "fanout", 0);
    EXCHANGE(vhost, "two", "topic", INTERNAL);
    EXCHANGE(vhost, "three", "direct", 0);
    LINK(vhost, "two", "one", "");
    LINK(vhost, "three", "two", "k.#");
    LINK(vhost, "one", "three", "k");
    LINK(vhost, "one", "one", "self");
    BIND(vhost, "a", "three", "k");
    BIND(vhost, "b", "two", "*");
    BIND(vhost, "a", "one", "");
    assert_string_equal(route(vhost, "one", "k"), "ab");
    assert_string_equal(route(vhost, "three", "k"), "ab");
    assert_string_equal(route(vhost, "three", "l"), "");
    assert_string_equal(route(vhost, "one", "k.l"), "a");
    assert_string_equal(route(vhost, "two", "k"), "403");
    MUST(vhost, CHANGE_EXCHANGE_UNBIND, "two", "one", "");
    assert_string_equal(route(vhost, "one", "k"), "a");
    MUST(vhost, CHANGE_EXCHANGE_DELETE, "one");
    assert_string_equal(route(vhost, "three", "k"), "a");
    assert_int_equal(vhost_binding_count(vhost), 3);
}

static void alternate(struct vhost *vhost, const char *name, const char *type, struct fields to) {
    must(vhost, &(struct request){CHANGE_EXCHANGE_DECLARE, name, type, .fields = to});
}

static void alternates_take_what_leads_nowhere(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    QUEUE(vhost, "a");
    QUEUE(vhost, "b");
    struct fields to_two = FIELDS(TEXT("alternate-exchange", "two"));
    struct fields to_one = FIELDS(TEXT("alternate-exchange", "one"));
    struct fields to_default = FIELDS(TEXT("alternate-exchange", ""));
    alternate(vhost, "one", "direct", to_two);
    assert_string_equal(route(vhost, "one", "x"), "");
    alternate(vhost, "two", "direct", to_one);
    assert_string_equal(route(vhost, "one", "x"), "");
    BIND(vhost, "a", "one", "k");
    BIND(vhost, "b", "two", "x");
    assert_string_equal(route(vhost, "one", "k"), "a");
    assert_string_equal(route(vhost, "one", "x"), "b");
    assert_string_equal(route(vhost, "two", "k"), "a");
    /* One key that leads somewhere is enough. */
    bool by_headers;
    const char *const keys[] = {"k", "x"};
    assert_string_equal(route_keys(vhost, "one", keys, 2, &by_headers), "a");
    /* A way to an exchange is a way, even when that exchange leads nowhere. */
    EXCHANGE(vhost, "dead", "fanout", 0);
    LINK(vhost, "dead", "one", "x");
    assert_string_equal(route(vhost, "one", "x"), "");
    /* The default exchange has no bindings that it could lend. */
    alternate(vhost, "three", "fanout", to_default);
    assert_string_equal(route(vhost, "three", "a"), "");
    /* An internal exchange may be an alternate. */
    EXCHANGE(vhost, "in", "fanout", INTERNAL);
    BIND(vhost, "b", "in", "");
    alternate(vhost, "four", "topic", (struct fields)FIELDS(TEXT("alternate-exchange", "in")));
    assert_string_equal(route(vhost, "four", "any"), "b");
}

/* Several hundred queues, each bound several times: each is given once. */
static void wide_routes_are_distinct(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    enum { QUEUES = 700 };
    EXCHANGE(vhost, "again", "topic", 0);
    LINK(vhost, "again", "amq.topic", "k.#");
    for (int i = 0; i < QUEUES; i++) {
        char name[16];
        str_format(name, sizeof name, "q%d", i);
        struct change change = {.kind = CHANGE_QUEUE_DECLARE, .name = bytes_text(name)};
        vhost_put_queue(vhost, &change, (queue_ref)i + 1);
        change.kind = CHANGE_QUEUE_BIND;
        struct change_result result;
        static const char *const keys[] = {"k.l", "k.*", "#"};
        for (size_t key = 0; key < COUNT_OF(keys); key++) {
            change.routing_key = bytes_text(keys[key]);
            change.source = key == 2 ? BYTES("again") : BYTES("amq.topic");
            vhost_change(vhost, &change, &result);
            assert_int_equal(result.code, REPLY_OK);
        }
    }
    struct routes routes;
    bool by_headers;
    static bool seen[QUEUES + 1];
    routes_init(&routes);
    enum route_status status = vhost_route(
        vhost, BYTES("amq.topic"), BYTES("k.l"), bytes_of(NULL, 0), &routes, &by_headers);
    assert_int_equal(status, ROUTE_OK);
    assert_int_equal(routes.count, QUEUES);
    for (uint32_t i = 0; i < routes.count; i++) {
        assert_false(seen[routes.queues[i]]);
        seen[routes.queues[i]] = true;
    }
    routes_deinit(&routes);
}

/* ---- leaving ---- */

static bool exists(struct vhost *vhost, const char *name) {
    struct change_result result;
    ask(vhost, &(struct request){CHANGE_EXCHANGE_DECLARE, name, "", NULL, PASSIVE}, &result);
    return result.code == REPLY_OK;
}

static void auto_delete_goes_with_the_last_binding(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    QUEUE(vhost, "a");
    EXCHANGE(vhost, "x", "direct", AUTO_DELETE);
    assert_true(exists(vhost, "x"));
    /* A binding to it, or an unbind that finds nothing, is no reason to go. */
    LINK(vhost, "x", "amq.fanout", "");
    MUST(vhost, CHANGE_EXCHANGE_UNBIND, "x", "amq.fanout", "");
    UNBIND(vhost, "a", "x", "k");
    assert_true(exists(vhost, "x"));
    BIND(vhost, "a", "x", "k");
    BIND(vhost, "a", "x", "l");
    UNBIND(vhost, "a", "x", "k");
    assert_true(exists(vhost, "x"));
    UNBIND(vhost, "a", "x", "l");
    assert_false(exists(vhost, "x"));
    EXCHANGE(vhost, "x", "topic", AUTO_DELETE);
    BIND(vhost, "a", "x", "k.#");
    MUST(vhost, CHANGE_QUEUE_DELETE, "a");
    assert_false(exists(vhost, "x"));
    assert_int_equal(vhost_exchange_count(vhost), 7);
}

/* A chain of auto-delete exchanges in front of one queue: all go with it, however many. */
static void auto_delete_cascades(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    enum { CHAIN = 2000 };
    QUEUE(vhost, "a");
    char name[16], before[16] = "";
    struct change_result result;
    for (int i = 0; i < CHAIN; i++) {
        str_format(name, sizeof name, "x%d", i);
        struct change change = {.kind = CHANGE_EXCHANGE_DECLARE, .type = BYTES("fanout")};
        change.name = bytes_text(name);
        change.auto_delete = true;
        vhost_change(vhost, &change, &result);
        assert_int_equal(result.code, REPLY_OK);
        change = (struct change){.kind = i ? CHANGE_EXCHANGE_BIND : CHANGE_QUEUE_BIND};
        change.name = i ? bytes_text(before) : BYTES("a");
        change.source = bytes_text(name);
        vhost_change(vhost, &change, &result);
        assert_int_equal(result.code, REPLY_OK);
        memcpy(before, name, sizeof before);
    }
    /* One that has another binding stays, and so do those in front of it. */
    BIND(vhost, "a", "amq.fanout", "");
    QUEUE(vhost, "b");
    BIND(vhost, "b", "x1990", "");
    assert_string_equal(route(vhost, name, ""), "ab");
    MUST(vhost, CHANGE_QUEUE_DELETE, "a");
    assert_false(exists(vhost, "x0"));
    assert_false(exists(vhost, "x1989"));
    assert_true(exists(vhost, "x1990"));
    assert_true(exists(vhost, name));
    assert_int_equal(vhost_exchange_count(vhost), 7 + 10);
    assert_string_equal(route(vhost, name, ""), "b");
    MUST(vhost, CHANGE_EXCHANGE_DELETE, "x1995");
    assert_false(exists(vhost, name));
    assert_true(exists(vhost, "x1994"));
    assert_int_equal(vhost_exchange_count(vhost), 7 + 5);
    MUST(vhost, CHANGE_QUEUE_DELETE, "b");
    assert_int_equal(vhost_exchange_count(vhost), 7);
    assert_int_equal(vhost_binding_count(vhost), 0);
}

/* Two auto-delete exchanges bound to each other and to themselves. */
static void auto_delete_in_a_circle(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    EXCHANGE(vhost, "x", "direct", AUTO_DELETE);
    EXCHANGE(vhost, "y", "headers", AUTO_DELETE);
    LINK(vhost, "x", "y", "");
    LINK(vhost, "y", "x", "");
    LINK(vhost, "x", "x", "");
    MUST(vhost, CHANGE_EXCHANGE_DELETE, "x");
    assert_false(exists(vhost, "y"));
    assert_int_equal(vhost_binding_count(vhost), 0);
}

static bool count_queues(void *context, const struct queue_entry *entry) {
    uint32_t *left = context;
    assert_int_equal(entry->name.size, 1);
    return --*left != 0;
}

static void queues_are_walked(void **state) {
    struct vhost *vhost = ((struct broker *)*state)->vhost;
    uint32_t left = 10;
    vhost_each_queue(vhost, count_queues, &left);
    assert_int_equal(left, 10);
    for (char name = 'a'; name <= 'g'; name++)
        QUEUE(vhost, ((char[]){name, 0}));
    vhost_each_queue(vhost, count_queues, &left);
    assert_int_equal(left, 3);
    vhost_each_queue(vhost, count_queues, &left);
    assert_int_equal(left, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(answers),
        TEST(queues_are_named_in_answers),
        TEST(what_has_many_bindings_is_thinned),
        TEST(tables_become_smaller_afterwards),
        TEST(the_broker_may_name_queues),
        TEST(an_entry_keeps_what_was_declared),
        TEST(the_default_exchange_routes_by_name),
        TEST(each_kind_routes_its_way),
        TEST(bindings_are_known_by_all_they_say),
        TEST(exchanges_lead_on_and_cycles_end),
        TEST(alternates_take_what_leads_nowhere),
        TEST(wide_routes_are_distinct),
        TEST(auto_delete_goes_with_the_last_binding),
        TEST(auto_delete_cascades),
        TEST(auto_delete_in_a_circle),
        TEST(queues_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
