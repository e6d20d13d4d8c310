/* check: the one assertion. It guards our own invariants, stays on in release and ends the process.
 *
 * Nothing that a peer can send may reach a failing check: a peer's mistake is a fault with a reply
 * code, the world's failure is a negative errno. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Prints the expression and its place on stderr, then aborts. Never returns. */
_Noreturn void check_failed(const char *expression, const char *file, int line);

#define check(condition)                                                                           \
    (__builtin_expect(!!(condition), 1) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

/* O(n) invariants: on in debug and sanitizer builds, where the simulator runs. */
#ifdef GODWIT_CHECK_SLOW
#define check_slow(condition) check(condition)
#else
#define check_slow(condition) ((void)sizeof(condition))
#endif

/* A place that the types say cannot be reached, for example after a switch over every value. */
#define unreachable_here() check_failed("unreachable", __FILE__, __LINE__)

#endif
