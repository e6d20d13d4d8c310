/* notify: tells systemd how far the broker is, when it asked for that. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

/* Sends a state such as "READY=1" to the socket that NOTIFY_SOCKET names, if it names one. */
void notify_send(const char *state);

#endif
