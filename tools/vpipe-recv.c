// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-recv: receive a file by TCP, and tell how it went
 *
 * The other end of vpipe-send.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <vpipe.h>

#include "options.h"
#include "ordinary.h"
#include "outcome.h"
#include "tcp.h"

static const char *const path_names[] = { "auto", "ordinary", "offload" };

static enum path path = PATH_AUTO;
static int64_t length = -1;	/* of each connection; -1: to its end */
static bool sync_data;
static int sync_flag;		/* of open(2): O_SYNC or none */
static enum call call = CALL_READ_WRITE;
static int64_t buffer = ORDINARY_BUFFER;

static void help(FILE *out)
{
	fputs("Usage: vpipe-recv [OPTIONS] PORT FILE\n"
	      "Receive a connection into FILE, print one line of JSON for it.  The time is that\n"
	      "from its first byte to its end.\n"
	      "\n"
	      "  --path auto       libvpipe: by the driver domain if it can (default)\n"
	      "  --path ordinary   read(2) and write(2) only\n"
	      "  --path offload    libvpipe; fail when a whole block was written otherwise\n"
	      "  --call NAME       this system call only: read (with write), splice\n"
	      "  --buffer BYTES    with --call read, or the pipe's with --call splice (131072)\n"
	      "  --count N         receive N connections, each behind the one before (1)\n"
	      "  --offset BYTES    start there in FILE, and keep what it has (without it,\n"
	      "                    FILE is emptied)\n"
	      "  --length BYTES    take so many of each connection (to its end)\n"
	      "  --sync            the data is on the disk when the time ends\n"
	      "  --osync           FILE is open with O_SYNC: after each write it is there\n"
	      "  --help, --version\n"
	      "\n"
	      "Prints {\"listening\":PORT} when it is ready.  PORT 0: any free one.\n"
	      "Exit status: 0 all was received, 1 it was not, 2 wrong usage,\n"
	      "3 (--path offload) all was received, but not all by the driver domain.\n", out);
}

static void receive_ordinary(int sock, int file, int64_t offset, uint64_t most,
			     struct outcome *o)
{
	uint64_t got = 0;
	int err = 0;

	/* What cannot be sought in stands where it should. */
	if (lseek(file, offset, SEEK_SET) < 0 && errno != ESPIPE)
		err = errno;
	if (!err)
		err = ordinary_move(call, sock, file, most, (size_t)buffer, &got);
	outcome_ordinary(o, got, err);
}

/* Parts of a block, at the beginning and the end, are not for the driver domain. */
static bool whole_blocks_offloaded(int file, int64_t offset, const struct outcome *o)
{
	uint64_t first, last, block;
	struct statfs fs;

	if (fstatfs(file, &fs) || fs.f_bsize <= 0)
		return false;
	block = (uint64_t)fs.f_bsize;
	first = ((uint64_t)offset + block - 1) / block;
	last = ((uint64_t)offset + o->bytes) / block;
	return last <= first || o->offloaded == (last - first) * block;
}

/* Returns the exit status; adds to *offset what came. */
static int receive(int sock, int file, int64_t *offset)
{
	uint64_t most = (uint64_t)(length < 0 ? INT64_MAX - *offset : length);
	struct outcome o = { 0 };
	double start;
	char byte;
	int rc = 0;

	/* The client may be slow to begin. */
	while (recv(sock, &byte, 1, MSG_PEEK) < 0 && errno == EINTR)
		;
	start = outcome_now();
	if (path == PATH_ORDINARY)
		receive_ordinary(sock, file, *offset, most, &o);
	else
		outcome_take(&o, vpipe_socket_to_file_fd(sock, file, *offset, most));
	if (sync_data && !o.error && fdatasync(file))
		o.error = errno;
	o.seconds = outcome_now() - start;
	outcome_print(&o, path == PATH_ORDINARY ? call_name(call) : path_names[path]);
	if (o.error || (length >= 0 && o.bytes != most))
		rc = 1;
	else if (path == PATH_OFFLOAD && !whole_blocks_offloaded(file, *offset, &o))
		rc = 3;
	*offset += (int64_t)o.bytes;
	return rc;
}

static int receive_all(int listener, int file, int64_t offset, int64_t count)
{
	int rc = 0, sock;

	while (count-- && rc != 1) {
		int one;

		sock = tcp_accept(listener, NULL);
		if (sock < 0)
			return 1;
		one = receive(sock, file, &offset);
		close(sock);
		if (one)
			rc = one;
	}
	return rc;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "path", required_argument, NULL, 'p' },
		{ "call", required_argument, NULL, 'C' },
		{ "buffer", required_argument, NULL, 'b' },
		{ "count", required_argument, NULL, 'c' },
		{ "offset", required_argument, NULL, 'o' },
		{ "length", required_argument, NULL, 'l' },
		{ "sync", no_argument, NULL, 's' },
		{ "osync", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int64_t offset = -1, count = 1, port;
	int c, file, listener, rc;
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
		case 'c':
			good &= option_number(optarg, INT64_MAX, &count);
			break;
		case 'o':
			good &= option_number(optarg, INT64_MAX, &offset);
			break;
		case 'l':
			good &= option_number(optarg, INT64_MAX, &length);
			break;
		case 's':
			sync_data = true;
			break;
		case 'S':
			sync_flag = O_SYNC;
			break;
		case 'h':
			help(stdout);
			return 0;
		case 'V':
			puts("vpipe-recv " VPIPE_VERSION);
			return 0;
		default:
			return 2;
		}
	}
	if (argc - optind != 2) {
		help(stderr);
		return 2;
	}
	argv += optind;
	if (!good || !option_number(argv[0], 65535, &port))
		return 2;

	signal(SIGXFSZ, SIG_IGN);	/* EFBIG tells it too, and how much came */
	file = open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC | sync_flag |
		    (offset < 0 ? O_TRUNC : 0), 0666);
	if (file < 0) {
		fprintf(stderr, "vpipe-recv: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	listener = tcp_listen((unsigned int)port);
	if (listener < 0)
		return 1;
	rc = receive_all(listener, file, offset < 0 ? 0 : offset, count);
	if (close(file)) {
		fprintf(stderr, "vpipe-recv: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	return rc;
}
