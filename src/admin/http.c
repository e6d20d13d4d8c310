/* http: the heads of HTTP/1.1 requests and answers. */
#include "admin/http.h"

#include "base/str.h"

/* ---- lines ---- */

/* The next line without its end; false when there is no whole one. */
static bool take_line(struct bytes *input, struct bytes *ret_line) {
    const uint8_t *end = input->size ? memchr(input->data, '\n', input->size) : NULL;
    if (!end) return false;
    size_t size = (size_t)(end - input->data);
    *ret_line = bytes_of(input->data, size);
    *input = bytes_of(end + 1, input->size - size - 1);
    if (ret_line->size != 0 && ret_line->data[ret_line->size - 1] == '\r') ret_line->size--;
    return true;
}

/* What stands before the first `separator`, which is taken too; false when there is none. */
static bool take_until(struct bytes *text, char separator, struct bytes *ret_part) {
    const uint8_t *at = text->size ? memchr(text->data, separator, text->size) : NULL;
    if (!at) return false;
    size_t size = (size_t)(at - text->data);
    *ret_part = bytes_of(text->data, size);
    *text = bytes_of(at + 1, text->size - size - 1);
    return true;
}

static struct bytes trim(struct bytes text) {
    while (text.size != 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = bytes_of(text.data + 1, text.size - 1);
    while (text.size != 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

static uint8_t lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* `word` is in lower case. */
static bool is_word(struct bytes text, const char *word) {
    if (text.size != strlen(word)) return false;
    for (uint32_t i = 0; i < text.size; i++) {
        if (lower(text.data[i]) != (uint8_t)word[i]) return false;
    }
    return true;
}

/* ---- percent encoding ---- */

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    uint8_t letter = lower(c);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Decodes in place or elsewhere; never longer than the input. False for a lone percent sign. */
static bool decode(struct bytes text, uint8_t *out, uint32_t *ret_size) {
    uint32_t size = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            if (text.size - i < 3) return false;
            int high = hex_digit(text.data[i + 1]);
            int low = hex_digit(text.data[i + 2]);
            if (high < 0 || low < 0) return false;
            c = (uint8_t)(high * 16 + low);
            i += 2;
        }
        out[size++] = c;
    }
    *ret_size = size;
    return true;
}

/* ---- the request line ---- */

static bool add_segment(struct http_request *request, struct bytes segment) {
    if (request->segment_count == UINT32_MAX) return true;
    if (request->segment_count == HTTP_SEGMENTS_MAX) {
        request->segment_count = UINT32_MAX;
        return true;
    }
    uint8_t *place = (uint8_t *)(uintptr_t)segment.data;
    uint32_t size = 0;
    if (!decode(segment, place, &size)) return false;
    request->segments[request->segment_count++] = bytes_of(place, size);
    return true;
}

/* Cuts the path into segments; those that are empty as sent, as after a last slash, do not count.
 */
static bool read_path(struct http_request *request, struct bytes path) {
    struct bytes segment;
    while (take_until(&path, '/', &segment)) {
        if (segment.size != 0 && !add_segment(request, segment)) return false;
    }
    return path.size == 0 || add_segment(request, path);
}

static enum http_verdict read_target(struct http_request *request, struct bytes target) {
    if (target.size == 0 || target.data[0] != '/') return HTTP_WRONG;
    if (target.size > sizeof request->target) return HTTP_LONG;
    bytes_copy(request->target, target.data, target.size);
    struct bytes query = bytes_of(request->target, target.size);
    struct bytes path;
    if (!take_until(&query, '?', &path)) {
        path = query;
        query.size = 0;
    }
    request->query = query;
    return read_path(request, path) ? HTTP_COMPLETE : HTTP_WRONG;
}

static enum http_verdict read_request_line(struct http_request *request, struct bytes line) {
    struct bytes method;
    struct bytes target;
    if (!take_until(&line, ' ', &method)) return HTTP_WRONG;
    if (!take_until(&line, ' ', &target)) return HTTP_WRONG;
    bool newest = bytes_equal(line, BYTES("HTTP/1.1"));
    if (!newest && !bytes_equal(line, BYTES("HTTP/1.0"))) return HTTP_WRONG;
    request->method = bytes_equal(method, BYTES("GET"))    ? HTTP_GET
                      : bytes_equal(method, BYTES("HEAD")) ? HTTP_HEAD
                      : bytes_equal(method, BYTES("POST")) ? HTTP_POST
                                                           : HTTP_OTHER;
    request->keep_alive = newest;
    request->chunks_understood = newest;
    return read_target(request, target);
}

/* ---- headers ---- */

static int base64_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Gives false for what is no base64 or does not fit. */
static bool decode_base64(struct bytes text, uint8_t *out, size_t out_size, uint32_t *ret_size) {
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    uint32_t size = 0;
    while (text.size != 0 && text.data[text.size - 1] == '=')
        text.size--;
    for (uint32_t i = 0; i < text.size; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0) return false;
        bits = (bits << 6) | (uint32_t)value;
        bit_count += 6;
        if (bit_count < 8) continue;
        bit_count -= 8;
        if (size == out_size) return false;
        out[size++] = (uint8_t)(bits >> bit_count);
    }
    *ret_size = size;
    return true;
}

/* "Basic dXNlcjpwYXNz". What is no such thing counts as no credentials. */
static void read_authorization(struct http_request *request, struct bytes value) {
    struct bytes scheme;
    uint32_t size = 0;
    if (!take_until(&value, ' ', &scheme) || !is_word(scheme, "basic")) return;
    if (!decode_base64(trim(value), request->credentials, sizeof request->credentials, &size))
        return;
    struct bytes password = bytes_of(request->credentials, size);
    if (!take_until(&password, ':', &request->user)) return;
    request->password = password;
    request->has_credentials = true;
}

static bool read_header(struct http_request *request, struct bytes line) {
    struct bytes name;
    if (!take_until(&line, ':', &name) || name.size == 0) return false;
    if (name.data[0] == ' ' || name.data[0] == '\t') return false;
    struct bytes value = trim(line);
    if (is_word(name, "authorization")) read_authorization(request, value);
    if (is_word(name, "connection") && is_word(value, "close")) request->keep_alive = false;
    if (is_word(name, "connection") && is_word(value, "keep-alive")) request->keep_alive = true;
    if (is_word(name, "content-length") && !is_word(value, "0")) request->has_body = true;
    if (is_word(name, "transfer-encoding")) request->has_body = true;
    return true;
}

enum http_verdict http_read(struct bytes input, struct http_request *ret_request) {
    struct bytes line;
    struct bytes rest = input;
    enum http_verdict incomplete = input.size >= HTTP_HEAD_BYTES_MAX ? HTTP_LONG : HTTP_MORE;
    memset(ret_request, 0, offsetof(struct http_request, target));
    if (!take_line(&rest, &line)) return incomplete;
    enum http_verdict verdict = read_request_line(ret_request, line);
    if (verdict != HTTP_COMPLETE) return verdict;
    while (take_line(&rest, &line)) {
        if (line.size == 0) {
            ret_request->head_size = input.size - rest.size;
            return HTTP_COMPLETE;
        }
        if (!read_header(ret_request, line)) return HTTP_WRONG;
    }
    return incomplete;
}

bool http_query(const struct http_request *request, const char *name, char *value, size_t size) {
    struct bytes rest = request->query;
    while (rest.size != 0) {
        struct bytes pair;
        struct bytes key;
        if (!take_until(&rest, '&', &pair)) {
            pair = rest;
            rest.size = 0;
        }
        if (!take_until(&pair, '=', &key) || !bytes_equal(key, bytes_text(name))) continue;
        uint32_t used = 0;
        if (pair.size >= size || !decode(pair, (uint8_t *)value, &used)) return false;
        value[used] = 0;
        return true;
    }
    return false;
}

/* ---- answers ---- */

static const char *status_text(uint16_t status) {
    switch (status) {
    case 200: return "OK";
    case 202: return "Accepted";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 409: return "Conflict";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    default: return "Status";
    }
}

size_t http_write_head(char *text, size_t size, const struct http_answer *answer) {
    size_t used = str_format(text, size,
        "HTTP/1.1 %u %s\r\nServer: Godwit\r\nContent-Type: %s\r\nCache-Control: no-cache\r\n"
        "X-Content-Type-Options: nosniff\r\n",
        (unsigned)answer->status, status_text(answer->status), answer->type);
    if (answer->ask_login)
        used += str_format(
            text + used, size - used, "WWW-Authenticate: Basic realm=\"RabbitMQ Management\"\r\n");
    if (answer->tell_allow) used += str_format(text + used, size - used, "Allow: GET, HEAD\r\n");
    if (answer->chunked)
        used += str_format(text + used, size - used, "Transfer-Encoding: chunked\r\n");
    else if (!answer->unframed)
        used += str_format(text + used, size - used, "Content-Length: %llu\r\n",
            (unsigned long long)answer->content_size);
    return used + str_format(text + used, size - used, "Connection: %s\r\n\r\n",
                      answer->keep_alive ? "keep-alive" : "close");
}
