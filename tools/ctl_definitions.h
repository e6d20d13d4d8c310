/* ctl_definitions: the definitions of a data directory, as lines or in the shape that RabbitMQ
 * exports them in. */
#ifndef TOOLS_CTL_DEFINITIONS_H
#define TOOLS_CTL_DEFINITIONS_H

#include "tools/ctl_home.h"

/* Prints them; false when they cannot be read, or standard output takes no more. Those of one
 * virtual host unless it is NULL. */
bool ctl_definitions_print(const struct ctl_home *home, const char *vhost, bool json);

#endif
