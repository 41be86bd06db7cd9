// SPDX-License-Identifier: GPL-2.0
/* vpipectl top: what all attached domains do, again and again */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sample.h"
#include "screen.h"
#include "vpipectl.h"

#define DEFAULT_INTERVAL	1000	/* ms */

static void format_value(const struct sample_value *value, char *text, size_t size)
{
	char amount[16];

	if (!value->known) {
		snprintf(text, size, "-");
		return;
	}
	rate_format(value->value < 0 ? -(double)value->value : value->value, amount,
		    sizeof(amount));
	snprintf(text, size, "%s%s", value->value < 0 ? "-" : "", amount);
}

static void format_progress(const struct operation *op, char *text, size_t size)
{
	if (op->length > 0)
		snprintf(text, size, "%3.0f %%", 100.0 * op->moved / op->length);
	else
		snprintf(text, size, "-");
}

/* A line for each, and what they are; at most max of them */
void operations_print(FILE *out, const struct operations *ops, unsigned int max)
{
	char moved[16], rate[16], progress[16], id[32];
	unsigned int i;

	if (ops->nr)
		fprintf(out, "    %-10s %-16s %-25s %-25s %7s %7s %6s  %s\n", "Operation", "Kind",
			"Source", "Sink", "Moved", "Rate", "Done", "Waits");
	for (i = 0; i < ops->nr && i < max; i++) {
		const struct operation *op = &ops->op[i];

		snprintf(id, sizeof(id), "%u:%u", op->queue, op->flow);
		rate_format(op->moved, moved, sizeof(moved));
		rate_format(op->rate, rate, sizeof(rate));
		format_progress(op, progress, sizeof(progress));
		fprintf(out, "    %-10s %-16s %-25s %-25s %7s %7s %6s  %s\n", id, op->kind,
			op->source, op->sink, moved, rate, progress, op->waits);
	}
	if (i < ops->nr)
		fprintf(out, "    and %u more\n", ops->nr - i);
}

static void print_domain(FILE *out, const struct domain_sample *domain, unsigned int max)
{
	char weight[24], cap[24], rate[16], credits[24], waits[24], flows[24], ops[16] = "-";

	format_value(&domain->counter[SAMPLE_CAP], cap, sizeof(cap));
	format_value(&domain->counter[SAMPLE_CREDITS], credits, sizeof(credits));
	format_value(&domain->counter[SAMPLE_WAITS], waits, sizeof(waits));
	format_value(&domain->counter[SAMPLE_FLOWS], flows, sizeof(flows));
	snprintf(weight, sizeof(weight), "-");
	if (domain->counter[SAMPLE_WEIGHT].known)
		snprintf(weight, sizeof(weight), "%lld", domain->counter[SAMPLE_WEIGHT].value);
	if (!domain->counter[SAMPLE_CAP].value)
		snprintf(cap, sizeof(cap), "-");
	if (domain->ops.known)
		snprintf(ops, sizeof(ops), "%u", domain->ops.nr);
	rate_format(domain->rate, rate, sizeof(rate));
	fprintf(out, "%5u  %-24s %7s %7s %7s %8s %8s %6s %6s\n", domain->domid,
		domain->name ? domain->name : "-", rate, weight, cap, credits, waits, flows, ops);
	operations_print(out, &domain->ops, max);
}

static void print_sample(FILE *out, const struct sample *sample, unsigned int max)
{
	double rate = 0;
	char total[16];
	unsigned int i;

	for (i = 0; i < sample->nr; i++)
		rate += sample->domain[i].rate;
	rate_format(rate, total, sizeof(total));
	fprintf(out, "%u domains attached, %s bytes/s\n", sample->nr, total);
	fprintf(out, "%5s  %-24s %7s %7s %7s %8s %8s %6s %6s\n", "ID", "Name", "Rate", "Weight",
		"Cap", "Credits", "Waits", "Flows", "Ops");
	for (i = 0; i < sample->nr; i++)
		print_domain(out, &sample->domain[i], max);
}

static void print_json(const struct sample *sample)
{
	struct json json = { .out = stdout };
	unsigned int i;

	json_open(&json, NULL, '{');
	json_number(&json, "interval_ms", sample->seconds * 1000);
	json_open(&json, "domains", '[');
	for (i = 0; i < sample->nr; i++) {
		json_open(&json, NULL, '{');
		json_number(&json, "domid", sample->domain[i].domid);
		json_string(&json, "name", sample->domain[i].name);
		sample_domain_json(&json, &sample->domain[i]);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	json_close(&json, '}');
	putchar('\n');
}

static bool show_on_screen(const struct sample *sample)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool ok = out;

	if (ok) {
		print_sample(out, sample, screen_lines());
		ok = !fclose(out);
	}
	if (ok)
		screen_show(text);
	free(text);
	return ok;
}

/* false: it is time to end */
static bool wait_for(int ms, bool screen)
{
	if (screen)
		return screen_wait(ms) && !interrupted;
	poll(NULL, 0, ms);
	return !interrupted;
}

enum result top_run(const struct options *opt)
{
	bool screen = !opt->once && !opt->json && isatty(STDOUT_FILENO);
	int interval = opt->interval ? opt->interval : DEFAULT_INTERVAL;
	struct sample now, before;
	enum result rc = OK;

	if (screen && !screen_open()) {
		complain("this terminal cannot show a screen; use --once or --json");
		return FAILED;
	}
	sample_take(&before, NULL);
	if (screen && !show_on_screen(&before))
		rc = FAILED;
	while (!rc && wait_for(interval, screen)) {
		sample_take(&now, &before);
		if (screen)
			rc = show_on_screen(&now) ? OK : FAILED;
		else if (opt->json)
			print_json(&now);
		else
			print_sample(stdout, &now, INT_MAX);
		sample_free(&before);
		before = now;
		/* whoever reads it may have gone */
		if (!screen && fflush(stdout))
			rc = FAILED;
		if (opt->once)
			break;
	}
	sample_free(&before);
	if (screen)
		screen_close();
	return rc;
}
