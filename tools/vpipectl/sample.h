/* SPDX-License-Identifier: GPL-2.0 */
/* sample.h: what all attached domains do at one moment, and since an earlier one */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "json.h"
#include "operation.h"

/* Of statistics/ in sysfs; a backend need not have all of them */
enum sample_counter {
	SAMPLE_BYTES,
	SAMPLE_CHARGED,
	SAMPLE_REGULAR,
	SAMPLE_CREDITS,
	SAMPLE_WAITS,
	SAMPLE_WAIT_US,
	SAMPLE_FLOWS,
	SAMPLE_WEIGHT,
	SAMPLE_CAP,
	SAMPLE_COUNTERS,
};

struct sample_value {
	long long value;
	bool known;
};

struct domain_sample {
	unsigned int domid;
	char *name;
	struct sample_value counter[SAMPLE_COUNTERS];
	double rate;			/* of SAMPLE_BYTES, per second */
	struct operations ops;
};

struct sample {
	struct domain_sample *domain;
	unsigned int nr;
	double time;			/* seconds, monotonic */
	double seconds;			/* since the sample before it; 0: none was */
};

void sample_domain(struct domain_sample *domain, unsigned int domid);
void sample_domain_free(struct domain_sample *domain);
void sample_take(struct sample *sample, const struct sample *before);
void sample_free(struct sample *sample);
void sample_domain_json(struct json *json, const struct domain_sample *domain);
void sample_operations_json(struct json *json, const struct operations *ops);

#endif
