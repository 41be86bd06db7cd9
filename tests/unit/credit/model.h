/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model.h: what holds of the credits of any accounts, whatever was done to them, in
 * numbers that cannot overflow; and a host on which domains move bytes.
 */
#ifndef CREDIT_MODEL_H
#define CREDIT_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "credit.h"

__extension__ typedef __int128 model_wide;

/* Else tell which, and return false. */
#define MODEL_HOLDS(what) do {						\
	if (!(what)) {							\
		fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);	\
		return false;						\
	}								\
} while (0)

static inline model_wide model_limit(const struct vpback_credit_pool *pool,
				     const struct vpback_credit *credit, unsigned int kind)
{
	model_wide unit = pool->round[kind] / pool->weights;
	uint32_t ms = pool->burst_ms > pool->period_ms ? pool->burst_ms : pool->period_ms;

	return (unit ? unit : 1) * credit->weight * ms / pool->period_ms;
}

static inline model_wide model_sum(const struct vpback_credit_pool *pool, unsigned int kind)
{
	const struct vpback_credit *credit;
	model_wide sum = (model_wide)pool->carry[kind] + pool->lost[kind];

	vpback_credit_for_each(credit, pool)
		sum += credit->left[kind];
	return sum;
}

/* All is within its range. */
static inline bool model_sane(const struct vpback_credit_pool *pool)
{
	const struct vpback_credit *credit;
	uint64_t weights = 0;

	vpback_credit_for_each(credit, pool) {
		MODEL_HOLDS(credit->weight >= 1 && credit->weight <= VPBACK_CREDIT_MAX_WEIGHT);
		MODEL_HOLDS(credit->cap <= VPBACK_CREDIT_MAX_RATE && credit->cap_carry < 1000);
		MODEL_HOLDS(credit->cap_left >= -VPBACK_CREDIT_MAX_DEBT);
		for (unsigned int kind = 0; kind < VPBACK_CREDITS; kind++)
			MODEL_HOLDS(credit->left[kind] >= -VPBACK_CREDIT_MAX_DEBT);
		weights += credit->weight;
	}
	MODEL_HOLDS(weights == pool->weights);
	return true;
}

/* A refill: nothing comes from nowhere, nothing is taken, nobody gets what he cannot save. */
static inline bool model_refill(struct vpback_credit_pool *pool, uint64_t periods)
{
	uint64_t counted = periods > VPBACK_CREDIT_MAX_PERIODS ? VPBACK_CREDIT_MAX_PERIODS :
								 periods;
	model_wide before[VPBACK_CREDITS], got;
	struct vpback_credit *credit;
	int64_t most[64], was[64];
	unsigned int kind, n = 0;

	vpback_credit_for_each(credit, pool) {
		most[n] = credit->cap_left > vpback_credit_cap_limit(pool, credit) ?
			  credit->cap_left : vpback_credit_cap_limit(pool, credit);
		was[n++] = credit->cap_left;
	}
	for (kind = 0; kind < VPBACK_CREDITS; kind++)
		before[kind] = model_sum(pool, kind);
	vpback_credit_refill(pool, periods);
	for (kind = 0; kind < VPBACK_CREDITS; kind++) {
		got = model_sum(pool, kind) - before[kind];
		if (!pool->strict || !pool->weights || kind == VPBACK_CREDIT_WORK) {
			MODEL_HOLDS(got == 0);
			continue;
		}
		MODEL_HOLDS(got == (model_wide)counted * pool->round[kind]);
		MODEL_HOLDS(pool->carry[kind] < pool->weights);
	}
	n = 0;
	vpback_credit_for_each(credit, pool) {
		MODEL_HOLDS(credit->cap_left >= was[n] && credit->cap_left <= most[n]);
		n++;
	}
	return true;
}

/* A round: by weight, up to the limit, and somebody can move who wants to. */
static inline bool model_rounds(struct vpback_credit_pool *pool)
{
	const enum vpback_credit_kind kind = VPBACK_CREDIT_WORK;
	struct vpback_credit *credit;
	bool wanted = false, ret;
	int64_t was[64], give = -1;
	unsigned int n = 0;

	vpback_credit_for_each(credit, pool) {
		wanted |= vpback_credit_wants(credit) && !vpback_credit_capped(credit);
		was[n++] = credit->left[kind];
	}
	if (vpback_credit_creditor(pool))
		return true;			/* none begins */
	ret = vpback_credit_rounds(pool);
	MODEL_HOLDS(ret == wanted);
	MODEL_HOLDS(ret == vpback_credit_creditor(pool));
	n = 0;
	vpback_credit_for_each(credit, pool) {
		model_wide limit = model_limit(pool, credit, kind);
		int64_t got = credit->left[kind] - was[n++];

		MODEL_HOLDS(got >= 0 && (!got || credit->left[kind] <= limit));
		if (credit->left[kind] < limit) {	/* as much a weight as everybody */
			MODEL_HOLDS(got % credit->weight == 0);
			MODEL_HOLDS(give < 0 || give == got / credit->weight);
			give = got / credit->weight;
		}
	}
	return true;
}

/* Who may, as it is said at the top of the header. */
static inline bool model_may(struct vpback_credit_pool *pool, struct vpback_credit *credit,
			     unsigned int needs)
{
	bool capped = credit->cap && credit->cap_left <= 0, may;

	pool->now += pool->period_ms;		/* patience, but not for ever */
	may = vpback_credit_may(pool, credit, needs, false);
	MODEL_HOLDS(!may || !capped);
	if (pool->strict) {
		bool broke = false;

		for (unsigned int kind = 0; kind < VPBACK_CREDIT_WORK; kind++)
			broke |= needs & (1U << kind) && credit->left[kind] <= 0;
		MODEL_HOLDS(may == (!capped && !broke));
		return true;
	}
	/* Whoever has credits may; and somebody who wants to can, be it who asks. */
	if (!capped && credit->left[VPBACK_CREDIT_WORK] > 0)
		MODEL_HOLDS(may);
	if (!capped && vpback_credit_wants(credit))
		MODEL_HOLDS(may || vpback_credit_creditor(pool) || pool->now < pool->patient_until);
	return true;
}

#endif
