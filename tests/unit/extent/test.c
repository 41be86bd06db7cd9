// SPDX-License-Identifier: LGPL-2.1-or-later
/* backend/extent.h: each rule at its edges, then against model.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "extent.h"
#include "model.h"
#include "../random.h"

#define ZERO	XEN_VPIPE_SECTOR_ZERO
#define DISK	1000U
#define LISTS	200000U

/*
 * The answer for a list, from a copy that ends where it says, and the model's
 * consent.
 */
static int answer_aligned(const struct xen_vpipe_extent *extent, uint32_t nr, uint32_t skip,
			  uint64_t length, uint64_t disk, uint32_t align)
{
	size_t size = (nr <= XEN_VPIPE_MAX_EXTENTS ? nr : 0) * sizeof(*extent);
	struct xen_vpipe_extent *copy = malloc(size ?: 1);
	int status;

	assert_non_null(copy);
	if (size)
		memcpy(copy, extent, size);
	status = vpback_extents_check(copy, nr, skip, length, disk, align);
	assert_true(model_extents_agrees(model_extents(copy, nr, skip, length, disk, align),
					 status, EINVAL, ERANGE));
	free(copy);
	return status;
}

/* As a sink, all of its sectors but for `skip` and what `length` leaves. */
static int answer_sink(const struct xen_vpipe_extent *extent, uint32_t nr, uint32_t skip,
		       uint64_t length, uint32_t align)
{
	int status = vpback_extents_check_sink(extent, nr, skip, length, DISK, align);

	assert_true(model_extents_agrees(model_extents_sink(extent, nr, skip, length,
							    DISK, align),
					 status, EINVAL, ERANGE));
	return status;
}

/* A disk with blocks of a sector. */
static int answer(const struct xen_vpipe_extent *extent, uint32_t nr, uint32_t skip,
		  uint64_t length, uint64_t disk)
{
	return answer_aligned(extent, nr, skip, length, disk, 1);
}

#define LIST(...)	((const struct xen_vpipe_extent[]){ __VA_ARGS__ })
#define COUNT(...)	(sizeof(LIST(__VA_ARGS__)) / sizeof(struct xen_vpipe_extent))

/* All of a list's bytes, on a disk of DISK sectors. */
#define expect(status, ...) do {						\
	uint64_t sum_ = 0;							\
	for (size_t i_ = 0; i_ < COUNT(__VA_ARGS__); i_++)			\
		sum_ += LIST(__VA_ARGS__)[i_].nr;				\
	assert_int_equal(answer(LIST(__VA_ARGS__), COUNT(__VA_ARGS__), 0,	\
				sum_ * 512, DISK), status);			\
} while (0)

static void test_number(void **state)
{
	struct xen_vpipe_extent many[XEN_VPIPE_MAX_EXTENTS + 1];
	uint32_t i;

	(void)state;
	for (i = 0; i < XEN_VPIPE_MAX_EXTENTS + 1; i++)
		many[i] = (struct xen_vpipe_extent){ .sector = 2 * i, .nr = 1 };
	assert_int_equal(answer(many, 0, 0, 512, DISK), -EINVAL);
	assert_int_equal(answer(many, 1, 0, 512, DISK), 0);
	assert_int_equal(answer(many, XEN_VPIPE_MAX_EXTENTS, 0,
				XEN_VPIPE_MAX_EXTENTS * 512ULL, DISK), 0);
	assert_int_equal(answer(many, XEN_VPIPE_MAX_EXTENTS + 1, 0,
				(XEN_VPIPE_MAX_EXTENTS + 1) * 512ULL, DISK), -EINVAL);
	assert_int_equal(answer(NULL, UINT32_MAX, 0, 512, DISK), -EINVAL);
}

static void test_empty(void **state)
{
	(void)state;
	assert_int_equal(answer(LIST({ .nr = 1 }), 1, 0, 0, DISK), -EINVAL);
	expect(-EINVAL, { .sector = 1, .nr = 0 });
	expect(-EINVAL, { .sector = 1, .nr = 1 }, { .sector = 5, .nr = 0 });
	expect(-EINVAL, { .sector = 1, .nr = 1 }, { .sector = 5, .nr = 0 },
	       { .sector = 9, .nr = 1 });
	expect(-EINVAL, { .sector = ZERO, .nr = 0 });
}

static void test_reserved(void **state)
{
	(void)state;
	expect(-EINVAL, { .sector = 1, .nr = 1, .reserved = 1 });
	expect(-EINVAL, { .sector = 1, .nr = 1, .reserved = 1U << 31 });
	expect(-EINVAL, { .sector = 1, .nr = 1 }, { .sector = ZERO, .nr = 1, .reserved = 1 });
}

static void test_disk_end(void **state)
{
	(void)state;
	expect(0, { .sector = 0, .nr = DISK });
	expect(-ERANGE, { .sector = 0, .nr = DISK + 1 });
	expect(0, { .sector = DISK - 1, .nr = 1 });
	expect(-ERANGE, { .sector = DISK - 1, .nr = 2 });
	expect(-ERANGE, { .sector = DISK, .nr = 1 });
	expect(-ERANGE, { .sector = DISK + 1, .nr = 1 });
	expect(-ERANGE, { .sector = 0, .nr = 1 }, { .sector = DISK, .nr = 1 });
	assert_int_equal(answer(LIST({ .nr = 1 }), 1, 0, 512, 0), -ERANGE);
	assert_int_equal(answer(LIST({ .nr = 1 }), 1, 0, 512, 1), 0);
}

/* sector + nr must not wrap into the disk. */
static void test_overflow(void **state)
{
	(void)state;
	expect(-ERANGE, { .sector = ZERO - 1, .nr = 1 });
	expect(-ERANGE, { .sector = ZERO - 1, .nr = 2 });
	expect(-ERANGE, { .sector = ZERO - 1, .nr = 3 });
	expect(-ERANGE, { .sector = ZERO - UINT32_MAX + 1, .nr = UINT32_MAX });
	expect(-ERANGE, { .sector = DISK - 1, .nr = UINT32_MAX });
	expect(-ERANGE, { .sector = 1ULL << 63, .nr = 1 });
	expect(-ERANGE, { .sector = 1ULL << 32, .nr = 1 });
	/* The largest disk there can be: its last sectors, none beyond. */
	assert_int_equal(answer(LIST({ .sector = ZERO - 2, .nr = 2 }), 1, 0, 1024, ZERO), 0);
	assert_int_equal(answer(LIST({ .sector = ZERO - 2, .nr = 3 }), 1, 0, 1536, ZERO),
			 -ERANGE);
	assert_int_equal(answer(LIST({ .sector = 0, .nr = UINT32_MAX },
				     { .sector = UINT32_MAX, .nr = UINT32_MAX }), 2, 0,
				2ULL * UINT32_MAX * 512, ZERO), 0);
	assert_int_equal(answer(LIST({ .sector = 1, .nr = UINT32_MAX },
				     { .sector = UINT32_MAX, .nr = UINT32_MAX }), 2, 0,
				2ULL * UINT32_MAX * 512, ZERO), -EINVAL);
}

/* Holes are on no disk: they overlap with nothing and end nowhere. */
static void test_zero_extents(void **state)
{
	struct xen_vpipe_extent holes[XEN_VPIPE_MAX_EXTENTS];
	uint32_t i;

	(void)state;
	expect(0, { .sector = ZERO, .nr = 1 });
	expect(0, { .sector = ZERO, .nr = UINT32_MAX });
	expect(0, { .sector = ZERO, .nr = 5 }, { .sector = ZERO, .nr = 5 });
	expect(0, { .sector = 7, .nr = 1 }, { .sector = ZERO, .nr = DISK },
	       { .sector = 8, .nr = 1 });
	expect(0, { .sector = 8, .nr = 1 }, { .sector = ZERO, .nr = DISK },
	       { .sector = 7, .nr = 1 });
	expect(-EINVAL, { .sector = 8, .nr = 1 }, { .sector = ZERO, .nr = DISK },
	       { .sector = 8, .nr = 1 });
	assert_int_equal(answer(LIST({ .sector = ZERO, .nr = 1 }), 1, 0, 512, 0), 0);
	/* As many bytes as a list can have. */
	for (i = 0; i < XEN_VPIPE_MAX_EXTENTS; i++)
		holes[i] = (struct xen_vpipe_extent){ .sector = ZERO, .nr = UINT32_MAX };
	assert_int_equal(answer(holes, i, 0, i * 512ULL * UINT32_MAX, DISK), 0);
	assert_int_equal(answer(holes, i, 0, i * 512ULL * UINT32_MAX + 1, DISK), -EINVAL);
	assert_int_equal(answer(holes, i, UINT32_MAX, i * 512ULL * UINT32_MAX - UINT32_MAX, DISK),
			 0);
	assert_int_equal(answer(holes, i, 0, UINT64_MAX, DISK), -EINVAL);
	assert_int_equal(answer(holes, i, 1, UINT64_MAX, DISK), -EINVAL);
	assert_int_equal(answer(holes, i, UINT32_MAX, UINT64_MAX - UINT32_MAX + 1, DISK), -EINVAL);
}

static void test_overlap(void **state)
{
	static const struct xen_vpipe_extent part[] = {
		{ .sector = 100, .nr = 50 }, { .sector = 150, .nr = 50 },
		{ .sector = 250, .nr = 1 }, { .sector = 300, .nr = 10 },
	};
	static const struct xen_vpipe_extent clash[] = {
		{ .sector = 100, .nr = 50 },	/* the same */
		{ .sector = 99, .nr = 2 },	/* its first */
		{ .sector = 199, .nr = 2 },	/* its last */
		{ .sector = 149, .nr = 2 },	/* two of them */
		{ .sector = 310 - 1, .nr = 1 },	/* inside */
		{ .sector = 249, .nr = 3 },	/* around */
		{ .sector = 0, .nr = DISK },	/* all */
	};
	struct xen_vpipe_extent list[5];
	unsigned int order, i, c;

	(void)state;
	/* All 24 orders of disjoint ones; then with an intruder in each place. */
	for (order = 0; order < 24; order++) {
		unsigned int left = order, used = 0, sum = 0;

		for (i = 0; i < 4; i++) {
			unsigned int pick = left % (4 - i), p;

			left /= 4 - i;
			for (p = 0; used & (1U << p) || pick--; p++)
				;
			used |= 1U << p;
			list[i] = part[p];
			sum += part[p].nr;
		}
		assert_int_equal(answer(list, 4, 0, sum * 512, DISK), 0);
		for (c = 0; c < sizeof(clash) / sizeof(*clash); c++) {
			for (i = 0; i < 5; i++) {
				struct xen_vpipe_extent five[5];

				memcpy(five, list, i * sizeof(*list));
				five[i] = clash[c];
				memcpy(&five[i + 1], &list[i], (4 - i) * sizeof(*list));
				assert_int_equal(answer(five, 5, 0, (sum + clash[c].nr) * 512,
							DISK), -EINVAL);
			}
		}
	}
}

static void test_skip(void **state)
{
	const struct xen_vpipe_extent one = { .sector = 3, .nr = 2 };

	(void)state;
	assert_int_equal(answer(&one, 1, 0, 1024, DISK), 0);
	assert_int_equal(answer(&one, 1, 1, 1023, DISK), 0);
	assert_int_equal(answer(&one, 1, 1, 1024, DISK), -EINVAL);
	assert_int_equal(answer(&one, 1, 512, 512, DISK), 0);
	assert_int_equal(answer(&one, 1, 1023, 1, DISK), 0);
	assert_int_equal(answer(&one, 1, 1023, 2, DISK), -EINVAL);
	assert_int_equal(answer(&one, 1, 1024, 1, DISK), -EINVAL);
	assert_int_equal(answer(&one, 1, UINT32_MAX, 1, DISK), -EINVAL);
	/* A whole extent cannot be skipped, though another follows. */
	assert_int_equal(answer(LIST({ .sector = 1, .nr = 1 }, { .sector = 3, .nr = 1 }), 2,
				512, 512, DISK), -EINVAL);
	assert_int_equal(answer(LIST({ .sector = 1, .nr = 1 }, { .sector = 3, .nr = 1 }), 2,
				511, 513, DISK), 0);
	/* nr * 512 does not fit 32 bits */
	assert_int_equal(answer(LIST({ .sector = ZERO, .nr = 1U << 23 }), 1, UINT32_MAX, 1, DISK),
			 0);
	assert_int_equal(answer(LIST({ .sector = ZERO, .nr = (1U << 23) + 1 }), 1, 512, 1, DISK),
			 0);
}

/* Too short by a byte; the last extent needed for one byte, or for none. */
static void test_length(void **state)
{
	const struct xen_vpipe_extent two[] = { { .sector = 10, .nr = 4 },
						{ .sector = 20, .nr = 2 } };

	(void)state;
	assert_int_equal(answer(two, 2, 0, 6 * 512, DISK), 0);
	assert_int_equal(answer(two, 2, 0, 6 * 512 + 1, DISK), -EINVAL);
	assert_int_equal(answer(two, 2, 0, 4 * 512 + 1, DISK), 0);
	assert_int_equal(answer(two, 2, 0, 4 * 512, DISK), -EINVAL);
	assert_int_equal(answer(two, 2, 0, 1, DISK), -EINVAL);
	assert_int_equal(answer(two, 2, 100, 4 * 512 - 100, DISK), -EINVAL);
	assert_int_equal(answer(two, 2, 100, 4 * 512 - 99, DISK), 0);
	assert_int_equal(answer(two, 2, 100, 6 * 512 - 100, DISK), 0);
	assert_int_equal(answer(two, 2, 100, 6 * 512 - 99, DISK), -EINVAL);
	assert_int_equal(answer(two, 1, 0, 1, DISK), 0);
	assert_int_equal(answer(two, 2, 100, UINT64_MAX, DISK), -EINVAL);
	assert_int_equal(answer(two, 2, 100, UINT64_MAX - 99, DISK), -EINVAL);
	assert_int_equal(answer(two, 2, 100, UINT64_MAX - 100, DISK), -EINVAL);
}

/* A disk with larger blocks is read by whole blocks; bytes may begin and end anywhere. */
static void test_blocks(void **state)
{
	static const struct {
		struct xen_vpipe_extent extent;
		int status;
	} lists[] = {
		{ { .sector = 0, .nr = 8 }, 0 },
		{ { .sector = 8, .nr = 16 }, 0 },
		{ { .sector = DISK - 8, .nr = 8 }, 0 },
		{ { .sector = 1, .nr = 8 }, -EINVAL },
		{ { .sector = 4, .nr = 8 }, -EINVAL },
		{ { .sector = 7, .nr = 9 }, -EINVAL },
		{ { .sector = 8, .nr = 1 }, -EINVAL },
		{ { .sector = 8, .nr = 7 }, -EINVAL },
		{ { .sector = 8, .nr = 9 }, -EINVAL },
		{ { .sector = 8, .nr = UINT32_MAX }, -EINVAL },
		{ { .sector = DISK, .nr = 8 }, -ERANGE },
		{ { .sector = ZERO, .nr = 8 }, 0 },
		{ { .sector = ZERO, .nr = 4 }, -EINVAL },
	};
	size_t i;

	(void)state;
	assert_int_equal(DISK % 8, 0);
	for (i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		const struct xen_vpipe_extent *extent = &lists[i].extent;
		const struct xen_vpipe_extent two[] = { { .sector = ZERO, .nr = 8 }, *extent };

		assert_int_equal(answer_aligned(extent, 1, 0, extent->nr * 512ULL, DISK, 8),
				 lists[i].status);
		assert_int_equal(answer_aligned(extent, 1, 5, extent->nr * 512ULL - 10, DISK, 8),
				 lists[i].status);
		assert_int_equal(answer_aligned(two, 2, 0, (8ULL + extent->nr) * 512, DISK, 8),
				 lists[i].status);
	}
	/* The disk may end inside a block; what is left of it cannot be read. */
	assert_int_equal(answer_aligned(LIST({ .nr = 8 }), 1, 0, 4096, 15, 8), 0);
	assert_int_equal(answer_aligned(LIST({ .sector = 8, .nr = 8 }), 1, 0, 4096, 15, 8),
			 -ERANGE);
	assert_int_equal(answer_aligned(LIST({ .sector = 8, .nr = 7 }), 1, 0, 7 * 512, 15, 8),
			 -EINVAL);
}

/* --- many lists ----------------------------------------------------------------- */

/* Mostly good ones: what is wrong should be one thing, not everything. */
static void random_extent(struct random *r, struct xen_vpipe_extent *extent, uint64_t disk,
			  uint64_t *next)
{
	memset(extent, 0, sizeof(*extent));
	extent->nr = 1 + random_below(r, disk / 8 + 1);
	switch (random_below(r, 16)) {
	case 0:
		extent->sector = ZERO;
		if (!random_below(r, 4))
			extent->nr = random_u64(r);
		return;
	case 1:
	case 2:
		extent->sector = random_below(r, disk);
		break;
	default:
		extent->sector = *next + random_below(r, 2) * random_below(r, disk / 8 + 1);
	}
	switch (random_below(r, 64)) {
	case 0:
		extent->nr = 0;
		break;
	case 1:
		extent->reserved = 1U << random_below(r, 32);
		break;
	case 2:
		extent->sector = random_u64(r) >> random_below(r, 64);
		break;
	case 3:
		extent->sector = 0 - (uint64_t)extent->nr + random_below(r, 3);
		break;
	case 4:		/* up to the end, or one too many */
		if (extent->sector < disk)
			extent->nr = disk - extent->sector + random_below(r, 2);
		break;
	default:
		break;
	}
	*next = extent->sector + extent->nr;
}

static void shuffle(struct random *r, struct xen_vpipe_extent *extent, uint32_t nr)
{
	for (uint32_t i = nr; i > 1; i--) {
		uint32_t j = random_below(r, i);
		struct xen_vpipe_extent swap = extent[i - 1];

		extent[i - 1] = extent[j];
		extent[j] = swap;
	}
}

static void test_sink(void **state)
{
	(void)state;
	/* exactly its sectors */
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }, { 0, 8, 0 }), 2, 0, 8192, 8), 0);
	assert_int_equal(answer_sink(LIST({ DISK - 8, 8, 0 }), 1, 0, 4096, 8), 0);
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }, { 0, 8, 0 }), 2, 0, 8191, 8), -EINVAL);
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }, { 0, 8, 0 }), 2, 0, 8193, 8), -EINVAL);
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }), 1, 0, 512, 1), -EINVAL);
	/* from the first byte on */
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }), 1, 512, 3584, 1), -EINVAL);
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }), 1, 512, 4096, 1), -EINVAL);
	/* no hole, anywhere */
	assert_int_equal(answer_sink(LIST({ ZERO, 8, 0 }), 1, 0, 4096, 8), -EINVAL);
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }, { ZERO, 8, 0 }), 2, 0, 8192, 8), -EINVAL);
	assert_int_equal(answer_sink(LIST({ ZERO, 8, 0 }, { 8, 8, 0 }), 2, 0, 8192, 8), -EINVAL);
	/* and what holds for any list */
	assert_int_equal(answer_sink(LIST({ DISK - 7, 8, 0 }), 1, 0, 4096, 1), -ERANGE);
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }, { 12, 8, 0 }), 2, 0, 8192, 1), -EINVAL);
	assert_int_equal(answer_sink(LIST({ 8, 7, 0 }), 1, 0, 3584, 8), -EINVAL);
	assert_int_equal(answer_sink(LIST({ 4, 8, 0 }), 1, 0, 4096, 8), -EINVAL);
	assert_int_equal(answer_sink(LIST({ 8, 8, 0 }), 1, 0, 0, 8), -EINVAL);
}

static void test_model(void **state)
{
	struct random r = { random_seed() };
	struct xen_vpipe_extent list[16];
	unsigned int accepted = 0, invalid = 0, range = 0, several = 0, sinks = 0;

	(void)state;
	for (unsigned int n = 0; n < LISTS; n++) {
		uint64_t seed = r.state;
		uint32_t nr = 1 + random_below(&r, 1 + random_below(&r, 16)), i, skip;
		uint64_t disk = 1 + random_below(&r, 1 + random_below(&r, 600));
		uint64_t next = random_below(&r, disk / 4 + 1), total = 0, last, length;
		uint32_t align = random_below(&r, 2) ? 1 : 1U << random_below(&r, 4);
		int status, status_sink;

		for (i = 0; i < nr; i++)
			random_extent(&r, &list[i], disk, &next);
		/* In whole blocks, but for one number now and then. */
		for (i = 0; i < nr; i++) {
			if (list[i].sector != ZERO)
				list[i].sector *= align;
			list[i].nr *= align;
		}
		disk = disk * align + random_below(&r, align);
		if (!random_below(&r, 8))
			list[random_below(&r, nr)].nr -= random_below(&r, align);
		if (!random_below(&r, 8))
			list[random_below(&r, nr)].sector -= random_below(&r, align);
		if (!random_below(&r, 2))
			shuffle(&r, list, nr);
		for (i = 0; i < nr; i++)
			total += list[i].nr * 512ULL;
		last = list[nr - 1].nr * 512ULL;
		skip = random_below(&r, 3) ? 0 :
		       random_below(&r, list[0].nr * 512ULL + 1 + random_below(&r, 2));
		switch (random_below(&r, 8)) {
		case 0:		/* the fewest bytes, or one too few */
			length = total - last - skip + random_below(&r, 2);
			break;
		case 1:
			length = total - skip + 1;
			break;
		case 2:
			length = random_u64(&r) >> random_below(&r, 64);
			break;
		case 3:
			length = total - skip - random_below(&r, last + 1);
			break;
		default:
			length = total - skip;
		}
		status = vpback_extents_check(list, nr, skip, length, disk, align);
		if (!model_extents_agrees(model_extents(list, nr, skip, length, disk, align),
					  status, EINVAL, ERANGE)) {
			fprintf(stderr,
				"list %u, SEED=%#llx: %d; skip %u length %llu disk %llu align %u\n",
				n, (unsigned long long)seed, status, skip,
				(unsigned long long)length, (unsigned long long)disk, align);
			for (i = 0; i < nr; i++)
				fprintf(stderr, "  %llu + %u\n",
					(unsigned long long)list[i].sector, list[i].nr);
			fail();
		}
		status_sink = vpback_extents_check_sink(list, nr, skip, length, disk, align);
		assert_true(model_extents_agrees(model_extents_sink(list, nr, skip, length, disk,
								    align),
						 status_sink, EINVAL, ERANGE));
		sinks += !status_sink;
		accepted += !status;
		several += !status && nr > 2;
		invalid += status == -EINVAL;
		range += status == -ERANGE;
	}
	/* Or it would have been a test of one answer. */
	assert_true(accepted > LISTS / 20 && several > LISTS / 50 && sinks > LISTS / 100);
	assert_true(invalid > LISTS / 20 && range > LISTS / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_disk_end),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_zero_extents),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_skip),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_sink),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests_name("extent", tests, NULL, NULL);
}
