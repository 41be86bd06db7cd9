// SPDX-License-Identifier: GPL-2.0
/*
 * vptest duplex [OPTION VALUE]... PORT
 *   The peer of "vptest talk" (one connection): reads the pattern to the end, which must be
 *   right, and sends it meanwhile.
 *     --send LEN            so many bytes (none); "all": until the end was read
 *     --pace BYTES:USEC     ... so many at once, and then a pause
 *     --answer IN:OUT       after each IN bytes that were read, send OUT
 *     --stall BYTES:USEC    after so many bytes read nothing for so long
 *     --rcvbuf BYTES        SO_RCVBUF
 *     --period BYTES        the pattern begins anew after so many
 *     --forge HOST,SND,RCV  do not listen: make up the connection (stream_forge)
 *   At the end {"sent":,"received":,...}, see stream_print.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"
#include "vptest.h"

#define CHUNK 65536

static struct stream in, out;	/* one connection; each direction belongs to one thread */
static uint64_t to_send, pace = CHUNK, answer_in, answer_out, stall = UINT64_MAX;
static unsigned int pace_us, stall_us, rcvbuf;
static atomic_int ended;

static void *sender(void *arg)
{
	while (out.sent < to_send && !ended) {
		uint64_t left = to_send - out.sent;

		if (!stream_send(&out, left < pace ? left : pace))
			break;
		if (pace_us)
			usleep(pace_us);
	}
	return arg;
}

/* All of the other's stream, with the pauses and answers that are wanted. */
static void receive(void)
{
	static unsigned char got[CHUNK];
	uint64_t stalls = 0, answers = 0;
	ssize_t n;

	while ((n = recv(in.fd, got, sizeof(got), 0)) > 0) {
		stream_check(&in, got, (size_t)n);
		while (answer_in && in.received / answer_in > answers) {
			stream_send(&out, answer_out);
			answers++;
		}
		if (in.received / stall > stalls) {
			stalls = in.received / stall;
			usleep(stall_us);
		}
	}
	in.eof = !n;
	if (n)
		stream_error(&in, errno);
}

static int forge(char *what, const char *port)
{
	char *rest, *host = strtok_r(what, ",", &rest);
	char *snd = strtok_r(rest, ",", &rest), *rcv = rest;
	int fd = stream_forge(host, port, (uint32_t)strtoul(snd, NULL, 0),
			      (uint32_t)strtoul(rcv, NULL, 0));
	char byte;

	printf("{\"listening\":%s}\n", port);
	recv(fd, &byte, 1, MSG_PEEK);	/* now the other end is there */
	return fd;
}

static void option(const char *name, char *value)
{
	unsigned long long a = strtoull(value, NULL, 0), b = 0;
	const char *second = strchr(value, ':');

	if (second)
		b = strtoull(second + 1, NULL, 0);
	if (!strcmp(name, "--send")) {
		to_send = strcmp(value, "all") ? a : UINT64_MAX;
	} else if (!strcmp(name, "--pace")) {
		pace = a;
		pace_us = (unsigned int)b;
	} else if (!strcmp(name, "--answer")) {
		answer_in = a;
		answer_out = b;
	} else if (!strcmp(name, "--stall")) {
		stall = a;
		stall_us = (unsigned int)b;
	} else if (!strcmp(name, "--rcvbuf")) {
		rcvbuf = (unsigned int)a;
	} else if (!strcmp(name, "--period")) {
		stream_period = a;
	} else {
		die("unknown: %s", name);
	}
}

int cmd_duplex(int argc, char **argv)
{
	char *forged = NULL;
	pthread_t thread;
	int at, listening;

	for (at = 1; at + 1 < argc; at += 2) {
		if (!strcmp(argv[at], "--forge"))
			forged = argv[at + 1];
		else
			option(argv[at], argv[at + 1]);
	}
	if (at + 1 != argc)
		die("usage: duplex [OPTION VALUE]... PORT");
	if (forged) {
		in.fd = forge(forged, argv[at]);
	} else {
		listening = tcp_listen(argv[at]);
		if (rcvbuf)
			setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
		in.fd = accept(listening, NULL, NULL);
		if (rcvbuf)	/* it may have come before that */
			setsockopt(in.fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
		close(listening);
	}
	out.fd = in.fd;
	if (pthread_create(&thread, NULL, sender, NULL))
		die("no thread");
	receive();
	ended = 1;
	pthread_join(thread, NULL);
	shutdown(out.fd, SHUT_WR);
	in.sent = out.sent;
	in.errors += out.errors;
	in.error = in.error ?: out.error;
	putchar('{');
	stream_print(&in);
	puts("}");
	return 0;
}
