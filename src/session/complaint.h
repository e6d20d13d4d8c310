/* complaint: faults for frames that are wrong as frames, and methods that cannot be read. */
#ifndef SESSION_COMPLAINT_H
#define SESSION_COMPLAINT_H

#include "session/connection.h"

/* A method whose arguments cannot be read; `payload` is all of it, at least the two ids. */
void complaint_undecodable(struct session *session, enum method_kind kind, struct bytes payload);

/* A frame of no known type, or too short for its type. */
void complaint_unknown_frame(struct session *session, const struct frame *frame);

/* A frame in a wrong place. */
void complaint_unexpected_frame(struct session *session, const struct frame *frame);

/* A frame that is too large or ends wrongly, as frame_parse says. */
void complaint_broken_frame(
    struct session *session, enum frame_status status, const struct frame *frame);

#endif
