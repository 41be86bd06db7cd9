// SPDX-License-Identifier: GPL-2.0
/* vpipectl: weights, caps and limits: what is valid, and how they are written */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "share.h"

#define MAX_RATE	1000000000000000LL

const char *const share_node[SHARE_ITEMS] = {
	[SHARE_WEIGHT] = "weight",
	[SHARE_CAP] = "cap",
	[SHARE_MAX_OPS] = "max-ops",
	[SHARE_MAX_CHUNKS] = "max-chunks",
	[SHARE_MAX_HELD] = "max-held",
};

void share_init(struct share *share)
{
	unsigned int i;

	for (i = 0; i < SHARE_ITEMS; i++)
		share->value[i] = -1;
}

/* Decimal digits up to *end, at most max; no sign, no space, as strtoll would take */
static bool parse_digits(const char *text, const char **end, long long max, long long *value)
{
	long long n = 0;

	for (*end = text; **end >= '0' && **end <= '9'; (*end)++) {
		int digit = **end - '0';

		if (n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*value = n;
	return *end != text;
}

/* Bytes per second: digits, then nothing, K, M or G (10^3, 10^6, 10^9); or "none", 0 */
bool rate_parse(const char *text, long long *rate)
{
	long long unit = 1, n;
	const char *end;

	if (!strcmp(text, "none")) {
		*rate = 0;
		return true;
	}
	if (!parse_digits(text, &end, MAX_RATE, &n))
		return false;
	switch (*end) {
	case '\0':
		break;
	case 'G':
		unit *= 1000;
		/* fall through */
	case 'M':
		unit *= 1000;
		/* fall through */
	case 'K':
		unit *= 1000;
		end++;
		break;
	}
	if (*end || n > MAX_RATE / unit)
		return false;
	*rate = n * unit;
	return true;
}

/* Four digits at most, as rate_parse takes them but for the point: 0, 812, 1.5K, 230M */
void rate_format(double rate, char *text, size_t size)
{
	static const char units[] = " KMGT";
	unsigned int unit = 0;

	/* 999.95 would be printed as 1000.0 */
	while (rate >= 999.95 && unit < sizeof(units) - 2) {
		rate /= 1000;
		unit++;
	}
	if (!unit)
		snprintf(text, size, "%.0f", rate);
	else
		snprintf(text, size, rate < 99.95 ? "%.1f%c" : "%.0f%c", rate, units[unit]);
}

bool share_parse(enum share_item item, const char *text, long long *value)
{
	long long max = item == SHARE_WEIGHT ? 65535 : INT_MAX;
	const char *end;

	if (item == SHARE_CAP)
		return rate_parse(text, value);
	return parse_digits(text, &end, max, value) && !*end && *value > 0;
}

/* What the second says goes before what the first does */
void share_merge(struct share *share, const struct share *over)
{
	unsigned int i;

	for (i = 0; i < SHARE_ITEMS; i++)
		if (over->value[i] >= 0)
			share->value[i] = over->value[i];
}
