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
#include <sys/stat.h>
#include <unistd.h>
#include <vpipe.h>

#include "options.h"
#include "ordinary.h"
#include "outcome.h"
#include "tcp.h"

static const char *const path_names[] = { "auto", "sendfile", "offload" };

static enum path path = PATH_AUTO;
static enum call call = CALL_SENDFILE;
static int64_t buffer = ORDINARY_BUFFER;
static int64_t offset, length = -1, repeat = 1, stride, count = 1;
static bool wait;

static void help(FILE *out)
{
	fputs("Usage: vpipe-send [OPTIONS] FILE HOST PORT\n"
	      "Connect to HOST, send FILE, print one line of JSON.  The time begins when HOST\n"
	      "has accepted, and ends when HOST has all and closes.\n"
	      "\n"
	      "  --path auto       libvpipe: by the driver domain if it can (default)\n"
	      "  --path sendfile   sendfile(2) only\n"
	      "  --path offload    libvpipe; fail when a byte was sent otherwise\n"
	      "  --call NAME       this system call only: read (with write), sendfile, splice\n"
	      "  --buffer BYTES    with --call read, or the pipe's with --call splice (131072)\n"
	      "  --offset BYTES    start there in FILE (0)\n"
	      "  --length BYTES    send so many (to the end)\n"
	      "  --repeat N        send that N times on a connection (1)\n"
	      "  --stride BYTES    each time so much further on in FILE (0)\n"
	      "  --count N         do so on N connections, one after the other; the time has all\n"
	      "                    of it, also connecting again (1)\n"
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

/* vp is of both, or NULL. */
static bool send_once(vpipe_t *vp, int file, int sock, int64_t at, struct outcome *sum)
{
	struct outcome o = { 0 };
	uint64_t moved = 0;

	if (vp) {
		outcome_take(&o, vpipe_file_to_socket(vp, at, (uint64_t)length));
	} else if (path != PATH_ORDINARY) {
		outcome_take(&o, vpipe_file_to_socket_fd(file, sock, at, (uint64_t)length));
	} else if (lseek(file, at, SEEK_SET) < 0) {
		outcome_ordinary(&o, 0, errno);
	} else {
		int err = ordinary_move(call, file, sock, (uint64_t)length, (size_t)buffer, &moved);

		outcome_ordinary(&o, moved, err);
	}
	outcome_add(sum, &o);
	return !o.error && o.bytes == (uint64_t)length;
}

/*
 * The bytes are in the socket (here or in the driver domain) when the calls return.
 * The time ends when the peer has all of them and has closed in its turn, so it is
 * the same measure for each path.
 */
static bool send_all(int file, int sock, struct outcome *sum)
{
	/* A handle pays when it is used more than once. */
	vpipe_t *vp = path != PATH_ORDINARY && repeat > 1 ? vpipe_create(file, sock) : NULL;
	bool good = true;

	for (int64_t n = 0; n < repeat && good; n++)
		good = send_once(vp, file, sock, offset + n * stride, sum);
	vpipe_destroy(vp);
	if (!sum->error)
		sum->error = tcp_finish(sock);
	return good && !sum->error;
}

static int run(int file, const char *host, const char *port)
{
	struct outcome sum = { 0 };
	double start = 0;
	bool good = true;

	for (int64_t n = 0; n < count && good; n++) {
		int sock = tcp_connect(host, port);

		if (sock < 0)
			return 1;
		if (!n && wait)
			wait_for_line(port);
		if (!n)
			start = outcome_now();
		good = send_all(file, sock, &sum);
		close(sock);
	}
	sum.seconds = outcome_now() - start;
	outcome_print(&sum, path == PATH_ORDINARY ? call_name(call) : path_names[path]);
	if (!good)
		return 1;
	return path == PATH_OFFLOAD && sum.offloaded != sum.bytes ? 3 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "path", required_argument, NULL, 'p' },
		{ "call", required_argument, NULL, 'C' },
		{ "buffer", required_argument, NULL, 'b' },
		{ "offset", required_argument, NULL, 'o' },
		{ "length", required_argument, NULL, 'l' },
		{ "repeat", required_argument, NULL, 'r' },
		{ "stride", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'c' },
		{ "wait", no_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int64_t last = 0;
	bool good = true;
	struct stat st;
	int c, file;

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
		case 'o':
			good &= option_number(optarg, INT64_MAX, &offset);
			break;
		case 'l':
			good &= option_number(optarg, INT64_MAX, &length);
			break;
		case 'r':
			good &= option_number(optarg, INT64_MAX, &repeat);
			break;
		case 's':
			good &= option_number(optarg, INT64_MAX, &stride);
			break;
		case 'c':
			good &= option_number(optarg, INT64_MAX, &count);
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
	if (!good)
		return 2;

	signal(SIGPIPE, SIG_IGN);
	file = open(argv[0], O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &st)) {
		fprintf(stderr, "vpipe-send: %s: %s\n", argv[0], strerror(errno));
		return 1;
	}
	/* The last one has to be within the file too. */
	if (repeat > 1 && __builtin_mul_overflow(repeat - 1, stride, &last))
		last = INT64_MAX;
	if (offset > st.st_size || last > st.st_size - offset ||
	    length > st.st_size - offset - last) {
		fprintf(stderr, "vpipe-send: %s has only %jd bytes\n", argv[0],
			(intmax_t)st.st_size);
		return 1;
	}
	if (length < 0)
		length = st.st_size - offset - last;
	return run(file, argv[1], argv[2]);
}
