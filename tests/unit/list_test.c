/* list_test: the intrusive list, its order and its walks. */
#include "unit.h"

#include "base/list.h"

struct thing {
    char letter;
    struct list_node in_things;
};

/* The letters in list order as a text; the list is short. */
static const char *letters_of(const struct list *list, char *text) {
    size_t count = 0;
    list_for (struct thing, thing, list, in_things) {
        text[count++] = thing->letter;
    }
    text[count] = 0;
    /* The same list, backwards. */
    for (const struct list_node *node = list->head.prev; node != &list->head; node = node->prev) {
        assert_int_equal(LIST_ENTRY(node, struct thing, in_things)->letter, text[--count]);
    }
    assert_int_equal(count, 0);
    return text;
}

static void order_is_kept(void **state) {
    (void)state;
    struct list list;
    struct thing a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'}, d = {.letter = 'd'};
    char text[8];
    list_init(&list);
    assert_true(list_empty(&list));
    assert_null(list_first(&list));
    list_put_last(&list, &b.in_things);
    list_put_last(&list, &d.in_things);
    list_put_first(&list, &a.in_things);
    list_put_after(&b.in_things, &c.in_things);
    assert_string_equal(letters_of(&list, text), "abcd");
    assert_ptr_equal(list_first(&list), &a.in_things);
    assert_false(list_empty(&list));
}

static void a_removed_node_is_zero(void **state) {
    (void)state;
    struct list list;
    struct thing a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'};
    char text[8];
    list_init(&list);
    assert_false(list_linked(&a.in_things));
    list_put_last(&list, &a.in_things);
    list_put_last(&list, &b.in_things);
    list_put_last(&list, &c.in_things);
    assert_true(list_linked(&b.in_things));
    list_remove(&b.in_things);
    assert_false(list_linked(&b.in_things));
    assert_null(b.in_things.prev);
    assert_string_equal(letters_of(&list, text), "ac");
    list_remove_if_linked(&b.in_things);
    list_remove_if_linked(&c.in_things);
    assert_string_equal(letters_of(&list, text), "a");
    list_put_last(&list, &b.in_things);
    assert_string_equal(letters_of(&list, text), "ab");
}

static void taking_empties_from_the_front(void **state) {
    (void)state;
    struct list list;
    struct thing a = {.letter = 'a'}, b = {.letter = 'b'};
    list_init(&list);
    list_put_last(&list, &a.in_things);
    list_put_last(&list, &b.in_things);
    assert_ptr_equal(list_take_first(&list), &a.in_things);
    assert_ptr_equal(list_take_first(&list), &b.in_things);
    assert_null(list_take_first(&list));
    assert_true(list_empty(&list));
}

static void removing_while_walking(void **state) {
    (void)state;
    struct list list;
    struct thing things[6];
    char text[8];
    memset(things, 0, sizeof things);
    list_init(&list);
    for (int i = 0; i < 6; i++) {
        things[i].letter = (char)('a' + i);
        list_put_last(&list, &things[i].in_things);
    }
    list_for_safe (struct thing, thing, &list, in_things) {
        if (thing->letter % 2 == 0) list_remove(&thing->in_things);
    }
    assert_string_equal(letters_of(&list, text), "ace");
    list_for_safe (struct thing, thing, &list, in_things) {
        list_remove(&thing->in_things);
    }
    assert_true(list_empty(&list));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_kept),
        cmocka_unit_test(a_removed_node_is_zero),
        cmocka_unit_test(taking_empties_from_the_front),
        cmocka_unit_test(removing_while_walking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
