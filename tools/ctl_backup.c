/* ctl_backup: has a running broker copy its data directory, and waits for it. */
#include "tools/ctl_backup.h"

#include <string.h>
#include <time.h>

#include "base/str.h"

enum { PATH_BYTES_MAX = 4096, LOOK_MS = 100 };

static void pause_ms(long ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static const char *text_of(json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_of(json_t *report, const char *directory) {
    return strcmp(text_of(report, "directory"), directory) == 0;
}

json_t *ctl_backup_make(
    const struct ctl_fetch *fetch, const char *directory, struct ctl_why *ret_why) {
    char path[PATH_BYTES_MAX];
    char encoded[PATH_BYTES_MAX - 64];
    ctl_fetch_encode(encoded, sizeof encoded, directory);
    str_format(path, sizeof path, "api/backup?directory=%s", encoded);
    json_t *report = ctl_fetch_post(fetch, path, ret_why);
    while (report && is_of(report, directory) && strcmp(text_of(report, "state"), "running") == 0) {
        json_decref(report);
        pause_ms(LOOK_MS);
        report = ctl_fetch_value(fetch, "api/backup", ret_why);
    }
    if (!report) return NULL;
    bool ours = is_of(report, directory);
    if (ours && strcmp(text_of(report, "state"), "done") == 0) return report;
    str_format(ret_why->text, sizeof ret_why->text, "%s",
        ours ? text_of(report, "reason")
             : "another backup was begun before this one was looked at");
    json_decref(report);
    return NULL;
}
