// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Into a file, the driver moves whole blocks: what lies before the first and behind
 * the last one goes the ordinary way, and all is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "driver.h"

static int64_t block;

static int blocks_setup(void **state)
{
	int fd = file_make(test_dirs[0], 0);
	struct statfs fs;

	assert_int_equal(fstatfs(fd, &fs), 0);
	close(fd);
	driver_setup(state);
	block = fs.f_bsize;
	driver.block = block;
	driver.info.connected = 1;
	driver.info.kinds = 1U << VPIPE_KIND_SOCKET_TO_FILE | 1U << VPIPE_KIND_FILE_TO_FILE;
	return 0;
}

static int64_t minimum(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/*
 * A source of `size` bytes, of which `asked` are wanted at `offset` of the sink.  In a
 * source file they begin one block further in than in the sink.
 */
static void check_blocks(int kind, bool with_handle, int64_t offset, int64_t size,
			 int64_t asked)
{
	int64_t head = minimum((block - offset % block) % block, size);
	int64_t whole = (size - head) / block * block;
	/* The driver sees the end of the source when a block might still come. */
	bool all = offset % block == 0 && whole == size &&
		   (asked == size || asked - size >= block);
	int64_t from = offset + block;
	bool from_socket = kind == VPIPE_KIND_SOCKET_TO_FILE;
	int in, sv[2] = { -1, -1 }, out = file_make(test_dirs[0], 0);
	struct peer feed;
	vpipe_t *vp;

	if (from_socket) {
		pair_tcp(sv);
		in = sv[0];
		peer_feed(&feed, sv[1], (uint64_t)size, 0);
		from = 0;
	} else {
		in = file_make(test_dirs[0], (uint64_t)(from + size));
	}
	vp = with_handle ? vpipe_create(in, out) : NULL;
	if (from_socket)
		assert_int_equal(vp ? vpipe_socket_to_file(vp, offset, (uint64_t)asked) :
				 vpipe_socket_to_file_fd(in, out, offset, (uint64_t)asked),
				 size);
	else
		assert_int_equal(vp ? vpipe_file_to_file(vp, from, (uint64_t)asked, offset) :
				 vpipe_file_to_file_fd(in, out, from, (uint64_t)asked, offset),
				 size);
	expect_info((uint64_t)whole, (uint64_t)(size - whole),
		    all ? VPIPE_DECLINED_NOT : VPIPE_DECLINED_ALIGNMENT, 0, 0);
	if (size)
		assert_int_equal(lseek(out, 0, SEEK_END), offset + size);
	file_expect(out, (uint64_t)offset, (uint64_t)size, (uint64_t)from);
	/* One head at most, and at most one request. */
	assert_in_range(driver.transfers, 0, 1);
	if (driver.transfers)
		assert_int_equal(driver.last.out_offset % block, 0);
	assert_int_equal(vpipe_destroy(vp), 0);
	if (from_socket) {
		peer_join(&feed);
		socket_expect_rest(in, 0, 0);
		close(sv[1]);
	}
	close(in);
	close(out);
}

/* Each begin with each end: on a boundary, beside it, in the middle of a block. */
static void test_blocks(void **state)
{
	blocks_setup(state);	/* for the size of a block */
	const int64_t offsets[] = { 0, block, 1, block - 1, 3 * block + 100 };
	const int64_t sizes[] = {
		0, 1, 100, block - 101, block - 100, block - 1, block, block + 1,
		9 * block - 100, 9 * block, 9 * block + 7,
	};

	for (int kind = VPIPE_KIND_SOCKET_TO_FILE; kind <= VPIPE_KIND_FILE_TO_FILE; kind++)
		for (size_t o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++)
			for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
				for (int more = sizes[s] ? 0 : 1; more < 4; more++) {
					blocks_setup(state);
					check_blocks(kind, more & 1, offsets[o], sizes[s],
						     sizes[s] + (more > 1 ? 2 * block : more));
				}
}

/* A driver that does not move this kind is not the reason for a call more. */
static void test_not_offered(void **state)
{
	int in = file_make(test_dirs[0], 100), out = file_make(test_dirs[0], 0);

	(void)state;
	driver.info.kinds = 1U << VPIPE_KIND_FILE_TO_SOCKET;
	driver.limit = 0;
	driver.status = VPIPE_STATUS_DECLINED;
	driver.reason = VPIPE_REASON_KIND;
	assert_int_equal(vpipe_file_to_file_fd(in, out, 1, 99, 1), 99);
	expect_info(0, 99, VPIPE_DECLINED_KIND, 0, 0);
	assert_int_equal(driver.last.out_offset, 1);
	driver.info.kinds = 1U << VPIPE_KIND_FILE_TO_FILE;
	driver.info.connected = 0;
	driver.reason = VPIPE_REASON_NO_BACKEND;
	assert_int_equal(vpipe_file_to_file_fd(in, out, 1, 99, 1), 99);
	expect_info(0, 99, VPIPE_DECLINED_NO_BACKEND, 0, 0);
	assert_int_equal(driver.last.out_offset, 1);
	file_expect(out, 1, 99, 1);
	close(in);
	close(out);
}

/* No block of the source is one of the sink: the driver is asked for all, and declines. */
static void test_residues(void **state)
{
	uint64_t size = 5 * (uint64_t)block;
	int in = file_make(test_dirs[0], size), out = file_make(test_dirs[0], 0);

	(void)state;
	assert_int_equal(vpipe_file_to_file_fd(in, out, 1, size, 2), size - 1);
	expect_info(0, size - 1, VPIPE_DECLINED_ALIGNMENT, 0, 0);
	assert_int_equal(driver.transfers, 1);
	assert_int_equal(driver.last.out_offset, 2);
	file_expect(out, 2, size - 1, 1);
	assert_int_equal(vpipe_file_to_file_fd(in, out, 1, size, 0), size - 1);
	expect_info(0, size - 1, VPIPE_DECLINED_ALIGNMENT, 0, 0);
	file_expect(out, 0, size - 1, 1);
	close(in);
	close(out);
}

/* A disk that is full from the first byte: nothing is taken, and no driver is asked. */
static void test_head_error(void **state)
{
	int in = file_make(test_dirs[0], 100), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct peer feed;
	int sv[2];

	(void)state;
	assert_true(full >= 0);
	assert_fails(vpipe_file_to_file_fd(in, full, 1, 99, 1), ENOSPC);
	expect_info(0, 0, VPIPE_DECLINED_ALIGNMENT, ENOSPC, 0);
	pair_tcp(sv);
	peer_feed(&feed, sv[1], 3 * (uint64_t)block, 0);
	assert_fails(vpipe_socket_to_file_fd(sv[0], full, 1, 2 * (uint64_t)block), ENOSPC);
	expect_info(0, 0, VPIPE_DECLINED_ALIGNMENT, ENOSPC, 0);
	assert_int_equal(driver.transfers, 0);
	peer_join(&feed);
	socket_expect_rest(sv[0], 3 * (uint64_t)block, 0);
	close(sv[0]);
	close(sv[1]);
	close(in);
	close(full);
}

/* The driver's disk is full behind the head and two blocks. */
static void test_driver_error(void **state)
{
	uint64_t size = 7 * (uint64_t)block, moved = 3 * (uint64_t)block - 100;
	int out = file_make(test_dirs[0], 0);
	struct peer feed;
	int sv[2];

	(void)state;
	driver.limit = 2 * (uint64_t)block;
	driver.status = VPIPE_STATUS_FAILED;
	driver.error = ENOSPC;
	pair_tcp(sv);
	peer_feed(&feed, sv[1], size, 0);
	assert_int_equal(vpipe_socket_to_file_fd(sv[0], out, 100, size), moved);
	expect_info(driver.limit, moved - driver.limit, VPIPE_DECLINED_ALIGNMENT, ENOSPC, 0);
	assert_int_equal(lseek(out, 0, SEEK_END), 100 + moved);
	file_expect(out, 100, moved, 0);
	peer_join(&feed);
	socket_expect_rest(sv[0], size - moved, moved);
	close(sv[0]);
	close(sv[1]);
	close(out);
}

/* Declined half way, by the file's largest size or by others: ordinary calls go on. */
static void test_declined(void **state)
{
	static const uint32_t reasons[] = { VPIPE_REASON_CONTENDED, VPIPE_REASON_LIMIT };
	uint64_t size = 7 * (uint64_t)block;
	int in = file_make(test_dirs[0], size), out = file_make(test_dirs[0], 0);

	(void)state;
	driver.limit = 2 * (uint64_t)block;
	driver.status = VPIPE_STATUS_DECLINED;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		driver.reason = reasons[i];
		driver.transfers = 0;
		assert_int_equal(ftruncate(out, 0), 0);
		assert_int_equal(vpipe_file_to_file_fd(in, out, 9, size, 9), size - 9);
		expect_info(driver.limit, size - 9 - driver.limit, reasons[i], 0, 0);
		assert_int_equal(driver.transfers, 1);
		file_expect(out, 9, size - 9, 9);
	}
	close(in);
	close(out);
}

/* Within one file, the head does not move the end of the source. */
static void test_same_file(void **state)
{
	uint64_t size = 3 * (uint64_t)block + 50;
	int fd = file_make(test_dirs[0], size);

	(void)state;
	assert_int_equal(vpipe_file_to_file_fd(fd, fd, 30, INT64_MAX - 4 * block - 30,
					       4 * block + 30), size - 30);
	expect_info(2 * (uint64_t)block, size - 30 - 2 * (uint64_t)block,
		    VPIPE_DECLINED_ALIGNMENT, 0, 0);
	file_expect(fd, 0, size, 0);
	file_expect(fd, 4 * (uint64_t)block + 30, size - 30, 30);
	close(fd);
}

#define with_blocks(test) cmocka_unit_test_setup(test, blocks_setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),
		with_blocks(test_not_offered),
		with_blocks(test_residues),
		with_blocks(test_head_error),
		with_blocks(test_driver_error),
		with_blocks(test_declined),
		with_blocks(test_same_file),
	};

	return cmocka_run_group_tests_name("libvpipe_blocks", tests, NULL, NULL);
}
