/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* input.h: numbers from a fuzzer's input; zeros once it is used up. */
#ifndef INPUT_H
#define INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *data;
	size_t left;
};

static inline uint64_t input_take(struct input *in, size_t bytes)
{
	uint64_t value = 0;
	size_t n = bytes < in->left ? bytes : in->left;

	memcpy(&value, in->data, n);
	in->data += n;
	in->left -= n;
	return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
