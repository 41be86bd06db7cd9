/* SPDX-License-Identifier: GPL-2.0 */
/*
 * credit.h: who may move bytes now.  Pure arithmetic on accounts that the caller has
 * locked; also compiled in userspace by tests/unit/credit.
 *
 * An account has credits in bytes, of several kinds.  What is moved is charged, and may
 * leave a debt, which later credits pay first: so what is moved at once may be more than
 * there is credit for, and the shares are exact in the long run all the same.
 *
 *   strict           each period brings what the host can move in it, divided by weight.
 *                    Who has none left waits.  What somebody cannot save up goes to
 *                    those who want to move.
 *   work-conserving  credits come in rounds, divided by weight; a round begins when
 *                    nobody who has credits wants to move.  Who has none left waits as
 *                    long as somebody with credits could use the CPU.  So the shares do
 *                    not depend on what the host is believed to be capable of.
 *
 * Who moves through one full socket wants nothing until that has room, which comes late
 * when others have filled the way to the network; its share would be theirs.  So a round
 * does not begin at once, but with some patience for those who have moved something of
 * late and not yet their share: as long again as the others had for theirs.  That must not
 * cost much of what all move together, as it would when its client is slow: rounds with
 * and without patience for a domain alternate, and the fewer are with it the more it costs.
 *
 * A cap is a second bucket, which fills with time in either mode.  Commands cost time of
 * the CPU, which is counted as what could have been moved in it: against all credits, and
 * against credits for commands, so that they need not wait for what the domain moves.  How
 * much that is, rounds tell: what all moved in one, by the time that was left of it.
 */
#ifndef _VPBACK_CREDIT_H
#define _VPBACK_CREDIT_H

#ifdef __KERNEL__
#include <linux/math64.h>
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define div64_u64(a, b)	((a) / (b))
#endif

#define VPBACK_CREDIT_WEIGHT	256U		/* of who was given none */
#define VPBACK_CREDIT_MAX_WEIGHT 65535U
#define VPBACK_CREDIT_MAX_RATE	(1ULL << 40)	/* bytes a second: of a cap, of the host */
#define VPBACK_CREDIT_MAX_MS	1000U		/* of a period; of savings: ten times as long */
#define VPBACK_CREDIT_MAX_PERIODS 100000U	/* that count at once */
/* What all threads of a domain may begin at once; what is beyond is forgiven. */
#define VPBACK_CREDIT_MAX_DEBT	(128LL << 20)
/* So many times what it may save up, a domain may owe for what asks for no credits. */
#define VPBACK_CREDIT_FORCED	10U
/* A round is short enough to be a period, and long enough for some steps. */
#define VPBACK_CREDIT_MIN_ROUND	(256ULL << 10)
#define VPBACK_CREDIT_MAX_ROUND	(8ULL << 20)
/* Patience: ns in one round; rounds on end with it, and without; what it may cost of all. */
#define VPBACK_CREDIT_MIN_PATIENCE	500000U
#define VPBACK_CREDIT_MAX_PATIENCE	50000000U
#define VPBACK_CREDIT_MIN_ROUNDS	8U
#define VPBACK_CREDIT_MAX_WITH		64U
#define VPBACK_CREDIT_MAX_WITHOUT	512U
#define VPBACK_CREDIT_PATIENCE_COST	8U	/* an eighth */
#define VPBACK_CREDIT_MAX_COMMAND	1000000000U	/* ns that are counted at once */
/*
 * With a command come interrupts, wake-ups, and what other threads and RCU free later, which
 * its time does not have: by bench/flood.py five times as much at worst.
 */
#define VPBACK_CREDIT_COMMAND_FACTOR	6U
/* Moving takes commands: of what was moved, that part is free of charge for them. */
#define VPBACK_CREDIT_GRACE		8U
#define VPBACK_CREDIT_MAX_GRACE		(1ULL << 20)
#define VPBACK_CREDIT_GAUGE_US	500000U	/* of rounds of late, of which the pace is the mean */
#define VPBACK_CREDIT_LEAST_PACE	32U	/* that part of the rate, at least */

enum vpback_credit_kind {
	VPBACK_CREDIT_DISK,	/* strict: bytes read from disks, and written */
	VPBACK_CREDIT_NET,	/* strict: bytes given to sockets, and taken from them */
	VPBACK_CREDIT_COMMAND,	/* time for commands, as bytes */
	VPBACK_CREDIT_WORK,	/* work-conserving: bytes that have come to their sink */
	VPBACK_CREDITS
};

/* Bits of what somebody needs; WORK is needed by all. */
#define VPBACK_CREDIT_NEEDS_DISK	(1U << VPBACK_CREDIT_DISK)
#define VPBACK_CREDIT_NEEDS_NET		(1U << VPBACK_CREDIT_NET)
#define VPBACK_CREDIT_NEEDS		4U	/* so many combinations */

struct vpback_credit {
	struct vpback_credit *next;
	uint32_t weight;			/* 1..65535 */
	uint64_t cap;				/* bytes a second; 0: none */
	int64_t left[VPBACK_CREDITS];
	uint64_t grace;				/* bytes of command time that cost nothing */
	int64_t cap_left;
	uint64_t cap_carry;			/* thousandths of bytes */
	uint32_t waiting;			/* bit n: somebody waits, and needs n */
	uint64_t share, moved;			/* of this round */
	uint32_t idle;				/* rounds since it moved anything; 2: or more */
	bool patience;				/* of others for this one: now, ... */
	uint32_t rounds;			/* ... for so many rounds more, ... */
	uint32_t with, without;			/* ... and for how many each, at present */
	uint64_t all_bytes, all_us;		/* what all moved in these, and in what time */
	uint64_t usual;				/* bytes a second of all, without patience */
	/* Written by the domain's scheduler: */
	uint32_t tasks;				/* that run, or want to */
	uint32_t running;			/* that run */
	uint32_t threads;			/* ... at once, at most */
};

struct vpback_credit_pool {
	struct vpback_credit *first;
	uint64_t weights;			/* the sum of theirs */
	bool strict;
	uint32_t period_ms, burst_ms;
	uint32_t cpus;
	uint64_t rate;				/* bytes a second that the host can move */
	uint64_t pace;				/* ... that a CPU moves, by rounds; or 0 */
	uint64_t gauge_bytes, gauge_us;		/* moved in these rounds, and in what time */
	uint64_t round_ns;			/* in this round, for commands of all */
	uint64_t now;				/* ns, as of the caller's last look */
	uint64_t round_began;			/* ns */
	uint64_t patient_until;			/* ns; 0: nobody was waited for in this round */
	uint64_t round_bytes;			/* moved by all in this round */
	uint64_t round[VPBACK_CREDITS];		/* bytes that a period, or a round, brings */
	uint64_t carry[VPBACK_CREDITS];		/* of them, what could not be divided so far */
	uint64_t lost[VPBACK_CREDITS];		/* ... and what nobody could take */
};

#define vpback_credit_for_each(credit, pool)	\
	for (credit = (pool)->first; credit; credit = (credit)->next)

/* --- limits -------------------------------------------------------------------------- */

/* The bytes of a period or round for a weight of 1. */
static inline uint64_t vpback_credit_unit(const struct vpback_credit_pool *pool,
					  enum vpback_credit_kind kind)
{
	uint64_t unit = pool->weights ? div64_u64(pool->round[kind], pool->weights) : 0;

	return unit ? unit : 1;
}

/* So much may be saved up. */
static inline int64_t vpback_credit_limit(const struct vpback_credit_pool *pool,
					  const struct vpback_credit *credit,
					  enum vpback_credit_kind kind)
{
	uint64_t share = vpback_credit_unit(pool, kind) * credit->weight;	/* below 2^41 */

	if (pool->burst_ms <= pool->period_ms)
		return share;
	return div64_u64(share * pool->burst_ms, pool->period_ms);
}

static inline int64_t vpback_credit_cap_limit(const struct vpback_credit_pool *pool,
					      const struct vpback_credit *credit)
{
	uint32_t ms = pool->burst_ms > pool->period_ms ? pool->burst_ms : pool->period_ms;
	uint64_t bytes = div64_u64(credit->cap * ms, 1000);

	return bytes ? bytes : 1;
}

static inline bool vpback_credit_capped(const struct vpback_credit *credit)
{
	return credit->cap && credit->cap_left <= 0;
}

/* It would move something, if it had credits. */
static inline bool vpback_credit_wants(const struct vpback_credit *credit)
{
	return credit->tasks || credit->waiting;
}

/* Up to the limit; what is left of the amount is returned. */
static inline uint64_t vpback_credit_give(int64_t *left, uint64_t amount, int64_t limit)
{
	uint64_t room;

	if (*left >= limit)
		return amount;
	room = limit - *left;
	if (amount > room) {
		*left = limit;
		return amount - room;
	}
	*left += amount;
	return 0;
}

/* A sum that has an end. */
static inline void vpback_credit_add_up(uint64_t *sum, uint64_t bytes)
{
	if (bytes > VPBACK_CREDIT_MAX_RATE || *sum > VPBACK_CREDIT_MAX_RATE - bytes)
		*sum = VPBACK_CREDIT_MAX_RATE;
	else
		*sum += bytes;
}

/* --- the pool --------------------------------------------------------------------------- */

/* Nobody has credits, nobody has debts; who wants to move gets new ones. */
static inline void vpback_credit_reset(struct vpback_credit_pool *pool)
{
	struct vpback_credit *credit;
	unsigned int kind;

	for (kind = 0; kind < VPBACK_CREDITS; kind++) {
		pool->carry[kind] = 0;
		vpback_credit_for_each(credit, pool)
			credit->left[kind] = 0;
	}
}

/* disk, net: bytes a second.  All that is out of range is brought into it. */
static inline void vpback_credit_set_rules(struct vpback_credit_pool *pool, bool strict,
					   uint32_t period_ms, uint32_t burst_ms,
					   uint64_t disk, uint64_t net)
{
	uint64_t rate[] = { disk, net }, work;
	unsigned int scarce;
	unsigned int kind;

	if (!period_ms)
		period_ms = 1;
	if (period_ms > VPBACK_CREDIT_MAX_MS)
		period_ms = VPBACK_CREDIT_MAX_MS;
	if (burst_ms > 10 * VPBACK_CREDIT_MAX_MS)
		burst_ms = 10 * VPBACK_CREDIT_MAX_MS;
	pool->period_ms = period_ms;
	pool->burst_ms = burst_ms;
	for (kind = VPBACK_CREDIT_DISK; kind <= VPBACK_CREDIT_NET; kind++) {
		if (rate[kind] > VPBACK_CREDIT_MAX_RATE)
			rate[kind] = VPBACK_CREDIT_MAX_RATE;
		pool->round[kind] = div64_u64(rate[kind] * period_ms, 1000);
		if (!pool->round[kind])
			pool->round[kind] = 1;
	}
	scarce = rate[VPBACK_CREDIT_DISK] < rate[VPBACK_CREDIT_NET] ? VPBACK_CREDIT_DISK :
								       VPBACK_CREDIT_NET;
	pool->rate = rate[scarce];
	work = pool->round[scarce];
	if (work < VPBACK_CREDIT_MIN_ROUND)
		work = VPBACK_CREDIT_MIN_ROUND;
	if (work > VPBACK_CREDIT_MAX_ROUND)
		work = VPBACK_CREDIT_MAX_ROUND;
	pool->round[VPBACK_CREDIT_WORK] = work;
	pool->round[VPBACK_CREDIT_COMMAND] = strict ? pool->round[scarce] : work;
	if (pool->strict != strict)
		vpback_credit_reset(pool);
	pool->pace = 0;
	pool->gauge_bytes = 0;
	pool->gauge_us = 0;
	pool->round_ns = 0;
	pool->strict = strict;
}

/* A cap of 0 is none; out of range: the nearest that is not. */
static inline void vpback_credit_set(struct vpback_credit_pool *pool,
				     struct vpback_credit *credit, uint32_t weight, uint64_t cap)
{
	if (!weight)
		weight = 1;
	if (weight > VPBACK_CREDIT_MAX_WEIGHT)
		weight = VPBACK_CREDIT_MAX_WEIGHT;
	if (cap > VPBACK_CREDIT_MAX_RATE)
		cap = VPBACK_CREDIT_MAX_RATE;
	pool->weights += weight;
	pool->weights -= credit->weight;
	credit->weight = weight;
	if (cap != credit->cap) {
		credit->cap_left = 0;
		credit->cap_carry = 0;
	}
	credit->cap = cap;
}

/* An account without credits, and of weight 0 until vpback_credit_set(). */
static inline void vpback_credit_add(struct vpback_credit_pool *pool, struct vpback_credit *credit)
{
	unsigned int kind;

	credit->weight = 0;
	credit->cap = 0;
	credit->cap_left = 0;
	credit->cap_carry = 0;
	credit->grace = 0;
	credit->waiting = 0;
	credit->share = 0;
	credit->moved = 0;
	credit->idle = 2;
	credit->patience = false;
	credit->rounds = VPBACK_CREDIT_MIN_ROUNDS;
	credit->with = VPBACK_CREDIT_MIN_ROUNDS;
	credit->without = VPBACK_CREDIT_MIN_ROUNDS;
	credit->all_bytes = 0;
	credit->all_us = 0;
	credit->usual = 0;
	for (kind = 0; kind < VPBACK_CREDITS; kind++)
		credit->left[kind] = 0;
	credit->next = pool->first;
	pool->first = credit;
	vpback_credit_set(pool, credit, VPBACK_CREDIT_WEIGHT, 0);
}

static inline void vpback_credit_remove(struct vpback_credit_pool *pool,
					struct vpback_credit *credit)
{
	struct vpback_credit **at = &pool->first;

	while (*at && *at != credit)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = credit->next;
	pool->weights -= credit->weight;
}

/* --- what comes ---------------------------------------------------------------------------- */

/* Of a strict period: what others could not save up, to those who want to move. */
static inline uint64_t vpback_credit_pass_on(struct vpback_credit_pool *pool,
					     enum vpback_credit_kind kind, uint64_t spare)
{
	struct vpback_credit *credit;
	uint64_t weights, unit;

	/* Each turn fills somebody, or leaves less than the sum of the weights. */
	while (spare) {
		weights = 0;
		vpback_credit_for_each(credit, pool)
			if (vpback_credit_wants(credit) &&
			    credit->left[kind] < vpback_credit_limit(pool, credit, kind) +
						 (int64_t)pool->round[kind])
				weights += credit->weight;
		if (!weights || spare < weights)
			break;
		unit = div64_u64(spare, weights);
		spare -= unit * weights;
		vpback_credit_for_each(credit, pool) {
			int64_t limit = vpback_credit_limit(pool, credit, kind) +
					(int64_t)pool->round[kind];

			if (vpback_credit_wants(credit) && credit->left[kind] < limit)
				spare += vpback_credit_give(&credit->left[kind],
							    unit * credit->weight, limit);
		}
	}
	return spare;
}

/*
 * So many periods are over.  All that they bring is afterwards with somebody, in the
 * pool's carry, or lost.
 */
static inline void vpback_credit_refill(struct vpback_credit_pool *pool, uint64_t periods)
{
	struct vpback_credit *credit;
	uint64_t total, unit, spare;
	unsigned int kind;

	if (periods > VPBACK_CREDIT_MAX_PERIODS)
		periods = VPBACK_CREDIT_MAX_PERIODS;
	vpback_credit_for_each(credit, pool) {
		if (!credit->cap)
			continue;
		total = periods * pool->period_ms;
		if (total > VPBACK_CREDIT_MAX_PERIODS)
			total = VPBACK_CREDIT_MAX_PERIODS;
		total = total * credit->cap + credit->cap_carry;	/* below 2^58 */
		unit = div64_u64(total, 1000);
		credit->cap_carry = total - unit * 1000;
		vpback_credit_give(&credit->cap_left, unit, vpback_credit_cap_limit(pool, credit));
	}
	if (!pool->strict || !pool->weights)
		return;
	for (kind = VPBACK_CREDIT_DISK; kind < VPBACK_CREDIT_WORK; kind++) {
		total = periods * pool->round[kind] + pool->carry[kind];
		unit = div64_u64(total, pool->weights);
		pool->carry[kind] = total - unit * pool->weights;
		spare = 0;
		vpback_credit_for_each(credit, pool)
			spare += vpback_credit_give(&credit->left[kind], unit * credit->weight,
						    vpback_credit_limit(pool, credit, kind));
		pool->lost[kind] += vpback_credit_pass_on(pool, kind, spare);
	}
}

/* Work-conserving: does anybody with credits want to move? */
static inline bool vpback_credit_creditor(const struct vpback_credit_pool *pool)
{
	const struct vpback_credit *credit;

	vpback_credit_for_each(credit, pool)
		if (vpback_credit_wants(credit) && credit->left[VPBACK_CREDIT_WORK] > 0 &&
		    !vpback_credit_capped(credit))
			return true;
	return false;
}

/* --- patience ----------------------------------------------------------------------------- */

/* Work-conserving: it moves, just not now; and could have more than it had so far. */
static inline bool vpback_credit_awaited(const struct vpback_credit *credit)
{
	return credit->patience && !vpback_credit_wants(credit) && credit->idle < 2 &&
	       credit->moved < credit->share && credit->left[VPBACK_CREDIT_WORK] > 0 &&
	       !vpback_credit_capped(credit);
}

/* Nobody who has credits wants to move: may a round begin, or is there somebody to wait for? */
static inline bool vpback_credit_patient(struct vpback_credit_pool *pool)
{
	struct vpback_credit *credit;
	bool awaited = false;
	uint64_t took;

	vpback_credit_for_each(credit, pool)
		awaited |= vpback_credit_awaited(credit);
	if (!awaited)
		return false;
	if (!pool->patient_until) {
		took = pool->now - pool->round_began;
		if (took < VPBACK_CREDIT_MIN_PATIENCE)
			took = VPBACK_CREDIT_MIN_PATIENCE;
		if (took > VPBACK_CREDIT_MAX_PATIENCE)
			took = VPBACK_CREDIT_MAX_PATIENCE;
		pool->patient_until = pool->now + took;
	}
	return pool->now < pool->patient_until;
}

/* Rounds with patience for it are over, or without: how long are the next ones? */
static inline void vpback_credit_judge(struct vpback_credit *credit)
{
	uint64_t rate = div64_u64(credit->all_bytes * 1000, credit->all_us / 1000 + 1);

	if (!credit->patience) {
		credit->usual = rate;
		credit->rounds = credit->with;
	} else {
		if (rate >= credit->usual - credit->usual / VPBACK_CREDIT_PATIENCE_COST) {
			credit->without = VPBACK_CREDIT_MIN_ROUNDS;
			if (credit->with < VPBACK_CREDIT_MAX_WITH)
				credit->with *= 2;
		} else {
			credit->with = VPBACK_CREDIT_MIN_ROUNDS;
			if (credit->without < VPBACK_CREDIT_MAX_WITHOUT)
				credit->without *= 2;
		}
		credit->rounds = credit->without;
	}
	credit->patience = !credit->patience;
	credit->all_bytes = 0;
	credit->all_us = 0;
}

/* A round ends. */
static inline void vpback_credit_learn(const struct vpback_credit_pool *pool,
				       struct vpback_credit *credit)
{
	uint64_t us = div64_u64(pool->now - pool->round_began, 1000);

	if (credit->idle >= 2)
		return;
	/* Sums of 512 rounds at most: below 2^49, and 2^29. */
	credit->all_bytes += pool->round_bytes;
	credit->all_us += us < VPBACK_CREDIT_MAX_COMMAND / 1000 ? us :
								  VPBACK_CREDIT_MAX_COMMAND / 1000;
	if (!--credit->rounds)
		vpback_credit_judge(credit);
}

/* A round ends: what does a CPU move in the time that commands leave it? */
static inline void vpback_credit_gauge(struct vpback_credit_pool *pool)
{
	uint64_t us = div64_u64(pool->now - pool->round_began, 1000);
	uint64_t commands = div64_u64(pool->round_ns, 1000);

	if (us > VPBACK_CREDIT_MAX_COMMAND / 1000)
		us = VPBACK_CREDIT_MAX_COMMAND / 1000;
	us *= pool->cpus;
	if (!pool->round_began || !pool->round_bytes || us <= commands)
		return;
	vpback_credit_add_up(&pool->gauge_bytes, pool->round_bytes);
	pool->gauge_us += us - commands;
	pool->pace = div64_u64(pool->gauge_bytes * 1000000, pool->gauge_us);
	if (pool->pace > pool->rate)
		pool->pace = pool->rate;
	if (pool->pace < div64_u64(pool->rate, VPBACK_CREDIT_LEAST_PACE))
		pool->pace = div64_u64(pool->rate, VPBACK_CREDIT_LEAST_PACE);
	if (pool->gauge_us < VPBACK_CREDIT_GAUGE_US)
		return;
	pool->gauge_bytes >>= 1;
	pool->gauge_us >>= 1;
}

/*
 * Work-conserving: nobody with credits wants to move, or they do not come to it.  As many
 * rounds as it takes until somebody can who has none and wants to.  False: there is none.
 */
static inline bool vpback_credit_rounds(struct vpback_credit_pool *pool)
{
	uint64_t unit = vpback_credit_unit(pool, VPBACK_CREDIT_WORK), rounds = 0, n;
	struct vpback_credit *credit;

	vpback_credit_for_each(credit, pool) {
		if (!vpback_credit_wants(credit) || vpback_credit_capped(credit) ||
		    credit->left[VPBACK_CREDIT_WORK] > 0)
			continue;
		n = div64_u64((uint64_t)-credit->left[VPBACK_CREDIT_WORK],
			      unit * credit->weight) + 1;
		if (!rounds || n < rounds)
			rounds = n;
	}
	if (!rounds)
		return false;
	vpback_credit_gauge(pool);
	vpback_credit_for_each(credit, pool) {
		uint64_t share = rounds * unit * credit->weight;	/* below 2^28 * 2^16 */
		unsigned int kind;

		vpback_credit_learn(pool, credit);
		for (kind = VPBACK_CREDIT_COMMAND; kind <= VPBACK_CREDIT_WORK; kind++)
			vpback_credit_give(&credit->left[kind], share,
					   vpback_credit_limit(pool, credit, kind));
		credit->share = share;
		credit->moved = 0;
		if (credit->idle < 2)
			credit->idle++;
	}
	pool->round_began = pool->now;
	pool->round_bytes = 0;
	pool->round_ns = 0;
	pool->patient_until = 0;
	return true;
}

/* --- who may, and what it costs --------------------------------------------------------------- */

/*
 * Work-conserving: is there a CPU that nobody with credits could use?  `running`: who asks
 * has one already.
 */
static inline bool vpback_credit_free_cpu(const struct vpback_credit_pool *pool,
					  const struct vpback_credit *asks, bool running)
{
	uint32_t busy = asks->running - (running && asks->running), n;
	const struct vpback_credit *credit;

	vpback_credit_for_each(credit, pool) {
		if (credit == asks)
			continue;
		n = credit->running;
		if (credit->left[VPBACK_CREDIT_WORK] > 0 && !vpback_credit_capped(credit)) {
			n = credit->tasks + !!credit->waiting;
			if (n > credit->threads)
				n = credit->threads;
		}
		busy += n;
	}
	return busy < pool->cpus;
}

/* May it move something that needs these?  `running` as above.  May begin a round. */
static inline bool vpback_credit_may(struct vpback_credit_pool *pool,
				     struct vpback_credit *credit, unsigned int needs, bool running)
{
	int64_t *work = &credit->left[VPBACK_CREDIT_WORK], limit;

	if (vpback_credit_capped(credit))
		return false;
	if (pool->strict)
		return (!(needs & VPBACK_CREDIT_NEEDS_DISK) ||
			credit->left[VPBACK_CREDIT_DISK] > 0) &&
		       (!(needs & VPBACK_CREDIT_NEEDS_NET) ||
			credit->left[VPBACK_CREDIT_NET] > 0);
	if (*work <= 0 && !vpback_credit_creditor(pool)) {
		if (vpback_credit_patient(pool))
			return false;
		vpback_credit_rounds(pool);
	}
	if (*work > 0)
		return true;
	if (!vpback_credit_free_cpu(pool, credit, running))
		return false;
	/* Nobody misses what it moves now: it need not be paid for later. */
	limit = vpback_credit_limit(pool, credit, VPBACK_CREDIT_WORK);
	if (*work < -limit)
		*work = -limit;
	return true;
}

/* May it have a command executed? */
static inline bool vpback_credit_has_time(const struct vpback_credit_pool *pool,
					  const struct vpback_credit *credit)
{
	const struct vpback_credit *other;

	if (credit->left[VPBACK_CREDIT_COMMAND] > 0)
		return true;
	if (pool->strict)
		return false;
	/* Those who want to move begin the rounds; if nobody does, nobody misses the time. */
	vpback_credit_for_each(other, pool)
		if (vpback_credit_wants(other) && !vpback_credit_capped(other))
			return false;
	return true;
}

/* Is it true of any of those of its tasks that wait?  The bits of `waiting`. */
static inline uint32_t vpback_credit_may_go_on(struct vpback_credit_pool *pool,
					       struct vpback_credit *credit)
{
	uint32_t may = 0;
	unsigned int needs;

	for (needs = 0; needs < VPBACK_CREDIT_NEEDS; needs++)
		if (credit->waiting & (1U << needs) &&
		    vpback_credit_may(pool, credit, needs, false))
			may |= 1U << needs;
	return may;
}

/* Down to a debt of `most`, or where it was. */
static inline void vpback_credit_pay(int64_t *left, uint64_t bytes, int64_t most)
{
	int64_t least = -(most < VPBACK_CREDIT_MAX_DEBT ? most : VPBACK_CREDIT_MAX_DEBT);

	if (*left <= least)
		return;
	if (bytes > (uint64_t)(*left - least))
		*left = least;
	else
		*left -= bytes;
}

/*
 * It has moved so much: with leave; or `forced`, by ways that ask for none, which costs it
 * what it has saved and some time to come, but not all that it will ever have.
 */
static inline void vpback_credit_charge(struct vpback_credit_pool *pool,
					struct vpback_credit *credit,
					enum vpback_credit_kind kind, uint64_t bytes, bool forced)
{
	bool strict = kind != VPBACK_CREDIT_WORK;

	if (pool->strict == strict)
		vpback_credit_pay(&credit->left[kind], bytes,
				  forced ? vpback_credit_limit(pool, credit, kind) *
					   VPBACK_CREDIT_FORCED :
					   VPBACK_CREDIT_MAX_DEBT);
	if (kind == VPBACK_CREDIT_WORK && !forced && bytes) {
		vpback_credit_add_up(&credit->moved, bytes);
		vpback_credit_add_up(&pool->round_bytes, bytes);
		vpback_credit_add_up(&credit->grace, div64_u64(bytes, VPBACK_CREDIT_GRACE));
		if (credit->grace > VPBACK_CREDIT_MAX_GRACE)
			credit->grace = VPBACK_CREDIT_MAX_GRACE;
		credit->idle = 0;
	}
	if (kind == VPBACK_CREDIT_WORK && credit->cap)
		vpback_credit_pay(&credit->cap_left, bytes,
				  forced ? vpback_credit_cap_limit(pool, credit) *
					   VPBACK_CREDIT_FORCED :
					   VPBACK_CREDIT_MAX_DEBT);
}

/*
 * Its commands took so many ns of the CPU: more than what it moves takes as a rule?  What
 * cannot be paid in ten shares is forgiven.
 */
static inline void vpback_credit_charge_time(struct vpback_credit_pool *pool,
					     struct vpback_credit *credit, uint64_t ns)
{
	uint64_t pace = pool->rate, bytes;
	bool work = !pool->strict;
	unsigned int kind;

	if (work && pool->pace && pool->pace * VPBACK_CREDIT_COMMAND_FACTOR < pace)
		pace = pool->pace * VPBACK_CREDIT_COMMAND_FACTOR;
	if (ns > VPBACK_CREDIT_MAX_COMMAND)
		ns = VPBACK_CREDIT_MAX_COMMAND;
	vpback_credit_add_up(&pool->round_ns, ns);
	bytes = div64_u64(div64_u64(ns, 1000) * pace, 1000000);	/* below 2^60 */
	if (bytes <= credit->grace) {
		credit->grace -= bytes;
		return;
	}
	bytes -= credit->grace;
	credit->grace = 0;
	for (kind = 0; kind < VPBACK_CREDITS; kind++) {
		if (kind == VPBACK_CREDIT_WORK ? !work : kind != VPBACK_CREDIT_COMMAND && work)
			continue;
		vpback_credit_pay(&credit->left[kind], bytes,
				  vpback_credit_limit(pool, credit, kind) * VPBACK_CREDIT_FORCED);
	}
}

#endif /* _VPBACK_CREDIT_H */
