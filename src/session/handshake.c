/* handshake: the methods of channel 0.
 *
 *      server                       client
 *        <-------- protocol header ----
 *        ---- connection.start ------->      properties, mechanisms
 *        <---- connection.start-ok ----      calls->login decides; input waits
 *        ---- connection.tune -------->      our limits
 *        <---- connection.tune-ok -----      theirs, within ours
 *        <---- connection.open --------      calls->open_vhost decides; input waits
 *        ---- connection.open-ok ----->
 *
 * What goes wrong before open is answered by silence, as RabbitMQ does: connection_fault knows. */
#include "session/handshake.h"

#include "amqp/table.h"
#include "auth/sasl.h"
#include "base/memory.h"
#include "session/complaint.h"

enum {
    METHOD_IDS_BYTES = 4,
    PROPERTIES_BYTES_MAX = 2048, /* of connection.start, without the texts of the settings */
};

static const char *const capabilities[] = {
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
};

static void put_properties(struct writer *writer, const struct session_settings *settings) {
    uint8_t *begun = table_begin(writer, "capabilities");
    for (size_t i = 0; i < COUNT_OF(capabilities); i++)
        table_put_bool(writer, capabilities[i], true);
    table_end(writer, begun);
    table_put_text(writer, "cluster_name", bytes_text(settings->cluster_name));
    table_put_text(writer, "copyright", BYTES("Copyright the Godwit authors"));
    table_put_text(writer, "information", BYTES("Licensed under Apache-2.0"));
    table_put_text(writer, "platform", BYTES("C"));
    table_put_text(writer, "product", bytes_text(settings->product));
    table_put_text(writer, "version", bytes_text(settings->version));
}

void handshake_start(struct session *session) {
    const struct session_settings *settings = session->settings;
    size_t size = PROPERTIES_BYTES_MAX + strlen(settings->cluster_name) +
                  strlen(settings->product) + strlen(settings->version);
    uint8_t *memory = mem_raw(size);
    struct writer writer = writer_over(memory, size);
    put_properties(&writer, settings);
    check(!writer.bad);
    connection_enter(session, CONNECTION_STARTING);
    connection_put(session, 0,
        &(struct method){
            .kind = METHOD_connection_start,
            .connection_start =
                {
                    .version_major = 0,
                    .version_minor = 9,
                    .server_properties = writer_bytes(&writer),
                    .mechanisms = BYTES(SASL_MECHANISMS),
                    .locales = BYTES("en_US"),
                },
        });
    mem_free(memory);
}

/* ---- start-ok ---- */

static const struct {
    const char *name;
    uint8_t bit;
} client_abilities[] = {
    {"publisher_confirms", CLIENT_CAN_CONFIRMS},
    {"consumer_cancel_notify", CLIENT_CAN_CANCEL_NOTIFY},
    {"basic.nack", CLIENT_CAN_NACK},
    {"connection.blocked", CLIENT_CAN_BLOCKED},
    {"authentication_failure_close", CLIENT_CAN_FAILURE_CLOSE},
    {"exchange_exchange_bindings", CLIENT_CAN_EXCHANGE_BINDINGS},
};

static struct bytes own_bytes(struct bytes bytes) {
    return bytes_of(mem_text(bytes), bytes.size);
}

static bool find_text(struct bytes table, struct bytes name, struct bytes *ret_text) {
    struct field field;
    if (!table_find(table, name, &field) || field.type != 'S') return false;
    *ret_text = field.bytes;
    return true;
}

static void take_client_properties(struct session *session, struct bytes properties) {
    struct field field;
    if (table_find(properties, BYTES("capabilities"), &field) && field.type == 'F') {
        struct bytes table = field.bytes;
        for (size_t i = 0; i < COUNT_OF(client_abilities); i++) {
            struct bytes name = bytes_text(client_abilities[i].name);
            bool can = table_find(table, name, &field) && field.type == 't' && field.boolean;
            if (can) session->client_can |= client_abilities[i].bit;
        }
    }
    struct bytes name;
    bool named = find_text(properties, BYTES("connection_name"), &name) ||
                 find_text(properties, BYTES("product"), &name);
    if (!named) return;
    if (name.size > NAME_BYTES_MAX) name.size = NAME_BYTES_MAX;
    session->client_name = own_bytes(name);
}

static void on_start_ok(struct session *session, const struct amqp_connection_start_ok *arguments) {
    enum sasl_mechanism mechanism = sasl_find(arguments->mechanism);
    struct sasl_login login;
    if (!table_valid(arguments->client_properties) ||
        sasl_feed(mechanism, arguments->response, &login) != SASL_DONE) {
        connection_drop(session);
        return;
    }
    take_client_properties(session, arguments->client_properties);
    session->mechanism = sasl_name(mechanism);
    session->subject.user = own_bytes(login.user);
    connection_enter(session, CONNECTION_LOGIN);
    session->calls->login(session->host, login.user, login.password);
}

void handshake_on_login(struct session *session, bool ok) {
    if (session->state != CONNECTION_LOGIN) return;
    if (!ok) {
        connection_refuse_login(session);
        return;
    }
    const struct session_settings *settings = session->settings;
    session->subject.logged_in = true;
    connection_enter(session, CONNECTION_TUNING);
    connection_put(session, 0,
        &(struct method){
            .kind = METHOD_connection_tune,
            .connection_tune =
                {
                    .channel_max = settings->channel_max,
                    .frame_max = settings->frame_max,
                    .heartbeat = settings->heartbeat_s,
                },
        });
    connection_resume(session);
}

/* ---- tune-ok and open ---- */

/* Zero is "no limit" on both sides, and so is more than any other offer. */
static bool within_offer(uint32_t chosen, uint32_t offered, uint32_t least) {
    if (chosen != 0 && chosen < least) return false;
    return offered == 0 || (chosen != 0 && chosen <= offered);
}

static void on_tune_ok(struct session *session, const struct amqp_connection_tune_ok *arguments) {
    const struct session_settings *settings = session->settings;
    if (!within_offer(arguments->channel_max, settings->channel_max, 1) ||
        !within_offer(arguments->frame_max, settings->frame_max, FRAME_BYTES_MIN)) {
        connection_drop(session);
        return;
    }
    session->channel_max = arguments->channel_max;
    session->frame_max = arguments->frame_max;
    session->heartbeat_s = arguments->heartbeat;
    connection_enter(session, CONNECTION_OPENING);
}

static void on_open(struct session *session, const struct amqp_connection_open *arguments) {
    struct bytes vhost = arguments->virtual_host;
    connection_enter(session, CONNECTION_ENTERING);
    session->subject.vhost = own_bytes(vhost);
    struct access_object object = {ACCESS_VHOST, vhost};
    if (!access_authorize(&session->subject, ACCESS_ENTER, object)) {
        connection_fault(session, REPLY_NOT_ALLOWED, METHOD_connection_open,
            "access to vhost '%.*s' refused for user '%.*s'", (int)vhost.size,
            (const char *)vhost.data, (int)session->subject.user.size,
            (const char *)session->subject.user.data);
        return;
    }
    struct answer answer = {0};
    if (session->calls->open_vhost(session->host, vhost, &answer)) {
        handshake_on_vhost(session, &answer);
    }
}

void handshake_on_vhost(struct session *session, const struct answer *answer) {
    if (session->state != CONNECTION_ENTERING) return;
    if (answer->code != REPLY_OK) {
        connection_fault(session, answer->code, METHOD_connection_open, "%s", answer->text);
        return;
    }
    connection_enter(session, CONNECTION_OPEN);
    connection_put(session, 0, &(struct method){.kind = METHOD_connection_open_ok});
}

/* ---- closes and the rest ---- */

static void on_close(struct session *session) {
    connection_enter(session, CONNECTION_DRAINING);
    connection_drained(session);
}

bool handshake_is_close_ok(const struct frame *frame) {
    if (frame->type != FRAME_METHOD || frame->payload.size < METHOD_IDS_BYTES) return false;
    struct reader reader = reader_over(frame->payload);
    uint16_t class_id = read_u16(&reader);
    return method_find(class_id, read_u16(&reader)) == METHOD_connection_close_ok;
}

/* The state that a method of the handshake belongs to; CLOSED for all that have no place. */
static enum connection_state place_of(enum method_kind kind) {
    switch ((int)kind) {
    case METHOD_connection_start_ok: return CONNECTION_STARTING;
    case METHOD_connection_tune_ok: return CONNECTION_TUNING;
    case METHOD_connection_open: return CONNECTION_OPENING;
    case METHOD_connection_close:
    case METHOD_connection_update_secret: return CONNECTION_OPEN;
    default: return CONNECTION_CLOSED;
    }
}

void handshake_on_method(struct session *session, struct bytes payload) {
    struct method method;
    bool decoded = method_decode(payload, &method);
    if (method.kind == METHOD_unknown) {
        connection_drop(session);
        return;
    }
    if (!decoded) {
        complaint_undecodable(session, method.kind, payload);
        return;
    }
    if (place_of(method.kind) != (enum connection_state)session->state) {
        connection_fault(session, REPLY_CHANNEL_ERROR, method.kind,
            "unexpected method in connection state %s",
            connection_state_name((enum connection_state)session->state));
        return;
    }
    switch ((int)method.kind) {
    case METHOD_connection_start_ok: on_start_ok(session, &method.connection_start_ok); return;
    case METHOD_connection_tune_ok: on_tune_ok(session, &method.connection_tune_ok); return;
    case METHOD_connection_open: on_open(session, &method.connection_open); return;
    case METHOD_connection_close: on_close(session); return;
    case METHOD_connection_update_secret:
        /* A password that has been checked once needs no other until logins expire. */
        connection_put(session, 0, &(struct method){.kind = METHOD_connection_update_secret_ok});
        return;
    default: unreachable_here();
    }
}
