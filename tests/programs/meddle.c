// SPDX-License-Identifier: GPL-2.0
/*
 * vptest meddle HOST PORT FILE WHAT
 *   A thread sends FILE by vpipe_file_to_socket; when a line comes on standard input, the
 *   program does with the same connection
 *     send        100 bytes            recv        100 bytes of the pattern
 *     trysend, tryrecv    the same with MSG_DONTWAIT
 *     option      TCP_NODELAY          info        TCP_INFO
 *     poll        for input, at once   pollin      ... until there is some
 *     epoll       the same, waiting before the line comes; both are read at the end
 *     shutdown    for writing          close
 *     fork        a child sends 100 bytes       hold    a child keeps it and ends with a line
 *     signal      10 signals to the thread that transfers, each when the one before was handled
 *   {"begun":"WHAT"}, {"did":what it returned,"errno":,"us":how long it took}, and at the end
 *   {"moved":,"error":,"offloaded":,"copied":}.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vpipe.h>

#include "vptest.h"

#define SOME 100

static struct {
	pthread_t thread;
	sem_t handled;
	int file, fd, error;
	int64_t moved;
	struct vpipe_transfer_info info;
} job;

static void *transfer(void *arg)
{
	job.moved = vpipe_file_to_socket_fd(job.file, job.fd, 0, INT64_MAX);
	job.error = job.moved < 0 ? errno : 0;
	vpipe_last_result(&job.info, sizeof(job.info));
	return arg;
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static ssize_t put(int flags)
{
	unsigned char data[SOME];

	pattern(0, data, sizeof(data));
	return send(job.fd, data, sizeof(data), flags | MSG_NOSIGNAL);
}

static ssize_t get(int flags)
{
	unsigned char got[SOME], want[SOME];
	ssize_t n = recv(job.fd, got, sizeof(got), flags);

	pattern(0, want, sizeof(want));
	if (n > 0 && memcmp(got, want, (size_t)n))
		die("wrong bytes received");
	return n;
}

static long wait_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int set = epoll_create1(0);

	epoll_ctl(set, EPOLL_CTL_ADD, job.fd, &event);
	return epoll_wait(set, &event, 1, -1);
}

static long child(const char *what)
{
	char line[16];
	int status;
	pid_t pid = fork();

	if (!pid && !strcmp(what, "hold"))
		_exit(!fgets(line, sizeof(line), stdin));
	if (!pid)
		_exit(put(0) != SOME);
	if (!strcmp(what, "hold"))
		return 0;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void handler(int number)
{
	(void)number;
	sem_post(&job.handled);
}

static long signals(void)
{
	struct sigaction action = { .sa_handler = handler };
	int i;

	sem_init(&job.handled, 0, 0);
	sigaction(SIGUSR1, &action, NULL);
	for (i = 0; i < 10; i++) {
		pthread_kill(job.thread, SIGUSR1);
		while (sem_wait(&job.handled))
			;
	}
	return 0;
}

static long meddle(const char *what)
{
	struct pollfd pfd = { .fd = job.fd, .events = POLLIN };
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int on = 1;

	if (!strcmp(what, "send") || !strcmp(what, "trysend"))
		return put(*what == 't' ? MSG_DONTWAIT : 0);
	if (!strcmp(what, "recv") || !strcmp(what, "tryrecv"))
		return get(*what == 't' ? MSG_DONTWAIT : 0);
	if (!strcmp(what, "option"))
		return setsockopt(job.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!strcmp(what, "info"))
		return getsockopt(job.fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	if (!strcmp(what, "poll") || !strcmp(what, "pollin"))
		return poll(&pfd, 1, strcmp(what, "pollin") ? 0 : -1);
	if (!strcmp(what, "epoll"))
		return wait_epoll();
	if (!strcmp(what, "shutdown"))
		return shutdown(job.fd, SHUT_WR);
	if (!strcmp(what, "close"))
		return close(job.fd);
	if (!strcmp(what, "fork") || !strcmp(what, "hold"))
		return child(what);
	if (!strcmp(what, "signal"))
		return signals();
	die("unknown: %s", what);
}

int cmd_meddle(int argc, char **argv)
{
	double began;
	char line[16];
	long did;

	if (argc != 5)
		die("usage: meddle HOST PORT FILE WHAT");
	job.file = open(argv[3], O_RDONLY);
	if (job.file < 0)
		die("%s: %s", argv[3], strerror(errno));
	job.fd = tcp_connect(argv[1], argv[2]);
	if (pthread_create(&job.thread, NULL, transfer, NULL))
		die("no thread");
	if (strcmp(argv[4], "epoll") && !fgets(line, sizeof(line), stdin))
		return 1;
	printf("{\"begun\":\"%s\"}\n", argv[4]);
	began = now_us();
	errno = 0;
	did = meddle(argv[4]);
	printf("{\"did\":%ld,\"errno\":%d,\"us\":%.0f}\n", did, errno, now_us() - began);
	pthread_join(job.thread, NULL);
	if (!strcmp(argv[4], "pollin") || !strcmp(argv[4], "epoll"))
		get(0);
	printf("{\"moved\":%lld,\"error\":%d,\"offloaded\":%llu,\"copied\":%llu}\n",
	       (long long)job.moved, job.error, (unsigned long long)job.info.offloaded,
	       (unsigned long long)job.info.ordinary);
	return 0;
}
