/* SPDX-License-Identifier: GPL-2.0 */
/*
 * operation.h: what the backend has under way for a domain, from its file in debugfs:
 * a line for each TRANSFER that has not ended, behind a header.
 */
#ifndef OPERATION_H
#define OPERATION_H

#include <stdbool.h>

#define OPERATION_WORD	64	/* an address of IPv6 with brackets and port is 47 */

struct operation {
	unsigned int queue, flow;
	char kind[OPERATION_WORD];
	char cookie[OPERATION_WORD];	/* the guest's name for it */
	unsigned long long moved;
	long long length;		/* bytes; negative: it is not known */
	char waits[OPERATION_WORD];
	char source[OPERATION_WORD], sink[OPERATION_WORD];
	double rate;			/* bytes per second, since an earlier look */
};

struct operations {
	struct operation *op;
	unsigned int nr;
	bool known;			/* the backend tells */
};

bool operation_parse(const char *line, struct operation *op);
void operations_rate(struct operations *now, const struct operations *before, double seconds);
void operations_read(struct operations *ops, unsigned int domid);
void operations_free(struct operations *ops);

#endif
