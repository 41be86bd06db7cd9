// SPDX-License-Identifier: GPL-2.0
/* What vpipectl makes of text: a policy, a rate, a line of the backend's, JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "../../tools/vpipectl/share.c"
#include "../../tools/vpipectl/policy.c"
#include "../../tools/vpipectl/operation.c"
#include "../../tools/vpipectl/json.c"

static void require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "not so: %s\n", what);
	abort();
}

static bool share_is_valid(const struct share *share)
{
	return share->value[SHARE_WEIGHT] <= 65535 && share->value[SHARE_WEIGHT] &&
	       share->value[SHARE_CAP] <= MAX_RATE && share->value[SHARE_MAX_OPS] <= INT_MAX &&
	       share->value[SHARE_MAX_CHUNKS] <= INT_MAX && share->value[SHARE_MAX_HELD] <= INT_MAX;
}

static void try_policy(const char *text)
{
	struct policy policy;
	char error[128] = "";
	unsigned int i;

	if (!policy_parse(&policy, text, error, sizeof(error))) {
		require(*error, "it says why");
		return;
	}
	for (i = 0; i < policy.nr; i++) {
		require(share_is_valid(&policy.rule[i].share), "a rule's numbers are in range");
		require(*policy.rule[i].pattern, "a rule has a pattern");
	}
	policy_find(&policy, text, text);
	policy_free(&policy);
}

/* It has its quotes, and nothing within that would end it or is not allowed there */
static void try_json(const char *text)
{
	struct json json = { 0 };
	char *out = NULL;
	size_t size, i;

	json.out = open_memstream(&out, &size);
	if (!json.out)
		abort();
	json_string(&json, NULL, text);
	fclose(json.out);
	require(size >= 2 && out[0] == '"' && out[size - 1] == '"', "a string has quotes");
	for (i = 1; i < size - 1; i++) {
		unsigned int n = utf8_length((unsigned char *)out + i);

		require(n && (unsigned char)out[i] >= 0x20 && out[i] != '"', "it is valid");
		i += n - 1 + (out[i] == '\\');
	}
	require(i == size - 1, "it ends where it should");
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), shown[32];
	struct operation op;
	long long rate;

	if (!text)
		abort();
	if (rate_parse(text, &rate)) {
		require(rate >= 0 && rate <= MAX_RATE, "a rate is in range");
		rate_format(rate, shown, sizeof(shown));
		require(strlen(shown) <= 6, "a rate is short");
	}
	try_policy(text);
	if (operation_parse(text, &op))
		require(op.length >= -1 && *op.kind && *op.sink, "an operation has its words");
	try_json(text);
	free(text);
	return 0;
}
