/* http_test: request heads of every shape, whole and in pieces, and the heads of answers. */
#include "unit.h"

#include <stdio.h>

#include "admin/http.h"

static enum http_verdict read_text(const char *text, struct http_request *request) {
    return http_read(bytes_text(text), request);
}

static void a_request(void **state) {
    (void)state;
    static const char text[] = "GET /api/queues/%2F/a%2fb%20c?page=2&name=x%26y HTTP/1.1\r\n"
                               "Host: localhost\r\n"
                               "AUTHORIZATION:  basic Z3Vlc3Q6cGFzczp3b3Jk\t\r\n"
                               "\r\n"
                               "GET /next HTTP/1.1\r\n";
    struct http_request request;
    assert_int_equal(read_text(text, &request), HTTP_COMPLETE);
    assert_int_equal(request.head_size, strstr(text, "GET /next") - text);
    assert_int_equal(request.method, HTTP_GET);
    assert_true(request.keep_alive);
    assert_true(request.chunks_understood);
    assert_false(request.has_body);
    assert_int_equal(request.segment_count, 4);
    assert_text(request.segments[0], "api");
    assert_text(request.segments[1], "queues");
    assert_text(request.segments[2], "/");
    assert_text(request.segments[3], "a/b c");
    assert_true(request.has_credentials);
    assert_text(request.user, "guest");
    assert_text(request.password, "pass:word");
    char value[8];
    assert_true(http_query(&request, "page", value, sizeof value));
    assert_string_equal(value, "2");
    assert_true(http_query(&request, "name", value, sizeof value));
    assert_string_equal(value, "x&y");
    assert_false(http_query(&request, "pag", value, sizeof value));
    char small[3];
    assert_false(http_query(&request, "name", small, sizeof small));
}

/* However it is cut, it is not complete before its last octet, and then always the same. */
static void any_prefix_asks_for_more(void **state) {
    (void)state;
    static const char text[] = "HEAD /a/b?c=d HTTP/1.0\nConnection: Keep-Alive\nX: y\n\n";
    struct http_request request;
    for (uint32_t size = 0; size < sizeof text - 1; size++)
        assert_int_equal(http_read(bytes_of(text, size), &request), HTTP_MORE);
    assert_int_equal(read_text(text, &request), HTTP_COMPLETE);
    assert_int_equal(request.method, HTTP_HEAD);
    assert_true(request.keep_alive);
    assert_false(request.chunks_understood);
    assert_int_equal(request.segment_count, 2);
}

static const struct {
    const char *text;
    enum http_verdict verdict;
} shapes[] = {
    {"\r\n\r\n", HTTP_WRONG},
    {"GET\r\n\r\n", HTTP_WRONG},
    {"GET / HTTP/1.1 \r\n\r\n", HTTP_WRONG},
    {"GET  / HTTP/1.1\r\n\r\n", HTTP_WRONG},
    {"GET / HTTP/0.9\r\n\r\n", HTTP_WRONG},
    {"GET / http/1.1\r\n\r\n", HTTP_WRONG},
    {"GET http://x/ HTTP/1.1\r\n\r\n", HTTP_WRONG},
    {"GET /% HTTP/1.1\r\n\r\n", HTTP_WRONG},
    {"GET /%1 HTTP/1.1\r\n\r\n", HTTP_WRONG},
    {"GET /a%g0/b HTTP/1.1\r\n\r\n", HTTP_WRONG},
    {"GET / HTTP/1.1\r\nname\r\n\r\n", HTTP_WRONG},
    {"GET / HTTP/1.1\r\n: x\r\n\r\n", HTTP_WRONG},
    {"GET / HTTP/1.1\r\n a: folded\r\n\r\n", HTTP_WRONG},
    {"GET / HTTP/1.1\r\n\r\n", HTTP_COMPLETE},
    {"PATCH / HTTP/1.1\r\n\r\n", HTTP_COMPLETE},
    {"GET /%41%42%43 HTTP/1.1\r\nA:\r\n\r\n", HTTP_COMPLETE},
};

static void shapes_of_requests(void **state) {
    (void)state;
    struct http_request request;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        assert_int_equal(read_text(shapes[i].text, &request), shapes[i].verdict);
}

static void paths(void **state) {
    (void)state;
    struct http_request request;
    assert_int_equal(read_text("GET / HTTP/1.1\r\n\r\n", &request), HTTP_COMPLETE);
    assert_int_equal(request.segment_count, 0);
    assert_int_equal(read_text("GET //a//b/? HTTP/1.1\r\n\r\n", &request), HTTP_COMPLETE);
    assert_int_equal(request.segment_count, 2);
    assert_int_equal(request.query.size, 0);
    assert_int_equal(read_text("GET /../%2e%2e/%00 HTTP/1.1\r\n\r\n", &request), HTTP_COMPLETE);
    assert_int_equal(request.segment_count, 3);
    assert_text(request.segments[0], "..");
    assert_text(request.segments[1], "..");
    assert_bytes(request.segments[2], "\0", 1);
    assert_int_equal(read_text("GET /1/2/3/4/5/6/7/8 HTTP/1.1\r\n\r\n", &request), HTTP_COMPLETE);
    assert_int_equal(request.segment_count, 8);
    assert_int_equal(read_text("GET /1/2/3/4/5/6/7/8/9 HTTP/1.1\r\n\r\n", &request), HTTP_COMPLETE);
    assert_int_equal(request.segment_count, UINT32_MAX);
}

static void limits(void **state) {
    (void)state;
    static char text[HTTP_HEAD_BYTES_MAX + 64];
    struct http_request request;
    memset(text, 'a', sizeof text);
    assert_int_equal(http_read(bytes_of(text, HTTP_HEAD_BYTES_MAX - 1), &request), HTTP_MORE);
    assert_int_equal(http_read(bytes_of(text, HTTP_HEAD_BYTES_MAX), &request), HTTP_LONG);
    /* A path of just the limit, and one octet more. */
    static const char end[] = " HTTP/1.1\r\n\r\n";
    memcpy(text, "GET /", 5);
    memcpy(text + 4 + HTTP_TARGET_BYTES_MAX, end, sizeof end);
    assert_int_equal(read_text(text, &request), HTTP_COMPLETE);
    assert_int_equal(request.segments[0].size, HTTP_TARGET_BYTES_MAX - 1);
    text[4 + HTTP_TARGET_BYTES_MAX] = 'a';
    memcpy(text + 5 + HTTP_TARGET_BYTES_MAX, end, sizeof end);
    assert_int_equal(read_text(text, &request), HTTP_LONG);
}

static const struct {
    const char *line;
    bool has;
    const char *user;
} logins[] = {
    {"Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=", true, "guest"},
    {"authorization: BASIC Z3Vlc3Q6Z3Vlc3Q", true, "guest"},
    {"Authorization: Basic Og==", true, ""},
    {"Authorization: Basic Z3Vlc3Q=", false, NULL},
    {"Authorization: Basic Z3V!", false, NULL},
    {"Authorization: Bearer Z3Vlc3Q6Z3Vlc3Q=", false, NULL},
    {"Authorization: Basic", false, NULL},
    {"Authorization:", false, NULL},
};

static void credentials(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(logins); i++) {
        char text[256];
        struct http_request request;
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\n%s\r\n\r\n", logins[i].line);
        assert_int_equal(read_text(text, &request), HTTP_COMPLETE);
        assert_int_equal(request.has_credentials, logins[i].has);
        if (logins[i].has) assert_text(request.user, logins[i].user);
    }
    /* More than there is room for is as good as none. */
    static char text[2048];
    struct http_request request;
    int size = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nAuthorization: Basic ");
    memset(text + size, 'A', 1000);
    memcpy(text + size + 1000, "\r\n\r\n", 5);
    assert_int_equal(read_text(text, &request), HTTP_COMPLETE);
    assert_false(request.has_credentials);
}

static void what_follows_a_head(void **state) {
    (void)state;
    struct http_request request;
    read_text("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", &request);
    assert_false(request.has_body);
    read_text("GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", &request);
    assert_true(request.has_body);
    read_text("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", &request);
    assert_true(request.has_body);
    read_text("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", &request);
    assert_false(request.keep_alive);
    read_text("GET / HTTP/1.0\r\n\r\n", &request);
    assert_false(request.keep_alive);
}

static void answers(void **state) {
    (void)state;
    char text[512];
    struct http_answer answer = {
        .status = 200, .type = "text/plain", .keep_alive = true, .content_size = 12};
    size_t size = http_write_head(text, sizeof text, &answer);
    assert_int_equal(size, strlen(text));
    assert_ptr_equal(strstr(text, "HTTP/1.1 200 OK\r\n"), text);
    assert_non_null(strstr(text, "\r\nContent-Length: 12\r\n"));
    assert_non_null(strstr(text, "\r\nConnection: keep-alive\r\n\r\n"));
    answer = (struct http_answer){
        .status = 401, .type = "a/b", .chunked = true, .ask_login = true, .tell_allow = true};
    http_write_head(text, sizeof text, &answer);
    assert_non_null(strstr(text, " 401 Unauthorized\r\n"));
    assert_non_null(strstr(text, "\r\nWWW-Authenticate: Basic "));
    assert_non_null(strstr(text, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_null(strstr(text, "Content-Length"));
    assert_non_null(strstr(text, "\r\nConnection: close\r\n\r\n"));
    answer = (struct http_answer){.status = 503, .type = "a/b", .unframed = true};
    http_write_head(text, sizeof text, &answer);
    assert_null(strstr(text, "Content-Length"));
    assert_null(strstr(text, "Transfer-Encoding"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request),
        cmocka_unit_test(any_prefix_asks_for_more),
        cmocka_unit_test(shapes_of_requests),
        cmocka_unit_test(paths),
        cmocka_unit_test(limits),
        cmocka_unit_test(credentials),
        cmocka_unit_test(what_follows_a_head),
        cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
