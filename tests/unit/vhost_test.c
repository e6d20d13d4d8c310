/* vhost_test: random requests against a virtual host and against a model of plain lists, which are
 * searched from end to end; both must agree on answers, counts and routes after every step. */
#include "fields.h"
#include "topic_oracle.h"
#include "unit.h"

#include "base/prng.h"
#include "base/str.h"
#include "core/topology.h"

enum { EXCHANGES = 9, QUEUES = 8, BINDINGS_MAX = 400, NONE = -1 };

enum kind { DIRECT, FANOUT, TOPIC, HEADERS, KINDS };

static const char *const kind_names[KINDS] = {"direct", "fanout", "topic", "headers"};

static const char *const keys[] = {"", "a", "b", "a.b", "*", "#", "a.#", "#.b", "*.b", "a.b.c"};

/* What a binding or a message carries; all values are integers or voids. */
static const struct fields tables[] = {
    {.fields = {{.type = 0}}},
    FIELDS(INT("n", 1)),
    FIELDS(LONG("n", 1)),
    FIELDS(INT("n", 2), INT("m", 1)),
    FIELDS(VOID("n"), INT("m", 1)),
    FIELDS(TEXT("x-match", "any"), INT("m", 1), INT("n", 1)),
};

struct model_exchange {
    bool there;
    bool auto_delete;
    bool internal;
    enum kind kind;
    int alternate; /* number of an exchange, or NONE */
};

struct model_binding {
    int source;
    bool to_queue;
    int destination;
    size_t key;
    size_t table;
};

struct model {
    struct model_exchange exchanges[EXCHANGES];
    queue_ref queues[QUEUES]; /* 0: not there */
    struct model_binding bindings[BINDINGS_MAX];
    int binding_count;
    queue_ref last_queue;
};

/* ---- the model ---- */

static bool is_source(const struct model *model, int exchange) {
    for (int i = 0; i < model->binding_count; i++) {
        if (model->bindings[i].source == exchange) return true;
    }
    return false;
}

static void model_drop_exchange(struct model *model, int exchange);

static void model_unbind(struct model *model, int at, bool cascade) {
    int source = model->bindings[at].source;
    model->bindings[at] = model->bindings[--model->binding_count];
    const struct model_exchange *exchange = &model->exchanges[source];
    if (!cascade || !exchange->there || !exchange->auto_delete) return;
    if (!is_source(model, source)) model_drop_exchange(model, source);
}

/* A binding that leads to (kind, number), or NONE. */
static int find_inbound(const struct model *model, bool to_queue, int destination) {
    for (int i = 0; i < model->binding_count; i++) {
        const struct model_binding *binding = &model->bindings[i];
        if (binding->to_queue == to_queue && binding->destination == destination) return i;
    }
    return NONE;
}

static void model_drop_exchange(struct model *model, int exchange) {
    model->exchanges[exchange].there = false;
    for (int i = model->binding_count - 1; i >= 0; i--) {
        if (model->bindings[i].source == exchange) model_unbind(model, i, false);
    }
    int at;
    while ((at = find_inbound(model, false, exchange)) != NONE)
        model_unbind(model, at, true);
}

static void model_drop_queue(struct model *model, int queue) {
    int at;
    model->queues[queue] = 0;
    while ((at = find_inbound(model, true, queue)) != NONE)
        model_unbind(model, at, true);
}

static int find_same(const struct model *model, const struct model_binding *wanted) {
    for (int i = 0; i < model->binding_count; i++) {
        const struct model_binding *binding = &model->bindings[i];
        if (binding->source == wanted->source && binding->to_queue == wanted->to_queue &&
            binding->destination == wanted->destination && binding->key == wanted->key &&
            binding->table == wanted->table) {
            return i;
        }
    }
    return NONE;
}

static bool headers_match_naively(const struct fields *wanted, const struct fields *has) {
    bool any = false, some = false, every = true;
    for (size_t i = 0; i < COUNT_OF(wanted->fields); i++) {
        const struct field *field = &wanted->fields[i];
        if (field->type == 0) continue;
        if (field->type == 'S') {
            any = true;
            continue;
        }
        bool equal = false;
        for (size_t k = 0; k < COUNT_OF(has->fields); k++) {
            const struct field *other = &has->fields[k];
            if (other->type == 0 || !bytes_equal(other->name, field->name)) continue;
            equal = field->type == 'V' || (other->type != 'V' && other->integer == field->integer);
        }
        some = some || equal;
        every = every && equal;
    }
    return any ? some : every;
}

static bool binding_matches(const struct model *model, const struct model_binding *binding,
    const size_t *message_keys, int key_count, size_t table) {
    enum kind kind = model->exchanges[binding->source].kind;
    if (kind == FANOUT) return true;
    if (kind == HEADERS) return headers_match_naively(&tables[binding->table], &tables[table]);
    for (int i = 0; i < key_count; i++) {
        struct bytes pattern = bytes_text(keys[binding->key]);
        struct bytes key = bytes_text(keys[message_keys[i]]);
        if (kind == DIRECT && bytes_equal(pattern, key)) return true;
        if (kind == TOPIC && topic_oracle(pattern, key)) return true;
    }
    return false;
}

struct model_walk {
    const size_t *keys;
    int key_count;
    size_t table;
    bool visited[EXCHANGES];
    bool reached[QUEUES];
    bool by_headers;
};

static void model_visit(const struct model *model, int exchange, struct model_walk *walk) {
    bool found = false;
    if (walk->visited[exchange]) return;
    walk->visited[exchange] = true;
    if (model->exchanges[exchange].kind == HEADERS) walk->by_headers = true;
    for (int i = 0; i < model->binding_count; i++) {
        const struct model_binding *binding = &model->bindings[i];
        if (binding->source != exchange) continue;
        if (!binding_matches(model, binding, walk->keys, walk->key_count, walk->table)) continue;
        found = true;
        if (binding->to_queue) {
            walk->reached[binding->destination] = true;
        } else {
            model_visit(model, binding->destination, walk);
        }
    }
    int alternate = model->exchanges[exchange].alternate;
    if (!found && alternate != NONE && model->exchanges[alternate].there) {
        model_visit(model, alternate, walk);
    }
}

/* ---- requests to both ---- */

static struct bytes name_of(char letter, int number) {
    static char names[2][EXCHANGES][4];
    char *name = names[letter == 'q'][number];
    size_t size = str_format(name, sizeof names[0][0], "%c%d", letter, number);
    return bytes_of(name, size);
}

static void change_both(struct vhost *vhost, struct change *change, enum reply_code expected) {
    struct change_result result;
    if (!vhost_answer(vhost, change, &result)) vhost_change(vhost, change, &result);
    if (result.code != expected) fail_msg("%d: %s", (int)result.code, result.text);
}

static void declare_exchange(struct vhost *vhost, struct model *model, struct prng *prng) {
    int number = (int)prng_below(prng, EXCHANGES);
    struct model_exchange wanted = {
        .there = true,
        .auto_delete = prng_chance(prng, 40),
        .internal = prng_chance(prng, 10),
        .kind = (enum kind)prng_below(prng, KINDS),
        .alternate = prng_chance(prng, 30) ? (int)prng_below(prng, EXCHANGES) : NONE,
    };
    uint8_t room[64];
    struct writer writer = writer_over(room, sizeof room);
    if (wanted.alternate != NONE) {
        table_put_text(&writer, "alternate-exchange", name_of('x', wanted.alternate));
    }
    struct change change = {
        .kind = CHANGE_EXCHANGE_DECLARE,
        .name = name_of('x', number),
        .type = bytes_text(kind_names[wanted.kind]),
        .auto_delete = wanted.auto_delete,
        .internal = wanted.internal,
        .arguments = writer_bytes(&writer),
    };
    struct model_exchange *exchange = &model->exchanges[number];
    bool same = exchange->auto_delete == wanted.auto_delete &&
                exchange->internal == wanted.internal && exchange->kind == wanted.kind &&
                exchange->alternate == wanted.alternate;
    bool refused = exchange->there && !same;
    change_both(vhost, &change, refused ? REPLY_PRECONDITION_FAILED : REPLY_OK);
    if (!exchange->there) *exchange = wanted;
}

static void delete_exchange(struct vhost *vhost, struct model *model, struct prng *prng) {
    int number = (int)prng_below(prng, EXCHANGES);
    struct change change = {
        .kind = CHANGE_EXCHANGE_DELETE,
        .name = name_of('x', number),
        .if_unused = prng_chance(prng, 50),
    };
    bool there = model->exchanges[number].there;
    bool refused = there && change.if_unused && is_source(model, number);
    change_both(vhost, &change, refused ? REPLY_PRECONDITION_FAILED : REPLY_OK);
    if (there && !refused) model_drop_exchange(model, number);
}

static void toggle_queue(struct vhost *vhost, struct model *model, struct prng *prng) {
    int number = (int)prng_below(prng, QUEUES);
    struct change change = {.kind = CHANGE_QUEUE_DECLARE, .name = name_of('q', number)};
    queue_ref queue = model->queues[number];
    assert_false(vhost_remove_queue(vhost, change.name, queue + 1));
    if (queue == 0) {
        model->queues[number] = ++model->last_queue;
        vhost_put_queue(vhost, &change, model->last_queue);
    } else if (prng_chance(prng, 60)) {
        assert_true(vhost_remove_queue(vhost, change.name, queue));
        model_drop_queue(model, number);
    }
}

static void change_binding(struct vhost *vhost, struct model *model, struct prng *prng, bool make) {
    struct model_binding binding = {
        .source = (int)prng_below(prng, EXCHANGES),
        .to_queue = prng_chance(prng, 60),
        .key = prng_below(prng, COUNT_OF(keys)),
        .table = prng_below(prng, COUNT_OF(tables)),
    };
    binding.destination = (int)prng_below(prng, binding.to_queue ? QUEUES : EXCHANGES);
    if (!make && model->binding_count > 0 && prng_chance(prng, 70)) {
        binding = model->bindings[prng_below(prng, (uint64_t)model->binding_count)];
    }
    uint8_t room[128];
    enum change_kind to_queue = make ? CHANGE_QUEUE_BIND : CHANGE_QUEUE_UNBIND;
    enum change_kind to_exchange = make ? CHANGE_EXCHANGE_BIND : CHANGE_EXCHANGE_UNBIND;
    struct change change = {
        .kind = binding.to_queue ? to_queue : to_exchange,
        .name = name_of(binding.to_queue ? 'q' : 'x', binding.destination),
        .source = name_of('x', binding.source),
        .routing_key = bytes_text(keys[binding.key]),
        .arguments = fields_table(&tables[binding.table], room, sizeof room),
    };
    bool ends = model->exchanges[binding.source].there &&
                (binding.to_queue ? model->queues[binding.destination] != 0
                                  : model->exchanges[binding.destination].there);
    int at = find_same(model, &binding);
    uint64_t generation = vhost_generation(vhost);
    change_both(vhost, &change, make && !ends ? REPLY_NOT_FOUND : REPLY_OK);
    bool changed = ends && (at == NONE) == make;
    assert_int_equal(vhost_generation(vhost) != generation, changed);
    if (!changed) return;
    if (make) {
        assert_true(model->binding_count < BINDINGS_MAX);
        model->bindings[model->binding_count++] = binding;
    } else {
        model_unbind(model, at, true);
    }
}

static void compare_routes(struct vhost *vhost, const struct model *model, struct prng *prng) {
    size_t message_keys[3];
    struct bytes routing_keys[3];
    int exchange = (int)prng_below(prng, EXCHANGES);
    struct model_walk walk = {
        .keys = message_keys,
        .key_count = 1 + (int)prng_below(prng, 3),
        .table = prng_below(prng, COUNT_OF(tables)),
    };
    for (int i = 0; i < walk.key_count; i++) {
        message_keys[i] = prng_below(prng, COUNT_OF(keys));
        routing_keys[i] = bytes_text(keys[message_keys[i]]);
    }
    uint8_t room[128];
    struct route_query query = {
        .exchange = name_of('x', exchange),
        .routing_keys = routing_keys,
        .routing_key_count = (uint32_t)walk.key_count,
        .headers = fields_table(&tables[walk.table], room, sizeof room),
    };
    struct routes routes;
    bool by_headers;
    routes_init(&routes);
    enum route_status status = vhost_route_query(vhost, &query, &routes, &by_headers);
    const struct model_exchange *first = &model->exchanges[exchange];
    if (!first->there || first->internal) {
        assert_int_equal(status, first->there ? ROUTE_INTERNAL : ROUTE_NO_EXCHANGE);
        assert_int_equal(routes.count, 0);
        return;
    }
    assert_int_equal(status, ROUTE_OK);
    model_visit(model, exchange, &walk);
    assert_int_equal(by_headers, walk.by_headers);
    uint32_t expected = 0;
    for (int i = 0; i < QUEUES; i++) {
        if (!walk.reached[i]) continue;
        bool given = false;
        for (uint32_t k = 0; k < routes.count; k++) {
            if (routes.queues[k] == model->queues[i]) given = true;
        }
        assert_true(given);
        expected++;
    }
    assert_int_equal(routes.count, expected);
    routes_deinit(&routes);
}

static void step(struct vhost *vhost, struct model *model, struct prng *prng) {
    uint64_t dice = prng_below(prng, 100);
    bool full = model->binding_count > BINDINGS_MAX - 10;
    if (dice < 15) {
        declare_exchange(vhost, model, prng);
    } else if (dice < 18) {
        delete_exchange(vhost, model, prng);
    } else if (dice < 26) {
        toggle_queue(vhost, model, prng);
    } else {
        change_binding(vhost, model, prng, !full && dice < 80);
    }
}

static void random_requests(void **state) {
    (void)state;
    enum { SEEDS = 30, STEPS = 2000 };
    uint64_t bound = 0, routed = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct topology *topology = topology_new_seeded(seed);
        struct vhost *vhost = topology_find_vhost(topology, BYTES("/"));
        struct model model = {.last_queue = 0};
        struct prng prng;
        prng_init(&prng, seed);
        for (int i = 0; i < STEPS; i++) {
            step(vhost, &model, &prng);
            compare_routes(vhost, &model, &prng);
            if (i % 8 == 0) vhost_check(vhost);
            uint32_t exchanges = 7, queues = 0;
            for (int k = 0; k < EXCHANGES; k++)
                exchanges += model.exchanges[k].there;
            for (int k = 0; k < QUEUES; k++)
                queues += model.queues[k] != 0;
            assert_int_equal(vhost_exchange_count(vhost), exchanges);
            assert_int_equal(vhost_queue_count(vhost), queues);
            assert_int_equal(vhost_binding_count(vhost), model.binding_count);
            bound += (uint64_t)model.binding_count;
            routed += exchanges - 7;
        }
        vhost_check(vhost);
        topology_free(topology);
    }
    /* The mix of requests is such that there is something to route by. */
    assert_true(bound / (SEEDS * STEPS) >= 10);
    assert_true(routed / (SEEDS * STEPS) >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
