// SPDX-License-Identifier: LGPL-2.1-or-later
/* backend/tcpstate.h: each rule at its edges, then against model.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tcpstate.h"
#include "model.h"
#include "sample.h"
#include "../random.h"

#define STATES		1000000U

static int answer(const struct xen_vpipe_tcp_state *st)
{
	int status = vpback_tcpstate_check(st);

	assert_int_equal(status, model_tcpstate(st) ? 0 : -EINVAL);
	return status;
}

/* A sample with some members set otherwise. */
#define expect_of(sample, status, ...) do {					\
	struct xen_vpipe_tcp_state st = sample;					\
	__VA_ARGS__;								\
	assert_int_equal(answer(&st), status);					\
} while (0)
#define expect(status, ...)	expect_of(sample_state(), status, __VA_ARGS__)
#define expect6(status, ...)	expect_of(sample_state6(), status, __VA_ARGS__)

static void test_kind(void **state)
{
	(void)state;
	expect(0, (void)st);
	expect(-EINVAL, st.family = 0);
	expect6(0, (void)st);
	expect6(-EINVAL, st.family = 4);
	expect6(-EINVAL, st.family = 5);
	expect6(-EINVAL, st.family = 10);		/* AF_INET6 */
	expect6(-EINVAL, st.family = 6 << 8);
	expect(-EINVAL, st.family = 4 << 8);
	expect(-EINVAL, st.state = 0);
	expect(0, st.state = XEN_VPIPE_TCP_ESTABLISHED);
	expect(0, st.state = XEN_VPIPE_TCP_CLOSE_WAIT);
	expect(-EINVAL, st.state = XEN_VPIPE_TCP_CLOSED);
	expect(-EINVAL, st.state = 4);
	expect(-EINVAL, st.state = UINT16_MAX);
	expect(-EINVAL, memset(&st, 0, sizeof(st)));
	expect(-EINVAL, memset(&st, 0xff, sizeof(st)));
}

static void test_reserved(void **state)
{
	(void)state;
	expect(0, st.flags = 0);
	expect(0, st.flags = 0x3f);
	expect(-EINVAL, st.flags |= 0x200);
	expect(-EINVAL, st.flags = UINT32_MAX);
}

#define KEEP(idle, interval, probes)						\
	st.flags |= XEN_VPIPE_TCP_F_KEEPALIVE, st.keep_idle_s = (idle),		\
	st.keep_interval_s = (interval), st.keep_probes = (probes)

static void test_keepalive(void **state)
{
	(void)state;
	expect(0, st.keep_idle_s = UINT32_MAX);		/* without the flag: not looked at */
	expect(0, KEEP(1, 1, 1));
	expect(0, KEEP(32767, 32767, 127));
	expect(-EINVAL, KEEP(0, 1, 1));
	expect(-EINVAL, KEEP(1, 0, 1));
	expect(-EINVAL, KEEP(1, 1, 0));
	expect(-EINVAL, KEEP(32768, 1, 1));
	expect(-EINVAL, KEEP(1, 32768, 1));
	expect(-EINVAL, KEEP(1, 1, 128));
	expect(-EINVAL, KEEP(UINT32_MAX, UINT32_MAX, UINT32_MAX));
}

static void test_address(void **state)
{
	static const struct {
		const char *addr;
		int status;
	} addresses[] = {
		{ "0.0.0.0", -EINVAL }, { "0.255.255.255", -EINVAL }, { "1.0.0.0", 0 },
		{ "126.255.255.255", 0 }, { "127.0.0.1", -EINVAL }, { "127.255.255.255", -EINVAL },
		{ "128.0.0.1", 0 }, { "223.255.255.255", 0 }, { "224.0.0.1", -EINVAL },
		{ "239.255.255.255", -EINVAL }, { "240.0.0.1", -EINVAL },
		{ "255.255.255.255", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		uint8_t addr[4];

		assert_int_equal(inet_pton(AF_INET, addresses[i].addr, addr), 1);
		expect(addresses[i].status, memcpy(st.local_addr, addr, 4));
		expect(addresses[i].status, memcpy(st.peer_addr, addr, 4));
	}
	expect(-EINVAL, memcpy(st.peer_addr, st.local_addr, 16));
	for (size_t i = 0; i < 4; i++)
		expect(0, memcpy(st.peer_addr, st.local_addr, 16); st.peer_addr[i] ^= 1);
	/* Only four bytes of it are an address, and the others are 0. */
	for (size_t i = 4; i < 16; i++) {
		expect(-EINVAL, st.local_addr[i] = 1);
		expect(-EINVAL, st.peer_addr[i] = 0x80);
	}
	expect(-EINVAL, memcpy(st.peer_addr, st.local_addr, 4); st.peer_addr[4] = 1);
	expect(-EINVAL, st.local_port = 0);
	expect(-EINVAL, st.peer_port = 0);
	expect(0, st.local_port = htons(1); st.peer_port = htons(65535));
	expect(0, st.local_port = htons(256); st.peer_port = 256);
}

static void test_address6(void **state)
{
	static const struct {
		const char *addr;
		int status;
	} addresses[] = {
		{ "::", -EINVAL }, { "::1", -EINVAL }, { "::2", -EINVAL },
		{ "::192.0.2.1", -EINVAL }, { "::ffff:192.0.2.1", -EINVAL },
		{ "::ffff:0:192.0.2.1", 0 },		/* RFC 2765, 2.1 */
		{ "0:0:0:0:1::", 0 }, { "0:0:0:0:0:ffff::", -EINVAL },
		{ "64:ff9b::192.0.2.1", 0 },		/* RFC 6052, 2.1 */
		{ "1::", 0 }, { "2001:db8::77", 0 }, { "2002:c000:201::1", 0 },
		{ "fc00::1", 0 }, { "fd12:3456::1", 0 }, { "fe7f:ffff::1", 0 },
		{ "fe80::1", -EINVAL }, { "fe80:1::1", -EINVAL }, { "febf:ffff::1", -EINVAL },
		{ "fec0::1", 0 }, { "feff:ffff::1", 0 },
		{ "ff00::", -EINVAL }, { "ff02::1", -EINVAL }, { "ff0e::1", -EINVAL },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		uint8_t addr[16];

		assert_int_equal(inet_pton(AF_INET6, addresses[i].addr, addr), 1);
		expect6(addresses[i].status, memcpy(st.local_addr, addr, 16));
		expect6(addresses[i].status, memcpy(st.peer_addr, addr, 16));
	}
	expect6(-EINVAL, memcpy(st.peer_addr, st.local_addr, 16));
	for (size_t i = 0; i < 16; i++)
		expect6(0, memcpy(st.peer_addr, st.local_addr, 16); st.peer_addr[i] ^= 1);
	expect6(-EINVAL, st.local_port = 0);
	expect6(-EINVAL, st.peer_port = 0);
}

static void test_nexthop(void **state)
{
	(void)state;
	expect(-EINVAL, memset(st.nexthop, 0xff, 6));
	expect(-EINVAL, st.nexthop[0] = 0x01);
	expect(-EINVAL, st.nexthop[0] = 0x33);
	expect(0, st.nexthop[0] = 0xfe);
	expect(0, memset(&st.nexthop[1], 0xff, 5));
}

/* With an offset that makes any of the numbers wrap. */
static void test_send_sequence(void **state)
{
	const uint32_t most = VPBACK_MAX_SEND_QUEUE;

	(void)state;
	assert_int_equal(most, 16 << 20);
	for (uint32_t una = 0U - most - 2, i = 0; i < 4; una += most / 2 + 1, i++) {
		expect(0, sample_send(&st, una, 0, 0));
		expect(0, sample_send(&st, una, 0, 1));
		expect(0, sample_send(&st, una, 1, 1));
		expect(-EINVAL, sample_send(&st, una, 1, 0));
		expect(-EINVAL, sample_send(&st, una, 2, 1));
		expect(-EINVAL, sample_send(&st, una, -1, 0));
		expect(-EINVAL, sample_send(&st, una, -1, 1));
		expect(-EINVAL, sample_send(&st, una, 0, -1));
		expect(-EINVAL, sample_send(&st, una, -1, -1));
		expect(0, sample_send(&st, una, 0, most));
		expect(0, sample_send(&st, una, most, most));
		expect(-EINVAL, sample_send(&st, una, most + 1, most));
		expect(-EINVAL, sample_send(&st, una, 0, most + 1));
		expect(-EINVAL, sample_send(&st, una, most + 1, most + 1));
		expect(-EINVAL, sample_send(&st, una, 0, 1U << 31));
		expect(-EINVAL, sample_send(&st, una, 1U << 31, 1U << 31));
	}
}

static void test_window(void **state)
{
	(void)state;
	expect(0, st.snd_wscale = 14; st.rcv_wscale = 14);
	expect(-EINVAL, st.snd_wscale = 15);
	expect(-EINVAL, st.rcv_wscale = 15);
	expect(-EINVAL, st.snd_wscale = 255);
	expect(-EINVAL, st.rcv_wscale = 255);
	expect(0, st.snd_wnd = 0);
	expect(0, st.snd_wnd = 0; st.max_window = 0);
	expect(0, st.snd_wnd = st.max_window);
	expect(-EINVAL, st.snd_wnd = st.max_window + 1);
	expect(0, st.max_window = 1U << 30);
	expect(0, st.snd_wnd = st.max_window = 65535U << 14);
	expect(-EINVAL, st.max_window = (1U << 30) + 1);
	expect(-EINVAL, st.snd_wnd = st.max_window = UINT32_MAX);
	expect(0, st.rcv_wnd = 0);
	expect(0, st.rcv_wnd = 1U << 30);
	expect(-EINVAL, st.rcv_wnd = (1U << 30) + 1);
	expect(-EINVAL, st.rcv_wnd = UINT32_MAX);
}

static void test_receive_sequence(void **state)
{
	static const uint32_t places[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffff0000, 0xffffffff };

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		uint32_t nxt = places[i];

		expect(0, sample_receive(&st, nxt, 0, 0));
		expect(0, sample_receive(&st, nxt, -1, 0));
		expect(-EINVAL, sample_receive(&st, nxt, 1, 0));
		expect(0, sample_receive(&st, nxt, -0x7fffffff, 0));
		expect(-EINVAL, sample_receive(&st, nxt, 0x7fffffff, 0));
		/* The window may have shrunk to nothing since. */
		expect(0, sample_receive(&st, nxt, 0, st.rcv_wnd + 1));
		expect(0, st.rcv_wnd = 0; sample_receive(&st, nxt, 0, 1));
		expect(0, sample_receive(&st, nxt, 0, -(1U << 30)));
	}
}

static void test_mss(void **state)
{
	(void)state;
	expect(0, st.mss_clamp = 88);
	expect(-EINVAL, st.mss_clamp = 87);
	expect(-EINVAL, st.mss_clamp = 0);
	expect(0, st.mss_clamp = 65535);
	expect(-EINVAL, st.mss_clamp = 65536);
	expect(-EINVAL, st.mss_clamp = 65536 + 1460);
	expect(0, st.advmss = 88);
	expect(-EINVAL, st.advmss = 87);
	expect(-EINVAL, st.advmss = 0);
	expect(0, st.advmss = 65535);
	expect(-EINVAL, st.advmss = 65536);
	expect(-EINVAL, st.advmss = UINT32_MAX);
}

static void test_model(void **state)
{
	struct random r = { random_seed() };
	unsigned int accepted = 0;

	(void)state;
	for (unsigned int n = 0; n < STATES; n++) {
		uint64_t seed = r.state;
		struct xen_vpipe_tcp_state st = n % 2 ? sample_state6() : sample_state();
		unsigned int edits = 1 + random_below(&r, 4);
		int status;

		while (edits--)
			sample_edit(&st, random_u64(&r), random_u64(&r));
		status = vpback_tcpstate_check(&st);
		if (status != (model_tcpstate(&st) ? 0 : -EINVAL)) {
			fprintf(stderr, "state %u, SEED=%#llx: %d\n", n, (unsigned long long)seed,
				status);
			fail();
		}
		accepted += !status;
	}
	/* Or it would have been a test of one answer. */
	assert_true(accepted > STATES / 10 && accepted < STATES - STATES / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kind),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_keepalive),
		cmocka_unit_test(test_address),
		cmocka_unit_test(test_address6),
		cmocka_unit_test(test_nexthop),
		cmocka_unit_test(test_send_sequence),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_receive_sequence),
		cmocka_unit_test(test_mss),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests_name("tcpstate", tests, NULL, NULL);
}
