/* report: an answer that needs everything counted first. */
#include "admin/report.h"

#include "base/memory.h"

/* Belongs to itself: it ends with the answer, or when the client is gone. */
struct report {
    const struct node *node;
    struct web_call *call;
    report_print print;
    struct survey *survey;
    struct survey_sums sums;
};

static void on_counted(void *asker, struct survey *survey);

static void report_free(struct report *report) {
    survey_free(report->survey);
    mem_free(report);
}

static void finish(struct report *report) {
    struct figures figures;
    figures_read(report->node, &figures);
    figures.sums = report->sums;
    report->print(report->node, &figures, report->call);
    web_end(report->call);
    report_free(report);
}

/* First the queues of all shards, then the connections, each in slices. */
static void on_counted(void *asker, struct survey *survey) {
    struct report *report = asker;
    struct broker *broker = report->node->broker;
    if (survey_advance(survey, broker)) {
        survey_ask(survey, broker);
        return;
    }
    struct survey_sums sums = survey->sums;
    if (survey->kind == SURVEY_CLIENT_SUMS) {
        report->sums.connections = sums.connections;
        report->sums.channels = sums.channels;
        report->sums.unconfirmed = sums.unconfirmed;
        finish(report);
        return;
    }
    report->sums = sums;
    survey_free(survey);
    report->survey = survey_new(SURVEY_CLIENT_SUMS, on_counted, report);
    survey_ask(report->survey, broker);
}

static void on_more(void *answerer) {
    (void)answerer; /* it is put all at once */
}

static void on_gone(void *answerer) {
    report_free(answerer);
}

static const struct web_answerer REPORT_ANSWERER = {on_more, on_gone};

void report_start(
    const struct node *node, struct web_call *call, const char *type, report_print print) {
    struct report *report = NEW(struct report);
    report->node = node;
    report->call = call;
    report->print = print;
    web_begin(call, 200, type, &REPORT_ANSWERER, report);
    report->survey = survey_new(SURVEY_QUEUE_SUMS, on_counted, report);
    survey_ask(report->survey, node->broker);
}
