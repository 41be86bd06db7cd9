// SPDX-License-Identifier: GPL-2.0
/* stream.c: one end of a connection, both directions of which are the pattern. */
#include <errno.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"
#include "vptest.h"

#define CHUNK 65536

uint64_t stream_period = 1ULL << 62;

void stream_pattern(uint64_t at, void *to, size_t len)
{
	unsigned char *p = to;

	while (len) {
		uint64_t left = stream_period - at % stream_period;
		size_t n = len < left ? len : (size_t)left;

		pattern(at % stream_period, p, n);
		p += n;
		at += n;
		len -= n;
	}
}

void stream_error(struct stream *s, int error)
{
	s->errors++;
	if (!s->error)
		s->error = error;
}

void stream_check(struct stream *s, const void *got, size_t len)
{
	static _Thread_local unsigned char want[CHUNK];
	const unsigned char *p = got;
	uint64_t found;

	while (len) {
		size_t n = len < CHUNK ? len : CHUNK, at = 0;

		stream_pattern(s->received, want, n);
		if (memcmp(p, want, n)) {
			while (p[at] == want[at])
				at++;
			if (n - at >= 16 && pattern_find(p + at, n - at, &found))
				die("wrong byte at %llu: the stream goes on with that of %llu",
				    (unsigned long long)(s->received + at),
				    (unsigned long long)found);
			die("wrong byte at %llu: %02x, not %02x",
			    (unsigned long long)(s->received + at), p[at], want[at]);
		}
		s->received += n;
		p += n;
		len -= n;
	}
}

int stream_send(struct stream *s, uint64_t len)
{
	static _Thread_local unsigned char data[CHUNK];

	while (len) {
		size_t n = len < CHUNK ? (size_t)len : CHUNK;
		ssize_t put;

		stream_pattern(s->sent, data, n);
		put = send(s->fd, data, n, MSG_NOSIGNAL);
		if (put < 0) {
			stream_error(s, errno);
			return 0;
		}
		s->sent += (uint64_t)put;
		len -= (uint64_t)put;
	}
	return 1;
}

/* Some bytes; how many, 0 when there are no more for now or ever. */
static size_t some(struct stream *s, uint64_t len, int flags)
{
	static _Thread_local unsigned char got[CHUNK];
	ssize_t n = recv(s->fd, got, len < CHUNK ? (size_t)len : CHUNK, flags);

	if (n > 0)
		stream_check(s, got, (size_t)n);
	else if (!n)
		s->eof = 1;
	else if (errno != EAGAIN || !(flags & MSG_DONTWAIT))
		stream_error(s, errno);
	return n > 0 ? (size_t)n : 0;
}

int stream_recv(struct stream *s, uint64_t len, int flags)
{
	size_t n;

	for (; len; len -= n) {
		n = some(s, len, flags);
		if (!n)
			return 0;
	}
	return 1;
}

void stream_drain(struct stream *s)
{
	stream_recv(s, UINT64_MAX, MSG_DONTWAIT);
}

void stream_print(struct stream *s)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (s->fd >= 0)
		getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	printf("\"sent\":%llu,\"received\":%llu,\"eof\":%d,\"errors\":%u,\"errno\":%d,"
	       "\"retrans\":%u,\"reordered\":%u,\"out_of_order\":%u,\"dsack\":%u,"
	       "\"segments_in\":%u,\"segments_out\":%u,\"rtt_us\":%u",
	       (unsigned long long)s->sent, (unsigned long long)s->received, s->eof, s->errors,
	       s->error, info.tcpi_total_retrans, info.tcpi_reord_seen, info.tcpi_rcv_ooopack,
	       info.tcpi_dsack_dups, info.tcpi_segs_in, info.tcpi_segs_out, info.tcpi_rtt);
}

static void set(int fd, int option, const void *value, socklen_t len)
{
	if (setsockopt(fd, IPPROTO_TCP, option, value, len))
		die("TCP_REPAIR, option %d: %s", option, strerror(errno));
}

static void set_int(int fd, int option, uint32_t value)
{
	set(fd, option, &value, sizeof(value));
}

int stream_forge(const char *host, const char *port, uint32_t snd, uint32_t rcv)
{
	const struct tcp_repair_opt opts[] = {
		{ .opt_code = 2, .opt_val = 1428 },		/* MSS, as IPv6 has it at most */
		{ .opt_code = 3, .opt_val = 7 | 7 << 16 },	/* window scale, both ways */
		{ .opt_code = 4 },				/* SACK */
		{ .opt_code = 8 },				/* timestamps */
	};
	const struct tcp_repair_window window = {
		.snd_wl1 = rcv, .snd_wnd = 64000, .max_window = 64000, .rcv_wnd = 64000,
		.rcv_wup = rcv,
	};
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
	struct sockaddr_in6 from = { .sin6_port = htons((uint16_t)atoi(port)) };
	struct addrinfo *to;
	int fd, on = 1, err = getaddrinfo(host, port, &hints, &to);

	if (err)
		die("%s port %s: %s", host, port, gai_strerror(err));
	fd = socket(to->ai_family, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	from.sin6_family = (sa_family_t)to->ai_family;	/* the port is where IPv4 has it too */
	set_int(fd, TCP_REPAIR, TCP_REPAIR_ON);
	if (bind(fd, (struct sockaddr *)&from, to->ai_addrlen))
		die("port %s: %s", port, strerror(errno));
	set_int(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
	set_int(fd, TCP_QUEUE_SEQ, snd);
	set_int(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
	set_int(fd, TCP_QUEUE_SEQ, rcv);
	if (connect(fd, to->ai_addr, to->ai_addrlen))
		die("%s port %s: %s", host, port, strerror(errno));
	freeaddrinfo(to);
	set(fd, TCP_REPAIR_OPTIONS, opts, sizeof(opts));
	set(fd, TCP_REPAIR_WINDOW, &window, sizeof(window));
	set_int(fd, TCP_REPAIR, (uint32_t)TCP_REPAIR_OFF_NO_WP);
	return fd;
}
