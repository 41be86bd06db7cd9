// SPDX-License-Identifier: GPL-2.0
/*
 * vptest: what the system tests do in the guest and on the client, in one program.
 *
 *   run      one or many connections, each a script of sends and vPipe transfers
 *   client   the other end, which can be slow, talk back, reset or half-close
 *   bad      arguments that must be refused, and how
 *   forge    requests that the backend must refuse, or too many (through vpipe-forge.ko)
 *   fill     make a file with content that compresses and repeats nowhere
 *   interleave  make a file of many extents
 *   hash     the hash of such content
 *   source, take, copy, relay, check, sift   the other pipes (pipes.c)
 *   twice, echo   one connection as source and as sink (shared.c)
 *   scribble, latency, verity   others, meanwhile or before (others.c)
 *   talk, duplex   both directions of a connection at once, and many hand-overs
 *   meddle   a second thread, or a process, that uses a connection meanwhile
 *   tcppeer  a TCP of its own that does what it is told
 *   pour, pump, crowd, hold, meter   load for dom0, and what it does with it (load.c)
 *
 * Each prints JSON, one object a line, and exits with 0 when it could do its work;
 * whether that was right is judged by the tests.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vptest.h"

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("vptest: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

void hash_begin(struct hash *hash)
{
	hash->bytes = 0;
	SHA256_Init(&hash->ctx);
}

void hash_add(struct hash *hash, const void *data, size_t len)
{
	SHA256_Update(&hash->ctx, data, len);
	hash->bytes += len;
}

const char *hash_end(struct hash *hash)
{
	static _Thread_local char hex[65];
	unsigned char md[32];

	SHA256_Final(md, &hash->ctx);
	for (int i = 0; i < 32; i++)
		sprintf(hex + 2 * i, "%02x", md[i]);
	return hex;
}

/* By a socket of the address's own family. */
int tcp_connect(const char *host, const char *port)
{
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	bool is6 = inet_pton(AF_INET6, host, &to6.sin6_addr) == 1;
	int fd = socket(is6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

	if (!is6 && inet_pton(AF_INET, host, &to4.sin_addr) != 1)
		die("%s is no address", host);
	to4.sin_port = to6.sin6_port = htons((uint16_t)atoi(port));
	if (fd < 0 || (is6 ? connect(fd, (struct sockaddr *)&to6, sizeof(to6)) :
			     connect(fd, (struct sockaddr *)&to4, sizeof(to4))))
		die("%s port %s: %s", host, port, strerror(errno));
	return fd;
}

/* For both families. */
int tcp_listen(const char *port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6,
				    .sin6_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET6, SOCK_STREAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 256))
		die("port %s: %s", port, strerror(errno));
	printf("{\"listening\":%s}\n", port);
	fflush(stdout);
	return fd;
}

void send_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len; p += n, len -= (size_t)n) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			die("send: %s", strerror(errno));
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*call)(int argc, char **argv);
	} commands[] = {
		{ "run", cmd_run }, { "client", cmd_client }, { "bad", cmd_bad },
		{ "forge", cmd_forge }, { "flood", cmd_flood },
		{ "fill", cmd_fill }, { "interleave", cmd_interleave },
		{ "hash", cmd_hash }, { "grants", cmd_grants },
		{ "source", cmd_source }, { "take", cmd_take }, { "copy", cmd_copy },
		{ "relay", cmd_relay }, { "check", cmd_check }, { "sift", cmd_sift },
		{ "scribble", cmd_scribble }, { "latency", cmd_latency },
		{ "verity", cmd_verity }, { "twice", cmd_twice }, { "echo", cmd_echo },
		{ "talk", cmd_talk }, { "duplex", cmd_duplex }, { "tcppeer", cmd_tcppeer },
		{ "meddle", cmd_meddle }, { "pour", cmd_pour }, { "pump", cmd_pump },
		{ "crowd", cmd_crowd }, { "hold", cmd_hold }, { "meter", cmd_meter },
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].call(argc - 1, argv + 1);
	fprintf(stderr, "usage: vptest run|client|bad|forge|flood|fill|interleave|hash|grants|"
		"source|take|copy|relay|check|sift|scribble|latency|verity|twice|echo|talk|duplex|tcppeer|meddle|"
		"pour|pump|crowd|hold|meter ...\n");
	return 2;
}
