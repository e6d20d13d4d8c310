/* api: what is asked over HTTP, and who answers it. */
#ifndef ADMIN_API_H
#define ADMIN_API_H

#include "admin/listing.h"
#include "admin/web.h"
#include "shard/backup.h"

/* Where a request came in (web_place). */
enum api_place { API_MANAGEMENT, API_METRICS };

struct api {
    const struct node *node;
    struct backup *backup;
    struct listing_desk desk;
};

/* `node` and `backup` are borrowed. */
void api_init(struct api *api, const struct node *node, struct backup *backup);

/* Answers a request, now or later. */
void api_on_request(struct api *api, struct web_call *call);

#endif
