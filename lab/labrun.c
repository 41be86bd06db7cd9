// SPDX-License-Identifier: MIT
/*
 * labrun HOST COMMAND: run a command through the labd of another machine, with
 * our stdin, stdout and stderr, and exit with its status. 255: no connection.
 */
#define _GNU_SOURCE
#include "labproto.h"

#include <err.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static int dial(const char *host)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(LAB_PORT) };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, idle = 5;
	struct hostent *h = gethostbyname(host);

	if (!h || h->h_addrtype != AF_INET)
		errx(255, "%s: unknown host", host);
	memcpy(&a.sin_addr, h->h_addr_list[0], sizeof(a.sin_addr));
	if (connect(s, (void *)&a, sizeof(a)))
		err(255, "%s", host);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* A domain may be destroyed under us. */
	setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(s, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	setsockopt(s, IPPROTO_TCP, TCP_KEEPCNT, &idle, sizeof(idle));
	return s;
}

static void pump_stdin(int s)
{
	char buf[LAB_DATA_MAX];
	ssize_t n;

	while ((n = read(0, buf, sizeof(buf))) > 0)
		if (lab_send(s, 0, LAB_STDIN, buf, n))
			return;
	lab_send(s, 0, LAB_STDIN, "", 0);
}

static void read_exactly(int s, void *buf, size_t len)
{
	if (len && recv(s, buf, len, MSG_WAITALL) != (ssize_t)len)
		errx(255, "connection lost");
}

int main(int argc, char **argv)
{
	struct lab_frame f;
	uint32_t status;
	int s;

	if (argc != 3)
		errx(2, "usage: labrun HOST COMMAND");
	if (strlen(argv[2]) > LAB_DATA_MAX)
		errx(2, "command too long");
	s = dial(argv[1]);
	if (lab_send(s, 0, LAB_RUN, argv[2], strlen(argv[2])))
		err(255, "%s", argv[1]);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pump_stdin(s);
		_exit(0);
	}
	for (;;) {
		read_exactly(s, &f.h, sizeof(f.h));
		if (f.h.len > LAB_DATA_MAX)
			errx(255, "bad frame");
		read_exactly(s, f.data, f.h.len);
		switch (f.h.type) {
		case LAB_STDOUT:
			lab_write(1, f.data, f.h.len);
			break;
		case LAB_STDERR:
			lab_write(2, f.data, f.h.len);
			break;
		case LAB_EXIT:
			memcpy(&status, f.data, sizeof(status));
			exit(status);
		}
	}
}
