// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <vpipe.h>

#include "outcome.h"

double outcome_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void outcome_take(struct outcome *o, int64_t n)
{
	struct vpipe_transfer_info info;

	vpipe_last_result(&info, sizeof(info));
	o->bytes = n < 0 ? 0 : (uint64_t)n;
	o->offloaded = info.offloaded;
	o->copied = info.ordinary;
	o->error = info.error;
	if (info.reason != VPIPE_DECLINED_NOT)
		o->reason = vpipe_reason_string(info.reason);
}

void outcome_ordinary(struct outcome *o, uint64_t bytes, int error)
{
	o->bytes = bytes;
	o->copied = bytes;
	o->error = error;
	o->reason = "not asked for";
}

void outcome_add(struct outcome *sum, const struct outcome *o)
{
	sum->bytes += o->bytes;
	sum->offloaded += o->offloaded;
	sum->copied += o->copied;
	if (o->reason)
		sum->reason = o->reason;
	if (o->error)
		sum->error = o->error;
}

void outcome_print(const struct outcome *o, const char *path)
{
	printf("{\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"path\":\"%s\","
	       "\"offloaded\":%" PRIu64 ",\"copied\":%" PRIu64 ",\"reason\":", o->bytes,
	       o->seconds, path, o->offloaded, o->copied);
	printf(o->reason ? "\"%s\"" : "null", o->reason);	/* needs no escapes */
	fputs(",\"error\":", stdout);
	printf(o->error ? "\"%s\"}\n" : "null}\n", strerror(o->error));
	fflush(stdout);
}
