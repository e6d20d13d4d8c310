/* verdict: what a run found. */
#include "sim/verdict.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/str.h"

enum { SEED_SECONDS_MAX = 30, SEED_WAITED_MAX = 15 * SEED_SECONDS_MAX };

/* Signal handlers have no argument of ours. */
static struct verdict *watched;

static const char *const names[CHECKER_COUNT] = {"none",
#define CHECKER(name) #name,
    VERDICT_CHECKERS
#undef CHECKER
};

const char *verdict_checker_name(enum checker checker) {
    check(checker < CHECKER_COUNT);
    return names[checker];
}

void verdict_fail(struct verdict *verdict, enum checker checker, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    str_format_list(verdict->text, sizeof verdict->text, format, arguments);
    va_end(arguments);
    verdict->checker = checker;
    fflush(stdout);
    _exit(1);
}

static void on_signal(int number) {
    bool stuck = number == SIGPROF || number == SIGALRM;
    watched->checker = stuck ? CHECKER_liveness : CHECKER_invariant;
    const char *text = stuck               ? "the broker does not come back from a call"
                       : number == SIGABRT ? "a check of the broker failed, see above"
                                           : "the broker crashed";
    str_format(watched->text, sizeof watched->text, "%s", text);
    _exit(1);
}

void verdict_watch(struct verdict *verdict) {
    watched = verdict;
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGFPE, SIGPROF, SIGALRM};
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        signal(numbers[i], on_signal);
    /* Time that it has used itself: the machine may be busy elsewhere. Who waits uses none. */
    struct itimerval used = {.it_value.tv_sec = SEED_SECONDS_MAX};
    setitimer(ITIMER_PROF, &used, NULL);
    alarm(SEED_WAITED_MAX);
}
