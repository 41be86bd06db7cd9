/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* random.h: numbers that are the same for the same seed, everywhere (splitmix64). */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>
#include <stdlib.h>

struct random {
	uint64_t state;
};

static inline uint64_t random_u64(struct random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* 0 .. n - 1; n is small, so the bias is too. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
	return random_u64(r) % n;
}

/* The environment's SEED, or always the same. */
static inline uint64_t random_seed(void)
{
	const char *seed = getenv("SEED");

	return seed && *seed ? strtoull(seed, NULL, 0) : 1;
}

#endif
