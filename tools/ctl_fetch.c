/* ctl_fetch: asks a broker over HTTP, and cuts lists into their elements while they arrive.
 *
 * A list of a million queues is never held as a whole: brackets are counted, outside of strings,
 * and what stands between two commas of the outermost array is parsed and handed on. */
#include "tools/ctl_fetch.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/str.h"

enum {
    ELEMENT_BYTES_MAX = 16 * 1024 * 1024, /* one value or element */
    URL_BYTES_MAX = 2048
};

/* What arrives. */
struct arrival {
    CURL *curl;
    struct buffer bytes; /* the value, or the element that is not complete yet */
    bool is_list;
    bool posts;     /* asks for something to be done */
    uint32_t depth; /* brackets open */
    bool in_string;
    bool escaped;
    bool stopped;
    bool broken; /* no JSON, or too large */
    bool (*each)(void *context, json_t *element);
    void *context;
};

static void hand_on(struct arrival *arrival) {
    json_t *element =
        json_loadb((const char *)arrival->bytes.data, arrival->bytes.size, JSON_DECODE_ANY, NULL);
    arrival->bytes.size = 0;
    if (!element)
        arrival->broken = true;
    else if (!arrival->each(arrival->context, element))
        arrival->stopped = true;
    json_decref(element);
}

/* Keeps the octet as a part of an element; those between elements are left out. */
static void keep(struct arrival *arrival, char c) {
    if (!buffer_put(&arrival->bytes, &c, 1)) arrival->broken = true;
}

static void take_in_string(struct arrival *arrival, char c) {
    keep(arrival, c);
    if (arrival->escaped)
        arrival->escaped = false;
    else if (c == '\\')
        arrival->escaped = true;
    else if (c == '"')
        arrival->in_string = false;
}

static void take_in_list(struct arrival *arrival, char c) {
    bool opens = c == '[' || c == '{';
    bool closes = c == ']' || c == '}';
    bool blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (arrival->in_string) {
        take_in_string(arrival, c);
        return;
    }
    bool ends = arrival->depth == 1 && (c == ',' || closes);
    if (ends && arrival->bytes.size != 0) hand_on(arrival);
    bool outermost = arrival->depth == 0 || ends;
    if (closes && arrival->depth == 0)
        arrival->broken = true;
    else
        arrival->depth += opens ? 1 : closes ? UINT32_MAX : 0;
    if (c == '"') arrival->in_string = true;
    if (!outermost && !blank) keep(arrival, c);
}

static size_t on_bytes(char *data, size_t size, size_t count, void *context) {
    struct arrival *arrival = context;
    long status = 0;
    size_t bytes = size * count;
    curl_easy_getinfo(arrival->curl, CURLINFO_RESPONSE_CODE, &status);
    if (!arrival->is_list || status != 200)
        return buffer_put(&arrival->bytes, data, bytes) ? bytes : 0;
    for (size_t i = 0; i < bytes && !arrival->broken && !arrival->stopped; i++)
        take_in_list(arrival, data[i]);
    return arrival->broken || arrival->stopped ? 0 : bytes;
}

/* What the broker says about a status that is not 200. */
static void refuse_status(const struct arrival *arrival, long status, struct ctl_why *why) {
    json_t *body = json_loadb((const char *)arrival->bytes.data, arrival->bytes.size, 0, NULL);
    const char *reason = json_string_value(json_object_get(body, "reason"));
    str_format(why->text, sizeof why->text, "the broker answered %ld%s%.200s", status,
        reason ? ": " : "", reason ? reason : "");
    json_decref(body);
}

static bool perform(
    const struct ctl_fetch *fetch, const char *path, struct arrival *arrival, struct ctl_why *why) {
    char url[URL_BYTES_MAX];
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURL *curl = arrival->curl;
    str_format(url, sizeof url, "http://%s/%s", fetch->address, path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    if (arrival->posts) curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, "");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_USERNAME, fetch->user);
    curl_easy_setopt(curl, CURLOPT_PASSWORD, fetch->password);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, fetch->timeout_s);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, fetch->timeout_s ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, fetch->timeout_s);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, arrival);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (arrival->stopped) return true;
    if (arrival->broken)
        str_format(why->text, sizeof why->text, "%s answered something that is no list", url);
    else if (code != CURLE_OK)
        str_format(why->text, sizeof why->text, "no answer from %s: %s", fetch->address,
            error[0] ? error : curl_easy_strerror(code));
    else if (status / 100 != 2)
        refuse_status(arrival, status, why);
    return !arrival->broken && code == CURLE_OK && status / 100 == 2;
}

static bool fetch_into(
    const struct ctl_fetch *fetch, const char *path, struct arrival *arrival, struct ctl_why *why) {
    arrival->curl = curl_easy_init();
    if (!arrival->curl) {
        str_format(why->text, sizeof why->text, "libcurl does not start");
        return false;
    }
    buffer_init(&arrival->bytes, ELEMENT_BYTES_MAX);
    bool ok = perform(fetch, path, arrival, why);
    curl_easy_cleanup(arrival->curl);
    return ok;
}

/* Takes what the arrival is prepared for as one value. */
static json_t *fetch_value(const struct ctl_fetch *fetch, const char *path, struct arrival arrival,
    struct ctl_why *ret_why) {
    json_t *value = NULL;
    if (fetch_into(fetch, path, &arrival, ret_why)) {
        value = json_loadb((const char *)arrival.bytes.data, arrival.bytes.size, 0, NULL);
        if (!value)
            str_format(ret_why->text, sizeof ret_why->text, "the answer to %s is no JSON", path);
    }
    buffer_deinit(&arrival.bytes);
    return value;
}

json_t *ctl_fetch_value(const struct ctl_fetch *fetch, const char *path, struct ctl_why *ret_why) {
    return fetch_value(fetch, path, (struct arrival){.posts = false}, ret_why);
}

json_t *ctl_fetch_post(const struct ctl_fetch *fetch, const char *path, struct ctl_why *ret_why) {
    return fetch_value(fetch, path, (struct arrival){.posts = true}, ret_why);
}

bool ctl_fetch_list(const struct ctl_fetch *fetch, const char *path,
    bool (*each)(void *context, json_t *element), void *context, struct ctl_why *ret_why) {
    struct arrival arrival = {.is_list = true, .each = each, .context = context};
    bool ok = fetch_into(fetch, path, &arrival, ret_why);
    buffer_deinit(&arrival.bytes);
    return ok;
}

void ctl_fetch_encode(char *encoded, size_t size, const char *part) {
    size_t used = 0;
    encoded[0] = 0;
    for (; *part && used + 4 <= size; part++) {
        bool letter = (*part >= 'a' && *part <= 'z') || (*part >= 'A' && *part <= 'Z') ||
                      (*part >= '0' && *part <= '9');
        if (letter)
            used += str_format(encoded + used, size - used, "%c", *part);
        else
            used += str_format(encoded + used, size - used, "%%%02X", (unsigned)(uint8_t)*part);
    }
}
