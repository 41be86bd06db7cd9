// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp.h"

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	return -1;
}

static unsigned int local_port(int fd)
{
	struct sockaddr_in6 addr;	/* the port lies at the same place in both */
	socklen_t len = sizeof(addr);

	return getsockname(fd, (struct sockaddr *)&addr, &len) ? 0 : ntohs(addr.sin6_port);
}

/* Both families, or IPv4 where there is no IPv6 */
int tcp_listen(unsigned int port)
{
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr *addr = (struct sockaddr *)&any6;
	socklen_t len = sizeof(any6);
	int fd, on = 1, off = 0;

	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	} else {
		addr = (struct sockaddr *)&any4;
		len = sizeof(any4);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return fail("socket");
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, addr, len) || listen(fd, SOMAXCONN)) {
		fail("cannot listen");
		close(fd);
		return -1;
	}
	printf("{\"listening\":%u}\n", local_port(fd));
	fflush(stdout);
	return fd;
}

int tcp_accept(int listener, struct sockaddr_in6 *peer)
{
	socklen_t len;
	int fd;

	do {
		len = sizeof(*peer);
		fd = accept4(listener, (struct sockaddr *)peer, peer ? &len : NULL,
			     SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? fail("accept") : fd;
}
