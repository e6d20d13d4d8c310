/* args: the arguments of exchanges and queues: which are known, what they may be, and when a
 * redeclare's are equivalent. */
#include "core/args.h"

#include <inttypes.h>

#include "base/str.h"
#include "core/term.h"

enum {
    NO = 0,
    SILENT = -1,
    QUEUE_TYPES = 3,
    PRIORITY_MAX = 255,
};

static const int64_t EXPIRY_MS_MAX = 315360000000; /* ten years of 365 days */
static const int64_t STREAM_SEGMENT_BYTES_MAX = 3000000000;

/* ---- checks of one value: false with the reason, as RabbitMQ prints it ---- */

static bool unacceptable_type(const struct field *value, struct phrase *why) {
    phrase_put(why, "{unacceptable_type,%s}", term_type_name(value));
    return false;
}

/* The reason that stands for itself, because a value of the right type is none of those known. */
static bool reason(struct phrase *why, const char *text) {
    phrase_put(why, "%s", text);
    return false;
}

static bool number_reason(struct phrase *why, const char *name, int64_t value) {
    phrase_put(why, "{%s,%" PRId64 "}", name, value);
    return false;
}

/* "unsupported queue mode 'x'", in the quotes and with the escapes of an Erlang string. */
static bool unsupported(struct phrase *why, const char *what, struct bytes value) {
    phrase_put(why, "\"unsupported %s '", what);
    for (uint32_t i = 0; i < value.size; i++) {
        uint8_t octet = value.data[i];
        if (octet == '"' || octet == '\\') phrase_put(why, "\\");
        phrase_put_bytes(why, bytes_of(&octet, 1));
    }
    phrase_put(why, "'\"");
    return false;
}

static bool one_of(struct bytes value, const char *const *known, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(value, bytes_text(known[i]))) return true;
    }
    return false;
}

static bool check_anything(const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)value, (void)arguments, (void)why;
    return true;
}

static bool check_text(const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    return value->type == 'S' || unacceptable_type(value, why);
}

static bool check_boolean(const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    return value->type == 't' || unacceptable_type(value, why);
}

static bool to_integer(const struct field *value, struct phrase *why, int64_t *ret_integer) {
    if (field_integer(value, ret_integer)) return true;
    phrase_put(why, "\"expected integer, got %s\"", term_type_name(value));
    return false;
}

static bool to_count(const struct field *value, struct phrase *why, int64_t *ret_count) {
    if (!to_integer(value, why, ret_count)) return false;
    return *ret_count >= 0 || number_reason(why, "value_negative", *ret_count);
}

static bool check_count(const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    int64_t count;
    return to_count(value, why, &count);
}

static bool check_size(const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    int64_t size;
    if (!to_count(value, why, &size)) return false;
    return size != 0 || number_reason(why, "value_zero", size);
}

static bool check_message_ttl(
    const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    int64_t ttl_ms;
    if (!to_count(value, why, &ttl_ms)) return false;
    return ttl_ms <= EXPIRY_MS_MAX || number_reason(why, "value_too_large", ttl_ms);
}

static bool check_expires(const struct field *value, struct bytes arguments, struct phrase *why) {
    return check_message_ttl(value, arguments, why) && check_size(value, arguments, why);
}

static bool check_max_priority(
    const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    int64_t priority;
    if (!to_count(value, why, &priority)) return false;
    return priority <= PRIORITY_MAX || number_reason(why, "max_value_exceeded", priority);
}

static bool check_dead_letter_key(
    const struct field *value, struct bytes arguments, struct phrase *why) {
    struct field exchange;
    if (value->type != 'S') return unacceptable_type(value, why);
    if (table_find(arguments, BYTES("x-dead-letter-exchange"), &exchange)) return true;
    return reason(why, "routing_key_but_no_dlx_defined");
}

static bool check_strategy(const struct field *value, struct bytes arguments, struct phrase *why) {
    static const char *const known[] = {"at-most-once", "at-least-once"};
    (void)arguments;
    if (value->type != 'S') return unacceptable_type(value, why);
    return one_of(value->bytes, known, COUNT_OF(known)) || reason(why, "invalid_dlx_strategy");
}

static bool check_overflow(const struct field *value, struct bytes arguments, struct phrase *why) {
    static const char *const known[] = {"drop-head", "reject-publish", "reject-publish-dlx"};
    (void)arguments;
    if (value->type != 'S') return unacceptable_type(value, why);
    return one_of(value->bytes, known, COUNT_OF(known)) || reason(why, "invalid_overflow");
}

static bool check_locator(const struct field *value, struct bytes arguments, struct phrase *why) {
    static const char *const known[] = {"client-local", "balanced", "random", "least-leaders"};
    (void)arguments;
    if (value->type != 'S') return unacceptable_type(value, why);
    return one_of(value->bytes, known, COUNT_OF(known)) || reason(why, "invalid_queue_locator_arg");
}

static bool check_queue_mode(
    const struct field *value, struct bytes arguments, struct phrase *why) {
    static const char *const known[] = {"default", "lazy"};
    (void)arguments;
    if (value->type != 'S') return unacceptable_type(value, why);
    return one_of(value->bytes, known, COUNT_OF(known)) ||
           unsupported(why, "queue mode", value->bytes);
}

/* In the order of enum args_queue_type. */
static const char *const type_names[QUEUE_TYPES] = {"classic", "quorum", "stream"};

static bool check_queue_type(
    const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    if (value->type != 'S') return unacceptable_type(value, why);
    return one_of(value->bytes, type_names, COUNT_OF(type_names)) ||
           unsupported(why, "queue type", value->bytes);
}

static bool check_queue_version(
    const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    int64_t version;
    if (!to_count(value, why, &version)) return false;
    if (version == 1 || version == 2) return true;
    phrase_put(why, "\"unsupported queue version '%" PRId64 "'\"", version);
    return false;
}

/* Digits that are not all zero, then one letter for the unit. */
static bool check_max_age(const struct field *value, struct bytes arguments, struct phrase *why) {
    (void)arguments;
    if (value->type != 'S') return unacceptable_type(value, why);
    struct bytes age = value->bytes;
    bool positive = false;
    uint32_t at = 0;
    for (; at < age.size && age.data[at] >= '0' && age.data[at] <= '9'; at++) {
        if (age.data[at] != '0') positive = true;
    }
    bool unit = age.size - at == 1 && age.data[at] != 0 && strchr("YMDhms", age.data[at]);
    return (positive && unit) || reason(why, "invalid_max_age");
}

/* ---- the table ---- */

struct arg {
    const char *name;
    bool (*accepts)(const struct field *value, struct bytes arguments, struct phrase *why);
    int turns[QUEUE_TYPES]; /* by enum args_queue_type: when compared, or NO, or SILENT */
};

static const struct arg known_args[] = {
#define ARG(name, check, classic, quorum, stream) {name, check_##check, {classic, quorum, stream}},
#include "core/args.def"
#undef ARG
};

static const struct arg *find_arg(struct bytes name) {
    for (size_t i = 0; i < COUNT_OF(known_args); i++) {
        if (bytes_equal(name, bytes_text(known_args[i].name))) return &known_args[i];
    }
    return NULL;
}

enum args_queue_type args_queue_type(struct bytes arguments) {
    struct field field;
    if (!table_find(arguments, BYTES("x-queue-type"), &field)) return ARGS_CLASSIC;
    if (term_is_text(&field, "quorum")) return ARGS_QUORUM;
    if (term_is_text(&field, "stream")) return ARGS_STREAM;
    return ARGS_CLASSIC;
}

/* ---- a new queue ---- */

static bool check_value(const struct change_subject *subject, const struct arg *arg,
    struct bytes arguments, struct change_result *ret_result) {
    struct field value;
    struct phrase why = {0};
    if (!table_find(arguments, bytes_text(arg->name), &value)) return true;
    if (arg->accepts(&value, arguments, &why)) return true;
    return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
        "invalid arg '%s' for %s '%.*s' in vhost '%s': %s", arg->name, subject->kind,
        CHANGE_NAME(subject->name), subject->vhost, why.text);
}

static bool check_values(const struct change_subject *subject, struct bytes arguments,
    enum args_queue_type type, struct change_result *ret_result) {
    for (size_t i = 0; i < COUNT_OF(known_args); i++) {
        if (known_args[i].turns[type] <= 0) continue;
        if (!check_value(subject, &known_args[i], arguments, ret_result)) return false;
    }
    return true;
}

/* Known arguments that the type does not take, in the order of the table that was received. */
static bool check_names(const struct change_subject *subject, struct bytes arguments,
    enum args_queue_type type, struct change_result *ret_result) {
    struct reader reader = reader_over(arguments);
    struct field field;
    while (table_next(&reader, &field)) {
        const struct arg *arg = find_arg(field.name);
        if (!arg || arg->turns[type] != NO) continue;
        return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
            "invalid arg '%s' for %s '%.*s' in vhost '%s' of queue type rabbit_%s_queue", arg->name,
            subject->kind, CHANGE_NAME(subject->name), subject->vhost, type_names[type]);
    }
    return true;
}

static bool refuse_property(
    const struct change_subject *subject, const char *property, struct change_result *ret_result) {
    return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
        "invalid property '%s' for %s '%.*s' in vhost '%s'", property, subject->kind,
        CHANGE_NAME(subject->name), subject->vhost);
}

/* What quorum queues and streams ask of a queue's flags. */
static bool check_flags(const struct change_subject *subject, const struct change *change,
    enum args_queue_type type, struct change_result *ret_result) {
    if (type == ARGS_CLASSIC) return true;
    if (change->auto_delete) return refuse_property(subject, "auto-delete", ret_result);
    if (change->exclusive) return refuse_property(subject, "exclusive-owner", ret_result);
    if (!change->durable) return refuse_property(subject, "non-durable", ret_result);
    struct field segment;
    int64_t size;
    if (type != ARGS_STREAM) return true;
    if (!table_find(change->arguments, BYTES("x-stream-max-segment-size-bytes"), &segment)) {
        return true;
    }
    if (!field_integer(&segment, &size) || size <= STREAM_SEGMENT_BYTES_MAX) return true;
    return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
        "Exceeded max value for x-stream-max-segment-size-bytes");
}

bool args_check_new_queue(const struct change_subject *subject, const struct change *change,
    struct change_result *ret_result) {
    struct bytes arguments = change->arguments;
    enum args_queue_type type = args_queue_type(arguments);
    const struct arg *type_arg = find_arg(BYTES("x-queue-type"));
    if (change->server_named && type != ARGS_CLASSIC) {
        return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
            "Cannot declare a server-named queue for type rabbit_%s_queue", type_names[type]);
    }
    return args_check_exchange_name(subject, arguments, "x-dead-letter-exchange", ret_result) &&
           check_value(subject, type_arg, arguments, ret_result) &&
           check_values(subject, arguments, type, ret_result) &&
           check_names(subject, arguments, type, ret_result) &&
           check_flags(subject, change, type, ret_result);
}

bool args_check_exchange_name(const struct change_subject *subject, struct bytes arguments,
    const char *argument, struct change_result *ret_result) {
    struct field name;
    if (!table_find(arguments, bytes_text(argument), &name)) return true;
    if (name.type == 'S') return true;
    return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
        "invalid type '%s' for arg '%s' in %s '%.*s' in vhost '%s'", term_type_name(&name),
        argument, subject->kind, CHANGE_NAME(subject->name), subject->vhost);
}

bool args_check_match(struct bytes arguments, struct change_result *ret_result) {
    static const char *const known[] = {"all", "any", "all-with-x", "any-with-x"};
    struct field match;
    struct phrase value = {0};
    if (!table_find(arguments, BYTES("x-match"), &match)) return true;
    if (match.type == 'S' && one_of(match.bytes, known, COUNT_OF(known))) return true;
    phrase_put_term(&value, &match);
    if (match.type == 'S') {
        return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
            "Invalid x-match field value %s; expected all, any, all-with-x, or any-with-x",
            value.text);
    }
    return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
        "Invalid x-match field type %s (value %s); expected longstr", term_type_name(&match),
        value.text);
}

/* ---- equivalence ---- */

/* Values of two widths are equal; an integer and a real of the same value are not. */
static bool same_value(const struct field *a, const struct field *b) {
    return term_is_real(a) == term_is_real(b) && term_equal(a, b);
}

/* "'5'", or "none" for a void. */
static void describe_value(struct phrase *phrase, const struct field *field) {
    if (field->type == 'V') {
        phrase_put(phrase, "none");
        return;
    }
    phrase_put(phrase, "'");
    phrase_put_value(phrase, field);
    phrase_put(phrase, "'");
}

/* "the value '5' of type 'signedint'", or "none" when it is missing. */
static void describe_field(struct phrase *phrase, const struct field *field) {
    if (!field) {
        phrase_put(phrase, "none");
        return;
    }
    phrase_put(phrase, "the value '");
    phrase_put_value(phrase, field);
    phrase_put(phrase, "' of type '%s'", term_type_name(field));
}

/* No type at all means classic. */
static bool both_classic(const char *name, const struct field *field) {
    return strcmp(name, "x-queue-type") == 0 && term_is_text(field, "classic");
}

static bool equivalent(const struct change_subject *subject, const char *name, struct bytes current,
    struct bytes received, struct change_result *ret_result) {
    struct field old_field, new_field;
    const struct field *old = table_find(current, bytes_text(name), &old_field) ? &old_field : NULL;
    const struct field *new =
        table_find(received, bytes_text(name), &new_field) ? &new_field : NULL;
    if (!old && !new) return true;
    if (old && new &&same_value(old, new)) return true;
    if ((!old || !new) && both_classic(name, old ? old : new)) return true;
    struct phrase is = {0}, asked = {0};
    if (old && new) {
        describe_value(&is, old);
        describe_value(&asked, new);
    } else {
        describe_field(&is, old);
        describe_field(&asked, new);
    }
    return change_refuse_inequivalent(ret_result, subject, name, asked.text, is.text);
}

static const struct arg *arg_of_turn(enum args_queue_type type, int turn) {
    for (size_t i = 0; i < COUNT_OF(known_args); i++) {
        if (known_args[i].turns[type] == turn) return &known_args[i];
    }
    return NULL;
}

bool args_equivalent_queue(const struct change_subject *subject, struct bytes current,
    struct bytes received, struct change_result *ret_result) {
    if (current.size == 0 && received.size == 0) return true;
    enum args_queue_type type = args_queue_type(current);
    const struct arg *arg;
    for (int turn = 1; (arg = arg_of_turn(type, turn)) != NULL; turn++) {
        if (!equivalent(subject, arg->name, current, received, ret_result)) return false;
    }
    return true;
}

bool args_equivalent_exchange(const struct change_subject *subject, struct bytes current,
    struct bytes received, struct change_result *ret_result) {
    return equivalent(subject, "alternate-exchange", current, received, ret_result);
}
