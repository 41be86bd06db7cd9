/* SPDX-License-Identifier: GPL-2.0 */
/* outcome.h: how a transfer went, as one line of JSON */
#ifndef VPIPE_TOOLS_OUTCOME_H
#define VPIPE_TOOLS_OUTCOME_H

#include <stdint.h>

struct outcome {
	uint64_t bytes;
	uint64_t offloaded;
	uint64_t copied;	/* by ordinary calls */
	double seconds;
	const char *reason;	/* why not all was offloaded; NULL: it was */
	int error;
};

/* Seconds on a clock that only goes forward. */
double outcome_now(void);

/* What libvpipe says of the call of this thread that returned `n`. */
void outcome_take(struct outcome *o, int64_t n);

/* What a loop of ordinary calls says. */
void outcome_ordinary(struct outcome *o, uint64_t bytes, int error);

/* Of several: sums, and the last that was to be said. */
void outcome_add(struct outcome *sum, const struct outcome *o);

void outcome_print(const struct outcome *o, const char *path);

#endif
