/* op: the names of ops and effects. */
#include "core/op.h"

const char *op_name(enum op_kind kind) {
    static const char *const names[] = {
#define OP(name, text, journal, replicated) [OP_##name] = #name,
#include "core/ops.def"
#undef OP
    };
    return (unsigned)kind < COUNT_OF(names) ? names[kind] : "unknown";
}

const char *effect_name(enum effect_kind kind) {
    static const char *const names[] = {
#define EFFECT(name, text) [EFFECT_##name] = #name,
#include "core/effects.def"
#undef EFFECT
    };
    return (unsigned)kind < COUNT_OF(names) ? names[kind] : "unknown";
}
