// SPDX-License-Identifier: GPL-2.0
/* vpipectl: rates, shares, the policy file, the backend's operations, JSON */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "json.h"
#include "operation.h"
#include "policy.h"
#include "share.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_rate(void **state)
{
	static const struct {
		const char *text;
		long long rate;
	} good[] = {
		{ "0", 0 }, { "none", 0 }, { "1", 1 }, { "999", 999 }, { "007", 7 },
		{ "1K", 1000 }, { "20M", 20000000 }, { "3G", 3000000000 },
		{ "0G", 0 },
		{ "1000000000000000", 1000000000000000 }, { "1000000G", 1000000000000000 },
		{ "1000000000K", 1000000000000 },
	};
	static const char *const bad[] = {
		"", "K", "-1", "+1", " 1", "1 ", "1k", "1KB", "1MM", "1.5M", "0x10", "None",
		"1000000000000001", "1000001G", "1000000000001K",
		"18446744073709551616", "9223372036854775808", "99999999999999999999G",
	};
	long long rate;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(good); i++) {
		rate = -7;
		if (!rate_parse(good[i].text, &rate) || rate != good[i].rate)
			fail_msg("%s: %lld", good[i].text, rate);
	}
	for (i = 0; i < COUNT(bad); i++)
		if (rate_parse(bad[i], &rate))
			fail_msg("%s: taken as %lld", bad[i], rate);
}

static void test_rate_format(void **state)
{
	static const struct {
		double rate;
		const char *text;
	} cases[] = {
		{ 0, "0" }, { 1, "1" }, { 999, "999" }, { 999.9, "1000" }, { 1000, "1.0K" },
		{ 1550, "1.6K" }, { 99900, "99.9K" }, { 99960, "100K" }, { 999940, "1000K" },
		{ 999960, "1.0M" }, { 230e6, "230M" }, { 12.34e9, "12.3G" }, { 5e12, "5.0T" },
		{ 5e18, "5000000T" },
	};
	char text[32];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		rate_format(cases[i].rate, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
}

static void test_share(void **state)
{
	struct share share, over;
	long long n;

	(void)state;
	assert_true(share_parse(SHARE_WEIGHT, "1", &n) && n == 1);
	assert_true(share_parse(SHARE_WEIGHT, "65535", &n) && n == 65535);
	assert_false(share_parse(SHARE_WEIGHT, "0", &n));
	assert_false(share_parse(SHARE_WEIGHT, "65536", &n));
	assert_false(share_parse(SHARE_WEIGHT, "1K", &n));
	assert_false(share_parse(SHARE_WEIGHT, "", &n));
	assert_true(share_parse(SHARE_CAP, "2M", &n) && n == 2000000);
	assert_true(share_parse(SHARE_MAX_OPS, "2147483647", &n) && n == 2147483647);
	assert_false(share_parse(SHARE_MAX_HELD, "2147483648", &n));
	assert_false(share_parse(SHARE_MAX_CHUNKS, "none", &n));

	share_init(&share);
	share_init(&over);
	share.value[SHARE_WEIGHT] = 3;
	share.value[SHARE_CAP] = 5;
	over.value[SHARE_CAP] = 0;
	share_merge(&share, &over);
	assert_int_equal(share.value[SHARE_WEIGHT], 3);
	assert_int_equal(share.value[SHARE_CAP], 0);
	assert_int_equal(share.value[SHARE_MAX_OPS], -1);
}

static void test_policy(void **state)
{
	static const char uuid[] = "5f3c1c0e-8c11-4e2c-9d5b-0d7f4ad6a001";
	const struct policy_rule *rule;
	struct policy policy;
	char error[128];

	(void)state;
	assert_true(policy_parse(&policy,
				 "# all of ours\n"
				 "\n"
				 "web-1  never\r\n"
				 "\tweb-*\tweight=512   cap=200M # a word\n"
				 "uuid:5f3c1c0e-*  max-ops=9 max-chunks=8 max-held=7\n"
				 "[a-c]?\n"
				 "last", error, sizeof(error)));
	assert_int_equal(policy.nr, 5);

	rule = policy_find(&policy, "web-1", uuid);
	assert_true(rule && rule->never);
	rule = policy_find(&policy, "web-10", uuid);
	assert_non_null(rule);
	assert_false(rule->never);
	assert_int_equal(rule->share.value[SHARE_WEIGHT], 512);
	assert_int_equal(rule->share.value[SHARE_CAP], 200000000);
	assert_int_equal(rule->share.value[SHARE_MAX_OPS], -1);
	rule = policy_find(&policy, "other", uuid);
	assert_non_null(rule);
	assert_int_equal(rule->share.value[SHARE_MAX_OPS], 9);
	assert_int_equal(rule->share.value[SHARE_MAX_CHUNKS], 8);
	assert_int_equal(rule->share.value[SHARE_MAX_HELD], 7);
	assert_ptr_equal(policy_find(&policy, NULL, uuid), rule);
	assert_non_null(policy_find(&policy, "b1", NULL));
	assert_null(policy_find(&policy, "d1", NULL));
	assert_non_null(policy_find(&policy, "last", NULL));
	assert_null(policy_find(&policy, "LAST", NULL));
	assert_null(policy_find(&policy, NULL, NULL));
	policy_free(&policy);

	assert_true(policy_parse(&policy, "", error, sizeof(error)));
	assert_null(policy_find(&policy, "any", uuid));
	policy_free(&policy);
}

static void test_policy_errors(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "a\nb weight=0\n", "line 2: 'weight=0' is not understood" },
		{ "a weight=70000", "line 1: 'weight=70000' is not understood" },
		{ "a weight", "line 1: 'weight' is not understood" },
		{ "a weight=", "line 1: 'weight=' is not understood" },
		{ "a cap=fast", "line 1: 'cap=fast' is not understood" },
		{ "\n\na b", "line 3: 'b' is not understood" },
		{ "a Never", "line 1: 'Never' is not understood" },
		{ "uuid: weight=1", "line 1: 'uuid:' is not understood" },
	};
	struct policy policy;
	char error[128];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		assert_false(policy_parse(&policy, cases[i].text, error, sizeof(error)));
		assert_string_equal(error, cases[i].error);
	}
}

static void test_operation(void **state)
{
	struct operation op;

	(void)state;
	assert_true(operation_parse("0 7 file-to-socket 12 1048576 16777216 socket disk:51744 "
				    "198.18.0.10:5000\n", &op));
	assert_int_equal(op.queue, 0);
	assert_int_equal(op.flow, 7);
	assert_string_equal(op.kind, "file-to-socket");
	assert_string_equal(op.cookie, "12");
	assert_int_equal(op.moved, 1048576);
	assert_int_equal(op.length, 16777216);
	assert_string_equal(op.waits, "socket");
	assert_string_equal(op.source, "disk:51744");
	assert_string_equal(op.sink, "198.18.0.10:5000");
	/* a stream of no known length */
	assert_true(operation_parse("3 4095 socket-to-socket 18446744073709551615 0 "
				    "18446744073709551615 none [2001:db8::10]:1 [2001:db8::11]:2", &op));
	assert_int_equal(op.length, -1);
	assert_true(operation_parse("3 1 a b 0 4611686018427387904 c d e", &op));
	assert_int_equal(op.length, -1);
	assert_true(operation_parse("3 1 a b 0 4611686018427387903 c d e", &op));
	assert_int_equal(op.length, 4611686018427387903);
	assert_true(operation_parse("3 1 a b 0 - c d e", &op));
	assert_int_equal(op.length, -1);

	assert_false(operation_parse("queue flow kind cookie moved length waits source sink", &op));
	assert_false(operation_parse("", &op));
	assert_false(operation_parse("0 7 a 1 2 3 b c", &op));
	assert_false(operation_parse("0 7 a 1 2 3 b c d e", &op));
	assert_false(operation_parse("-1 7 a 1 2 3 b c d", &op));
	assert_false(operation_parse("4294967296 7 a 1 2 3 b c d", &op));
	assert_false(operation_parse("0 7 a 1 x 3 b c d", &op));
}

static void test_operation_rate(void **state)
{
	struct operation old[] = {
		{ .queue = 0, .flow = 1, .cookie = "5", .moved = 1000 },
		{ .queue = 1, .flow = 1, .cookie = "5", .moved = 5000 },
		{ .queue = 2, .flow = 1, .cookie = "5", .moved = 5000 },
	}, new[] = {
		{ .queue = 1, .flow = 1, .cookie = "5", .moved = 6000 },
		{ .queue = 0, .flow = 1, .cookie = "6", .moved = 300 },	/* the next one */
		{ .queue = 0, .flow = 1, .cookie = "5", .moved = 1000 },
		{ .queue = 2, .flow = 1, .cookie = "5", .moved = 10 },	/* another, later */
	};
	struct operations before = { .op = old, .nr = 3 }, now = { .op = new, .nr = 4 };

	(void)state;
	operations_rate(&now, &before, 2);
	assert_int_equal(new[0].rate, 500);
	assert_int_equal(new[1].rate, 150);
	assert_int_equal(new[2].rate, 0);
	assert_int_equal(new[3].rate, 5);
	operations_rate(&now, &before, 0);
	assert_int_equal(new[0].rate, 0);
}

static void test_json(void **state)
{
	static const char expected[] =
		"{\"a\":\"\\\"\\\\\\u000a\\u007f/\",\"utf\":\"\303\244\360\237\220\247\","
		"\"bad\":\"\\ufffdx\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\",\"none\":null,"
		"\"list\":[-5,{},[],true],\"k\\u0001\":false,\"n\":null}";
	struct json json = { 0 };
	char *text = NULL;
	size_t size;

	(void)state;
	json.out = open_memstream(&text, &size);
	assert_non_null(json.out);
	json_open(&json, NULL, '{');
	json_string(&json, "a", "\"\\\n\177/");
	json_string(&json, "utf", "\303\244\360\237\220\247");
	/* a lone one, then an overlong slash, a surrogate's first byte, a cut one */
	json_string(&json, "bad", "\200x\300\257\355\240\303");
	json_string(&json, "none", NULL);
	json_open(&json, "list", '[');
	json_number(&json, NULL, -5);
	json_open(&json, NULL, '{');
	json_close(&json, '}');
	json_open(&json, NULL, '[');
	json_close(&json, ']');
	json_boolean(&json, NULL, true);
	json_close(&json, ']');
	json_boolean(&json, "k\1", false);
	json_null(&json, "n");
	json_close(&json, '}');
	fclose(json.out);
	assert_string_equal(text, expected);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_format),
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_policy_errors),
		cmocka_unit_test(test_operation),
		cmocka_unit_test(test_operation_rate),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests_name("vpipectl", tests, NULL, NULL);
}
