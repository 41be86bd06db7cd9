// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the library does with the answers of /dev/vpipe, and with kernels that cannot
 * send or copy a file.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"

#define SIZE	300001ULL	/* of all sources below */

static const uint64_t limits[] = { 0, 1, 4096, 100003, SIZE - 1, SIZE, SIZE + 1 };

/*
 * The driver stops after each of `limits` bytes: the rest is moved from there.  The
 * source has SIZE bytes, SIZE + 10 are asked for.
 */
static void check_continue(int kind, bool with_handle, uint64_t limit)
{
	uint64_t offloaded = limit < SIZE ? limit : SIZE;
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	bool from_socket = driver_is_socket((uint32_t)kind, true);
	bool to_socket = driver_is_socket((uint32_t)kind, false);
	struct peer feed, drain;
	vpipe_t *vp = NULL;
	int64_t n = -1;

	driver.limit = limit;
	driver.status = VPIPE_STATUS_DECLINED;
	driver.reason = VPIPE_REASON_NO_BACKEND;
	if (from_socket) {
		pair_tcp(in);
		peer_feed(&feed, in[1], SIZE, 0);
	} else {
		in[0] = file_make(test_dirs[0], SIZE);
	}
	if (to_socket) {
		pair_tcp(out);
		peer_drain(&drain, out[1], SIZE, 0, 0);
	} else {
		out[0] = file_make(test_dirs[1], 7);
	}
	if (with_handle) {
		vp = vpipe_create(in[0], out[0]);
		assert_non_null(vp);
	}
	switch (kind) {
	case VPIPE_KIND_FILE_TO_SOCKET:
		n = vp ? vpipe_file_to_socket(vp, 0, SIZE + 10) :
			 vpipe_file_to_socket_fd(in[0], out[0], 0, SIZE + 10);
		break;
	case VPIPE_KIND_SOCKET_TO_FILE:
		n = vp ? vpipe_socket_to_file(vp, 7, SIZE + 10) :
			 vpipe_socket_to_file_fd(in[0], out[0], 7, SIZE + 10);
		break;
	case VPIPE_KIND_FILE_TO_FILE:
		n = vp ? vpipe_file_to_file(vp, 0, SIZE + 10, 7) :
			 vpipe_file_to_file_fd(in[0], out[0], 0, SIZE + 10, 7);
		break;
	case VPIPE_KIND_SOCKET_TO_SOCKET:
		n = vp ? vpipe_socket_to_socket(vp, SIZE + 10) :
			 vpipe_socket_to_socket_fd(in[0], out[0], SIZE + 10);
		break;
	}
	assert_int_equal(n, SIZE);
	expect_info(offloaded, SIZE - offloaded, VPIPE_DECLINED_NO_BACKEND, 0, 0);
	assert_int_equal(driver.last.handle != VPIPE_NO_HANDLE, with_handle);
	if (!with_handle)
		assert_int_equal(driver.last.kind, kind);
	assert_int_equal(vpipe_destroy(vp), 0);
	close(out[0]);
	if (from_socket) {
		peer_join(&feed);
		close(in[1]);
	}
	if (to_socket) {
		peer_join(&drain);
		close(out[1]);
	}
	close(in[0]);
}

static void test_continue(void **state)
{
	(void)state;
	for (int kind = VPIPE_KIND_FILE_TO_SOCKET; kind <= VPIPE_KIND_SOCKET_TO_SOCKET; kind++)
		for (int with_handle = 0; with_handle < 2; with_handle++)
			for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
				driver_setup(state);
				check_continue(kind, with_handle, limits[i]);
			}
}

/* The same into files, where the bytes can be looked at. */
static void test_continue_content(void **state)
{
	(void)state;
	driver.status = VPIPE_STATUS_DECLINED;
	driver.reason = VPIPE_REASON_DISK;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		int in = file_make(test_dirs[0], SIZE + 5);
		int out = file_make(test_dirs[0], 7);

		driver.limit = limits[i];
		assert_int_equal(vpipe_file_to_file_fd(in, out, 5, SIZE, 7), SIZE);
		assert_int_equal(lseek(out, 0, SEEK_END), SIZE + 7);
		file_expect(out, 0, 7, 0);
		file_expect(out, 7, SIZE, 5);
		close(in);
		close(out);
	}
}

static struct {
	int in, out;
} files;

static int files_setup(void **state)
{
	driver_setup(state);
	files.in = file_make(test_dirs[0], SIZE);
	files.out = file_make(test_dirs[0], 0);
	return 0;
}

static int files_teardown(void **state)
{
	(void)state;
	close(files.in);
	close(files.out);
	return 0;
}

static void test_done(void **state)
{
	(void)state;
	assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 1, SIZE, 2), SIZE - 1);
	expect_info(SIZE - 1, 0, VPIPE_DECLINED_NOT, 0, 0);
	file_expect(files.out, 2, SIZE - 1, 1);
	assert_int_equal(driver.last.in_offset, 1);
	assert_int_equal(driver.last.out_offset, 2);
	assert_int_equal(driver.last.length, SIZE);
	assert_int_equal(driver.opens, 1);
}

/* Bad arguments and a length of 0 do not reach the driver. */
static void test_not_asked(void **state)
{
	(void)state;
	assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, 0, 0), 0);
	assert_fails(vpipe_file_to_file_fd(files.in, files.out, -1, 1, 0), EINVAL);
	assert_fails(vpipe_file_to_file_fd(files.in, files.in, 0, 2, 1), EINVAL);
	assert_fails(vpipe_file_to_file_fd(files.in, files.out, SIZE + 1, 1, 0), ENXIO);
	assert_int_equal(driver.opens, 0);
	assert_int_equal(driver.transfers, 0);
	expect_info(0, 0, VPIPE_DECLINED_NOT, ENXIO, 0);
}

/* The driver's EBUSY is told, and does not make the transfer fail. */
static void test_in_use(void **state)
{
	(void)state;
	driver.status = VPIPE_STATUS_DECLINED;
	driver.reason = VPIPE_REASON_BUSY;
	driver.error = EBUSY;
	driver.limit = 0;
	assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), SIZE);
	expect_info(0, SIZE, VPIPE_DECLINED_BUSY, 0, EBUSY);
	file_expect(files.out, 0, SIZE, 0);
	/* A limit that was reached is no such thing. */
	driver.error = 0;
	assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), SIZE);
	expect_info(0, SIZE, VPIPE_DECLINED_BUSY, 0, 0);
}

static void test_failed(void **state)
{
	(void)state;
	driver.status = VPIPE_STATUS_FAILED;
	driver.error = EIO;
	driver.limit = 1000;
	assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), 1000);
	expect_info(1000, 0, VPIPE_DECLINED_NOT, EIO, 0);
	assert_int_equal(lseek(files.out, 0, SEEK_END), 1000);
	driver.limit = 0;
	assert_fails(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), EIO);
	expect_info(0, 0, VPIPE_DECLINED_NOT, EIO, 0);
	driver.error = ECONNRESET;
	assert_fails(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), ECONNRESET);
	assert_int_equal(lseek(files.out, 0, SEEK_END), 1000);
}

static volatile sig_atomic_t sigpipes;

static void count_sigpipe(int sig)
{
	(void)sig;
	sigpipes++;
}

static void test_failed_epipe(void **state)
{
	struct sigaction sa = { .sa_handler = count_sigpipe }, old;
	int sv[2];

	(void)state;
	pair_tcp(sv);
	driver.status = VPIPE_STATUS_FAILED;
	driver.error = EPIPE;
	driver.limit = 0;
	assert_int_equal(sigaction(SIGPIPE, &sa, &old), 0);
	assert_fails(vpipe_file_to_socket_fd(files.in, sv[0], 0, SIZE), EPIPE);
	assert_int_equal(sigaction(SIGPIPE, &old, NULL), 0);
	assert_int_equal(sigpipes, 1);
	close(sv[0]);
	close(sv[1]);
}

/* Whatever the device answers before anything has moved, the bytes arrive. */
static void test_device_errors(void **state)
{
	static const int errors[] = {
		ENOENT, ENXIO, ENODEV, EACCES, EMFILE, ENOTTY, EINVAL, E2BIG, ENOMEM, EAGAIN,
	};
	vpipe_t *vp;

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		driver_setup(state);
		driver.open_error = errors[i];
		assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), SIZE);
		expect_info(0, SIZE, VPIPE_DECLINED_NO_DEVICE, 0, errors[i]);
		vp = vpipe_create(files.in, files.out);
		assert_non_null(vp);
		assert_int_equal(vpipe_file_to_file(vp, 0, SIZE, 0), SIZE);
		expect_info(0, SIZE, VPIPE_DECLINED_NO_DEVICE, 0, errors[i]);
		assert_int_equal(vpipe_destroy(vp), 0);

		driver_setup(state);
		driver.ioctl_error = errors[i];
		assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), SIZE);
		expect_info(0, SIZE, VPIPE_DECLINED_NO_DEVICE, 0, errors[i]);

		driver_setup(state);
		driver.create_error = errors[i];
		vp = vpipe_create(files.in, files.out);
		assert_non_null(vp);
		assert_int_equal(vpipe_file_to_file(vp, 0, SIZE, 0), SIZE);
		expect_info(0, SIZE, VPIPE_DECLINED_NO_DEVICE, 0, errors[i]);
		/* It may work the next time. */
		driver.create_error = 0;
		assert_int_equal(vpipe_file_to_file(vp, 0, SIZE, 0), SIZE);
		expect_info(SIZE, 0, VPIPE_DECLINED_NOT, 0, 0);
		assert_int_equal(vpipe_destroy(vp), 0);
	}
}

/* Signals do not end a transfer, and nothing is moved twice. */
static void test_signals(void **state)
{
	(void)state;
	for (unsigned int signals = 1; signals < 4; signals++) {
		driver_setup(state);
		driver.signals = signals;
		assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), SIZE);
		expect_info(SIZE, 0, VPIPE_DECLINED_NOT, 0, 0);
		assert_int_equal(driver.signals, 0);
		assert_int_equal(driver.transfers, 1);
	}
	/* How it went is not known: nothing goes the ordinary way behind it. */
	driver_setup(state);
	driver.signals = 1;
	driver.complete_error = ENOENT;
	assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), -1);
	assert_int_equal(errno, ENOENT);
	expect_info(0, 0, VPIPE_DECLINED_NOT, ENOENT, 0);
}

/* Kernels and file systems that cannot send or copy, or say that there is nothing. */
static void test_step_unsupported(void **state)
{
	static const int errors[] = {
		0, EINVAL, ENOSYS, EOPNOTSUPP, EXDEV, EPERM, ETXTBSY,
	};
	struct peer drain;
	int sv[2];

	(void)state;
	driver.open_error = ENOENT;
	driver.step_ordered = true;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		driver.step_error = errors[i];
		assert_int_equal(ftruncate(files.out, 0), 0);
		assert_int_equal(vpipe_file_to_file_fd(files.in, files.out, 1, SIZE, 3), SIZE - 1);
		file_expect(files.out, 3, SIZE - 1, 1);
		for (size_t pair = 0; pair < TEST_PAIRS; pair++) {
			test_pairs[pair](sv);
			set_nonblock(sv[0]);
			peer_drain(&drain, sv[1], SIZE - 1, 1, 2);
			assert_int_equal(vpipe_file_to_socket_fd(files.in, sv[0], 1, SIZE),
					 SIZE - 1);
			close(sv[0]);
			peer_join(&drain);
			close(sv[1]);
		}
	}
	driver.step_error = EIO;
	assert_fails(vpipe_file_to_file_fd(files.in, files.out, 0, SIZE, 0), EIO);
}

/* One device per handle, one driver handle per kind, both used again. */
static void test_handles(void **state)
{
	struct peer feed;
	vpipe_t *vp;
	int sv[2];

	(void)state;
	pair_unix(sv);
	vp = vpipe_create(sv[0], sv[0]);
	assert_non_null(vp);
	assert_int_equal(driver.creates, 0);
	peer_feed(&feed, sv[1], 4000, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(vpipe_socket_to_socket(vp, 1000), 1000);
	assert_int_equal(driver.opens, 1);
	assert_int_equal(driver.creates, 1);
	assert_int_equal(driver.transfers, 4);
	assert_int_equal(driver.handles[1].kind, VPIPE_KIND_SOCKET_TO_SOCKET);
	assert_int_equal(vpipe_destroy(vp), 0);
	peer_join(&feed);
	close(sv[0]);
	close(sv[1]);
}

struct racer {
	pthread_t thread;
	vpipe_t *vp;
	int64_t index;
	int64_t moved;
	struct vpipe_transfer_info info;
};

static void *racer_run(void *arg)
{
	struct racer *r = arg;

	r->moved = vpipe_file_to_file(r->vp, r->index * 1000, 1000, r->index * 1000);
	vpipe_last_result(&r->info, sizeof(r->info));
	return NULL;
}

/* Threads share a handle; each sees its own result. */
static void test_threads(void **state)
{
	struct racer racers[RACERS];

	for (int round = 0; round < 20; round++) {
		vpipe_t *vp;

		driver_setup(state);
		driver.status = VPIPE_STATUS_DECLINED;
		driver.limit = 300;
		driver.slow_create = true;
		vp = vpipe_create(files.in, files.out);
		assert_non_null(vp);
		assert_int_equal(ftruncate(files.out, 0), 0);
		for (int i = 0; i < RACERS; i++) {
			racers[i] = (struct racer){ .vp = vp, .index = i };
			assert_int_equal(pthread_create(&racers[i].thread, NULL, racer_run,
							&racers[i]), 0);
		}
		for (int i = 0; i < RACERS; i++) {
			assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
			assert_int_equal(racers[i].moved, 1000);
			assert_int_equal(racers[i].info.offloaded, 300);
			assert_int_equal(racers[i].info.ordinary, 700);
		}
		file_expect(files.out, 0, RACERS * 1000, 0);
		assert_int_equal(driver.transfers, RACERS);
		assert_int_equal(driver.creates - driver.destroys, 1);
		assert_int_equal(vpipe_destroy(vp), 0);
	}
}

static void test_info(void **state)
{
	struct {
		struct vpipe_info info;
		char beyond[8];
	} wide;
	struct vpipe_info info;

	(void)state;
	driver.info = (struct vpipe_ioc_info){
		.abi_version = 1, .connected = 1, .max_ops = 64, .ops_done = 5,
		.kinds = 1U << VPIPE_KIND_FILE_TO_SOCKET | 1U << VPIPE_KIND_SOCKET_TO_SOCKET,
		.ops_declined = 2, .bytes = 1ULL << 40,
	};
	assert_int_equal(vpipe_info(&info, sizeof(info)), 0);
	assert_int_equal(info.abi_version, 1);
	assert_int_equal(info.connected, 1);
	assert_int_equal(info.kinds, VPIPE_CAN_FILE_TO_SOCKET | VPIPE_CAN_SOCKET_TO_SOCKET);
	assert_int_equal(info.max_ops, 64);
	assert_int_equal(info.ops_done, 5);
	assert_int_equal(info.ops_declined, 2);
	assert_int_equal(info.bytes, 1ULL << 40);
	assert_int_equal(vpipe_available(), info.kinds);

	/* Callers of older and newer headers. */
	memset(&wide, 0xff, sizeof(wide));
	assert_int_equal(vpipe_info(&wide.info, 8), 0);
	assert_int_equal(wide.info.connected, 1);
	assert_int_equal(wide.info.kinds, 0xffffffff);
	assert_int_equal(vpipe_info(&wide.info, sizeof(wide)), 0);
	assert_int_equal(wide.beyond[0], 0);
	assert_int_equal(wide.beyond[7], 0);

	driver.info.connected = 0;
	assert_int_equal(vpipe_available(), 0);
	driver.ioctl_error = ENOTTY;
	assert_fails(vpipe_info(&info, sizeof(info)), ENOTTY);
	assert_int_equal(vpipe_available(), 0);
	driver.open_error = ENOENT;
	assert_fails(vpipe_info(&info, sizeof(info)), ENOENT);
	assert_int_equal(vpipe_available(), 0);
}

static void test_reasons(void **state)
{
	(void)state;
	for (unsigned int a = 0; a <= VPIPE_DECLINED_LIMIT; a++) {
		assert_string_not_equal(vpipe_reason_string(a), "unknown reason");
		for (unsigned int b = 0; b < a; b++)
			assert_string_not_equal(vpipe_reason_string(a), vpipe_reason_string(b));
	}
	assert_string_equal(vpipe_reason_string(VPIPE_DECLINED_NO_DEVICE), "no usable /dev/vpipe");
	assert_string_equal(vpipe_reason_string(VPIPE_DECLINED_LIMIT + 1), "unknown reason");
	assert_string_equal(vpipe_reason_string(UINT32_MAX), "unknown reason");
}

#define with_files(test) cmocka_unit_test_setup_teardown(test, files_setup, files_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_files(test_signals),
		cmocka_unit_test(test_continue),
		cmocka_unit_test_setup(test_continue_content, driver_setup),
		with_files(test_done),
		with_files(test_not_asked),
		with_files(test_in_use),
		with_files(test_failed),
		with_files(test_failed_epipe),
		with_files(test_device_errors),
		with_files(test_step_unsupported),
		cmocka_unit_test_setup(test_handles, driver_setup),
		with_files(test_threads),
		cmocka_unit_test_setup(test_info, driver_setup),
		cmocka_unit_test(test_reasons),
	};

	return cmocka_run_group_tests_name("libvpipe_offload", tests, NULL, NULL);
}
