// SPDX-License-Identifier: LGPL-2.1-or-later
/* backend/credit.h: accounts to which anything is done, in any order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "credit.h"
#include "input.h"
#include "../unit/credit/model.h"

#define ACCOUNTS	6U

static struct vpback_credit_pool pool;
static struct vpback_credit account[ACCOUNTS];
static bool member[ACCOUNTS];

/* Small, of the size of a transfer, or any. */
static uint64_t take_amount(struct input *in)
{
	switch (input_take(in, 1) % 4) {
	case 0:
		return input_take(in, 1);
	case 1:
		return input_take(in, 3);
	case 2:
		return input_take(in, 5);
	default:
		return input_take(in, 8);
	}
}

static bool act(struct input *in)
{
	unsigned int what = input_take(in, 1), i = input_take(in, 1) % ACCOUNTS;
	struct vpback_credit *credit = &account[i];
	uint64_t amount;

	if (what % 16 == 0) {
		amount = take_amount(in);
		vpback_credit_set_rules(&pool, what & 16, input_take(in, 2), input_take(in, 2),
					amount, take_amount(in));
		pool.cpus = 1 + input_take(in, 1) % 8;
		return true;
	}
	if (what % 16 == 1)
		return model_refill(&pool, take_amount(in));
	if (what % 16 == 2 && !pool.strict)
		return model_rounds(&pool);
	if (!member[i]) {
		vpback_credit_add(&pool, credit);
		member[i] = true;
	}
	switch (what % 16) {
	case 3:
		vpback_credit_remove(&pool, credit);
		member[i] = false;
		return true;
	case 4:
	case 5:
		vpback_credit_set(&pool, credit, input_take(in, 2), take_amount(in));
		return true;
	case 6:
		credit->tasks = input_take(in, 1);
		credit->threads = 1 + input_take(in, 1) % 8;
		credit->running = credit->tasks < credit->threads ? credit->tasks :
								    credit->threads;
		credit->waiting = input_take(in, 1) % 16;
		return true;
	case 7:
	case 8:
	case 9:
		vpback_credit_may_go_on(&pool, credit);
		return model_may(&pool, credit, input_take(in, 1) % 4);
	default:
		vpback_credit_charge(&pool, credit, what / 16 % VPBACK_CREDITS, take_amount(in),
				     what & 128);
		return true;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	memset(&pool, 0, sizeof(pool));
	memset(account, 0, sizeof(account));
	memset(member, 0, sizeof(member));
	pool.cpus = 1;
	vpback_credit_set_rules(&pool, false, 10, 30, 1000000000, 1000000000);
	while (in.left)
		if (!act(&in) || !model_sane(&pool))
			abort();
	return 0;
}
