/* binding: a way from an exchange to a queue or to another exchange, and lists of such ways. */
#include "core/binding.h"

#include "base/limits.h"
#include "base/memory.h"

struct binding *binding_new(struct bytes key, struct bytes canonical_arguments) {
    check(key.size <= NAME_BYTES_MAX);
    size_t size = sizeof(struct binding) + key.size + canonical_arguments.size;
    struct binding *binding = mem_new(size);
    binding->key_size = (uint8_t)key.size;
    binding->arguments_size = canonical_arguments.size;
    bytes_copy(binding->data, key.data, key.size);
    bytes_copy(binding->data + key.size, canonical_arguments.data, canonical_arguments.size);
    return binding;
}

void binding_free(struct binding *binding) {
    check(binding->targets == NULL);
    check(!list_linked(&binding->in_source));
    check(!list_linked(&binding->in_destination));
    mem_free(binding);
}

static struct target *all_of(struct targets *targets) {
    return targets->capacity ? targets->many : &targets->one;
}

void targets_add(struct targets *targets, struct binding *binding) {
    check(binding->targets == NULL);
    if (targets->count != 0 && targets->count >= targets->capacity) {
        uint32_t capacity = targets->count * 2;
        struct target *many = mem_raw(capacity * sizeof *many);
        memcpy(many, all_of(targets), targets->count * sizeof *many);
        if (targets->capacity) mem_free(targets->many);
        targets->many = many;
        targets->capacity = capacity;
    }
    binding->targets = targets;
    binding->target_at = targets->count;
    all_of(targets)[targets->count++] = (struct target){binding->queue, binding};
}

void targets_remove(struct targets *targets, struct binding *binding) {
    struct target *all = all_of(targets);
    check(binding->targets == targets);
    check(binding->target_at < targets->count);
    check(all[binding->target_at].binding == binding);
    struct target last = all[--targets->count];
    all[binding->target_at] = last;
    last.binding->target_at = binding->target_at;
    binding->targets = NULL;
    if (targets->capacity && targets->count == 1) {
        struct target one = targets->many[0];
        mem_free(targets->many);
        targets->capacity = 0;
        targets->one = one;
    } else if (targets->capacity && targets->count < targets->capacity / 4) {
        targets->capacity /= 2;
        targets->many = mem_resize(targets->many, targets->capacity * sizeof *targets->many);
    }
}

void walk_follow(struct walk *walk, const struct target *target) {
    walk->found++;
    if (target->queue != 0) {
        (void)routes_add(walk->queues, target->queue);
    } else if (walk->exchanges.count < EXCHANGE_HOPS_MAX) {
        (void)routes_add(&walk->exchanges, (uintptr_t)target->binding->destination);
    }
}

void walk_follow_all(struct walk *walk, const struct targets *targets) {
    const struct target *all = targets_all(targets);
    for (uint32_t i = 0; i < targets->count; i++) {
        walk_follow(walk, &all[i]);
    }
}
