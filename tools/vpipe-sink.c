// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-sink: receive by TCP, and tell what came: the client of tests and benchmarks
 *
 * What arrives goes into memory that was made ready before, and is hashed after the
 * last byte, so that only receiving is timed.  Linked statically: it runs in images
 * that have no library.
 */
#define OPENSSL_API_COMPAT 10101	/* SHA256_Init etc.: small, and need no provider */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tcp.h"

#define CHUNK		(1 << 20)
#define MAX_WORKERS	1024

static bool discard;
static size_t buffer_size = 64 << 20;
static unsigned char *buffer;
static long connections;		/* to serve in all; 0: no limit */
static _Atomic long *tickets;		/* shared by the workers */

struct received {
	uint64_t bytes;
	double seconds;		/* from the first byte to the end */
	bool overflow;		/* more than the buffer: hashed under way, so timed */
	int error;
	char hash[2 * SHA256_DIGEST_LENGTH + 1];
};

static void help(FILE *out)
{
	fputs("Usage: vpipe-sink [OPTIONS] PORT\n"
	      "Receive what clients send, and print one line of JSON for each connection.\n"
	      "\n"
	      "  --buffer MIB    memory for the data of a connection (64); more may come,\n"
	      "                  but then hashing is timed too (\"overflow\":true)\n"
	      "  --discard       keep and hash nothing, do not even copy\n"
	      "  --workers N     serve N connections at a time, each with its buffer (1)\n"
	      "  --count N       end after N connections (0: never)\n"
	      "  --help, --version\n"
	      "\n"
	      "Prints {\"listening\":PORT} when it is ready.  PORT 0: any free one.\n"
	      "Exit status: 0, 1 failed, 2 wrong usage.\n", out);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int fail(const char *what)
{
	fprintf(stderr, "vpipe-sink: %s: %s\n", what, strerror(errno));
	return -1;
}

static void hex(const unsigned char *digest, char *out)
{
	int i;

	for (i = 0; i < SHA256_DIGEST_LENGTH; i++)
		sprintf(out + 2 * i, "%02x", digest[i]);
}

static ssize_t receive_some(int fd, size_t have)
{
	ssize_t n;

	do {
		/* TCP: MSG_TRUNC drops the data without copying it */
		n = discard ? recv(fd, NULL, CHUNK, MSG_TRUNC) :
			      recv(fd, buffer + have, buffer_size - have, 0);
	} while (n < 0 && errno == EINTR);
	return n;
}

static void receive(int fd, struct received *r)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	double start = 0, end = 0;
	size_t have = 0;
	SHA256_CTX ctx;
	ssize_t n;

	memset(r, 0, sizeof(*r));
	SHA256_Init(&ctx);
	while ((n = receive_some(fd, have)) > 0) {
		if (!r->bytes)
			start = now();
		r->bytes += (uint64_t)n;
		if (discard)
			continue;
		have += (size_t)n;
		if (have == buffer_size) {
			r->overflow = true;
			SHA256_Update(&ctx, buffer, have);
			have = 0;
		}
	}
	if (n < 0)
		r->error = errno;
	end = now();
	close(fd);	/* here, the sender's time ends too */
	r->seconds = r->bytes ? end - start : 0;
	if (discard)
		return;
	SHA256_Update(&ctx, buffer, have);
	SHA256_Final(digest, &ctx);
	hex(digest, r->hash);
}

static void describe(const struct sockaddr_in6 *peer, char *out, size_t size)
{
	const struct sockaddr_in *peer4 = (const struct sockaddr_in *)peer;
	char text[INET6_ADDRSTRLEN] = "";

	if (peer->sin6_family == AF_INET)
		inet_ntop(AF_INET, &peer4->sin_addr, text, sizeof(text));
	else if (IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr))
		inet_ntop(AF_INET, &peer->sin6_addr.s6_addr[12], text, sizeof(text));
	else
		inet_ntop(AF_INET6, &peer->sin6_addr, text, sizeof(text));
	snprintf(out, size, strchr(text, ':') ? "[%s]:%u" : "%s:%u", text,
		 (unsigned int)ntohs(peer->sin6_port));
}

/* One write(2) a line, so that the lines of several workers do not mix */
static void print(const struct received *r, const char *peer)
{
	char error[128] = "null", hash[80] = "null";

	if (r->error)
		snprintf(error, sizeof(error), "\"%s\"", strerror(r->error));
	if (r->hash[0])
		snprintf(hash, sizeof(hash), "\"%s\"", r->hash);
	printf("{\"peer\":\"%s\",\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"sha256\":%s,"
	       "\"overflow\":%s,\"error\":%s}\n", peer, r->bytes, r->seconds, hash,
	       r->overflow ? "true" : "false", error);
	fflush(stdout);
}

static int serve(int listener)
{
	if (!discard) {
		/* touched now, and not while data comes in */
		buffer = mmap(NULL, buffer_size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (buffer == MAP_FAILED)
			return fail("buffer");
	}
	while (!connections || atomic_fetch_add(tickets, 1) < connections) {
		struct sockaddr_in6 peer;
		struct received r;
		char text[80];
		int fd = tcp_accept(listener, &peer);

		if (fd < 0)
			return -1;
		receive(fd, &r);
		describe(&peer, text, sizeof(text));
		print(&r, text);
	}
	return 0;
}

static int serve_all(int listener, long workers)
{
	int status, rc = 0;
	long i;

	if (workers == 1)
		return serve(listener);
	for (i = 0; i < workers; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return fail("fork");
		if (!pid)
			exit(serve(listener) ? 1 : 0);
	}
	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			rc = -1;
	return rc;
}

static bool parse(const char *s, long max, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(s, &end, 10);
	return !errno && end != s && !*end && *value >= 0 && *value <= max;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "buffer", required_argument, NULL, 'b' },
		{ "discard", no_argument, NULL, 'd' },
		{ "workers", required_argument, NULL, 'w' },
		{ "count", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	long workers = 1, mib, port;
	bool good = true;
	int c, listener;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			good &= parse(optarg, 1 << 20, &mib) && mib;
			buffer_size = (size_t)mib << 20;
			break;
		case 'd':
			discard = true;
			break;
		case 'w':
			good &= parse(optarg, MAX_WORKERS, &workers) && workers;
			break;
		case 'c':
			good &= parse(optarg, 1L << 40, &connections);
			break;
		case 'h':
			help(stdout);
			return 0;
		case 'V':
			puts("vpipe-sink " VPIPE_VERSION);
			return 0;
		default:
			good = false;
		}
	}
	if (!good || argc - optind != 1 || !parse(argv[optind], 65535, &port)) {
		help(stderr);
		return 2;
	}
	tickets = mmap(NULL, sizeof(*tickets), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tickets == MAP_FAILED)
		return fail("mmap") ? 1 : 0;
	listener = tcp_listen((unsigned int)port);
	if (listener < 0)
		return 1;
	return serve_all(listener, workers) ? 1 : 0;
}
