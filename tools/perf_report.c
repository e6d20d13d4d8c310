/* perf_report: what a run has measured, for people and for programs. */
#include "tools/perf_report.h"

#include <stdio.h>

struct quantile {
    const char *name;
    double permille;
};

static const struct quantile QUANTILES[] = {
    {"p50", 500}, {"p75", 750}, {"p95", 950}, {"p99", 990}, {"p99.9", 999}, {"max", 1000}};

static double per_second(uint64_t count, const struct sample *sample) {
    return sample->at_ns == 0 ? 0 : (double)count * 1e9 / (double)sample->at_ns;
}

/* What one message costs: those that came out count, or without consumers those that went in. */
static double us_per_message(uint64_t cpu_ns, const struct sample *sample) {
    uint64_t consumed = sample->counters.consumed;
    uint64_t messages = consumed != 0 ? consumed : sample->counters.published;
    return messages == 0 ? 0 : (double)cpu_ns / 1e3 / (double)messages;
}

static double us_of(uint64_t ns) {
    return (double)ns / 1e3;
}

static double mib_of(uint64_t bytes) {
    return (double)bytes / (1024.0 * 1024.0);
}

bool report_is_good(const struct report *report) {
    const struct counters *counters = &report->whole.counters;
    return !report->error && report->lost == 0 && counters->reordered == 0 &&
           counters->duplicates == 0;
}

void report_second(
    const struct options *options, const struct sample *second, uint64_t elapsed_ns) {
    FILE *out = options->json ? stderr : stdout;
    fprintf(out, "%7.3f s  published %8.0f/s", (double)elapsed_ns / 1e9,
        per_second(second->counters.published, second));
    if (options->confirm != 0) {
        fprintf(out, "  confirmed %8.0f/s p50 %.0f p99 %.0f us",
            per_second(second->counters.confirmed, second),
            us_of(histogram_quantile(&second->confirm_latency, 500)),
            us_of(histogram_quantile(&second->confirm_latency, 990)));
    }
    fprintf(out, "  consumed %8.0f/s", per_second(second->counters.consumed, second));
    if (options->size >= STAMP_BYTES) {
        fprintf(out, "  latency p50 %.0f p95 %.0f p99 %.0f us",
            us_of(histogram_quantile(&second->latency, 500)),
            us_of(histogram_quantile(&second->latency, 950)),
            us_of(histogram_quantile(&second->latency, 990)));
    }
    fputc('\n', out);
    fflush(out);
}

static void print_quantiles(const char *title, const struct histogram *histogram) {
    if (histogram_count(histogram) == 0) return;
    printf("%s", title);
    for (size_t i = 0; i < COUNT_OF(QUANTILES); i++) {
        printf("  %s %.1f", QUANTILES[i].name,
            us_of(histogram_quantile(histogram, QUANTILES[i].permille)));
    }
    puts(" us");
}

static void print_text(const struct options *options, const struct report *report) {
    const struct sample *measured = &report->measured, *whole = &report->whole;
    const struct counters *counters = &whole->counters;
    printf(
        "measured        %.3f s  published %.0f/s  confirmed %.0f/s  consumed %.0f/s, %.1f MiB/s\n",
        (double)measured->at_ns / 1e9, per_second(measured->counters.published, measured),
        per_second(measured->counters.confirmed, measured),
        per_second(measured->counters.consumed, measured),
        mib_of(
            (uint64_t)(per_second(measured->counters.consumed, measured) * (double)options->size)));
    print_quantiles("latency       ", &measured->latency);
    print_quantiles("confirm       ", &measured->confirm_latency);
    printf("whole run       %.3f s  published %llu  confirmed %llu  nacked %llu  returned %llu  "
           "consumed %llu\n",
        (double)whole->at_ns / 1e9, (unsigned long long)counters->published,
        (unsigned long long)counters->confirmed, (unsigned long long)counters->nacked,
        (unsigned long long)counters->returned, (unsigned long long)counters->consumed);
    printf("checked         ");
    if (report->checked) {
        printf("lost %llu  ", (unsigned long long)report->lost);
    } else {
        printf("lost unknown  ");
    }
    printf("reordered %llu  duplicates %llu  redelivered %llu  foreign %llu  remaining %llu\n",
        (unsigned long long)counters->reordered, (unsigned long long)counters->duplicates,
        (unsigned long long)counters->redelivered, (unsigned long long)counters->foreign,
        (unsigned long long)report->remaining);
    if (options->pid_count != 0) {
        printf("server          CPU %.2f s measured, %.3f us per message; whole run %.3f us per "
               "message; RSS %.1f MiB, peak %.1f MiB\n",
            (double)measured->server.cpu_ns / 1e9,
            us_per_message(measured->server.cpu_ns, measured),
            us_per_message(whole->server.cpu_ns, whole), mib_of(whole->server.rss_bytes),
            mib_of(report->rss_bytes_peak));
    }
    printf("generator       CPU %.3f us per message\n", us_per_message(whole->own_cpu_ns, whole));
}

static void json_number(const char *name, uint64_t number) {
    printf("\"%s\": %llu, ", name, (unsigned long long)number);
}

static void json_real(const char *name, double real) {
    printf("\"%s\": %.6g, ", name, real);
}

static void json_quantiles(const char *name, const struct histogram *histogram) {
    printf("\"%s\": {", name);
    for (size_t i = 0; i < COUNT_OF(QUANTILES); i++) {
        json_real(QUANTILES[i].name, us_of(histogram_quantile(histogram, QUANTILES[i].permille)));
    }
    printf("\"count\": %llu},\n ", (unsigned long long)histogram_count(histogram));
}

static void json_counters(const char *name, const struct sample *sample) {
    const struct counters *counters = &sample->counters;
    printf("\"%s\": {", name);
    json_real("seconds", (double)sample->at_ns / 1e9);
    json_number("published", counters->published);
    json_number("confirmed", counters->confirmed);
    json_number("nacked", counters->nacked);
    json_number("returned", counters->returned);
    json_number("consumed", counters->consumed);
    json_number("redelivered", counters->redelivered);
    json_real("published_per_s", per_second(counters->published, sample));
    json_real("confirmed_per_s", per_second(counters->confirmed, sample));
    json_real("consumed_per_s", per_second(counters->consumed, sample));
    json_real("server_cpu_s", (double)sample->server.cpu_ns / 1e9);
    json_real("server_cpu_us_per_message", us_per_message(sample->server.cpu_ns, sample));
    printf(
        "\"generator_cpu_us_per_message\": %.6g},\n ", us_per_message(sample->own_cpu_ns, sample));
}

/* Errors quote names that come from outside. */
static void json_text(const char *name, const char *text) {
    printf("\"%s\": \"", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') putchar('\\');
        if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    printf("\", ");
}

static void print_json(const struct options *options, const struct report *report) {
    const struct counters *counters = &report->whole.counters;
    putchar('{');
    json_number("producers", options->producers);
    json_number("consumers", options->consumers);
    json_number("queues", options_queues(options));
    json_number("size", options->size);
    json_number("confirm", options->confirm);
    json_counters("measured", &report->measured);
    json_counters("whole", &report->whole);
    json_quantiles("latency_us", &report->measured.latency);
    json_quantiles("confirm_latency_us", &report->measured.confirm_latency);
    if (report->checked) {
        json_number("lost", report->lost);
    } else {
        printf("\"lost\": null, ");
    }
    json_number("reordered", counters->reordered);
    json_number("duplicates", counters->duplicates);
    json_number("foreign", counters->foreign);
    json_number("remaining", report->remaining);
    json_number("server_rss_bytes", report->whole.server.rss_bytes);
    json_number("server_rss_bytes_peak", report->rss_bytes_peak);
    json_number("server_processes", report->whole.server.processes);
    if (report->error) json_text("error", report->error);
    printf("\"good\": %s}\n", report_is_good(report) ? "true" : "false");
}

void report_print(const struct options *options, const struct report *report) {
    if (options->json) {
        print_json(options, report);
    } else if (report->whole.at_ns != 0) {
        print_text(options, report);
    }
    if (report->error) fprintf(stderr, "godwit-perf: %s\n", report->error);
}
