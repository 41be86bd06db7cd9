// SPDX-License-Identifier: GPL-2.0
/*
 * What loads dom0, for the benches and for tests of its limits, and one that looks:
 *
 * vptest pour PORT   to each connection as much as it takes, for ever; the bytes are zeros
 * vptest pump copy IN OUT LEN | take HOST PORT OUT LEN | relay HOST PORT HOST PORT
 *   the same transfer of LEN bytes again and again (a relay: one without an end), until one
 *   fails or ordinary calls moved something of it: then {"moved":,"errno":,"reason":}
 * vptest crowd HOST PORT FILE N LEN   N operations at once, of LEN bytes of FILE into
 *   a connection each: {"submitted":}; when all have ended what was declined is sent by
 *   sendfile(), and {"done":,"declined":,"busy":,"failed":,"offloaded":,"ordinary":}
 * vptest hold PORT N   N connections of which nothing is read until a line comes on standard
 *   input: {"held":}; then all to their ends: {"bytes":,"errors":}
 * vptest meter MS FILE...   a line each MS milliseconds, or as soon as that goes: seconds
 *   since the boot, and the number in each file
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vpipe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <vpipe.h>

#include "vptest.h"

/* What arrives at the lab's dom0 must fit into ordinary frames, whatever its own MTU is. */
#define SEGMENT	1448

static void allow_files(unsigned int number)
{
	struct rlimit limit = { .rlim_cur = number + 64, .rlim_max = number + 64 };

	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("%u open files: %s", number, strerror(errno));
}

int cmd_pour(int argc, char **argv)
{
	static char zeros[1 << 20];
	int listening, mem, fd;

	if (argc != 2)
		die("usage: pour PORT");
	mem = memfd_create("zeros", 0);
	if (mem < 0 || write(mem, zeros, sizeof(zeros)) != sizeof(zeros))
		die("memfd: %s", strerror(errno));
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	listening = tcp_listen(argv[1]);
	while ((fd = accept(listening, NULL, NULL)) >= 0) {
		if (!fork()) {
			off_t at = 0;

			while (sendfile(fd, mem, &at, sizeof(zeros)) > 0)
				if (at == sizeof(zeros))
					at = 0;
			_exit(0);
		}
		close(fd);
	}
	return 1;
}

/* As tcp_connect(), but the peer sends ordinary frames. */
static int connect_source(const char *host, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), segment = SEGMENT;

	if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
		die("%s is no address", host);
	if (setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("%s port %s: %s", host, port, strerror(errno));
	return fd;
}

static int open_sink(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

int cmd_pump(int argc, char **argv)
{
	struct vpipe_transfer_info info;
	int in, out, copy = 0, take = 0;
	uint64_t len = INT64_MAX;
	int64_t moved;

	if (argc == 5 && !strcmp(argv[1], "copy")) {
		copy = 1;
		in = open(argv[2], O_RDONLY);
		if (in < 0)
			die("%s: %s", argv[2], strerror(errno));
		out = open_sink(argv[3]);
		len = strtoull(argv[4], NULL, 0);
	} else if (argc == 6 && !strcmp(argv[1], "take")) {
		take = 1;
		in = connect_source(argv[2], argv[3]);
		out = open_sink(argv[4]);
		len = strtoull(argv[5], NULL, 0);
	} else if (argc == 6 && !strcmp(argv[1], "relay")) {
		out = tcp_connect(argv[4], argv[5]);
		in = connect_source(argv[2], argv[3]);
	} else {
		die("usage: pump copy IN OUT LEN|take HOST PORT OUT LEN|relay HOST PORT HOST PORT");
	}
	do {
		moved = copy ? vpipe_file_to_file_fd(in, out, 0, len, 0) :
			take ? vpipe_socket_to_file_fd(in, out, 0, len) :
			       vpipe_socket_to_socket_fd(in, out, len);
		vpipe_last_result(&info, sizeof(info));
	} while (moved == (int64_t)len && !info.ordinary);
	printf("{\"moved\":%" PRId64 ",\"errno\":%d,\"reason\":\"%s\"}\n", moved, info.error,
	       vpipe_reason_string(info.reason));
	return 1;
}

/* --- many at once ---------------------------------------------------------------------- */

static struct crowd {
	uint64_t done, declined, busy, failed, offloaded, ordinary;
} crowd;

/* What the driver did not move, as libvpipe would go on. */
static void finish(int fd, int file, uint64_t moved, uint64_t len)
{
	off_t at = (off_t)moved;
	ssize_t n = 1;

	while (moved < len && n > 0) {
		n = sendfile(fd, file, &at, len - moved);
		if (n > 0) {
			moved += (uint64_t)n;
			crowd.ordinary += (uint64_t)n;
		}
	}
	if (moved < len)
		crowd.failed++;
}

int cmd_crowd(int argc, char **argv)
{
	struct vpipe_ioc_transfer start = { .size = sizeof(start), .in_offset = 0 };
	struct vpipe_ioc_complete end = { .size = sizeof(end) };
	struct vpipe_result *result;
	unsigned int n, i;
	int device, *fd;
	uint64_t len;

	if (argc != 6)
		die("usage: crowd HOST PORT FILE N LEN");
	n = (unsigned int)atoi(argv[4]);
	len = strtoull(argv[5], NULL, 0);
	allow_files(n);
	fd = calloc(n, sizeof(*fd));
	result = calloc(n, sizeof(*result));
	device = open(VPIPE_DEVICE, O_RDWR);
	start.in_fd = open(argv[3], O_RDONLY);
	if (!fd || !result || device < 0 || start.in_fd < 0)
		die("%s, %s: %s", VPIPE_DEVICE, argv[3], strerror(errno));
	for (i = 0; i < n; i++)
		fd[i] = tcp_connect(argv[1], argv[2]);
	start.kind = VPIPE_KIND_FILE_TO_SOCKET;
	start.length = len;
	for (i = 0; i < n; i++) {
		start.out_fd = fd[i];
		start.user_data = i;
		start.op = 0;
		if (ioctl(device, VPIPE_IOC_SUBMIT, &start))
			die("operation %u: %s", i, strerror(errno));
	}
	printf("{\"submitted\":%u}\n", n);
	for (i = 0; i < n; i++) {
		end.op = 0;
		if (ioctl(device, VPIPE_IOC_COMPLETE, &end))
			die("complete: %s", strerror(errno));
		result[end.user_data] = end.result;
	}
	for (i = 0; i < n; i++) {
		crowd.offloaded += result[i].moved;
		crowd.done += result[i].status == VPIPE_STATUS_DONE;
		crowd.declined += result[i].status == VPIPE_STATUS_DECLINED;
		crowd.busy += result[i].status == VPIPE_STATUS_DECLINED &&
			      result[i].reason == VPIPE_REASON_BUSY;
		crowd.failed += result[i].status == VPIPE_STATUS_FAILED;
		if (result[i].status == VPIPE_STATUS_DECLINED)
			finish(fd[i], start.in_fd, result[i].moved, len);
		close(fd[i]);
	}
	printf("{\"done\":%" PRIu64 ",\"declined\":%" PRIu64 ",\"busy\":%" PRIu64 ",\"failed\":%"
	       PRIu64 ",\"offloaded\":%" PRIu64 ",\"ordinary\":%" PRIu64 "}\n", crowd.done,
	       crowd.declined, crowd.busy, crowd.failed, crowd.offloaded, crowd.ordinary);
	return 0;
}

int cmd_hold(int argc, char **argv)
{
	static char rest[1 << 18];
	int listening, epoll, small = 16384, large = 1 << 20, *fd;
	unsigned int n, i, open, errors = 0;
	struct epoll_event event = { .events = EPOLLIN };
	uint64_t bytes = 0;
	ssize_t got;

	if (argc != 3)
		die("usage: hold PORT N");
	n = (unsigned int)atoi(argv[2]);
	allow_files(n);
	fd = calloc(n, sizeof(*fd));
	listening = tcp_listen(argv[1]);
	/* That of the connections to come. */
	setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (i = 0; i < n; i++) {
		fd[i] = accept(listening, NULL, NULL);
		if (fd[i] < 0)
			die("accept: %s", strerror(errno));
	}
	printf("{\"held\":%u}\n", n);
	if (!fgets(rest, sizeof(rest), stdin))
		return 0;
	epoll = epoll_create1(0);
	for (i = 0; i < n; i++) {
		setsockopt(fd[i], SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large));
		event.data.fd = fd[i];
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd[i], &event);
	}
	for (open = n; open && epoll_wait(epoll, &event, 1, -1) == 1; ) {
		got = recv(event.data.fd, rest, sizeof(rest), 0);
		if (got > 0) {
			bytes += (uint64_t)got;
			continue;
		}
		errors += got < 0;
		close(event.data.fd);
		open--;
	}
	printf("{\"bytes\":%" PRIu64 ",\"errors\":%u}\n", bytes, errors);
	return 0;
}

/* --- what others do ---------------------------------------------------------------------- */

int cmd_meter(int argc, char **argv)
{
	struct timespec pause = {}, now;
	int *file;

	if (argc < 3)
		die("usage: meter MS FILE...");
	pause.tv_nsec = atoi(argv[1]) * 1000000L;
	file = calloc((size_t)argc, sizeof(*file));
	for (int i = 2; i < argc; i++) {
		file[i] = open(argv[i], O_RDONLY);
		if (file[i] < 0)
			die("%s: %s", argv[i], strerror(errno));
	}
	/* Many lines a second: they leave in larger pieces. */
	setvbuf(stdout, NULL, _IOFBF, 4096);
	for (;;) {
		clock_gettime(CLOCK_BOOTTIME, &now);
		printf("%ld.%06ld", (long)now.tv_sec, now.tv_nsec / 1000);
		for (int i = 2; i < argc; i++) {
			char text[32] = "";

			if (pread(file[i], text, sizeof(text) - 1, 0) <= 0)
				die("%s: %s", argv[i], strerror(errno));
			printf(" %lld", strtoll(text, NULL, 10));
		}
		putchar('\n');
		nanosleep(&pause, NULL);
	}
}
