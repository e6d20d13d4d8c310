/* listing: lists of queues, connections, exchanges and bindings, a slice at a time. */
#include "admin/listing.h"

#include "admin/row.h"
#include "admin/survey.h"
#include "base/memory.h"
#include "base/str.h"

enum {
    SLICE_SLOTS = 128, /* of the topology's tables under its lock */
    PAGE_SIZE_DEFAULT = 100,
    PAGE_SIZE_MAX = 500, /* both as RabbitMQ's */
    QUERY_BYTES_MAX = 512
};

/* Belongs to itself: it ends with the answer, or when the client is gone. */
struct listing {
    struct listing_desk *desk;
    struct web_call *call;
    struct list_node in_busy;
    struct listing_choice choice;
    uint8_t name[255]; /* what choice.name points to */
    struct survey *survey;
    struct inventory_slice slice;
    bool defaults_done; /* BINDINGS: those to the default exchange have been given */
    bool last;          /* nothing comes after what has been put */
    bool paged;
    uint64_t page;
    uint64_t page_size;
    uint64_t total;    /* seen so far */
    uint64_t filtered; /* of those, chosen by the filter */
    uint64_t given;    /* of those, put into the answer */
    char filter[QUERY_BYTES_MAX];
    char columns[QUERY_BYTES_MAX];
};

static void listing_free(struct listing *listing) {
    list_remove_if_linked(&listing->in_busy);
    survey_free(listing->survey);
    mem_free(listing);
}

/* ---- rows ---- */

static struct row_place place_of(const struct listing *listing) {
    const struct node *node = listing->desk->node;
    return (struct row_place){.vhost = vhost_name(node->broker->vhost), .node = node->name};
}

static bool is_chosen(const struct listing *listing, struct bytes name) {
    size_t size = strlen(listing->filter);
    return size == 0 || (name.size >= size && memmem(name.data, name.size, listing->filter, size));
}

/* Counts a thing of that name; true when its row belongs into the answer. */
static bool wants(struct listing *listing, struct bytes name) {
    listing->total++;
    if (!is_chosen(listing, name)) return false;
    uint64_t at = listing->filtered++;
    if (!listing->paged) return true;
    uint64_t first = (listing->page - 1) * listing->page_size;
    return at >= first && at - first < listing->page_size;
}

static int put_part(const char *data, size_t size, void *context) {
    return web_put(context, data, size) ? 0 : -1;
}

/* Takes the row. */
static void put_row(struct listing *listing, json_t *row) {
    json_t *shown = row_choose_columns(row, listing->columns);
    bool first = listing->given++ == 0;
    if (!first && !listing->choice.one) web_put(listing->call, ",\n", 2);
    json_dump_callback(shown, put_part, listing->call, JSON_COMPACT);
    json_decref(shown);
}

static void each_exchange(void *context, const struct inventory_exchange *exchange) {
    struct listing *listing = context;
    struct row_place place = place_of(listing);
    if (wants(listing, exchange->name)) put_row(listing, row_of_exchange(&place, exchange));
}

static void each_binding(void *context, const struct inventory_binding *binding) {
    struct listing *listing = context;
    const struct listing_choice *choice = &listing->choice;
    if (choice->choose_source && !bytes_equal(binding->source, choice->name)) return;
    if (choice->choose_destination && (binding->to_exchange != choice->to_exchange ||
                                          !bytes_equal(binding->destination, choice->name)))
        return;
    struct row_place place = place_of(listing);
    if (wants(listing, binding->routing_key)) put_row(listing, row_of_binding(&place, binding));
}

static void each_default_binding(void *context, const struct queue_entry *entry) {
    struct inventory_binding binding = {
        .source = BYTES(""), .destination = entry->name, .routing_key = entry->name};
    each_binding(context, &binding);
}

/* The shard has told the counts; names and arguments are the topology's. A queue that has left the
 * topology meanwhile, or has not got there yet, is not shown. */
static void put_queue(struct listing *listing, const struct survey_queue *figures) {
    struct row_place place = place_of(listing);
    const struct queue_entry *entry =
        vhost_find_queue(listing->desk->node->broker->vhost, survey_bytes(&figures->name));
    if (!entry || entry->queue != figures->queue) return;
    if (wants(listing, entry->name)) put_row(listing, row_of_queue(&place, entry, figures));
}

static void put_rows(struct listing *listing, const struct survey *survey) {
    struct directory *directory = listing->desk->node->broker->directory;
    if (survey->kind == SURVEY_QUEUES) {
        directory_read(directory);
        for (uint32_t i = 0; i < survey->count; i++)
            put_queue(listing, &survey->queues[i]);
        directory_done(directory);
        return;
    }
    struct row_place place = place_of(listing);
    for (uint32_t i = 0; i < survey->count; i++) {
        const struct survey_client *client = &survey->clients[i];
        if (wants(listing, bytes_text(client->peer)))
            put_row(listing, row_of_client(&place, client));
    }
}

/* ---- slices ---- */

static void put_end(struct listing *listing) {
    char text[256];
    if (listing->choice.one) return;
    if (!listing->paged) {
        web_put(listing->call, "]", 1);
        return;
    }
    uint64_t pages = (listing->filtered + listing->page_size - 1) / listing->page_size;
    size_t size = str_format(text, sizeof text,
        "],\"total_count\":%llu,\"filtered_count\":%llu,\"item_count\":%llu,\"page\":%llu,"
        "\"page_size\":%llu,\"page_count\":%llu}",
        (unsigned long long)listing->total, (unsigned long long)listing->filtered,
        (unsigned long long)listing->given, (unsigned long long)listing->page,
        (unsigned long long)listing->page_size, (unsigned long long)(pages ? pages : 1));
    web_put(listing->call, text, size);
}

static void answer_missing(struct web_call *call) {
    web_answer(call, 404, "application/json",
        BYTES("{\"error\":\"Object Not Found\",\"reason\":\"Not Found\"}"));
}

/* The one that was asked for may have gone on the way. */
static void finish(struct listing *listing) {
    if (listing->choice.one && listing->given == 0) {
        answer_missing(listing->call);
    } else {
        put_end(listing);
        web_end(listing->call);
    }
    listing_free(listing);
}

/* Takes the next slice when the client has read enough: asks a shard, or gets in line for the
 * topology. The listing may be gone afterwards. */
static void go_on(struct listing *listing) {
    web_flush(listing->call);
    if (listing->last)
        finish(listing);
    else if (!web_room(listing->call) || list_linked(&listing->in_busy))
        return;
    else if (!listing->survey)
        list_put_last(&listing->desk->busy, &listing->in_busy);
    else if (!listing->survey->out)
        survey_ask(listing->survey, listing->desk->node->broker);
}

static void on_answered(void *asker, struct survey *survey) {
    struct listing *listing = asker;
    put_rows(listing, survey);
    listing->last = !survey_advance(survey, listing->desk->node->broker);
    go_on(listing);
}

static bool read_slice(struct listing *listing, const struct vhost *vhost) {
    struct inventory_slice *slice = &listing->slice;
    if (listing->choice.kind == LISTING_EXCHANGES)
        return inventory_exchanges(vhost, slice, each_exchange);
    if (listing->defaults_done) return inventory_bindings(vhost, slice, each_binding);
    if (!inventory_queues(vhost, slice, each_default_binding)) {
        listing->defaults_done = true;
        slice->at = 0;
    }
    return true;
}

bool listing_turn(struct listing_desk *desk) {
    struct list now;
    struct list_node *node = NULL;
    const struct broker *broker = desk->node->broker;
    list_init(&now);
    while ((node = list_take_first(&desk->busy)) != NULL)
        list_put_last(&now, node);
    while ((node = list_take_first(&now)) != NULL) {
        struct listing *listing = LIST_ENTRY(node, struct listing, in_busy);
        directory_read(broker->directory);
        listing->last = !read_slice(listing, broker->vhost);
        directory_done(broker->directory);
        go_on(listing);
    }
    return !list_empty(&desk->busy);
}

static void on_more(void *answerer) {
    go_on(answerer);
}

static void on_gone(void *answerer) {
    listing_free(answerer);
}

static const struct web_answerer LISTING_ANSWERER = {on_more, on_gone};

/* ---- the beginning ---- */

static void answer_wrong(struct web_call *call, const char *reason) {
    char text[256];
    size_t size =
        str_format(text, sizeof text, "{\"error\":\"bad_request\",\"reason\":\"%s\"}", reason);
    web_answer(call, 400, "application/json", bytes_of(text, size));
}

/* Reads a number of the query; false when it is there and wrong. */
static bool read_number(
    const struct web_call *call, const char *name, uint64_t max, uint64_t *ret_value) {
    char text[32];
    uint64_t value = 0;
    if (!http_query(web_request(call), name, text, sizeof text)) return true;
    if (!str_to_u64(bytes_text(text), &value) || value == 0 || value > max) return false;
    *ret_value = value;
    return true;
}

/* What the query asks for; a reason when that is wrong. */
static const char *read_query(struct listing *listing) {
    const struct http_request *request = web_request(listing->call);
    char text[8];
    listing->page_size = PAGE_SIZE_DEFAULT;
    if (!read_number(listing->call, "page", UINT32_MAX, &listing->page))
        return "page is no number from 1";
    if (!read_number(listing->call, "page_size", PAGE_SIZE_MAX, &listing->page_size))
        return "page_size is no number from 1 to 500";
    if (http_query(request, "use_regex", text, sizeof text) && strcmp(text, "true") == 0)
        return "use_regex is not in this version: name is a part of the name";
    listing->paged = listing->page != 0;
    if (!http_query(request, "name", listing->filter, QUERY_BYTES_MAX)) listing->filter[0] = 0;
    if (!http_query(request, "columns", listing->columns, QUERY_BYTES_MAX)) listing->columns[0] = 0;
    return NULL;
}

/* One exchange is answered at once. */
static void answer_exchange(struct listing *listing) {
    struct inventory_exchange exchange;
    struct broker *broker = listing->desk->node->broker;
    directory_read(broker->directory);
    if (inventory_find_exchange(broker->vhost, listing->choice.name, &exchange))
        each_exchange(listing, &exchange);
    directory_done(broker->directory);
    finish(listing);
}

/* One queue: only its slot is asked for. */
static void ask_for_queue(struct listing *listing, queue_ref queue) {
    struct survey *survey = listing->survey;
    survey->shard = ref_shard(queue);
    survey->at = ref_slot(queue);
    survey->single = true;
    go_on(listing);
}

static bool find_one(const struct listing *listing, queue_ref *ret_queue) {
    struct broker *broker = listing->desk->node->broker;
    struct bytes name = listing->choice.name;
    struct inventory_exchange exchange;
    directory_read(broker->directory);
    const struct queue_entry *entry = vhost_find_queue(broker->vhost, name);
    bool is_queue = listing->choice.kind == LISTING_QUEUES;
    bool found = is_queue ? entry != NULL : inventory_find_exchange(broker->vhost, name, &exchange);
    *ret_queue = entry ? entry->queue : 0;
    directory_done(broker->directory);
    return found;
}

static struct listing *listing_new(
    struct listing_desk *desk, struct web_call *call, const struct listing_choice *choice) {
    struct listing *listing = NEW(struct listing);
    listing->desk = desk;
    listing->call = call;
    listing->choice = *choice;
    listing->slice = (struct inventory_slice){.slots = SLICE_SLOTS, .context = listing};
    bytes_copy(listing->name, choice->name.data, choice->name.size);
    listing->choice.name.data = listing->name;
    if (choice->kind == LISTING_QUEUES)
        listing->survey = survey_new(SURVEY_QUEUES, on_answered, listing);
    if (choice->kind == LISTING_CLIENTS)
        listing->survey = survey_new(SURVEY_CLIENTS, on_answered, listing);
    return listing;
}

void listing_start(
    struct listing_desk *desk, struct web_call *call, const struct listing_choice *choice) {
    check(choice->name.size <= sizeof((struct listing *)0)->name);
    struct listing *listing = listing_new(desk, call, choice);
    const char *reason = read_query(listing);
    queue_ref queue = 0;
    bool missing = choice->one && !find_one(listing, &queue);
    if (reason || missing) {
        listing_free(listing);
        if (reason)
            answer_wrong(call, reason);
        else
            answer_missing(call);
        return;
    }
    web_begin(call, 200, "application/json", &LISTING_ANSWERER, listing);
    if (!choice->one) web_put(call, listing->paged ? "{\"items\":[" : "[", listing->paged ? 10 : 1);
    if (!choice->one)
        go_on(listing);
    else if (choice->kind == LISTING_QUEUES)
        ask_for_queue(listing, queue);
    else
        answer_exchange(listing);
}
