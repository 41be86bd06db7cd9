// SPDX-License-Identifier: GPL-2.0
/*
 * vptest run [--connections N] [--repeat N] [--trust 1] HOST PORT FILE STEP...
 *
 * Opens the connections (a thread each) and does the steps in order, repeated:
 *   send:LEN      LEN bytes of the pattern by send()
 *   pipe:OFF:LEN  FILE by vpipe_file_to_socket (LEN may be "all")
 *   recv:LEN      exactly LEN bytes, which must be the pattern
 *   cork, uncork  TCP_CORK
 * then closes for writing, reads to the end, and prints what the peer must have
 * got: {"port":local port,"bytes":,"sha256":,"offloaded":,"copied":,"received":,
 * "errors":,"errno":the first,"reason":why it was declined last}.  --trust 1 does not
 * read the file again: bytes and sha256 are without what was piped.  Offsets of connection N are moved by N * 4099 bytes.
 *
 * vptest fill FILE OFF LEN [BLOCK STEP]
 *   pattern into FILE; with BLOCK and STEP only BLOCK bytes of every STEP.
 *
 * vptest hash LEN
 *   the SHA-256 of that much pattern, as fill writes it
 *
 * vptest interleave FILE FILE BLOCKS
 *   two files of many small extents, side by side on the disk
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vpipe.h>

#include "vptest.h"

static struct {
	const char *host, *port, *file;
	char **step;
	int steps, repeat, trust;
} script;

struct connection {
	pthread_t thread;
	unsigned int number;
	int fd, file;
	struct hash hash;
	uint64_t sent, received, offloaded, copied;
	unsigned int errors, reason;
	int first_errno;
};

#define CHUNK 65536

static void do_send(struct connection *c, uint64_t len)
{
	static _Thread_local unsigned char data[CHUNK];

	while (len) {
		size_t n = len < CHUNK ? (size_t)len : CHUNK;

		pattern(c->sent, data, n);
		send_all(c->fd, data, n);
		hash_add(&c->hash, data, n);
		c->sent += n;
		len -= n;
	}
}

/* After the transfer, so that reading does not change what it found in the cache. */
static void hash_file(struct connection *c, uint64_t at, uint64_t len)
{
	static _Thread_local unsigned char data[CHUNK];

	while (len) {
		ssize_t n = pread(c->file, data, len < CHUNK ? (size_t)len : CHUNK, (off_t)at);

		if (n <= 0)
			die("reading the source again: %s", strerror(errno));
		hash_add(&c->hash, data, (size_t)n);
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
}

static void do_pipe(struct connection *c, uint64_t at, uint64_t len)
{
	struct vpipe_transfer_info info;
	int64_t moved;

	moved = vpipe_file_to_socket_fd(c->file, c->fd, (int64_t)at, len);
	if (moved < 0) {
		c->errors++;
		if (!c->first_errno)
			c->first_errno = errno;
		return;
	}
	vpipe_last_result(&info, sizeof(info));
	c->offloaded += info.offloaded;
	c->copied += info.ordinary;
	if (info.reason)
		c->reason = info.reason;
	if (!script.trust)
		hash_file(c, at, (uint64_t)moved);
}

static void do_recv(struct connection *c, uint64_t len)
{
	static _Thread_local unsigned char got[CHUNK], want[CHUNK];

	while (len) {
		ssize_t n = recv(c->fd, got, len < CHUNK ? (size_t)len : CHUNK, 0);

		if (n <= 0)
			die("recv after %llu: %s", (unsigned long long)c->received,
			    n ? strerror(errno) : "end of file");
		pattern(c->received, want, (size_t)n);
		if (memcmp(got, want, (size_t)n))
			die("wrong byte received within %zd after %llu", n,
			    (unsigned long long)c->received);
		c->received += (uint64_t)n;
		len -= (uint64_t)n;
	}
}

static void do_step(struct connection *c, const char *step)
{
	unsigned long long a = 0, b = 0;
	struct stat st;
	int on;

	if (sscanf(step, "send:%llu", &a) == 1) {
		do_send(c, a);
	} else if (sscanf(step, "recv:%llu", &a) == 1) {
		do_recv(c, a);
	} else if (sscanf(step, "pipe:%llu:%llu", &a, &b) == 2) {
		do_pipe(c, a + c->number * 4099ULL, b);
	} else if (sscanf(step, "pipe:%llu:all", &a) == 1 && !fstat(c->file, &st)) {
		do_pipe(c, a, (uint64_t)st.st_size - a);
	} else if (!strcmp(step, "cork") || !strcmp(step, "uncork")) {
		on = !strcmp(step, "cork");
		setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
	} else {
		die("unknown step %s", step);
	}
}

static void *connection_main(void *arg)
{
	struct connection *c = arg;
	char rest[4096];
	ssize_t n;

	hash_begin(&c->hash);
	for (int i = 0; i < script.repeat; i++)
		for (int j = 0; j < script.steps; j++)
			do_step(c, script.step[j]);
	shutdown(c->fd, SHUT_WR);
	while ((n = recv(c->fd, rest, sizeof(rest), 0)) > 0)
		c->received += (uint64_t)n;
	return NULL;
}

static void report(struct connection *c)
{
	struct sockaddr_in local;
	socklen_t len = sizeof(local);
	uint64_t bytes = c->hash.bytes;

	getsockname(c->fd, (struct sockaddr *)&local, &len);
	printf("{\"port\":%u,\"bytes\":%llu,\"sha256\":\"%s\",\"offloaded\":%llu,\"copied\":%llu,"
	       "\"received\":%llu,\"errors\":%u,\"errno\":%d,\"reason\":\"%s\"}\n", ntohs(local.sin_port),
	       (unsigned long long)bytes, hash_end(&c->hash), (unsigned long long)c->offloaded,
	       (unsigned long long)c->copied, (unsigned long long)c->received, c->errors,
	       c->first_errno, vpipe_reason_string(c->reason));
}

int cmd_run(int argc, char **argv)
{
	struct connection *c;
	int n = 1, at = 1;

	script.repeat = 1;
	for (; at + 1 < argc && !strncmp(argv[at], "--", 2); at += 2) {
		if (!strcmp(argv[at], "--trust"))
			script.trust = atoi(argv[at + 1]);
		else if (!strcmp(argv[at], "--connections"))
			n = atoi(argv[at + 1]);
		else if (!strcmp(argv[at], "--repeat"))
			script.repeat = atoi(argv[at + 1]);
	}
	if (argc - at < 4)
		die("usage: run [--connections N] [--repeat N] HOST PORT FILE STEP...");
	script.host = argv[at];
	script.port = argv[at + 1];
	script.file = argv[at + 2];
	script.step = argv + at + 3;
	script.steps = argc - at - 3;

	c = calloc((size_t)n, sizeof(*c));
	for (int i = 0; i < n; i++) {
		c[i].number = (unsigned int)i;
		c[i].file = open(script.file, O_RDONLY);
		if (c[i].file < 0)
			die("%s: %s", script.file, strerror(errno));
		c[i].fd = tcp_connect(script.host, script.port);
	}
	for (int i = 0; i < n; i++)
		if (pthread_create(&c[i].thread, NULL, connection_main, &c[i]))
			die("no thread %d", i);
	for (int i = 0; i < n; i++) {
		pthread_join(c[i].thread, NULL);
		report(&c[i]);
	}
	return 0;
}

int cmd_hash(int argc, char **argv)
{
	static unsigned char data[1 << 20];
	struct hash hash;
	uint64_t len;

	if (argc != 2)
		die("usage: hash LEN");
	len = strtoull(argv[1], NULL, 0);
	hash_begin(&hash);
	while (hash.bytes < len) {
		size_t n = len - hash.bytes < sizeof(data) ? (size_t)(len - hash.bytes) :
							     sizeof(data);

		pattern(hash.bytes, data, n);
		hash_add(&hash, data, n);
	}
	printf("{\"sha256\":\"%s\"}\n", hash_end(&hash));
	return 0;
}

/* Two files that grow by a block in turn, each on the disk before the next. */
int cmd_interleave(int argc, char **argv)
{
	static unsigned char data[4096];

	if (argc != 4)
		die("usage: interleave FILE FILE BLOCKS");
	for (int block = 0; block < 2 * atoi(argv[3]); block++) {
		off_t at = block / 2 * (off_t)sizeof(data);
		const char *name = argv[1 + block % 2];
		int fd = open(name, O_RDWR | O_CREAT, 0644);

		pattern((uint64_t)at, data, sizeof(data));
		if (fd < 0 || pwrite(fd, data, sizeof(data), at) != (ssize_t)sizeof(data) ||
		    close(fd))
			die("%s: %s", name, strerror(errno));
		/* Nobody may have it open for writing when its block is chosen: ext4 would
		 * keep the neighbours in reserve. */
		fd = open(name, O_RDONLY);
		if (fd < 0 || sync_file_range(fd, at, sizeof(data), SYNC_FILE_RANGE_WRITE |
					      SYNC_FILE_RANGE_WAIT_AFTER) || close(fd))
			die("%s: %s", name, strerror(errno));
	}
	return 0;
}

int cmd_fill(int argc, char **argv)
{
	unsigned long long at, end, block, step;
	static unsigned char data[1 << 20];
	int fd;

	if (argc != 4 && argc != 6)
		die("usage: fill FILE OFF LEN [BLOCK STEP]");
	at = strtoull(argv[2], NULL, 0);
	end = at + strtoull(argv[3], NULL, 0);
	block = argc == 6 ? strtoull(argv[4], NULL, 0) : sizeof(data);
	step = argc == 6 ? strtoull(argv[5], NULL, 0) : sizeof(data);
	fd = open(argv[1], O_RDWR | O_CREAT, 0644);
	if (fd < 0 || block > sizeof(data))
		die("%s: %s", argv[1], strerror(errno));
	for (; at < end; at += step) {
		size_t n = end - at < block ? (size_t)(end - at) : (size_t)block;

		pattern(at, data, n);
		if (pwrite(fd, data, n, (off_t)at) != (ssize_t)n)
			die("%s: %s", argv[1], strerror(errno));
	}
	return close(fd);
}
