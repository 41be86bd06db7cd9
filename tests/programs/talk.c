// SPDX-License-Identifier: GPL-2.0
/*
 * vptest talk [OPTION VALUE]... HOST PORT FILE STEP...
 *   A connection over which both ends send the pattern, each from its own byte 0 on, whatever
 *   calls it takes.  FILE is the pattern too.  Steps, in order, again and again:
 *     send:LEN    the next bytes by send()
 *     pipe:LEN    the next bytes out of FILE by vpipe_file_to_socket
 *     file:LEN    ... by sendfile(), as without vPipe
 *     recv:LEN    so many bytes by recv()
 *     drain       whatever can be received at once
 *     pull:LEN    so many by vpipe_socket_to_file, read from there again
 *     relay:LEN   so many to the second connection by vpipe_socket_to_socket
 *     pass:LEN    ... by recv() and send()
 *     b.STEP      a step of the second connection
 *     cork, uncork, poll (for nothing), pollin, epoll (10 s at most, until there is something
 *                 to be received)
 *     linger:SEC, timeout:MS, keep:IDLE:INTERVAL:PROBES   SO_LINGER, TCP_USER_TIMEOUT, keepalive
 *     shutr, shutw    shutdown() for reading, for writing
 *     close       what is said at the end is said now
 *     fork, reap  a child gets all descriptors; it closes them and ends
 *     exit        without closing anything, and without a word
 *     wait        {"wait":number} and then wait for a line on standard input
 *     lap         a time is taken
 *   Then it closes for writing and reads to the end, unless it has closed.
 *     --repeat N         (1)
 *     --to PORT          the second connection
 *     --scratch FILE     for pull
 *     --nodelay 1        TCP_NODELAY
 *     --period BYTES     the pattern begins anew after so many
 *     --forge SND:RCV    make up the connection (stream_forge)
 *     --listen N         ... or accept N, one after the other
 *     --unwatched 1      no step is epoll
 *   An error ends the steps.  {"sent":,"received":,...} (see stream_print), of the second
 *   connection too, then {"offloaded":,"copied":,"reason":,"done":steps} and of each step
 *   and lap {"step":,"count":,"median":,"p90":,"max":} in microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vpipe.h>

#include "stream.h"
#include "vptest.h"

static struct stream first = { .fd = -1 }, second = { .fd = -1 };
static int file, scratch = -1, epoll_set;
static const char *scratch_name;
static uint64_t offloaded, copied, scratch_at;
static unsigned int reason, waits;
static double lap_began;
static int child_pipe[2];
static pid_t child;

#define WAIT_MS		10000
#define SCRATCH_SIZE (16ULL << 20)

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* What a transfer has said; true when it has moved all. */
static int moved(struct stream *s, int64_t ret, uint64_t len)
{
	struct vpipe_transfer_info info;
	int error = errno;

	vpipe_last_result(&info, sizeof(info));
	offloaded += info.offloaded;
	copied += info.ordinary;
	if (info.reason && !reason)
		reason = info.reason;
	if (ret < 0)
		stream_error(s, error);
	else if ((uint64_t)ret < len && !info.error)
		s->eof = 1;
	else if ((uint64_t)ret < len)
		stream_error(s, info.error);
	return ret >= 0 && (uint64_t)ret == len;
}

static int do_pipe(struct stream *s, uint64_t len)
{
	while (len) {
		uint64_t at = s->sent % stream_period;
		uint64_t n = len < stream_period - at ? len : stream_period - at;
		int64_t ret = vpipe_file_to_socket_fd(file, s->fd, (int64_t)at, n);

		s->sent += ret > 0 ? (uint64_t)ret : 0;
		if (!moved(s, ret, n))
			return 0;
		len -= n;
	}
	return 1;
}

static int do_file(struct stream *s, uint64_t len)
{
	while (len) {
		uint64_t at = s->sent % stream_period;
		off_t from = (off_t)at;
		ssize_t n = sendfile(s->fd, file, &from,
				     len < stream_period - at ? len : stream_period - at);

		if (n <= 0) {
			stream_error(s, n ? errno : EIO);
			return 0;
		}
		s->sent += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 1;
}

static int do_pull(struct stream *s, uint64_t len)
{
	static unsigned char got[65536];
	uint64_t left;
	int64_t ret;

	if (scratch_at + len > SCRATCH_SIZE)
		scratch_at = 0;
	ret = vpipe_socket_to_file_fd(s->fd, scratch, (int64_t)scratch_at, len);
	left = ret > 0 ? (uint64_t)ret : 0;
	for (uint64_t at = scratch_at; left;) {
		ssize_t n = pread(scratch, got, left < sizeof(got) ? (size_t)left : sizeof(got),
				  (off_t)at);

		if (n <= 0)
			die("%s: %s", scratch_name, n ? strerror(errno) : "is too short");
		stream_check(s, got, (size_t)n);
		at += (uint64_t)n;
		left -= (uint64_t)n;
	}
	scratch_at += (len + 4095) & ~4095ULL;
	return moved(s, ret, len);
}

static int do_relay(uint64_t len, int ordinary)
{
	static unsigned char got[65536];
	int64_t ret;

	if (first.received != second.sent)
		die("what was received is not what was sent");
	while (ordinary && len) {
		ssize_t n = recv(first.fd, got, len < sizeof(got) ? (size_t)len : sizeof(got), 0);

		if (n <= 0)
			return stream_recv(&first, len, 0);
		stream_check(&first, got, (size_t)n);
		if (!stream_send(&second, (uint64_t)n))
			return 0;
		len -= (uint64_t)n;
	}
	if (!len)
		return 1;
	ret = vpipe_socket_to_socket_fd(first.fd, second.fd, len);
	first.received += ret > 0 ? (uint64_t)ret : 0;
	second.sent = first.received;
	return moved(&first, ret, len);
}

static int do_wait(void)
{
	char line[16];

	printf("{\"wait\":%u}\n", waits++);
	return fgets(line, sizeof(line), stdin) != NULL;
}

static int do_input(struct stream *s, int by_epoll)
{
	struct pollfd pfd = { .fd = s->fd, .events = POLLIN };
	struct epoll_event event;

	if ((by_epoll ? epoll_wait(epoll_set, &event, 1, WAIT_MS) : poll(&pfd, 1, WAIT_MS)) != 1)
		stream_error(s, ETIME);		/* ETIMEDOUT is the connection's */
	return !s->error;
}

static int set_option(struct stream *s, int level, int name, const void *value, socklen_t len)
{
	if (setsockopt(s->fd, level, name, value, len))
		stream_error(s, errno);
	return !s->error;
}

static int set_int(struct stream *s, int name, int value)
{
	return set_option(s, IPPROTO_TCP, name, &value, sizeof(value));
}

/* What works by itself; -1: the step is none of these. */
static int do_option(struct stream *s, const char *step)
{
	int value, interval, probes, on = 1;

	if (sscanf(step, "linger:%d", &value) == 1) {
		struct linger linger = { .l_onoff = 1, .l_linger = value };

		return set_option(s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	if (sscanf(step, "timeout:%d", &value) == 1)
		return set_int(s, TCP_USER_TIMEOUT, value);
	if (sscanf(step, "keep:%d:%d:%d", &value, &interval, &probes) == 3)
		return set_int(s, TCP_KEEPIDLE, value) && set_int(s, TCP_KEEPINTVL, interval) &&
		       set_int(s, TCP_KEEPCNT, probes) &&
		       set_option(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	return -1;
}

static int do_fork(void)
{
	char none;

	if (pipe(child_pipe))
		die("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		die("fork: %s", strerror(errno));
	if (!child) {
		close(child_pipe[1]);
		_exit(read(child_pipe[0], &none, 1) != 0);
	}
	close(child_pipe[0]);
	return 1;
}

static int do_reap(void)
{
	close(child_pipe[1]);
	return waitpid(child, NULL, 0) == child;
}

static void say(struct stream *s)
{
	putchar('{');
	stream_print(s);
	puts("}");
}

/* How a connection ends; -1: the step is none of these. */
static int do_end(struct stream *s, const char *step)
{
	int fd = s->fd;

	if (!strcmp(step, "shutr") || !strcmp(step, "shutw")) {
		if (shutdown(fd, step[4] == 'r' ? SHUT_RD : SHUT_WR))
			stream_error(s, errno);
		return !s->error;
	}
	if (!strcmp(step, "close")) {
		s->fd = -1;		/* TCP_INFO would be a use */
		if (close(fd))
			stream_error(s, errno);
		say(s);
		return !s->error;
	}
	if (!strcmp(step, "fork"))
		return do_fork();
	if (!strcmp(step, "reap"))
		return do_reap();
	if (!strcmp(step, "exit"))
		_exit(0);
	return -1;
}

/* One step; false when there is no sense in going on. */
static int do_step(const char *step)
{
	struct stream *s = strncmp(step, "b.", 2) ? &first : &second;
	struct pollfd pfd = { .fd = s->fd, .events = POLLIN | POLLOUT };
	unsigned long long len = 0;
	int on, ret;

	if (s == &second)
		step += 2;
	ret = do_option(s, step);
	if (ret < 0)
		ret = do_end(s, step);
	if (ret >= 0)
		return ret;
	if (sscanf(step, "send:%llu", &len) == 1)
		return stream_send(s, len);
	if (sscanf(step, "pipe:%llu", &len) == 1)
		return do_pipe(s, len);
	if (sscanf(step, "file:%llu", &len) == 1)
		return do_file(s, len);
	if (sscanf(step, "recv:%llu", &len) == 1)
		return stream_recv(s, len, 0);
	if (sscanf(step, "pull:%llu", &len) == 1)
		return do_pull(s, len);
	if (sscanf(step, "relay:%llu", &len) == 1 || sscanf(step, "pass:%llu", &len) == 1)
		return do_relay(len, *step == 'p');
	if (!strcmp(step, "wait"))
		return do_wait();
	if (!strcmp(step, "pollin") || !strcmp(step, "epoll"))
		return do_input(s, *step == 'e');
	if (!strcmp(step, "drain")) {
		stream_drain(s);
	} else if (!strcmp(step, "poll")) {
		poll(&pfd, 1, 0);
	} else if (!strcmp(step, "cork") || !strcmp(step, "uncork")) {
		on = !strcmp(step, "cork");
		setsockopt(s->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
	} else {
		die("unknown step %s", step);
	}
	return !s->error;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_times(const char *step, double *times, size_t count)
{
	if (!count)
		return;
	qsort(times, count, sizeof(*times), compare);
	printf("{\"step\":\"%s\",\"count\":%zu,\"median\":%.0f,\"p90\":%.0f,\"max\":%.0f}\n", step,
	       count, times[count / 2], times[count * 9 / 10], times[count - 1]);
}

static void finish(struct stream *s)
{
	if (s->fd < 0)
		return;
	if (shutdown(s->fd, SHUT_WR) && !s->error)
		stream_error(s, errno);
	stream_recv(s, UINT64_MAX, 0);
	say(s);
}

static void rounds(char **step, int steps, size_t repeat)
{
	double *times = calloc((size_t)steps * repeat, sizeof(*times)), began;
	size_t done = 0, total = (size_t)steps * repeat;

	lap_began = now_us();
	for (; done < total; done++) {
		double *took = &times[done % (size_t)steps * repeat + done / (size_t)steps];

		began = now_us();
		if (!strcmp(step[done % (size_t)steps], "lap")) {
			*took = began - lap_began;
			lap_began = began;
		} else if (!do_step(step[done % (size_t)steps])) {
			break;
		} else {
			*took = now_us() - began;
		}
	}
	finish(&first);
	finish(&second);
	printf("{\"offloaded\":%llu,\"copied\":%llu,\"reason\":\"%s\",\"done\":%zu}\n",
	       (unsigned long long)offloaded, (unsigned long long)copied,
	       vpipe_reason_string(reason), done);
	for (int i = 0; i < steps; i++)
		print_times(step[i], &times[(size_t)i * repeat], done / (size_t)steps);
	free(times);
}

/* Who waits there later has registered before the connection went anywhere. */
static void watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	epoll_set = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(epoll_set, EPOLL_CTL_ADD, fd, &event))
		die("epoll: %s", strerror(errno));
}

static void nodelay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int cmd_talk(int argc, char **argv)
{
	const char *to = NULL, *forged = NULL;
	unsigned int snd, rcv, accepts = 0;
	int at, quick = 0, unwatched = 0, listening;
	size_t repeat = 1;

	for (at = 1; at + 1 < argc && !strncmp(argv[at], "--", 2); at += 2) {
		if (!strcmp(argv[at], "--repeat"))
			repeat = strtoull(argv[at + 1], NULL, 0);
		else if (!strcmp(argv[at], "--to"))
			to = argv[at + 1];
		else if (!strcmp(argv[at], "--scratch"))
			scratch_name = argv[at + 1];
		else if (!strcmp(argv[at], "--nodelay"))
			quick = 1;
		else if (!strcmp(argv[at], "--period"))
			stream_period = strtoull(argv[at + 1], NULL, 0);
		else if (!strcmp(argv[at], "--forge"))
			forged = argv[at + 1];
		else if (!strcmp(argv[at], "--listen"))
			accepts = (unsigned int)atoi(argv[at + 1]);
		else if (!strcmp(argv[at], "--unwatched"))
			unwatched = 1;
		else
			die("unknown: %s", argv[at]);
	}
	if (argc - at < 4)
		die("usage: talk [OPTION VALUE]... HOST PORT FILE STEP...");
	file = open(argv[at + 2], O_RDONLY);
	if (file < 0)
		die("%s: %s", argv[at + 2], strerror(errno));
	if (scratch_name) {
		scratch = open(scratch_name, O_RDWR | O_CREAT | O_TRUNC, 0644);
		if (scratch < 0)
			die("%s: %s", scratch_name, strerror(errno));
	}
	if (accepts) {
		listening = tcp_listen(argv[at + 1]);
		while (accepts--) {
			first = (struct stream){ .fd = accept(listening, NULL, NULL) };
			if (first.fd < 0)
				die("accept: %s", strerror(errno));
			rounds(argv + at + 3, argc - at - 3, repeat);
			close(first.fd);
		}
		return 0;
	}
	if (!forged)
		first.fd = tcp_connect(argv[at], argv[at + 1]);
	else if (sscanf(forged, "%u:%u", &snd, &rcv) == 2)
		first.fd = stream_forge(argv[at], argv[at + 1], snd, rcv);
	if (to)
		second.fd = tcp_connect(argv[at], to);
	if (quick) {
		nodelay(first.fd);
		nodelay(second.fd);
	}
	if (!unwatched)
		watch(first.fd);
	rounds(argv + at + 3, argc - at - 3, repeat);
	return 0;
}
