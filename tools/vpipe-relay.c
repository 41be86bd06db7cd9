// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-relay: pass on what a TCP client sends, and tell how it went
 *
 * One direction only: during a transfer the driver domain has both connections.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vpipe.h>

#include "options.h"
#include "outcome.h"
#include "tcp.h"

static const char *const path_names[] = { "auto", "ordinary", "offload" };

static void help(FILE *out)
{
	fputs("Usage: vpipe-relay [OPTIONS] LISTENPORT HOST PORT\n"
	      "Wait for a client, connect to HOST, pass on what the client sends, print one\n"
	      "line of JSON.  What HOST sends is dropped.  The time ends when HOST has all and\n"
	      "closes.\n"
	      "\n"
	      "  --path auto       libvpipe: by the driver domain if it can (default)\n"
	      "  --path ordinary   recv(2) and send(2) only\n"
	      "  --path offload    libvpipe; fail when a byte was passed on otherwise\n"
	      "  --length BYTES    pass on so many (to the client's end)\n"
	      "  --help, --version\n"
	      "\n"
	      "Prints {\"listening\":PORT} when it is ready.  LISTENPORT 0: any free one.\n"
	      "Exit status: 0 all was passed on, 1 it was not, 2 wrong usage,\n"
	      "3 (--path offload) all was passed on, but not all by the driver domain.\n", out);
}

static int send_all(int sock, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = send(sock, buf, len, 0);

		if (n < 0 && errno != EINTR)
			return errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static void relay_ordinary(int client, int server, uint64_t most, struct outcome *o)
{
	static char buf[128 << 10];
	uint64_t passed = 0;
	int err = 0;

	while (passed < most && !err) {
		uint64_t left = most - passed;
		ssize_t n = recv(client, buf, left < sizeof(buf) ? left : sizeof(buf), 0);

		if (n == 0)
			break;
		if (n > 0)
			err = send_all(server, buf, (size_t)n);
		else if (errno != EINTR)
			err = errno;
		if (n > 0 && !err)
			passed += (uint64_t)n;
	}
	outcome_ordinary(o, passed, err);
}

static int relay(int client, int server, enum path path, int64_t length)
{
	uint64_t most = (uint64_t)(length < 0 ? INT64_MAX : length);
	struct outcome o = { 0 };
	double start = outcome_now();

	if (path == PATH_ORDINARY)
		relay_ordinary(client, server, most, &o);
	else
		outcome_take(&o, vpipe_socket_to_socket_fd(client, server, most));
	if (!o.error)
		o.error = tcp_finish(server);
	o.seconds = outcome_now() - start;
	outcome_print(&o, path_names[path]);
	if (o.error || (length >= 0 && o.bytes != most))
		return 1;
	return path == PATH_OFFLOAD && o.offloaded != o.bytes ? 3 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "path", required_argument, NULL, 'p' },
		{ "length", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c, listener, client, server;
	enum path path = PATH_AUTO;
	int64_t length = -1, port;
	bool good = true;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			good &= option_path(optarg, path_names, &path);
			break;
		case 'l':
			good &= option_number(optarg, INT64_MAX, &length);
			break;
		case 'h':
			help(stdout);
			return 0;
		case 'V':
			puts("vpipe-relay " VPIPE_VERSION);
			return 0;
		default:
			return 2;
		}
	}
	if (argc - optind != 3) {
		help(stderr);
		return 2;
	}
	argv += optind;
	if (!good || !option_number(argv[0], 65535, &port))
		return 2;

	signal(SIGPIPE, SIG_IGN);
	listener = tcp_listen((unsigned int)port);
	if (listener < 0)
		return 1;
	client = tcp_accept(listener, NULL);
	if (client < 0)
		return 1;
	server = tcp_connect(argv[1], argv[2]);
	if (server < 0)
		return 1;
	return relay(client, server, path, length);
}
