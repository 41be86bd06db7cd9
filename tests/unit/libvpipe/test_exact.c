// SPDX-License-Identifier: LGPL-2.1-or-later
/* Trouble half way: the count is exact and no byte of a source socket is lost. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "support.h"

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

/* Count a signal, without SA_RESTART. */
static void catch_signal(int sig, struct sigaction *old)
{
	struct sigaction sa = { .sa_handler = count_signal };

	signals = 0;
	assert_int_equal(sigaction(sig, &sa, old), 0);
}

static void test_file_size_limit(void **state)
{
	struct rlimit old, limit;
	struct sigaction action;
	struct peer feed;
	int sv[2], file;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){ .rlim_cur = 100001, .rlim_max = old.rlim_max };
	for (size_t pair = 0; pair < TEST_PAIRS; pair++) {
		file = file_make(test_dirs[0], 0);
		test_pairs[pair](sv);
		peer_feed(&feed, sv[1], 1 * MIB, 0);
		catch_signal(SIGXFSZ, &action);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		assert_int_equal(vpipe_socket_to_file_fd(sv[0], file, 1, 1 * MIB), 100000);
		result_expect(100000, EFBIG);
		assert_fails(vpipe_socket_to_file_fd(sv[0], file, 100001, 1), EFBIG);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(sigaction(SIGXFSZ, &action, NULL), 0);
		assert_true(signals > 0);
		file_expect(file, 1, 100000, 0);
		socket_expect_rest(sv[0], 1 * MIB - 100000, 100000);
		peer_join(&feed);
		close(sv[0]);
		close(sv[1]);
		close(file);
	}
}

/* A tmpfs of 64 KiB in a mount namespace of this process. */
static bool small_disk_mount(const char *dir)
{
	mkdir(dir, 0700);
	if (unshare(CLONE_NEWNS))
		return false;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	return !mount("none", dir, "tmpfs", 0, "size=64k");
}

static void test_full_disk(void **state)
{
	static const char dir[] = "small-disk";
	int source, file, sv[2];
	struct peer feed;
	int64_t n;

	(void)state;
	if (!small_disk_mount(dir))
		skip();
	source = file_make(test_dirs[1], 1 * MIB);
	for (size_t pair = 0; pair < TEST_PAIRS; pair++) {
		file = file_make(dir, 0);
		test_pairs[pair](sv);
		peer_feed(&feed, sv[1], 1 * MIB, 0);
		n = vpipe_socket_to_file_fd(sv[0], file, 3, 1 * MIB);
		assert_in_range(n, 1, 64 * KIB);
		result_expect((uint64_t)n, ENOSPC);
		assert_fails(vpipe_socket_to_file_fd(sv[0], file, 3 + n, 1), ENOSPC);
		file_expect(file, 3, (uint64_t)n, 0);
		socket_expect_rest(sv[0], 1 * MIB - (uint64_t)n, (uint64_t)n);
		peer_join(&feed);
		close(sv[0]);
		close(sv[1]);
		close(file);

		file = file_make(dir, 0);
		n = vpipe_file_to_file_fd(source, file, 0, 1 * MIB, 0);
		assert_in_range(n, 1, 64 * KIB);
		file_expect(file, 0, (uint64_t)n, 0);
		assert_fails(vpipe_file_to_file_fd(source, file, n, 1, n), ENOSPC);
		close(file);
	}
	close(source);
	assert_int_equal(umount(dir), 0);
	rmdir(dir);
}

/* The sink takes some bytes, then a time limit ends the transfer. */
static void test_send_timeout(void **state)
{
	int source = file_make(test_dirs[0], 8 * MIB);
	struct peer feed;
	int in[2], out[2];
	int64_t n, more;

	(void)state;
	for (size_t from = 0; from < TEST_PAIRS; from++)
		for (size_t to = 0; to < TEST_PAIRS; to++) {
			test_pairs[from](in);
			test_pairs[to](out);
			set_buffers(out[0], 32768);
			set_buffers(out[1], 32768);
			set_timeout(out[0], SO_SNDTIMEO, 30);
			peer_feed(&feed, in[1], 8 * MIB, 0);
			n = vpipe_socket_to_socket_fd(in[0], out[0], 8 * MIB);
			assert_in_range(n, 1, 8 * MIB - 1);
			/* A late acknowledgement may have made room for a few more. */
			while ((more = vpipe_socket_to_socket_fd(in[0], out[0], 1)) == 1)
				n++;
			assert_int_equal(more, -1);
			assert_int_equal(errno, EAGAIN);
			close(out[0]);
			socket_expect_rest(out[1], (uint64_t)n, 0);
			socket_expect_rest(in[0], 8 * MIB - (uint64_t)n, (uint64_t)n);
			peer_join(&feed);
			close(out[1]);
			close(in[0]);
			close(in[1]);
		}
	for (size_t to = 0; to < TEST_PAIRS; to++) {
		test_pairs[to](out);
		set_buffers(out[0], 32768);
		set_buffers(out[1], 32768);
		set_timeout(out[0], SO_SNDTIMEO, 30);
		n = vpipe_file_to_socket_fd(source, out[0], 0, 8 * MIB);
		assert_in_range(n, 1, 8 * MIB - 1);
		close(out[0]);
		socket_expect_rest(out[1], (uint64_t)n, 0);
		close(out[1]);
	}
	close(source);
}

static void test_receive_timeout(void **state)
{
	int file = file_make(test_dirs[0], 0);
	char buf[1000];
	int sv[2];

	(void)state;
	pattern_fill(buf, sizeof(buf), 0);
	for (size_t pair = 0; pair < TEST_PAIRS; pair++) {
		test_pairs[pair](sv);
		set_timeout(sv[0], SO_RCVTIMEO, 30);
		assert_fails(vpipe_socket_to_file_fd(sv[0], file, 0, 5000), EAGAIN);
		assert_int_equal(send(sv[1], buf, sizeof(buf), 0), sizeof(buf));
		assert_int_equal(vpipe_socket_to_file_fd(sv[0], file, 0, 5000), 1000);
		result_expect(1000, EAGAIN);
		file_expect(file, 0, 1000, 0);
		close(sv[0]);
		close(sv[1]);
	}
	close(file);
}

/* The peer of the sink goes away: what it did not get stays in the source. */
static void test_sink_closed(void **state)
{
	struct sigaction action;
	struct peer feed;
	int in[2], out[2];
	int64_t n;

	(void)state;
	for (size_t from = 0; from < TEST_PAIRS; from++) {
		test_pairs[from](in);
		pair_unix(out);
		peer_feed(&feed, in[1], 4 * MIB, 0);
		n = vpipe_socket_to_socket_fd(in[0], out[0], 70001);
		assert_int_equal(n, 70001);
		close(out[1]);
		catch_signal(SIGPIPE, &action);
		assert_fails(vpipe_socket_to_socket_fd(in[0], out[0], 4 * MIB), EPIPE);
		assert_int_equal(sigaction(SIGPIPE, &action, NULL), 0);
		assert_int_equal(signals, 1);
		socket_expect_rest(in[0], 4 * MIB - 70001, 70001);
		peer_join(&feed);
		close(in[0]);
		close(in[1]);
		close(out[0]);
	}
}

static void test_sigpipe(void **state)
{
	int file = file_make(test_dirs[0], 1000);
	struct sigaction action;
	int sv[2];

	(void)state;
	for (size_t pair = 0; pair < TEST_PAIRS; pair++) {
		test_pairs[pair](sv);
		assert_int_equal(shutdown(sv[0], SHUT_WR), 0);
		catch_signal(SIGPIPE, &action);
		assert_fails(vpipe_file_to_socket_fd(file, sv[0], 0, 1000), EPIPE);
		assert_int_equal(sigaction(SIGPIPE, &action, NULL), 0);
		assert_int_equal(signals, 1);
		close(sv[0]);
		close(sv[1]);
	}
	close(file);
}

static void test_reset(void **state)
{
	const struct linger abort_it = { .l_onoff = 1 };
	int file = file_make(test_dirs[0], 1000);
	struct sigaction action;
	int sv[2];

	(void)state;
	pair_tcp(sv);
	assert_int_equal(setsockopt(sv[1], SOL_SOCKET, SO_LINGER, &abort_it,
				    sizeof(abort_it)), 0);
	close(sv[1]);
	assert_fails(vpipe_socket_to_file_fd(sv[0], file, 0, 1000), ECONNRESET);
	/* The error is reported once; then the source has ended and the sink is shut. */
	assert_int_equal(vpipe_socket_to_file_fd(sv[0], file, 0, 1000), 0);
	catch_signal(SIGPIPE, &action);
	assert_fails(vpipe_file_to_socket_fd(file, sv[0], 0, 1000), EPIPE);
	assert_int_equal(sigaction(SIGPIPE, &action, NULL), 0);
	close(sv[0]);
	close(file);
}

/* Signals come all the time, and everything arrives. */
static void test_signals(void **state)
{
	const struct itimerval often = { { .tv_usec = 500 }, { .tv_usec = 500 } };
	const struct itimerval never = { 0 };
	int source = file_make(test_dirs[0], 4 * MIB);
	int target = file_make(test_dirs[0], 0);
	struct peer feed, drain;
	struct sigaction action;
	sigset_t alarm_set;
	int sv[2];

	(void)state;
	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	catch_signal(SIGALRM, &action);
	for (size_t round = 0; round < 2 * TEST_PAIRS; round++) {
		test_pairs[round / 2](sv);
		if (round % 2)
			set_nonblock(sv[0]);
		/* The peers do not take the signals. */
		pthread_sigmask(SIG_BLOCK, &alarm_set, NULL);
		peer_drain(&drain, sv[1], 4 * MIB, 0, 20);
		peer_feed(&feed, sv[1], 4 * MIB, 20);
		pthread_sigmask(SIG_UNBLOCK, &alarm_set, NULL);
		assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
		assert_int_equal(vpipe_socket_to_file_fd(sv[0], target, 0, 4 * MIB), 4 * MIB);
		assert_int_equal(vpipe_file_to_socket_fd(source, sv[0], 0, 4 * MIB), 4 * MIB);
		assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
		close(sv[0]);
		peer_join(&feed);
		peer_join(&drain);
		file_expect(target, 0, 4 * MIB, 0);
		close(sv[1]);
	}
	assert_true(signals > 0);
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	close(source);
	close(target);
}

static void *cancelled_run(void *arg)
{
	const int *fds = arg;

	pthread_cancel(pthread_self());
	vpipe_socket_to_file_fd(fds[0], fds[1], 0, INT64_MAX);
	return NULL;
}

/* A transfer is no cancellation point: it ends, and the thread after it. */
static void test_cancel(void **state)
{
	int fds[2], sv[2];
	struct peer feed;
	pthread_t thread;

	(void)state;
	pair_tcp(sv);
	fds[0] = sv[0];
	fds[1] = file_make(test_dirs[0], 0);
	peer_feed(&feed, sv[1], 300001, 5);
	assert_int_equal(pthread_create(&thread, NULL, cancelled_run, fds), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	peer_join(&feed);
	file_expect(fds[1], 0, 300001, 0);
	close(sv[0]);
	close(sv[1]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_size_limit),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_send_timeout),
		cmocka_unit_test(test_receive_timeout),
		cmocka_unit_test(test_sink_closed),
		cmocka_unit_test(test_sigpipe),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_cancel),
	};

	return cmocka_run_group_tests_name("libvpipe_exact", tests, NULL, NULL);
}
