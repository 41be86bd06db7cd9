// SPDX-License-Identifier: GPL-2.0
/*
 * vptest forge LOCAL PEER VDEV SECTORS: requests as an evil guest would make
 * them, through vpipe-forge.ko.  LOCAL is the guest's address, PEER one on the
 * wire; VDEV is a disk of the guest with SECTORS sectors.  A line for each:
 * {"case":,"status":,"want":,"ok":}.  At the end a good request is served.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/interface/io/vpipe.h>

#include "forge.h"
#include "vptest.h"

#define FLOW	5U

static int device, all_ok = 1;
static unsigned char page[4096];

static struct xen_vpipe_request request(uint16_t op)
{
	return (struct xen_vpipe_request){ .op = op, .flow = FLOW };
}

/* The response's status; page 3 carries what is in `page`. */
static int command(const struct xen_vpipe_request *req)
{
	struct forge_command cmd = { .page_data = (uintptr_t)page, .page = 3, .timeout_ms = 10000 };

	memcpy(cmd.request, req, sizeof(cmd.request));
	if (ioctl(device, FORGE_COMMAND, &cmd))
		die("forge: %s", strerror(errno));
	return cmd.status;
}

static void verdict(const char *name, int got, int want)
{
	printf("{\"case\":\"%s\",\"status\":%d,\"want\":%d,\"ok\":%s}\n", name, got, want,
	       got == want ? "true" : "false");
	if (got != want)
		all_ok = 0;
}

static struct xen_vpipe_tcp_state good_state(const char *local, const char *peer)
{
	struct xen_vpipe_tcp_state st = {
		.state = XEN_VPIPE_TCP_ESTABLISHED, .family = 4,
		.nexthop = { 0x02, 0, 0, 0, 0, 0x99 },
		.local_port = htons(40000), .peer_port = htons(9),
		.snd_una = 1000, .snd_nxt = 1000, .write_seq = 1000,
		.snd_wl1 = 2000, .snd_wnd = 65535, .max_window = 65535,
		.rcv_nxt = 2000, .rcv_wnd = 65535, .rcv_wup = 2000,
		.mss_clamp = 1460, .advmss = 1460, .cwnd = 10, .ssthresh = 100,
		.rcvbuf = 131072, .sndbuf = 87040, .window_clamp = 65535, .congestion = "cubic",
	};

	inet_pton(AF_INET, local, st.local_addr);
	inet_pton(AF_INET, peer, st.peer_addr);
	return st;
}

static const char *local, *peer;

static int attach(const struct xen_vpipe_tcp_state *st)
{
	struct xen_vpipe_request req = request(XEN_VPIPE_OP_ATTACH);

	memset(page, 0, sizeof(page));
	memcpy(page, st, sizeof(*st));
	req.u.attach.page = 3;
	return command(&req);
}

/* An ATTACH with one thing changed. */
#define ATTACH(name, want, change) do {					\
	struct xen_vpipe_tcp_state st = good_state(local, peer);	\
									\
	change;								\
	verdict(name, attach(&st), want);				\
} while (0)

static void attaches(void)
{
	struct xen_vpipe_request req = request(XEN_VPIPE_OP_ATTACH);

	ATTACH("foreign source address", -EPERM, inet_pton(AF_INET, "198.18.0.77", st.local_addr));
	ATTACH("address of the host", -EPERM, inet_pton(AF_INET, "198.18.0.1", st.local_addr));
	ATTACH("loopback source", -EINVAL, inet_pton(AF_INET, "127.0.0.1", st.local_addr));
	ATTACH("multicast peer", -EINVAL, inet_pton(AF_INET, "224.0.0.1", st.peer_addr));
	ATTACH("port 0", -EINVAL, st.peer_port = 0);
	ATTACH("unknown family", -EINVAL, st.family = 7);
	ATTACH("closed connection", -EINVAL, st.state = XEN_VPIPE_TCP_CLOSED);
	ATTACH("no such vif", -EPERM, st.vif = 9);
	ATTACH("huge send queue", -EINVAL, st.write_seq = st.snd_una + (64U << 20));
	ATTACH("snd_nxt behind write_seq", -EINVAL, st.snd_nxt = st.write_seq + 1);
	ATTACH("window scale 15", -EINVAL, st.snd_wscale = 15);
	ATTACH("mss 0", -EINVAL, st.mss_clamp = 0);
	ATTACH("group address as next hop", -EINVAL, st.nexthop[0] = 1);
	req.u.attach.page = 500;
	verdict("page outside of the pool", command(&req), -EINVAL);
	req.u.attach.page = 3;
	req.flow = 0xffffffff;
	verdict("flow number too large", command(&req), -ENOSPC);
	req.flow = FLOW;
	req.reserved2 = 1;
	verdict("reserved member set", command(&req), -EINVAL);
	ATTACH("good", 0, (void)st);
	ATTACH("flow number in use", -EEXIST, (void)st);
}

static int transfer(uint32_t vdev, const struct xen_vpipe_extent *extent, uint32_t nr,
		    uint32_t skip, uint64_t length)
{
	struct xen_vpipe_request req = request(XEN_VPIPE_OP_TRANSFER);

	memset(page, 0, sizeof(page));
	memcpy(page, extent, (nr < 256 ? nr : 256) * sizeof(*extent));
	req.u.transfer.cookie = 1;
	req.u.transfer.length = length;
	req.u.transfer.source.type = XEN_VPIPE_END_EXTENTS;
	req.u.transfer.source.id = vdev;
	req.u.transfer.source.page = 3;
	req.u.transfer.source.nr = nr;
	req.u.transfer.source.skip = skip;
	req.u.transfer.sink.type = XEN_VPIPE_END_SOCKET;
	req.u.transfer.sink.id = FLOW;
	return command(&req);
}

#define ONE(s, n)	(const struct xen_vpipe_extent[256]){ { .sector = (s), .nr = (n) } }, 1

static void transfers(uint32_t vdev, uint64_t sectors)
{
	struct xen_vpipe_extent two[256] = { { .sector = 100, .nr = 8 }, { .sector = 104, .nr = 8 } };
	struct xen_vpipe_extent back[256] = { { .sector = 100, .nr = 8 }, { .sector = 96, .nr = 5 } };
	struct xen_vpipe_request req;

	verdict("extent behind the end", transfer(vdev, ONE(sectors, 8), 0, 4096), -ERANGE);
	verdict("extent across the end", transfer(vdev, ONE(sectors - 7, 8), 0, 4096), -ERANGE);
	verdict("overflowing sector", transfer(vdev, ONE(UINT64_MAX - 1, 8), 0, 4096), -ERANGE);
	verdict("sector of all ones but one", transfer(vdev, ONE(UINT64_MAX - 8, 8), 0, 4096),
		-ERANGE);
	verdict("overlapping extents", transfer(vdev, two, 2, 0, 8192), -EINVAL);
	verdict("overlapping, out of order", transfer(vdev, back, 2, 0, 6656), -EINVAL);
	verdict("empty extent", transfer(vdev, ONE(0, 0), 0, 4096), -EINVAL);
	verdict("length beyond the extents", transfer(vdev, ONE(0, 8), 0, 4097), -EINVAL);
	verdict("length of all ones", transfer(vdev, ONE(0, 8), 0, UINT64_MAX), -EINVAL);
	verdict("skip beyond the extent", transfer(vdev, ONE(0, 8), 4096, 1), -EINVAL);
	verdict("skip and length overflow", transfer(vdev, ONE(0, 8), 4000, UINT64_MAX - 100), -EINVAL);
	verdict("no extents", transfer(vdev, two, 0, 0, 4096), -EINVAL);
	verdict("too many extents", transfer(vdev, two, 257, 0, 4096), -EINVAL);
	verdict("disk of another domain", transfer(51712, ONE(0, 8), 0, 4096), -ENODEV);
	verdict("disk number of all ones", transfer(UINT32_MAX, ONE(0, 8), 0, 4096), -ENODEV);

	req = request(XEN_VPIPE_OP_TRANSFER);
	req.u.transfer.source.type = XEN_VPIPE_END_SOCKET;
	req.u.transfer.sink.type = XEN_VPIPE_END_EXTENTS;
	verdict("a pair that is not served", command(&req), -EOPNOTSUPP);
	req = request(99);
	verdict("unknown command", command(&req), -EOPNOTSUPP);
	req = request(XEN_VPIPE_OP_QUEUE);
	req.u.queue.length = 100;
	verdict("more send queue than announced", command(&req), -EINVAL);
	req = request(XEN_VPIPE_OP_RETURN);
	req.u.ret.nr_pages = 1;
	verdict("return before detach", command(&req), -EBUSY);
	req = request(XEN_VPIPE_OP_DETACH);
	req.flow = FLOW + 1;
	verdict("detach of no flow", command(&req), -ENOENT);
	verdict("good extents", transfer(vdev, ONE(0, 8), 1, 4095), 0);
}

int cmd_forge(int argc, char **argv)
{
	struct xen_vpipe_request req = request(XEN_VPIPE_OP_RELEASE);
	uint32_t jump = 1000;

	device = open("/dev/vpipe-forge", O_RDWR);
	if (device < 0)
		die("/dev/vpipe-forge: %s", strerror(errno));
	if (argc == 2 && !strcmp(argv[1], "jump"))
		return ioctl(device, FORGE_JUMP, &jump) ? 1 : 0;
	if (argc != 5)
		die("usage: forge LOCAL PEER VDEV SECTORS | forge jump");
	local = argv[1];
	peer = argv[2];
	attaches();
	transfers((uint32_t)atoi(argv[3]), strtoull(argv[4], NULL, 0));
	verdict("release", command(&req), 0);
	verdict("release again", command(&req), -ENOENT);
	ATTACH("good, again", 0, (void)st);
	verdict("release, again", command(&req), 0);
	return !all_ok;
}
