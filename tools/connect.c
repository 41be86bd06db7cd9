// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp.h"

int tcp_connect(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *ai;
	int fd = -1, err;

	err = getaddrinfo(host, port, &hints, &list);
	if (err) {
		fprintf(stderr, "%s: %s port %s: %s\n", program_invocation_short_name, host,
			port, gai_strerror(err));
		return -1;
	}
	err = 0;
	for (ai = list; ai; ai = ai->ai_next) {
		fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol);
		if (fd >= 0 && !connect(fd, ai->ai_addr, ai->ai_addrlen))
			break;
		err = errno;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	if (fd < 0)
		fprintf(stderr, "%s: cannot connect to %s port %s: %s\n",
			program_invocation_short_name, host, port, strerror(err));
	return fd;
}

int tcp_finish(int sock)
{
	char byte;
	ssize_t n;

	if (shutdown(sock, SHUT_WR))
		return errno;
	while ((n = recv(sock, &byte, 1, 0)) > 0 || (n < 0 && errno == EINTR))
		;
	return n < 0 ? errno : 0;
}
