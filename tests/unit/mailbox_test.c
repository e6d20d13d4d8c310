/* mailbox_test: mail arrives once and in order, whatever its volume, and nobody sleeps through it.
 */
#include "unit.h"

#include <pthread.h>
#include <semaphore.h>

#include "base/limits.h"
#include "base/prng.h"
#include "shard/mailbox.h"

enum { ACTORS = 3, MANY = 3 * MAILBOX_SLOTS + 7, LETTERS_PER_THREAD = 200000 };

/* ---- one thread ---- */

struct bells {
    uint32_t rung[ACTORS];
};

static void count_bell(void *context, uint32_t actor) {
    struct bells *bells = context;
    bells->rung[actor]++;
}

static void send(struct mesh *mesh, uint32_t from, uint32_t to, uint64_t number) {
    *mesh_post(mesh, from, to) = (struct mail){.kind = MAIL_CREDIT, .count = number};
}

/* Takes what is there; checks that the numbers go on from `expected`; gives how many there were. */
static uint64_t take_all(struct mesh *mesh, uint32_t from, uint32_t to, uint64_t expected) {
    uint64_t count = 0;
    const struct mail *mail = NULL;
    while ((mail = mesh_peek(mesh, from, to)) != NULL) {
        assert_int_equal(mail->count, expected + count);
        mesh_took(mesh, from, to);
        count++;
    }
    mesh_release(mesh, from, to);
    return count;
}

static void mail_keeps_its_order_also_beyond_the_ring(void **state) {
    (void)state;
    struct bells bells = {0};
    struct mesh *mesh = mesh_new(ACTORS, count_bell, &bells);
    uint64_t taken = 0;
    for (uint64_t i = 0; i < MANY; i++)
        send(mesh, 0, 1, i);
    assert_false(mesh_publish(mesh, 0));
    for (int i = 0; taken < MANY && i < 10; i++) {
        uint64_t count = take_all(mesh, 0, 1, taken);
        assert_true(count > 0);
        assert_true(count <= MAILBOX_SLOTS);
        taken += count;
        (void)mesh_publish(mesh, 0);
    }
    assert_int_equal(taken, MANY);
    assert_true(mesh_publish(mesh, 0));
    assert_true(mesh_all_quiet(mesh));
    mesh_free(mesh);
}

static void mail_to_oneself_is_mail(void **state) {
    (void)state;
    struct bells bells = {0};
    struct mesh *mesh = mesh_new(ACTORS, count_bell, &bells);
    send(mesh, 2, 2, 0);
    (void)mesh_publish(mesh, 2);
    assert_false(mesh_quiet(mesh, 2));
    /* The answer may be posted while the question still lies in its slot. */
    const struct mail *mail = mesh_peek(mesh, 2, 2);
    send(mesh, 2, 2, mail->count + 1);
    assert_int_equal(mail->count, 0);
    mesh_took(mesh, 2, 2);
    mesh_release(mesh, 2, 2);
    (void)mesh_publish(mesh, 2);
    assert_int_equal(take_all(mesh, 2, 2, 1), 1);
    assert_true(mesh_all_quiet(mesh));
    mesh_free(mesh);
}

static void pairs_do_not_mix(void **state) {
    (void)state;
    struct bells bells = {0};
    struct mesh *mesh = mesh_new(ACTORS, count_bell, &bells);
    struct prng prng;
    uint64_t sent[ACTORS][ACTORS] = {0};
    uint64_t taken[ACTORS][ACTORS] = {0};
    prng_init(&prng, 3);
    for (int i = 0; i < 100000; i++) {
        uint32_t from = (uint32_t)prng_below(&prng, ACTORS);
        uint32_t to = (uint32_t)prng_below(&prng, ACTORS);
        uint64_t what = prng_below(&prng, 20);
        if (what < 17)
            send(mesh, from, to, sent[from][to]++);
        else if (what < 19)
            (void)mesh_publish(mesh, from);
        else
            taken[from][to] += take_all(mesh, from, to, taken[from][to]);
    }
    for (int round = 0; round < 20; round++) {
        for (uint32_t from = 0; from < ACTORS; from++) {
            (void)mesh_publish(mesh, from);
            for (uint32_t to = 0; to < ACTORS; to++)
                taken[from][to] += take_all(mesh, from, to, taken[from][to]);
        }
    }
    assert_memory_equal(sent, taken, sizeof sent);
    assert_true(mesh_all_quiet(mesh));
    mesh_free(mesh);
}

static void only_who_sleeps_is_woken(void **state) {
    (void)state;
    struct bells bells = {0};
    struct mesh *mesh = mesh_new(ACTORS, count_bell, &bells);
    send(mesh, 0, 1, 0);
    (void)mesh_publish(mesh, 0);
    assert_int_equal(bells.rung[1], 0);
    assert_false(mesh_may_sleep(mesh, 1)); /* there is mail */
    assert_int_equal(take_all(mesh, 0, 1, 0), 1);
    assert_true(mesh_may_sleep(mesh, 1));
    send(mesh, 0, 1, 1);
    (void)mesh_publish(mesh, 0);
    send(mesh, 0, 1, 2);
    (void)mesh_publish(mesh, 0);
    assert_int_equal(bells.rung[1], 1); /* once until it sleeps again */
    assert_int_equal(take_all(mesh, 0, 1, 1), 2);
    assert_true(mesh_may_sleep(mesh, 1));
    *mesh_post_quietly(mesh, 0, 1) = (struct mail){.kind = MAIL_CREDIT, .count = 3};
    (void)mesh_publish(mesh, 0);
    assert_int_equal(bells.rung[1], 1); /* that can wait */
    assert_int_equal(take_all(mesh, 0, 1, 3), 1);
    mesh_free(mesh);
}

static void room_wakes_who_waits_for_it(void **state) {
    (void)state;
    struct bells bells = {0};
    struct mesh *mesh = mesh_new(ACTORS, count_bell, &bells);
    for (uint64_t i = 0; i < MAILBOX_SLOTS + 1; i++)
        send(mesh, 0, 1, i);
    assert_false(mesh_publish(mesh, 0));
    assert_true(mesh_may_sleep(mesh, 0));
    assert_int_equal(take_all(mesh, 0, 1, 0), MAILBOX_SLOTS);
    assert_int_equal(bells.rung[0], 1);
    assert_false(mesh_may_sleep(mesh, 0));
    assert_true(mesh_publish(mesh, 0));
    assert_int_equal(take_all(mesh, 0, 1, MAILBOX_SLOTS), 1);
    mesh_free(mesh);
}

/* ---- threads: two actors send to each other and sleep whenever they may ---- */

struct party {
    struct mesh *mesh;
    sem_t bells[2];
};

struct actor_thread {
    struct party *party;
    uint32_t self;
    uint64_t sent;
    uint64_t taken;
    uint64_t disorder;
};

static void post_bell(void *context, uint32_t actor) {
    struct party *party = context;
    sem_post(&party->bells[actor]);
}

static void take_batch(struct actor_thread *actor) {
    struct mesh *mesh = actor->party->mesh;
    uint32_t peer = 1 - actor->self;
    const struct mail *mail = NULL;
    while ((mail = mesh_peek(mesh, peer, actor->self)) != NULL) {
        actor->disorder += mail->count != actor->taken;
        actor->taken++;
        mesh_took(mesh, peer, actor->self);
    }
    mesh_release(mesh, peer, actor->self);
}

/* Ends when all was sent and taken; a lost bell would leave it asleep. */
static void *run_actor(void *context) {
    struct actor_thread *actor = context;
    struct mesh *mesh = actor->party->mesh;
    struct prng prng;
    prng_init(&prng, actor->self);
    bool all_out = false;
    while (actor->taken < LETTERS_PER_THREAD || !all_out) {
        uint64_t batch = prng_below(&prng, prng_chance(&prng, 2) ? 20000 : 20);
        for (; batch != 0 && actor->sent < LETTERS_PER_THREAD; batch--)
            send(mesh, actor->self, 1 - actor->self, actor->sent++);
        bool out = mesh_publish(mesh, actor->self);
        all_out = out && actor->sent == LETTERS_PER_THREAD;
        take_batch(actor);
        bool more = actor->sent < LETTERS_PER_THREAD && prng_chance(&prng, 90);
        /* Who still has to send must not wait for the other, who may have ended. */
        bool waits = actor->sent == LETTERS_PER_THREAD && actor->taken < LETTERS_PER_THREAD;
        if (!more && waits && mesh_may_sleep(mesh, actor->self)) {
            sem_wait(&actor->party->bells[actor->self]);
            mesh_awake(mesh, actor->self);
        }
    }
    return NULL;
}

static void nobody_sleeps_through_mail(void **state) {
    (void)state;
    struct party party;
    struct actor_thread actors[2];
    pthread_t threads[2];
    party.mesh = mesh_new(2, post_bell, &party);
    for (uint32_t i = 0; i < 2; i++)
        sem_init(&party.bells[i], 0, 0);
    for (uint32_t i = 0; i < 2; i++) {
        actors[i] = (struct actor_thread){.party = &party, .self = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_actor, &actors[i]), 0);
    }
    for (uint32_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(actors[i].taken, LETTERS_PER_THREAD);
        assert_int_equal(actors[i].disorder, 0);
        sem_destroy(&party.bells[i]);
    }
    mesh_free(party.mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_keeps_its_order_also_beyond_the_ring),
        cmocka_unit_test(mail_to_oneself_is_mail),
        cmocka_unit_test(pairs_do_not_mix),
        cmocka_unit_test(only_who_sleeps_is_woken),
        cmocka_unit_test(room_wakes_who_waits_for_it),
        cmocka_unit_test(nobody_sleeps_through_mail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
