// SPDX-License-Identifier: GPL-2.0
/* pattern.c: a stream whose words are their hashed numbers; the hash can be undone. */
#include <string.h>

#include "pattern.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 29;
	return x;
}

static uint64_t unmix(uint64_t x)
{
	x ^= x >> 29 ^ x >> 58;
	x *= 0x4f74430c22a54005ULL;	/* the inverse of mix's, modulo 2^64 */
	x ^= x >> 33;
	return x;
}

void pattern(uint64_t at, void *to, size_t len)
{
	unsigned char *p = to;

	while (len && at & 7) {
		*p++ = (unsigned char)(mix(at >> 3) >> 8 * (at & 7));
		at++;
		len--;
	}
	for (; len >= 8; at += 8, p += 8, len -= 8) {
		uint64_t word = mix(at >> 3);

		memcpy(p, &word, 8);
	}
	for (; len; at++, len--)
		*p++ = (unsigned char)(mix(at >> 3) >> 8 * (at & 7));
}

bool pattern_find(const void *data, size_t len, uint64_t *at)
{
	unsigned char same[64];
	uint64_t word, number;

	if (len > sizeof(same))
		len = sizeof(same);
	for (size_t shift = 0; shift < 8 && shift + 8 <= len; shift++) {
		memcpy(&word, (const unsigned char *)data + shift, 8);
		number = unmix(word);
		if (number >> 61 || (!number && shift))
			continue;
		*at = number * 8 - shift;
		pattern(*at, same, len);
		if (!memcmp(same, data, len))
			return true;
	}
	return false;
}
