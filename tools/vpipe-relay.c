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
#include "ordinary.h"
#include "outcome.h"
#include "tcp.h"

static const char *const path_names[] = { "auto", "ordinary", "offload" };

static enum path path = PATH_AUTO;
static enum call call = CALL_READ_WRITE;
static int64_t buffer = ORDINARY_BUFFER;
static int64_t length = -1;	/* -1: to the client's end */

static void help(FILE *out)
{
	fputs("Usage: vpipe-relay [OPTIONS] LISTENPORT HOST PORT\n"
	      "Wait for a client, connect to HOST, pass on what the client sends, print one\n"
	      "line of JSON.  What HOST sends is dropped.  The time ends when HOST has all and\n"
	      "closes.\n"
	      "\n"
	      "  --path auto       libvpipe: by the driver domain if it can (default)\n"
	      "  --path ordinary   read(2) and write(2) only\n"
	      "  --path offload    libvpipe; fail when a byte was passed on otherwise\n"
	      "  --call NAME       this system call only: read (with write), splice\n"
	      "  --buffer BYTES    with --call read, or the pipe's with --call splice (131072)\n"
	      "  --length BYTES    pass on so many (to the client's end)\n"
	      "  --help, --version\n"
	      "\n"
	      "Prints {\"listening\":PORT} when it is ready.  LISTENPORT 0: any free one.\n"
	      "Exit status: 0 all was passed on, 1 it was not, 2 wrong usage,\n"
	      "3 (--path offload) all was passed on, but not all by the driver domain.\n", out);
}

static void relay_ordinary(int client, int server, uint64_t most, struct outcome *o)
{
	uint64_t passed;
	int err = ordinary_move(call, client, server, most, (size_t)buffer, &passed);

	outcome_ordinary(o, passed, err);
}

static int relay(int client, int server)
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
	outcome_print(&o, path == PATH_ORDINARY ? call_name(call) : path_names[path]);
	if (o.error || (length >= 0 && o.bytes != most))
		return 1;
	return path == PATH_OFFLOAD && o.offloaded != o.bytes ? 3 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "path", required_argument, NULL, 'p' },
		{ "call", required_argument, NULL, 'C' },
		{ "buffer", required_argument, NULL, 'b' },
		{ "length", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c, listener, client, server;
	int64_t port;
	bool good = true;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			good &= option_path(optarg, path_names, &path);
			break;
		case 'C':
			good &= option_call(optarg, &call);
			path = PATH_ORDINARY;
			break;
		case 'b':
			good &= option_number(optarg, ORDINARY_BUFFER_MAX, &buffer) && buffer;
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
	return relay(client, server);
}
