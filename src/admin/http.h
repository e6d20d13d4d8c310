/* http: the heads of HTTP/1.1 requests and answers: bytes to values and back, without I/O.
 *
 * A path is cut at its slashes first and decoded after that, because names in it may have slashes
 * of their own: "/api/queues/%2F/a%2Fb" has the segments "api", "queues", "/" and "a/b". */
#ifndef ADMIN_HTTP_H
#define ADMIN_HTTP_H

#include "base/base.h"

enum {
    HTTP_HEAD_BYTES_MAX = 16384, /* of a request; what browsers send is below 8 KiB */
    HTTP_TARGET_BYTES_MAX = 4096,
    HTTP_SEGMENTS_MAX = 8,
    HTTP_CREDENTIALS_BYTES_MAX = 512
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OTHER };

/* A request's head, copied out of the input. */
struct http_request {
    enum http_method method;
    bool keep_alive;
    bool chunks_understood;                   /* HTTP/1.1 */
    bool has_body;                            /* one follows that nobody reads */
    uint32_t head_size;                       /* bytes of input that it took */
    uint32_t segment_count;                   /* UINT32_MAX: more than there is room for */
    struct bytes segments[HTTP_SEGMENTS_MAX]; /* decoded, within `target` */
    struct bytes query;                       /* as sent, within `target`, without the "?" */
    struct bytes user;                        /* of Basic authentication, within `credentials` */
    struct bytes password;
    bool has_credentials;
    char target[HTTP_TARGET_BYTES_MAX];
    uint8_t credentials[HTTP_CREDENTIALS_BYTES_MAX];
};

enum http_verdict {
    HTTP_MORE,     /* the head is not complete yet */
    HTTP_COMPLETE, /* ret_request is filled in */
    HTTP_WRONG,    /* 400: this is no HTTP, or more than one value where there is one */
    HTTP_LONG      /* 431: head or path are longer than the limits */
};

/* Reads the head of a request. The request must not be moved afterwards. */
enum http_verdict http_read(struct bytes input, struct http_request *ret_request);

/* Decodes the value of a query parameter into `value`, zero-terminated; false when it is missing
 * or does not fit. */
bool http_query(const struct http_request *request, const char *name, char *value, size_t size);

/* What an answer's head says. */
struct http_answer {
    uint16_t status;
    const char *type; /* of the content */
    bool keep_alive;
    bool chunked;    /* else content_size */
    bool unframed;   /* neither: the end of the connection ends it */
    bool ask_login;  /* 401: with WWW-Authenticate */
    bool tell_allow; /* 405: with Allow */
    uint64_t content_size;
};

/* Writes the head; gives its size, which is below 512. */
size_t http_write_head(char *text, size_t size, const struct http_answer *answer);

#endif
