// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-send: send a file by TCP, and tell how it went
 *
 * The smallest program that uses libvpipe; also what the benchmarks run.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <vpipe.h>

enum path { PATH_AUTO, PATH_SENDFILE, PATH_OFFLOAD, N_PATHS };

static const char *const path_names[] = { "auto", "sendfile", "offload" };

struct outcome {
	uint64_t bytes;
	uint64_t offloaded;
	uint64_t copied;
	double seconds;
	const char *reason;	/* why not all was offloaded; NULL: it was */
	int error;
};

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
	      "  --help, --version\n"
	      "\n"
	      "Exit status: 0 all was sent, 1 it was not, 2 wrong usage,\n"
	      "3 (--path offload) all was sent, but not all by the driver domain.\n", out);
}

static int usage(const char *what, const char *arg)
{
	fprintf(stderr, "vpipe-send: %s '%s'\nTry 'vpipe-send --help'.\n", what, arg);
	return 2;
}

static int parse_bytes(const char *s, int64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoll(s, &end, 10);
	return errno || end == s || *end || *value < 0 ? -1 : 0;
}

static int connect_to(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *ai;
	int fd = -1, err;

	err = getaddrinfo(host, port, &hints, &list);
	if (err) {
		fprintf(stderr, "vpipe-send: %s port %s: %s\n", host, port, gai_strerror(err));
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
		fprintf(stderr, "vpipe-send: cannot connect to %s port %s: %s\n", host, port,
			strerror(err));
	return fd;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void send_ordinary(int file, int sock, off_t offset, uint64_t length,
			  struct outcome *o)
{
	while (o->copied < length) {
		uint64_t left = length - o->copied;
		size_t chunk = left > 0x7ffff000 ? 0x7ffff000 : (size_t)left;
		ssize_t n = sendfile(sock, file, &offset, chunk);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			o->error = errno;
		if (n <= 0)
			break;
		o->copied += (uint64_t)n;
	}
	o->bytes = o->copied;
	o->reason = "--path sendfile";
}

static void send_vpipe(int file, int sock, int64_t offset, uint64_t length,
		       struct outcome *o)
{
	struct vpipe_transfer_info info;
	int64_t n = vpipe_file_to_socket_fd(file, sock, offset, length);
	int err = errno;

	vpipe_last_result(&info, sizeof(info));
	o->bytes = n < 0 ? 0 : (uint64_t)n;
	o->offloaded = info.offloaded;
	o->copied = info.ordinary;
	o->error = n < 0 ? err : info.error;
	if (info.reason != VPIPE_DECLINED_NOT)
		o->reason = vpipe_reason_string(info.reason);
}

/*
 * The bytes are in the socket (here or in the driver domain) when the calls return.
 * The time ends when the peer has all of them and has closed in its turn, so it is
 * the same measure for each path.
 */
static void await_peer(int sock, struct outcome *o)
{
	char byte;
	ssize_t n;

	if (shutdown(sock, SHUT_WR)) {
		o->error = errno;
		return;
	}
	while ((n = recv(sock, &byte, 1, 0)) > 0 || (n < 0 && errno == EINTR))
		;
	if (n < 0)
		o->error = errno;
}

static void print(const struct outcome *o, enum path path)
{
	printf("{\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"path\":\"%s\","
	       "\"offloaded\":%" PRIu64 ",\"copied\":%" PRIu64 ",\"reason\":", o->bytes,
	       o->seconds, path_names[path], o->offloaded, o->copied);
	printf(o->reason ? "\"%s\"" : "null", o->reason);	/* needs no escapes */
	fputs(",\"error\":", stdout);
	printf(o->error ? "\"%s\"}\n" : "null}\n", strerror(o->error));
	fflush(stdout);
}

static int run(int file, int sock, enum path path, int64_t offset, uint64_t length)
{
	struct outcome o = { 0 };
	double start = now();

	if (path == PATH_SENDFILE)
		send_ordinary(file, sock, offset, length, &o);
	else
		send_vpipe(file, sock, offset, length, &o);
	if (!o.error)
		await_peer(sock, &o);
	o.seconds = now() - start;
	print(&o, path);
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
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	enum path path = PATH_AUTO;
	int64_t offset = 0, length = -1;
	struct stat st;
	int c, file, sock;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			for (path = 0; path < N_PATHS; path++)
				if (!strcmp(optarg, path_names[path]))
					break;
			if (path == N_PATHS)
				return usage("no such path:", optarg);
			break;
		case 'o':
			if (parse_bytes(optarg, &offset))
				return usage("not a number of bytes:", optarg);
			break;
		case 'l':
			if (parse_bytes(optarg, &length))
				return usage("not a number of bytes:", optarg);
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
	sock = connect_to(argv[1], argv[2]);
	if (sock < 0)
		return 1;
	return run(file, sock, path, offset, (uint64_t)length);
}
