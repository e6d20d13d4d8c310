/* ctl_backup: has a running broker copy its data directory, and waits for it. */
#ifndef TOOLS_CTL_BACKUP_H
#define TOOLS_CTL_BACKUP_H

#include "tools/ctl_fetch.h"

/* Has the broker make a backup in `directory`, an absolute path on its machine, and waits until
 * there is one. Gives what there is to tell, owned by the caller; NULL with the reason. */
json_t *ctl_backup_make(
    const struct ctl_fetch *fetch, const char *directory, struct ctl_why *ret_why);

#endif
