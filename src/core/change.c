/* change: how requests to change the topology are answered, and the words that refusals share. */
#include "core/change.h"

#include "base/str.h"

void change_accept(struct change_result *ret_result, queue_ref queue) {
    ret_result->code = REPLY_OK;
    ret_result->text[0] = 0;
    ret_result->queue = queue;
}

bool change_refuse(
    struct change_result *ret_result, enum reply_code code, const char *format, ...) {
    check(code != REPLY_OK);
    va_list arguments;
    va_start(arguments, format);
    (void)str_format_list(ret_result->text, sizeof ret_result->text, format, arguments);
    va_end(arguments);
    ret_result->code = code;
    ret_result->queue = 0;
    return false;
}

bool change_refuse_inequivalent(struct change_result *ret_result,
    const struct change_subject *subject, const char *argument, const char *received,
    const char *current) {
    return change_refuse(ret_result, REPLY_PRECONDITION_FAILED,
        "inequivalent arg '%s' for %s '%.*s' in vhost '%s': received %s but current is %s",
        argument, subject->kind, CHANGE_NAME(subject->name), subject->vhost, received, current);
}

bool change_same_flag(struct change_result *ret_result, const struct change_subject *subject,
    const char *argument, bool received, bool current) {
    if (received == current) return true;
    return change_refuse_inequivalent(ret_result, subject, argument,
        received ? "'true'" : "'false'", current ? "'true'" : "'false'");
}

bool change_refuse_missing(struct change_result *ret_result, const struct change_subject *subject) {
    return change_refuse(ret_result, REPLY_NOT_FOUND, "no %s '%.*s' in vhost '%s'", subject->kind,
        CHANGE_NAME(subject->name), subject->vhost);
}
