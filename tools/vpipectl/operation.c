// SPDX-License-Identifier: GPL-2.0
/* vpipectl: what the backend has under way */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operation.h"

#define DEBUG_FILE	"/sys/kernel/debug/vpipe-back/%u-0/operations"
#define ALL		(1ULL << 62)	/* so long is no file: a stream until its end */

static bool to_number(const char *word, unsigned long long *n)
{
	char *end;

	*n = strtoull(word, &end, 10);
	return *word >= '0' && *word <= '9' && !*end;
}

bool operation_parse(const char *line, struct operation *op)
{
	char number[4][24];
	unsigned long long queue, flow, length;
	int end = 0;

	memset(op, 0, sizeof(*op));
	if (sscanf(line, "%23s %23s %63s %63s %23s %23s %63s %63s %63s %n", number[0], number[1],
		   op->kind, op->cookie, number[2], number[3], op->waits, op->source, op->sink,
		   &end) != 9 || line[end])
		return false;
	if (!to_number(number[0], &queue) || queue > 0xffffffff ||
	    !to_number(number[1], &flow) || flow > 0xffffffff ||
	    !to_number(number[2], &op->moved))
		return false;
	op->queue = queue;
	op->flow = flow;
	if (!strcmp(number[3], "-"))
		op->length = -1;
	else if (!to_number(number[3], &length))
		return false;
	else
		op->length = length >= ALL ? -1 : (long long)length;
	return true;
}

/* Of those that were there before too; what is new has come in this time */
void operations_rate(struct operations *now, const struct operations *before, double seconds)
{
	unsigned int i, k;

	for (i = 0; i < now->nr; i++) {
		struct operation *op = &now->op[i];
		unsigned long long moved = 0;

		for (k = 0; k < before->nr; k++) {
			const struct operation *old = &before->op[k];

			if (old->queue == op->queue && old->flow == op->flow &&
			    !strcmp(old->cookie, op->cookie) && old->moved <= op->moved)
				moved = old->moved;
		}
		op->rate = seconds > 0 ? (op->moved - moved) / seconds : 0;
	}
}

static bool append(struct operations *ops, const struct operation *op)
{
	struct operation *more;

	/* in steps of powers of two */
	if (!(ops->nr & (ops->nr - 1))) {
		more = realloc(ops->op, (ops->nr ? 2 * ops->nr : 1) * sizeof(*more));
		if (!more)
			return false;
		ops->op = more;
	}
	ops->op[ops->nr++] = *op;
	return true;
}

/* None, and not known, where the backend or the kernel does not show them */
void operations_read(struct operations *ops, unsigned int domid)
{
	struct operation op;
	char line[1024];
	FILE *f;

	memset(ops, 0, sizeof(*ops));
	snprintf(line, sizeof(line), DEBUG_FILE, domid);
	f = fopen(line, "re");
	if (!f)
		return;
	ops->known = true;
	/* the header is no operation, nor is a line of a later version */
	while (fgets(line, sizeof(line), f))
		if (operation_parse(line, &op) && !append(ops, &op))
			break;
	fclose(f);
}

void operations_free(struct operations *ops)
{
	free(ops->op);
	ops->op = NULL;
	ops->nr = 0;
}
