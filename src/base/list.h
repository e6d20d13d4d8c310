/* list: an intrusive doubly linked list. An unlinked node is all zero, and linking a linked node
 * fails a check, so a double insert dies where it happens. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/base.h"

struct list_node {
    struct list_node *next;
    struct list_node *prev;
};

/* The head is a node whose neighbours are the first and the last element. */
struct list {
    struct list_node head;
};

static inline void list_init(struct list *list) {
    list->head.next = list->head.prev = &list->head;
}

static inline bool list_empty(const struct list *list) {
    return list->head.next == &list->head;
}

static inline bool list_linked(const struct list_node *node) {
    return node->next != NULL;
}

static inline void list_put_after(struct list_node *at, struct list_node *node) {
    check(!list_linked(node));
    node->prev = at;
    node->next = at->next;
    at->next->prev = node;
    at->next = node;
}

static inline void list_put_last(struct list *list, struct list_node *node) {
    list_put_after(list->head.prev, node);
}

static inline void list_put_first(struct list *list, struct list_node *node) {
    list_put_after(&list->head, node);
}

static inline void list_remove(struct list_node *node) {
    check(list_linked(node));
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

static inline void list_remove_if_linked(struct list_node *node) {
    if (list_linked(node)) list_remove(node);
}

/* The first node, or NULL when the list is empty. */
static inline struct list_node *list_first(const struct list *list) {
    return list_empty(list) ? NULL : list->head.next;
}

/* Unlinks and gives the first node, or NULL when the list is empty. */
static inline struct list_node *list_take_first(struct list *list) {
    struct list_node *node = list_first(list);
    if (node) list_remove(node);
    return node;
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* Walks `list`; the current element must not be removed. */
#define list_for(type, item, list, member)                                                         \
    for (type *item = LIST_ENTRY((list)->head.next, type, member); &item->member != &(list)->head; \
         item = LIST_ENTRY(item->member.next, type, member))

/* Walks `list`; the current element may be removed. */
#define list_for_safe(type, item, list, member)                                                    \
    for (type *item = LIST_ENTRY((list)->head.next, type, member),                                 \
              *item##_next = LIST_ENTRY(item->member.next, type, member);                          \
         &item->member != &(list)->head;                                                           \
         item = item##_next, item##_next = LIST_ENTRY(item##_next->member.next, type, member))

#endif
