// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-send: send a file by TCP, and tell how it went
 *
 * The smallest program that uses libvpipe; also what the benchmarks run.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vpipe.h>

#include "options.h"
#include "outcome.h"
#include "tcp.h"

static const char *const path_names[] = { "auto", "sendfile", "offload" };

static void help(FILE *out)
{
	fputs("Usage: vpipe-send [OPTIONS] FILE HOST PORT\n"
	      "Connect to HOST, send FILE, print one line of JSON.  The time ends when HOST\n"
	      "has all and closes.\n"
	      "\n"
	      "  --path auto       libvpipe: by the driver domain if it can (default)\n"
	      "  --path sendfile   sendfile(2) only\n"
	      "  --path offload    libvpipe; fail when a byte was sent otherwise\n"
	      "  --offset BYTES    start there in FILE (0)\n"
	      "  --length BYTES    send so many (to the end)\n"
	      "  --wait            when connected, print {\"connected\":PORT} and wait for a\n"
	      "                    line, or the end, of standard input\n"
	      "  --help, --version\n"
	      "\n"
	      "Exit status: 0 all was sent, 1 it was not, 2 wrong usage,\n"
	      "3 (--path offload) all was sent, but not all by the driver domain.\n", out);
}

/* Whoever measures the transfer alone begins here. */
static void wait_for_line(const char *port)
{
	char c;

	printf("{\"connected\":%s}\n", port);
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		;
}

static void send_ordinary(int file, int sock, off_t offset, uint64_t length,
			  struct outcome *o)
{
	uint64_t sent = 0;
	int err = 0;

	while (sent < length && !err) {
		uint64_t left = length - sent;
		size_t chunk = left > 0x7ffff000 ? 0x7ffff000 : (size_t)left;
		ssize_t n = sendfile(sock, file, &offset, chunk);

		if (n == 0)
			break;
		if (n > 0)
			sent += (uint64_t)n;
		else if (errno != EINTR)
			err = errno;
	}
	outcome_ordinary(o, sent, err);
}

/*
 * The bytes are in the socket (here or in the driver domain) when the calls return.
 * The time ends when the peer has all of them and has closed in its turn, so it is
 * the same measure for each path.
 */
static int run(int file, int sock, enum path path, int64_t offset, uint64_t length)
{
	struct outcome o = { 0 };
	double start = outcome_now();

	if (path == PATH_ORDINARY)
		send_ordinary(file, sock, offset, length, &o);
	else
		outcome_take(&o, vpipe_file_to_socket_fd(file, sock, offset, length));
	if (!o.error)
		o.error = tcp_finish(sock);
	o.seconds = outcome_now() - start;
	outcome_print(&o, path_names[path]);
	if (o.error || o.bytes != length)
		return 1;
	return path == PATH_OFFLOAD && o.offloaded != length ? 3 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "path", required_argument, NULL, 'p' },
		{ "offset", required_argument, NULL, 'o' },
		{ "length", required_argument, NULL, 'l' },
		{ "wait", no_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	enum path path = PATH_AUTO;
	int64_t offset = 0, length = -1;
	bool wait = false;
	struct stat st;
	int c, file, sock;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			if (!option_path(optarg, path_names, &path))
				return 2;
			break;
		case 'o':
			if (!option_number(optarg, INT64_MAX, &offset))
				return 2;
			break;
		case 'l':
			if (!option_number(optarg, INT64_MAX, &length))
				return 2;
			break;
		case 'w':
			wait = true;
			break;
		case 'h':
			help(stdout);
			return 0;
		case 'V':
			puts("vpipe-send " VPIPE_VERSION);
			return 0;
		default:
			help(stderr);
			return 2;
		}
	}
	if (argc - optind != 3) {
		help(stderr);
		return 2;
	}
	argv += optind;

	signal(SIGPIPE, SIG_IGN);
	file = open(argv[0], O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &st)) {
		fprintf(stderr, "vpipe-send: %s: %s\n", argv[0], strerror(errno));
		return 1;
	}
	if (offset > st.st_size || length > st.st_size - offset) {
		fprintf(stderr, "vpipe-send: %s has only %jd bytes\n", argv[0],
			(intmax_t)st.st_size);
		return 1;
	}
	if (length < 0)
		length = st.st_size - offset;
	sock = tcp_connect(argv[1], argv[2]);
	if (sock < 0)
		return 1;
	if (wait)
		wait_for_line(argv[2]);
	return run(file, sock, path, offset, (uint64_t)length);
}
