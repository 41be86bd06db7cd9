// SPDX-License-Identifier: LGPL-2.1-or-later
/* backend/credit.h: its rules one by one, then domains that move bytes on a host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "credit.h"
#include "model.h"
#include "../random.h"

#define MIB		(1 << 20)
#define DOMAINS		8U
#define DISK		VPBACK_CREDIT_DISK
#define NET		VPBACK_CREDIT_NET
#define WORK		VPBACK_CREDIT_WORK

struct host {
	struct vpback_credit_pool pool;
	struct vpback_credit domain[DOMAINS];
	unsigned int nr;
	uint64_t moved[DOMAINS];
};

/* nr domains of the weights 1, 2, ..., on one CPU; 100 MB/s, periods of 10 ms. */
static void host_init(struct host *host, unsigned int nr, bool strict)
{
	memset(host, 0, sizeof(*host));
	host->nr = nr;
	host->pool.cpus = 1;
	vpback_credit_set_rules(&host->pool, strict, 10, 30, 100000000, 100000000);
	for (unsigned int i = 0; i < nr; i++) {
		vpback_credit_add(&host->pool, &host->domain[i]);
		vpback_credit_set(&host->pool, &host->domain[i], i + 1, 0);
		host->domain[i].threads = 1;
	}
}

static void test_ranges(void **state)
{
	struct host host;
	struct vpback_credit_pool *pool = &host.pool;

	(void)state;
	host_init(&host, 2, false);
	vpback_credit_set(pool, &host.domain[0], 0, UINT64_MAX);
	assert_int_equal(host.domain[0].weight, 1);
	assert_int_equal(host.domain[0].cap, VPBACK_CREDIT_MAX_RATE);
	vpback_credit_set(pool, &host.domain[0], UINT32_MAX, 0);
	assert_int_equal(host.domain[0].weight, 65535);
	assert_int_equal(pool->weights, 65535 + 2);
	vpback_credit_remove(pool, &host.domain[0]);
	vpback_credit_remove(pool, &host.domain[0]);	/* it is no more */
	assert_int_equal(pool->weights, 2);
	vpback_credit_set_rules(pool, true, 0, UINT32_MAX, 0, UINT64_MAX);
	assert_int_equal(pool->period_ms, 1);
	assert_int_equal(pool->burst_ms, 10000);
	assert_int_equal(pool->round[DISK], 1);
	assert_true(model_sane(pool) && model_refill(pool, UINT64_MAX));
	vpback_credit_set_rules(pool, true, UINT32_MAX, 0, UINT64_MAX, UINT64_MAX);
	assert_int_equal(pool->period_ms, 1000);
	assert_int_equal(pool->round[DISK], VPBACK_CREDIT_MAX_RATE);
	assert_true(model_sane(pool) && model_refill(pool, UINT64_MAX));
	/* A round is neither a sea nor a drop. */
	assert_int_equal(pool->round[WORK], VPBACK_CREDIT_MAX_ROUND);
	vpback_credit_set_rules(pool, false, 1, 1, 1, 1);
	assert_int_equal(pool->round[WORK], VPBACK_CREDIT_MIN_ROUND);
	vpback_credit_remove(pool, &host.domain[1]);
	assert_int_equal(pool->weights, 0);
	vpback_credit_refill(pool, 1);			/* of nobody */
}

static void test_strict(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0], *b = &host.domain[1], *c = &host.domain[2];

	(void)state;
	host_init(&host, 3, true);		/* 1:2:3 of 1000000 bytes a period */
	assert_false(vpback_credit_may(&host.pool, a, VPBACK_CREDIT_NEEDS_NET, true));
	assert_true(vpback_credit_may(&host.pool, a, 0, true));
	assert_true(model_refill(&host.pool, 1));
	assert_int_equal(a->left[NET], 166666);
	assert_int_equal(b->left[NET], 2 * 166666);
	assert_int_equal(c->left[DISK], 3 * 166666);
	assert_int_equal(host.pool.carry[NET], 4);
	assert_true(vpback_credit_may(&host.pool, a, VPBACK_CREDIT_NEEDS_NET, true));
	/* What is moved at once may cost more than there is; it is paid later. */
	vpback_credit_charge(&host.pool, a, NET, 4 * 166666, false);
	assert_false(vpback_credit_may(&host.pool, a, VPBACK_CREDIT_NEEDS_NET, true));
	assert_true(vpback_credit_may(&host.pool, a, VPBACK_CREDIT_NEEDS_DISK, true));
	assert_true(model_refill(&host.pool, 2));
	assert_false(vpback_credit_may(&host.pool, a, VPBACK_CREDIT_NEEDS_NET, true));
	assert_int_equal(c->left[NET], 9 * 166666);	/* 30 ms: no more can be saved */
	/* Nobody wants what the others cannot save; then somebody does. */
	assert_true(model_refill(&host.pool, 1));
	assert_in_range(host.pool.lost[NET], 800000, 1000000);
	a->waiting = 1U << VPBACK_CREDIT_NEEDS_NET;
	assert_true(model_refill(&host.pool, 1));
	assert_true(a->left[NET] >= 1000000);
	/* Work-conserving credits are another thing. */
	vpback_credit_charge(&host.pool, a, WORK, MIB, false);
	assert_int_equal(a->left[WORK], 0);
}

static void test_work_conserving(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0], *b = &host.domain[1];

	(void)state;
	host_init(&host, 2, false);		/* 1:2 of 1000000 bytes a round */
	a->tasks = 1;
	a->running = 1;
	assert_true(vpback_credit_may(&host.pool, a, 1, true));	/* the first round */
	assert_int_equal(a->left[WORK], 333333);
	assert_int_equal(b->left[WORK], 666666);
	vpback_credit_charge(&host.pool, a, WORK, MIB, false);
	/* b has credits, and does not want to move. */
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
	assert_true(a->left[WORK] > 0);
	vpback_credit_charge(&host.pool, a, WORK, MIB, false);
	/* It does: a waits until b has none either. */
	b->tasks = 1;
	assert_false(vpback_credit_may(&host.pool, a, 1, true));
	assert_true(vpback_credit_may(&host.pool, b, 1, true));
	vpback_credit_charge(&host.pool, b, WORK, 4 * MIB, false);
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
	/* Who waits for credits wants to move, but not when there is a cap in the way. */
	vpback_credit_charge(&host.pool, a, WORK, 9 * MIB, false);
	b->tasks = 0;
	b->waiting = 2;
	b->left[WORK] = 1;
	assert_false(vpback_credit_may(&host.pool, a, 1, true));
	assert_int_equal(vpback_credit_may_go_on(&host.pool, b), 2);
	vpback_credit_set(&host.pool, b, 2, 1000);
	assert_int_equal(vpback_credit_may_go_on(&host.pool, b), 0);
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
}

/* The time since the last look, ms, and whether the first may move now. */
static bool host_may_at(struct host *host, uint64_t ms)
{
	host->pool.now = ms * 1000000;
	return vpback_credit_may(&host->pool, &host->domain[0], 1, true);
}

/* In a round of twice 500000, the first has its share in 10 ms, the other so much of its own. */
static void host_round(struct host *host, unsigned int *now, uint64_t other)
{
	vpback_credit_charge(&host->pool, &host->domain[0], WORK, 500000, false);
	vpback_credit_charge(&host->pool, &host->domain[1], WORK, other, false);
	*now += 10;
}

/* So many rounds in which nobody is waited for. */
static void host_impatient(struct host *host, unsigned int *now, uint64_t other, unsigned int n)
{
	while (n--) {
		host_round(host, now, other);
		assert_true(host_may_at(host, *now));
	}
}

/* Who waits for its socket only has some time for its share, if that does not cost much. */
static void test_patience(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0], *b = &host.domain[1];
	unsigned int now = 1000, without;

	(void)state;
	host_init(&host, 2, false);
	vpback_credit_set(&host.pool, a, 2, 0);	/* 1:1 */
	a->tasks = 1;
	a->running = 1;
	assert_true(host_may_at(&host, now));
	/* Who has moved nothing so far is not waited for, nor is it learnt how that is. */
	host_impatient(&host, &now, 0, 20);
	host_impatient(&host, &now, 100000, 8);
	assert_in_range(b->usual, 59000000, 60000000);
	/* Others wait for it as long as it took them to have their share, */
	for (int i = 0; i < 8; i++) {
		assert_true(b->patience);
		host_round(&host, &now, 100000);
		assert_false(host_may_at(&host, now));
		assert_false(host_may_at(&host, now + 9));
		vpback_credit_charge(&host.pool, b, WORK, 399999, false);
		assert_false(host_may_at(&host, now + 9));
		vpback_credit_charge(&host.pool, b, WORK, 1, false);
		assert_true(host_may_at(&host, now += 9));
	}
	/* ... for twice as many rounds when all together move nearly as much as usual. */
	assert_int_equal(b->with, 16);
	host_impatient(&host, &now, 10, 8);
	for (without = 16; without < 2000; without *= 2) {
		for (unsigned int i = without == 16 ? 16 : 8; i; i--) {
			assert_true(b->patience);
			host_round(&host, &now, 10);
			assert_false(host_may_at(&host, now));
			assert_true(host_may_at(&host, now += 10));
		}
		/* It costs more: then there are more rounds without. */
		assert_int_equal(b->with, 8);
		assert_int_equal(b->without, without < 512 ? without : 512);
		host_impatient(&host, &now, 10, b->without);
	}
	/* Not when it may move nothing, or has moved nothing for two rounds. */
	vpback_credit_set(&host.pool, b, 2, 1);
	host_impatient(&host, &now, 10, 1);
	vpback_credit_set(&host.pool, b, 2, 0);
	host_round(&host, &now, 10);
	assert_false(host_may_at(&host, now));
	assert_true(host_may_at(&host, now += 10));
	host_round(&host, &now, 0);
	assert_false(host_may_at(&host, now));
	assert_true(host_may_at(&host, now += 10));
	host_impatient(&host, &now, 0, 5);
	assert_true(b->patience);
}

/* Commands cost time, as if something had been moved in it; they do not wait for data. */
static void test_commands(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0], *b = &host.domain[1];

	(void)state;
	host_init(&host, 2, false);		/* 100 MB/s */
	assert_true(vpback_credit_has_time(&host.pool, a));	/* nobody wants to move */
	vpback_credit_charge_time(&host.pool, a, 1000000);
	assert_int_equal(a->left[VPBACK_CREDIT_COMMAND], -100000);
	assert_int_equal(a->left[WORK], -100000);
	assert_int_equal(a->left[NET], 0);
	b->tasks = 1;
	assert_false(vpback_credit_has_time(&host.pool, a));
	assert_true(vpback_credit_may(&host.pool, b, 1, true));	/* a round: 1:2 of 1000000 */
	assert_true(vpback_credit_has_time(&host.pool, a));
	assert_int_equal(a->left[VPBACK_CREDIT_COMMAND], 233333);
	vpback_credit_charge(&host.pool, a, WORK, 64 * MIB, false);
	assert_true(vpback_credit_has_time(&host.pool, a));
	/* What is beyond ten shares is forgiven. */
	vpback_credit_charge_time(&host.pool, a, UINT64_MAX);
	assert_int_equal(a->left[VPBACK_CREDIT_COMMAND], -9999990);
	vpback_credit_set(&host.pool, b, 2, 1);			/* capped: it cannot move */
	assert_true(vpback_credit_has_time(&host.pool, a));
	host_init(&host, 2, true);
	assert_false(vpback_credit_has_time(&host.pool, a));
	assert_true(model_refill(&host.pool, 1));
	assert_true(vpback_credit_has_time(&host.pool, a));
	vpback_credit_charge_time(&host.pool, a, 4000000);
	assert_int_equal(a->left[NET], 333333 - 400000);
	assert_int_equal(a->left[DISK], 333333 - 400000);
	assert_false(vpback_credit_has_time(&host.pool, a));
	assert_true(model_refill(&host.pool, 1));
	assert_true(vpback_credit_has_time(&host.pool, a));
}

/* Whoever moves something needs some commands for it: those are free. */
static void test_grace(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0];

	(void)state;
	host_init(&host, 2, false);
	vpback_credit_charge(&host.pool, a, WORK, 800000, false);
	vpback_credit_charge_time(&host.pool, a, 500000);
	assert_int_equal(a->left[WORK], -800000);
	assert_int_equal(a->left[VPBACK_CREDIT_COMMAND], 0);
	vpback_credit_charge_time(&host.pool, a, 1000000);
	assert_int_equal(a->left[WORK], -850000);
	assert_int_equal(a->left[VPBACK_CREDIT_COMMAND], -50000);
	/* It cannot be saved up; and what asks for no leave earns none. */
	vpback_credit_charge(&host.pool, a, WORK, 64 * MIB, false);
	assert_int_equal(a->grace, VPBACK_CREDIT_MAX_GRACE);
	vpback_credit_charge_time(&host.pool, a, 1000000000);
	vpback_credit_charge(&host.pool, a, WORK, 64 * MIB, true);
	assert_int_equal(a->grace, 0);
}

/* ... as much as is moved in such a time, by what the rounds have shown. */
static void test_pace(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0], *b = &host.domain[1];
	int64_t left;

	(void)state;
	host_init(&host, 2, false);
	b->tasks = 1;
	host.pool.now = 1000000000;
	assert_true(vpback_credit_may(&host.pool, b, 1, true));
	/* In 110 ms a megabyte, and 10 ms of commands: 10 MB/s. */
	vpback_credit_charge_time(&host.pool, a, 10000000);
	vpback_credit_charge(&host.pool, b, WORK, 1000000, false);
	host.pool.now += 110000000;
	assert_true(vpback_credit_may(&host.pool, b, 1, true));
	assert_int_equal(host.pool.pace, 10000000);
	left = a->left[WORK];
	vpback_credit_charge_time(&host.pool, a, 1000000);
	assert_int_equal(left - a->left[WORK], 10000 * VPBACK_CREDIT_COMMAND_FACTOR);
	/* Neither nothing, nor more than the host can move; and what was is half forgotten. */
	vpback_credit_charge(&host.pool, b, WORK, 1000000, false);
	host.pool.now += 1000000000000ULL;
	assert_true(vpback_credit_may(&host.pool, b, 1, true));
	assert_int_equal(host.pool.pace, 100000000 / 32);
	assert_int_equal(host.pool.gauge_us, (100000 + 1000000 - 1000) / 2);
	for (unsigned int i = 0; i < 1000; i++) {
		host.pool.now += 10000;
		vpback_credit_charge(&host.pool, b, WORK, 1 << 30, false);
		vpback_credit_may(&host.pool, b, 1, true);
	}
	assert_in_range(host.pool.pace, 99000000, 100000000);
	left = a->left[WORK];
	vpback_credit_charge_time(&host.pool, a, 1000);
	assert_int_equal(left - a->left[WORK], 100);
}

static void test_cpus(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0], *b = &host.domain[1];

	(void)state;
	host_init(&host, 2, false);
	b->tasks = 1;
	b->left[WORK] = MIB;
	a->tasks = 3;
	a->running = 1;
	a->left[WORK] = -64 * MIB;
	assert_false(vpback_credit_may(&host.pool, a, 1, true));
	/* A second CPU is free, for one of a's; what it moves there is not held against it. */
	host.pool.cpus = 2;
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
	assert_int_equal(a->left[WORK], -999999);
	assert_false(vpback_credit_may(&host.pool, a, 1, false));
	b->tasks = 2;				/* b has but one thread */
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
	b->threads = 2;
	assert_false(vpback_credit_may(&host.pool, a, 1, true));
}

/* Who has credits and hangs is not waited for: a round begins all the same. */
static void test_stall(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0], *b = &host.domain[1];

	(void)state;
	host_init(&host, 2, false);
	a->tasks = 1;
	b->tasks = 1;
	a->left[WORK] = -5 * MIB;
	b->left[WORK] = 1;
	assert_false(vpback_credit_may(&host.pool, a, 1, true));
	assert_true(vpback_credit_rounds(&host.pool));
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
	assert_in_range(a->left[WORK], 1, 333333);
	assert_int_equal(b->left[WORK], 3 * 666666);
	assert_false(vpback_credit_rounds(&host.pool));	/* both can */
}

static void test_cap(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0];

	(void)state;
	host_init(&host, 1, false);
	a->tasks = 1;
	vpback_credit_set(&host.pool, a, 1, 1001);	/* bytes a second */
	assert_false(vpback_credit_may(&host.pool, a, 1, true));
	for (int i = 0; i < 100; i++) {			/* for a second */
		assert_true(model_refill(&host.pool, 1));
		if (vpback_credit_may(&host.pool, a, 1, true))
			vpback_credit_charge(&host.pool, a, WORK, 10, false);
		assert_true(a->cap_left <= 30);		/* 30 ms of it */
	}
	a->cap_left = 0;
	a->cap_carry = 0;
	vpback_credit_charge(&host.pool, a, WORK, 1001, false);
	assert_true(model_refill(&host.pool, 100));
	assert_int_equal(a->cap_left, 0);
	assert_false(vpback_credit_may(&host.pool, a, 1, true));
	assert_true(model_refill(&host.pool, 1));
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
	vpback_credit_set(&host.pool, a, 1, 0);
	assert_true(vpback_credit_may(&host.pool, a, 1, true));
}

/* What goes by other ways costs credits, but not the future. */
static void test_forced(void **state)
{
	struct host host;
	struct vpback_credit *a = &host.domain[0];

	(void)state;
	host_init(&host, 1, false);
	vpback_credit_charge(&host.pool, a, WORK, 1ULL << 50, true);
	assert_int_equal(a->left[WORK], -30000000);
	vpback_credit_charge(&host.pool, a, WORK, 1ULL << 50, false);
	assert_int_equal(a->left[WORK], -VPBACK_CREDIT_MAX_DEBT);
	vpback_credit_charge(&host.pool, a, WORK, UINT64_MAX, true);	/* no gift either */
	assert_int_equal(a->left[WORK], -VPBACK_CREDIT_MAX_DEBT);
}

/*
 * The host's CPU is given to any of those who may have it; who has it moves up to 1 MiB.
 * Domain i wants to move, of a thousand times, want[i] times.
 */
static void host_run(struct host *host, struct random *r, const unsigned int *want, unsigned int n)
{
	unsigned int may[DOMAINS], nr, i, waited[DOMAINS] = { 0 };

	while (n--) {
		for (i = 0, nr = 0; i < host->nr; i++)
			host->domain[i].tasks = random_below(r, 1000) < want[i];
		for (i = 0; i < host->nr; i++)
			if (host->domain[i].tasks &&
			    vpback_credit_may(&host->pool, &host->domain[i], 1, false))
				may[nr++] = i;
		for (i = 0; i < host->nr; i++)
			if (host->domain[i].tasks && want[i] == 1000)
				assert_true(++waited[i] < 2000);
		/* Only when there is nothing to do, or somebody to wait for. */
		if (!nr && host->pool.now >= host->pool.patient_until)
			for (i = 0; i < host->nr; i++)
				assert_int_equal(host->domain[i].tasks, 0);
		host->pool.now += 5000000;
		if (!nr)
			continue;
		i = may[random_below(r, nr)];
		uint64_t bytes = 1 + random_below(r, MIB);

		vpback_credit_charge(&host->pool, &host->domain[i], WORK, bytes, false);
		host->moved[i] += bytes;
		waited[i] = 0;
		assert_true(model_sane(&host->pool));
	}
}

/* Each of those who always want to move has its part of all, to a percent. */
static void assert_shares(const struct host *host, const unsigned int *want)
{
	uint64_t weights = 0, moved = 0;

	for (unsigned int i = 0; i < host->nr; i++) {
		if (want[i] == 1000) {
			weights += host->domain[i].weight;
			moved += host->moved[i];
		}
	}
	for (unsigned int i = 0; i < host->nr; i++) {
		double share = (double)host->moved[i] / (double)moved;
		double fair = (double)host->domain[i].weight / (double)weights;

		if (want[i] == 1000 && (share < 0.99 * fair || share > 1.01 * fair))
			fail_msg("domain %u: %f of all, not %f", i, share, fair);
	}
}

static void test_shares(void **state)
{
	static const unsigned int busy[] = { 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000 };
	static const unsigned int slow[] = { 1000, 10, 1000, 0, 1000, 1000, 10, 1000 };
	struct random r = { random_seed() };
	struct host host;

	(void)state;
	host_init(&host, 8, false);		/* 1:2:3:4:5:6:7:8 */
	host_run(&host, &r, busy, 50000);
	assert_shares(&host, busy);
	/* Some want little: the others have the rest, as if there were no such. */
	memset(host.moved, 0, sizeof(host.moved));
	host_run(&host, &r, slow, 50000);
	assert_shares(&host, slow);
	/* ... and they themselves get what they want, or nearly so. */
	assert_true(host.moved[1] > 100ULL * MIB);
	/* Another weight counts from now on. */
	vpback_credit_set(&host.pool, &host.domain[0], 16, 0);
	memset(host.moved, 0, sizeof(host.moved));
	host_run(&host, &r, busy, 50000);
	assert_shares(&host, busy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_strict),
		cmocka_unit_test(test_work_conserving),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_grace),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_cap),
		cmocka_unit_test(test_forced),
		cmocka_unit_test(test_shares),
	};

	return cmocka_run_group_tests_name("credit", tests, NULL, NULL);
}
