/* notes: what the log is told of clients. A flood of them is a bounded number of lines. */
#include "amqp/reply.h"
#include "shard/client.h"

/* Begins a line about the client; false when the log does not want it, or had its share of this
 * second. */
static bool begin(
    struct log_line *line, const struct client *client, enum log_level level, const char *event) {
    struct shard *shard = client->shard;
    uint32_t withheld = 0;
    if (!log_wants(shard->broker->log, level)) return false;
    if (!log_budget_take(&shard->log_budget, shard->now_ms, &withheld)) return false;
    log_begin(line, event);
    if (withheld != 0) log_put_number(line, "withheld", withheld);
    log_put_text(line, "peer", client->peer);
    return true;
}

static void end(struct log_line *line, const struct client *client, enum log_level level) {
    log_end(line, client->shard->broker->log, level);
}

void client_note_opened(struct client *client) {
    struct log_line line;
    struct session_facts facts;
    client->entered = true;
    if (!begin(&line, client, LEVEL_INFO, "connection.opened")) return;
    session_facts(client->session, &facts);
    log_put(&line, "user", facts.user);
    log_put_text(&line, "vhost", vhost_name(client->vhost));
    log_put(&line, "client", facts.client_name);
    end(&line, client, LEVEL_INFO);
}

/* Connections that never got anywhere are probes of load balancers, mostly, and only of interest to
 * those who look for them. */
void client_note_closed(struct client *client) {
    struct log_line line;
    struct session_facts facts;
    const char *reason = client->reason;
    if (!reason) reason = client->finishing ? "client" : "vanished";
    bool orderly = reason[0] == 'c' || client->shard->stopping;
    enum log_level level = !client->entered ? LEVEL_DEBUG : orderly ? LEVEL_INFO : LEVEL_WARNING;
    if (!begin(&line, client, level, "connection.closed")) return;
    session_facts(client->session, &facts);
    log_put(&line, "user", facts.user);
    log_put_text(&line, "reason", reason);
    end(&line, client, level);
}

void client_note_refused(struct client *client, struct bytes user) {
    struct log_line line;
    client->reason = "login";
    if (!begin(&line, client, LEVEL_WARNING, "login.refused")) return;
    log_put(&line, "user", user);
    log_put_text(&line, "from", client->local ? "loopback" : "network");
    end(&line, client, LEVEL_WARNING);
}

void client_note_fault(void *host, uint16_t channel, enum reply_code code, struct bytes text) {
    struct client *client = host;
    struct log_line line;
    if (code == REPLY_CONNECTION_FORCED) return;
    if (channel == 0) client->reason = "error";
    const char *event = channel == 0 ? "connection.error" : "channel.error";
    if (!begin(&line, client, LEVEL_WARNING, event)) return;
    if (channel != 0) log_put_number(&line, "channel", channel);
    log_put_number(&line, "code", (uint64_t)code);
    log_put(&line, "text", text);
    end(&line, client, LEVEL_WARNING);
}
