// SPDX-License-Identifier: GPL-2.0
/*
 * vptest forge LOCAL PEER VDEV SECTORS LOCAL6: requests as an evil guest would make
 * them, through vpipe-forge.ko.  LOCAL is the guest's address, PEER one on the
 * wire; VDEV is a disk of the guest with SECTORS sectors.  A line for each:
 * {"case":,"status":,"want":,"ok":}.  At the end a good request is served.
 *
 * vptest flood KIND SECONDS LOCAL PEER VDEV: one kind of requests as fast as they are
 * answered:
 *   unknown   a command that is none
 *   release   RELEASE of a flow that is not there
 *   disk      TRANSFERs from a disk that is not there
 *   extents   TRANSFERs whose 256 extents, from last to first, overlap in the end
 *   open      OPEN and RELEASE
 *   attach    ATTACH and RELEASE
 *   byte      OPEN, TRANSFERs of one byte of the disk into the buffer, RELEASE
 * {"answered":,"refused":,"first":,"last":}
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
static uint32_t flow = FLOW;
static unsigned char page[4096];

static struct xen_vpipe_request request(uint16_t op)
{
	return (struct xen_vpipe_request){ .op = op, .flow = flow };
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
	ATTACH("no such vif", -ENODEV, st.vif = 9);
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
	req = request(XEN_VPIPE_OP_DETACH);
	req.u.detach.flags = 2;
	verdict("detach with an unknown flag", command(&req), -EINVAL);
	verdict("good extents", transfer(vdev, ONE(0, 8), 1, 4095), 0);
}

/* --- flows without a connection, buffers, unread bytes ---------------------------- */

#define END_SOCKET(n)	(struct xen_vpipe_end){ .type = XEN_VPIPE_END_SOCKET, .id = (n) }
#define END_BUFFER(n)	(struct xen_vpipe_end){ .type = XEN_VPIPE_END_BUFFER, .id = (n) }
#define END_DISK(v, n)	(struct xen_vpipe_end){ .type = XEN_VPIPE_END_EXTENTS, .page = 3, \
						.id = (v), .nr = (n) }
#define OTHER	(FLOW + 1)
#define PLAIN	(FLOW + 2)	/* no connection */
#define NOBODY	(FLOW + 3)

static int move(struct xen_vpipe_end source, struct xen_vpipe_end sink, uint64_t length)
{
	struct xen_vpipe_request req = request(XEN_VPIPE_OP_TRANSFER);

	req.u.transfer.length = length;
	req.u.transfer.source = source;
	req.u.transfer.sink = sink;
	return command(&req);
}

/* From the buffer to these extents. */
static int store(uint32_t vdev, const struct xen_vpipe_extent *extent, uint32_t nr,
		 uint32_t skip, uint64_t length, uint16_t flags)
{
	struct xen_vpipe_end sink = END_DISK(vdev, nr);

	memset(page, 0, sizeof(page));
	memcpy(page, extent, (nr < 256 ? nr : 256) * sizeof(*extent));
	sink.type |= flags;
	sink.skip = skip;
	return move(END_BUFFER(flow), sink, length);
}

/* These extents into the buffer. */
static int load(uint32_t vdev, const struct xen_vpipe_extent *extent, uint32_t nr,
		uint64_t length)
{
	memset(page, 0, sizeof(page));
	memcpy(page, extent, (nr < 256 ? nr : 256) * sizeof(*extent));
	return move(END_DISK(vdev, nr), END_BUFFER(flow), length);
}

static int simple(uint16_t op)
{
	struct xen_vpipe_request req = request(op);

	return command(&req);
}

static int unread(uint32_t length, uint16_t first)
{
	struct xen_vpipe_request req = request(XEN_VPIPE_OP_UNREAD);
	unsigned int i;

	req.u.queue.length = length;
	for (i = 0; i < XEN_VPIPE_QUEUE_PAGES; i++)
		req.u.queue.page[i] = i;
	req.u.queue.page[0] = first;
	return command(&req);
}

/* An ATTACH of family 6 from (and to) these addresses. */
static int attach6(const char *from, const char *to)
{
	struct xen_vpipe_tcp_state st = good_state(local, peer);

	st.family = 6;
	inet_pton(AF_INET6, from, st.local_addr);
	inet_pton(AF_INET6, to, st.peer_addr);
	return attach(&st);
}

/* `own` is an address that the domain has. */
static void attaches6(const char *own)
{
	static const char * const foreign[] = {
		"2001:db8::1", "2001:db8::2", "2001:db8::77", "fd00::3", "c612:3::",
		"::ffff:0:198.18.0.3",
	}, * const impossible[] = {
		"::", "::1", "::ffff:198.18.0.3", "::198.18.0.3", "fe80::3", "ff02::1",
	};
	struct xen_vpipe_tcp_state st = good_state(local, peer);
	size_t i;

	for (i = 0; i < sizeof(foreign) / sizeof(*foreign); i++)
		verdict("IPv6: foreign source address", attach6(foreign[i], "2001:db8::10"), -EPERM);
	for (i = 0; i < sizeof(impossible) / sizeof(*impossible); i++) {
		verdict("IPv6: bad source", attach6(impossible[i], "2001:db8::10"), -EINVAL);
		verdict("IPv6: bad peer", attach6(own, impossible[i]), -EINVAL);
	}
	verdict("IPv6: from itself", attach6(own, own), -EINVAL);
	st.local_addr[15] = 1;
	verdict("IPv4: a longer address", attach(&st), -EINVAL);
	verdict("IPv6: good", attach6(own, "2001:db8::10"), 0);
	verdict("IPv6: release", simple(XEN_VPIPE_OP_RELEASE), 0);
}

static void opens(uint32_t vdev)
{
	struct xen_vpipe_request req = request(XEN_VPIPE_OP_OPEN);

	verdict("open: number of a connection", command(&req), -EEXIST);
	req.flow = 0xffffffff;
	verdict("open: flow number too large", command(&req), -ENOSPC);
	req.flow = PLAIN;
	req.u.open.reserved[11] = 1;
	verdict("open: reserved member set", command(&req), -EINVAL);
	req.u.open.reserved[11] = 0;
	verdict("open: good", command(&req), 0);
	verdict("open: twice", command(&req), -EEXIST);

	flow = PLAIN;
	verdict("attach: number of an open flow", simple(XEN_VPIPE_OP_ATTACH), -EEXIST);
	req = request(XEN_VPIPE_OP_QUEUE);
	req.u.queue.length = 100;
	verdict("queue: no connection", command(&req), -EINVAL);
	verdict("unread: no connection", unread(100, 0), -EINVAL);
	req = request(XEN_VPIPE_OP_RETURN);
	req.u.ret.nr_pages = 1;
	verdict("return: no connection", command(&req), -EINVAL);
	memset(page, 0, sizeof(page));
	memcpy(page, &(struct xen_vpipe_extent){ .nr = 8 }, sizeof(struct xen_vpipe_extent));
	verdict("to the socket of no connection",
		move(END_DISK(vdev, 1), END_SOCKET(PLAIN), 4096), -EINVAL);
	verdict("from the socket of no connection",
		move(END_SOCKET(PLAIN), END_BUFFER(PLAIN), 4096), -EINVAL);
	verdict("a socket feeds no connection",
		move(END_SOCKET(PLAIN), END_SOCKET(FLOW), 4096), -EINVAL);
}

/* Flow PLAIN; what is written is what was read there. */
static void buffers(uint32_t vdev, uint64_t sectors)
{
	struct xen_vpipe_extent hole[256] = { { .sector = 0, .nr = 8 },
					      { .sector = XEN_VPIPE_SECTOR_ZERO, .nr = 8 } };
	struct xen_vpipe_extent two[256] = { { .sector = 100, .nr = 8 }, { .sector = 104, .nr = 8 } };
	struct xen_vpipe_end end = END_DISK(vdev, 1);
	int i, status;

	verdict("store: nothing is buffered", store(vdev, ONE(0, 8), 0, 4096, 0), -EINVAL);
	verdict("load: behind the end", load(vdev, ONE(sectors, 8), 4096), -ERANGE);
	verdict("load: empty", load(vdev, ONE(0, 8), 0), -EINVAL);
	verdict("load: good", load(vdev, ONE(0, 16), 8192), 0);
	/* It is in the buffer once its end was told. */
	for (i = 0; i < 1000; i++) {
		status = store(vdev, ONE(0, 8), 0, 4096, 0);
		if (status != -EINVAL)
			break;
		usleep(10000);
	}
	verdict("store: good", status, 0);
	verdict("store: more than is buffered", store(vdev, ONE(0, 16), 0, 8192, 0), -EINVAL);
	verdict("store: length of all ones", store(vdev, ONE(0, 8), 0, UINT64_MAX, 0), -EINVAL);
	verdict("store: a hole", store(vdev, hole, 2, 0, 8192, 0), -EINVAL);
	verdict("store: skip", store(vdev, ONE(0, 8), 512, 3584, 0), -EINVAL);
	verdict("store: less than the extents", store(vdev, ONE(0, 8), 0, 3584, 0), -EINVAL);
	verdict("store: no whole block", store(vdev, ONE(0, 8), 0, 4095, 0), -EINVAL);
	verdict("store: behind the end", store(vdev, ONE(sectors, 8), 0, 4096, 0), -ERANGE);
	verdict("store: across the end", store(vdev, ONE(sectors - 7, 8), 0, 4096, 0), -ERANGE);
	verdict("store: overlapping", store(vdev, two, 2, 0, 8192, 0), -EINVAL);
	verdict("store: no extents", store(vdev, two, 0, 0, 4096, 0), -EINVAL);
	verdict("store: too many extents", store(vdev, two, 257, 0, 4096, 0), -EINVAL);
	verdict("store: disk of another domain", store(51712, ONE(0, 8), 0, 4096, 0), -ENODEV);
	verdict("store: unknown flag", store(vdev, ONE(0, 8), 0, 4096, 0x200), -EOPNOTSUPP);
	verdict("store: good, with FUA",
		store(vdev, ONE(8, 8), 0, 4096, XEN_VPIPE_END_FUA), 0);
	verdict("store: all of it was asked for", store(vdev, ONE(0, 1), 0, 512, 0), -EINVAL);

	verdict("buffer to buffer", move(END_BUFFER(flow), END_BUFFER(flow), 512), -EOPNOTSUPP);
	verdict("buffer to socket", move(END_BUFFER(flow), END_SOCKET(FLOW), 512), -EOPNOTSUPP);
	verdict("disk to disk", move(end, end, 4096), -EOPNOTSUPP);
	end.type |= XEN_VPIPE_END_FUA;
	verdict("flag of a sink at a source", move(end, END_BUFFER(flow), 4096), -EOPNOTSUPP);
	verdict("the buffer of another flow", move(END_DISK(vdev, 1), END_BUFFER(FLOW), 4096),
		-EINVAL);
	end = END_BUFFER(flow);
	end.skip = 1;
	verdict("skip of a buffer", move(END_DISK(vdev, 1), end, 4096), -EINVAL);
	verdict("detach of an open flow", simple(XEN_VPIPE_OP_DETACH), 0);
	verdict("load: after detach", load(vdev, ONE(0, 8), 4096), -ESHUTDOWN);
	verdict("release of an open flow", simple(XEN_VPIPE_OP_RELEASE), 0);
	verdict("store: no such flow", store(vdev, ONE(0, 8), 0, 4096, 0), -ENOENT);
}

static void sockets(void)
{
	struct xen_vpipe_end end = END_SOCKET(OTHER);
	int i, status = 0;

	flow = FLOW;
	verdict("unread: after a transfer", unread(100, 0), -EINVAL);
	verdict("socket to itself", move(END_SOCKET(FLOW), END_SOCKET(FLOW), 4096), -EBUSY);
	verdict("socket to no flow", move(END_SOCKET(FLOW), END_SOCKET(NOBODY), 4096), -ENOENT);
	verdict("socket of another flow", move(END_SOCKET(NOBODY), END_BUFFER(FLOW), 4096),
		-EINVAL);
	verdict("socket to the buffer of another flow",
		move(END_SOCKET(FLOW), END_BUFFER(NOBODY), 4096), -EINVAL);
	verdict("no bytes", move(END_SOCKET(FLOW), END_BUFFER(FLOW), 0), -EINVAL);

	flow = OTHER;
	ATTACH("other flow, bytes to be sent", 0, st.local_port = htons(40001);
	       st.write_seq += 100);
	verdict("unread: before the last queue", unread(100, 0), -EINVAL);
	verdict("socket to buffer before the last queue",
		move(END_SOCKET(OTHER), END_BUFFER(OTHER), 4096), -EINVAL);
	flow = FLOW;
	verdict("socket to one before its last queue",
		move(END_SOCKET(FLOW), END_SOCKET(OTHER), 4096), -EINVAL);
	flow = OTHER;
	verdict("release it", simple(XEN_VPIPE_OP_RELEASE), 0);

	ATTACH("other flow", 0, st.local_port = htons(40001));
	verdict("unread: nothing", unread(0, 0), -EINVAL);
	verdict("unread: page outside of the pool", unread(100, 500), -EINVAL);
	verdict("unread: more than the pages hold",
		unread(XEN_VPIPE_QUEUE_PAGES * 4096 + 1, 0), -EINVAL);
	for (i = 0; !status && i < 102; i++)
		status = unread(XEN_VPIPE_QUEUE_PAGES * 4096, 0);
	verdict("unread: much", status, 0);
	verdict("unread: too much", unread(XEN_VPIPE_QUEUE_PAGES * 4096, 0), -EINVAL);
	verdict("unread: as much as there may be", unread(8 * 4096, 0), 0);
	verdict("unread: one more", unread(1, 0), -EINVAL);
	end.nr = 1;
	verdict("extents of a socket", move(end, END_BUFFER(OTHER), 4096), -EINVAL);
	/* Two flows that give to each other, and one that is released under the other. */
	verdict("release the first", (flow = FLOW, simple(XEN_VPIPE_OP_RELEASE)), 0);
	ATTACH("and again", 0, (void)st);
	verdict("socket to socket", move(END_SOCKET(FLOW), END_SOCKET(OTHER), 4096), 0);
	verdict("socket to one that is fed", move(END_SOCKET(FLOW), END_SOCKET(OTHER), 4096),
		-EBUSY);
	flow = OTHER;
	verdict("socket to the one that feeds it",
		move(END_SOCKET(OTHER), END_SOCKET(FLOW), 4096), -EBUSY);
	verdict("a fed one's own transfer", move(END_SOCKET(OTHER), END_BUFFER(OTHER), 4096),
		-EBUSY);
	verdict("release the fed one", simple(XEN_VPIPE_OP_RELEASE), 0);
	flow = FLOW;
}

/* --- many requests -------------------------------------------------------------------- */

static struct forge_flood flood;

static struct xen_vpipe_request *flood_add(uint16_t op)
{
	struct xen_vpipe_request req = request(op);

	memcpy(flood.request[flood.nr], &req, sizeof(req));
	return (struct xen_vpipe_request *)flood.request[flood.nr++];
}

static void flood_transfer(uint32_t vdev, uint32_t nr, uint64_t length)
{
	struct xen_vpipe_request *req = flood_add(XEN_VPIPE_OP_TRANSFER);

	req->u.transfer.length = length;
	req->u.transfer.source = END_DISK(vdev, nr);
	req->u.transfer.sink = END_BUFFER(FLOW);
}

/* What is at page 3, once a harmless command has put it there. */
static void flood_page(const void *data, size_t len)
{
	memset(page, 0, sizeof(page));
	memcpy(page, data, len);
	simple(XEN_VPIPE_OP_RELEASE);
}

static void flood_extents(uint32_t vdev)
{
	struct xen_vpipe_extent extent[256];

	for (uint32_t i = 0; i < 256; i++)
		extent[i] = (struct xen_vpipe_extent){ .sector = 8 * (256 - i), .nr = 8 };
	extent[255].sector = extent[254].sector;
	flood_page(extent, sizeof(extent));
	simple(XEN_VPIPE_OP_OPEN);
	flood_transfer(vdev, 256, 256 * 4096);
}

static void flood_disk(void)
{
	struct xen_vpipe_extent extent = { .sector = 0, .nr = 8 };

	flood_page(&extent, sizeof(extent));
	simple(XEN_VPIPE_OP_OPEN);
	flood_transfer(51712, 1, 4096);
}

static void flood_bytes(uint32_t vdev)
{
	struct xen_vpipe_extent extent = { .sector = 0, .nr = 8 };

	flood_page(&extent, sizeof(extent));
	flood_add(XEN_VPIPE_OP_OPEN);
	for (int i = 0; i < 8; i++)
		flood_transfer(vdev, 1, 1);
	flood_add(XEN_VPIPE_OP_RELEASE);
}

int cmd_flood(int argc, char **argv)
{
	struct xen_vpipe_tcp_state st;

	if (argc != 6)
		die("usage: flood KIND SECONDS LOCAL PEER VDEV");
	device = open("/dev/vpipe-forge", O_RDWR);
	if (device < 0)
		die("/dev/vpipe-forge: %s", strerror(errno));
	flood.ms = (uint32_t)atoi(argv[2]) * 1000;
	if (!strcmp(argv[1], "unknown")) {
		simple(XEN_VPIPE_OP_OPEN);	/* who it is for is looked at first */
		flood_add(99);
	} else if (!strcmp(argv[1], "release")) {
		flood_add(XEN_VPIPE_OP_RELEASE);
	} else if (!strcmp(argv[1], "extents")) {
		flood_extents((uint32_t)atoi(argv[5]));
	} else if (!strcmp(argv[1], "disk")) {
		flood_disk();
	} else if (!strcmp(argv[1], "byte")) {
		flood_bytes((uint32_t)atoi(argv[5]));
	} else if (!strcmp(argv[1], "open")) {
		flood_add(XEN_VPIPE_OP_OPEN);
		flood_add(XEN_VPIPE_OP_RELEASE);
	} else if (!strcmp(argv[1], "attach")) {
		st = good_state(argv[3], argv[4]);
		flood_page(&st, sizeof(st));
		flood_add(XEN_VPIPE_OP_ATTACH)->u.attach.page = 3;
		flood_add(XEN_VPIPE_OP_RELEASE);
	} else {
		die("unknown flood %s", argv[1]);
	}
	if (ioctl(device, FORGE_FLOOD, &flood))
		die("flood: %s", strerror(errno));
	printf("{\"answered\":%llu,\"refused\":%llu,\"first\":%d,\"last\":%d}\n",
	       (unsigned long long)flood.answered, (unsigned long long)flood.refused,
	       flood.first, flood.last);
	simple(XEN_VPIPE_OP_RELEASE);
	return 0;
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
	if (argc != 6)
		die("usage: forge LOCAL PEER VDEV SECTORS LOCAL6 | forge jump");
	local = argv[1];
	peer = argv[2];
	attaches();
	transfers((uint32_t)atoi(argv[3]), strtoull(argv[4], NULL, 0));
	opens((uint32_t)atoi(argv[3]));
	buffers((uint32_t)atoi(argv[3]), strtoull(argv[4], NULL, 0));
	sockets();
	verdict("release", command(&req), 0);
	verdict("release again", command(&req), -ENOENT);
	ATTACH("good, again", 0, (void)st);
	verdict("release, again", command(&req), 0);
	attaches6(argv[5]);
	return !all_ok;
}
