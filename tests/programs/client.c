// SPDX-License-Identifier: GPL-2.0
/*
 * vptest client PORT WHAT [AFTER [TALK]]: one connection as a server would not
 * like it.  After AFTER bytes were received:
 *   read      read on to the end
 *   talk      send TALK bytes of the pattern, then read on
 *   halfclose the same, close for writing, then read on
 *   reset     close with a RST
 *   stall     read nothing more until a line comes on standard input, then as talk
 *   slow      read on, at most 64 KiB in each 50 ms
 * Prints {"at":bytes} when it does so and at the end {"bytes":,"sha256":,"errno":}.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vptest.h"

static void act(int fd, const char *what, uint64_t talk)
{
	static unsigned char data[65536];
	struct linger now = { .l_onoff = 1 };
	char line[16];

	if (!strcmp(what, "reset")) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
		exit(0);
	}
	if (!strcmp(what, "stall") && !fgets(line, sizeof(line), stdin))
		exit(0);
	for (uint64_t at = 0; at < talk; ) {
		size_t n = talk - at < sizeof(data) ? (size_t)(talk - at) : sizeof(data);

		pattern(at, data, n);
		send_all(fd, data, n);
		at += n;
	}
	if (!strcmp(what, "halfclose"))
		shutdown(fd, SHUT_WR);
	else if (strcmp(what, "stall") && strcmp(what, "talk") && strcmp(what, "read") &&
		 strcmp(what, "slow"))
		die("unknown client %s", what);
}

int cmd_client(int argc, char **argv)
{
	uint64_t after, talk;
	struct hash hash;
	unsigned char data[65536];
	int fd, listening, error = 0;

	if (argc < 3)
		die("usage: client PORT read|talk|halfclose|reset|stall|slow [AFTER [TALK]]");
	after = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
	talk = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;
	listening = tcp_listen(argv[1]);
	fd = accept(listening, NULL, NULL);
	close(listening);
	hash_begin(&hash);
	for (int acted = 0;;) {
		size_t want = sizeof(data);
		ssize_t n;

		if (!acted && hash.bytes >= after) {
			printf("{\"at\":%llu}\n", (unsigned long long)hash.bytes);
			act(fd, argv[2], talk);
			acted = 1;
		}
		if (!acted && after - hash.bytes < want)
			want = (size_t)(after - hash.bytes);
		n = recv(fd, data, want, 0);
		if (n < 0)
			error = errno;
		if (n <= 0)
			break;
		hash_add(&hash, data, (size_t)n);
		if (acted && !strcmp(argv[2], "slow"))
			usleep(50000);
	}
	printf("{\"bytes\":%llu,", (unsigned long long)hash.bytes);
	printf("\"sha256\":\"%s\",\"errno\":%d}\n", hash_end(&hash), error);
	return 0;
}
