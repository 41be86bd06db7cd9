// SPDX-License-Identifier: GPL-2.0
/*
 * The pipes that are not from a file to a socket.  Streams and files are of the pattern.
 *
 * vptest source PORT LEN [from:AT|times:N] [END [PAUSE]]   one connection (or N, one after
 *   the other): send LEN bytes (of the pattern from AT on) and then
 *     fin    close for writing and read to the end
 *     reset  close with a RST
 *     hold   wait for a line on standard input, then as fin
 *   With PAUSE, after that many bytes wait for a line first; {"at":bytes} says so.  At the
 *   end {"sent":,"errno":,"answered":}: so many bytes came back
 * vptest take HOST PORT FILE OFFSET LEN [HOW]...   socket to file; then read what is left of
 *   the stream.  HOW: "sync", "dsync", "append", "trunc" as the file is opened; "unread:N"
 *   waits first until that many bytes can be read; "then:COMMAND" is run when all is open
 * vptest copy IN OUT IN_OFFSET LEN OUT_OFFSET [HOW]...   file to file; HOW as above
 * vptest relay HOST PORT HOST PORT LEN            socket to socket; the rest as above, and
 *   {"back":,"end":}: the pattern's bytes that came from the sink, and the errno after them
 *   These print {"moved":,"errno":,"offloaded":,"copied":,"reason":,"lost":,"rest":,"end":}:
 *   `rest` is how much of the stream came after it, of which each byte was right, `lost` how
 *   much between the two did not come, and `end` the errno by which it ended.  A stream that
 *   ended well is answered by 100 bytes.
 * vptest check FILE OFFSET LEN [AT]   is that range of the file the pattern from AT on?
 *   Without AT: is it zeros?  {"right":bytes} up to the first that is not, {"size":}
 * vptest sift FILE LEN   of the first LEN bytes, how many are neither the pattern's nor zero:
 *   {"wrong":,"first":}
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vpipe.h>

#include "vptest.h"

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

static void wait_for_line(void)
{
	char line[16];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
}

/*
 * What is left of a stream whose first bytes have been moved.  With `lost`, it may go on
 * later than at `at`.
 */
static uint64_t read_rest(int fd, uint64_t at, uint64_t *lost, int *end)
{
	static unsigned char got[1 << 16], want[1 << 16];
	uint64_t rest = 0, found;
	ssize_t n;

	while ((n = recv(fd, got, sizeof(got), 0)) > 0) {
		if (lost && !rest && n >= 16 && pattern_find(got, (size_t)n, &found) && found > at) {
			*lost = found - at;
			at = found;
		}
		pattern(at + rest, want, (size_t)n);
		if (memcmp(got, want, (size_t)n))
			die("wrong byte within %zd after %" PRIu64, n, at + rest);
		rest += (uint64_t)n;
	}
	*end = n < 0 ? errno : 0;
	return rest;
}

/* One connection of a source. */
static void serve(int fd, uint64_t len, uint64_t from, const char *end, uint64_t pause)
{
	static unsigned char data[1 << 16];
	struct linger now = { .l_onoff = 1 };
	uint64_t sent = 0, answered = 0;
	int error = 0, at_end;

	while (sent < len && !error) {
		uint64_t left = (sent < pause && pause < len ? pause : len) - sent;
		size_t n = left < sizeof(data) ? (size_t)left : sizeof(data);
		ssize_t put;

		pattern(from + sent, data, n);
		put = send(fd, data, n, MSG_NOSIGNAL);
		if (put < 0)
			error = errno;
		else
			sent += (uint64_t)put;
		if (sent == pause) {
			printf("{\"at\":%" PRIu64 "}\n", sent);
			wait_for_line();
		}
	}
	if (!strcmp(end, "hold") && !error) {
		printf("{\"at\":%" PRIu64 "}\n", sent);
		wait_for_line();
	}
	if (!strcmp(end, "reset")) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	} else if (!error) {
		shutdown(fd, SHUT_WR);
		answered = read_rest(fd, 0, NULL, &at_end);
	}
	close(fd);
	printf("{\"sent\":%" PRIu64 ",\"errno\":%d,\"answered\":%" PRIu64 "}\n", sent, error,
	       answered);
}

int cmd_source(int argc, char **argv)
{
	uint64_t len, from = 0, times = 1, pause = UINT64_MAX;
	const char *port, *end;
	int listening;

	if (argc < 3)
		die("usage: source PORT LEN [from:AT|times:N] [fin|reset|hold [PAUSE]]");
	port = argv[1];
	len = number(argv[2]);
	if (argc > 3 && (sscanf(argv[3], "from:%" SCNu64, &from) == 1 ||
			 sscanf(argv[3], "times:%" SCNu64, &times) == 1)) {
		argv++;
		argc--;
	}
	end = argc > 3 ? argv[3] : "fin";
	if (argc > 4)
		pause = number(argv[4]);
	listening = tcp_listen(port);
	while (times--) {
		int fd = accept(listening, NULL, NULL);

		if (!times)
			close(listening);
		serve(fd, len, from, end, pause);
	}
	return 0;
}

static int report(int64_t moved, int stream)
{
	struct vpipe_transfer_info info;
	unsigned char answer[100];
	uint64_t rest = 0, lost = 0;
	int end = 0;

	vpipe_last_result(&info, sizeof(info));
	printf("{\"moved\":%" PRId64 ",\"errno\":%d,\"offloaded\":%" PRIu64 ",\"copied\":%" PRIu64
	       ",\"reason\":\"%s\"", moved, info.error, info.offloaded, info.ordinary,
	       vpipe_reason_string(info.reason));
	if (stream >= 0)
		rest = read_rest(stream, moved > 0 ? (uint64_t)moved : 0, &lost, &end);
	if (stream >= 0 && !end) {
		pattern(0, answer, sizeof(answer));
		send(stream, answer, sizeof(answer), MSG_NOSIGNAL);
	}
	printf(",\"lost\":%" PRIu64 ",\"rest\":%" PRIu64 ",\"end\":%d}\n", lost, rest, end);
	return 0;
}

static void wait_readable(int fd, int bytes)
{
	int lowat = bytes, now = 0;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat));
	while (poll(&pfd, 1, -1) >= 0 && !ioctl(fd, FIONREAD, &now) && now < bytes)
		;
	lowat = 1;
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat));
}

/* What the words say about opening the sink, and about waiting before. */
static int how(char **words, int *unread)
{
	int flags = O_WRONLY | O_CREAT;

	for (; *words; words++) {
		if (!strcmp(*words, "sync"))
			flags |= O_SYNC;
		else if (!strcmp(*words, "dsync"))
			flags |= O_DSYNC;
		else if (!strcmp(*words, "append"))
			flags |= O_APPEND;
		else if (!strcmp(*words, "trunc"))
			flags |= O_TRUNC;
		else if (strncmp(*words, "then:", 5) &&
			 (!unread || sscanf(*words, "unread:%d", unread) != 1))
			die("unknown: %s", *words);
	}
	return flags;
}

/* ... and about what happens before the transfer. */
static void then(char **words)
{
	for (; *words; words++)
		if (!strncmp(*words, "then:", 5) && system(*words + 5))
			die("failed: %s", *words);
}

int cmd_take(int argc, char **argv)
{
	int flags, fd, file, unread = 0;

	if (argc < 6)
		die("usage: take HOST PORT FILE OFFSET LEN [sync|dsync|append|trunc|unread:N|then:COMMAND]...");
	flags = how(argv + 6, &unread);
	fd = tcp_connect(argv[1], argv[2]);
	if (unread)
		wait_readable(fd, unread);
	file = open(argv[3], flags, 0644);
	if (file < 0)
		die("%s: %s", argv[3], strerror(errno));
	then(argv + 6);
	return report(vpipe_socket_to_file_fd(fd, file, (int64_t)number(argv[4]),
					      number(argv[5])), fd);
}

int cmd_copy(int argc, char **argv)
{
	int in, out;

	if (argc < 6)
		die("usage: copy IN OUT IN_OFFSET LEN OUT_OFFSET [sync|dsync|append|trunc|then:COMMAND]...");
	in = open(argv[1], O_RDONLY);
	out = open(argv[2], how(argv + 6, NULL), 0644);
	if (in < 0 || out < 0)
		die("%s: %s", in < 0 ? argv[1] : argv[2], strerror(errno));
	then(argv + 6);
	return report(vpipe_file_to_file_fd(in, out, (int64_t)number(argv[3]), number(argv[4]),
					    (int64_t)number(argv[5])), -1);
}

int cmd_relay(int argc, char **argv)
{
	int in, out, end;
	uint64_t back;

	if (argc != 6)
		die("usage: relay HOST PORT HOST PORT LEN");
	out = tcp_connect(argv[3], argv[4]);
	in = tcp_connect(argv[1], argv[2]);
	report(vpipe_socket_to_socket_fd(in, out, number(argv[5])), in);
	shutdown(out, SHUT_WR);
	back = read_rest(out, 0, NULL, &end);
	printf("{\"back\":%" PRIu64 ",\"end\":%d}\n", back, end);
	return 0;
}

int cmd_check(int argc, char **argv)
{
	static unsigned char got[1 << 16], want[1 << 16];
	uint64_t offset, len, right = 0;
	struct stat st;
	int fd;

	if (argc < 4)
		die("usage: check FILE OFFSET LEN [AT]");
	offset = number(argv[2]);
	len = number(argv[3]);
	fd = open(argv[1], O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", argv[1], strerror(errno));
	while (right < len) {
		size_t n = len - right < sizeof(got) ? (size_t)(len - right) : sizeof(got);
		ssize_t have = pread(fd, got, n, (off_t)(offset + right));
		ssize_t same = 0;

		if (have <= 0)
			break;
		if (argc > 4)
			pattern(number(argv[4]) + right, want, (size_t)have);
		while (same < have && got[same] == want[same])
			same++;
		right += (uint64_t)same;
		if (same < have)
			break;
	}
	printf("{\"right\":%" PRIu64 ",\"size\":%lld}\n", right, (long long)st.st_size);
	return 0;
}

int cmd_sift(int argc, char **argv)
{
	static unsigned char got[1 << 16], want[1 << 16];
	uint64_t len, at = 0, wrong = 0, first = 0;
	FILE *file;
	size_t n;

	if (argc != 3)
		die("usage: sift FILE LEN");
	len = number(argv[2]);
	file = fopen(argv[1], "re");
	if (!file)
		die("%s: %s", argv[1], strerror(errno));
	for (; at < len && (n = fread(got, 1, sizeof(got), file)); at += n) {
		pattern(at, want, n);
		for (size_t i = 0; i < n; i++)
			if (got[i] && got[i] != want[i] && !wrong++)
				first = at + i;
	}
	printf("{\"wrong\":%" PRIu64 ",\"first\":%" PRIu64 "}\n", wrong, first);
	return 0;
}
