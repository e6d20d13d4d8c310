/* metrics: figures as text for Prometheus. */
#ifndef ADMIN_METRICS_H
#define ADMIN_METRICS_H

#include "admin/figures.h"
#include "base/buffer.h"
#include "base/limits.h"

enum {
    METRICS_BYTES_MAX = 65536 + SHARDS_MAX * 4096 /* the histograms of each shard */
};

/* The content type of the text format. */
extern const char METRICS_TYPE[];

/* Appends all metrics with their HELP and TYPE lines to a buffer with room for METRICS_BYTES_MAX.
 */
void metrics_print(const struct figures *figures, struct buffer *buffer);

#endif
