// SPDX-License-Identifier: GPL-2.0
/*
 * What others do while a file is being moved.
 *
 * vptest scribble FILE OFFSET LEN    write the pattern there through a shared mapping, page
 *     by page, again and again, until there is something to be read on standard input;
 *     {"rounds":}
 * vptest latency FILE COUNT          median and longest time, in microseconds, of COUNT times
 *     writing 4 KiB to a file, having it on the disk, and reading it from there;
 *     {"write":,"read":,"longest":}
 * vptest verity FILE                 from here on the filesystem compares it with its hashes
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vptest.h"

#define PAGE 4096

int cmd_scribble(int argc, char **argv)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	unsigned long rounds = 0;
	unsigned char *map;
	size_t offset, len;
	int fd;

	if (argc != 4)
		die("usage: scribble FILE OFFSET LEN");
	offset = strtoull(argv[2], NULL, 0);
	len = strtoull(argv[3], NULL, 0);
	fd = open(argv[1], O_RDWR);
	map = fd < 0 ? MAP_FAILED : mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
					 (off_t)offset);
	if (map == MAP_FAILED)
		die("%s: %s", argv[1], strerror(errno));
	do {
		for (size_t at = 0; at < len; at += PAGE)
			pattern(offset + at, map + at, len - at < PAGE ? len - at : PAGE);
		rounds++;
	} while (!poll(&input, 1, 0));
	printf("{\"rounds\":%lu}\n", rounds);
	return 0;
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int cmd_latency(int argc, char **argv)
{
	double *write_us, *read_us, longest, start, middle;
	void *page;
	int count, fd;

	if (argc != 3)
		die("usage: latency FILE COUNT");
	count = atoi(argv[2]);
	write_us = calloc((size_t)count, sizeof(*write_us));
	read_us = calloc((size_t)count, sizeof(*read_us));
	fd = open(argv[1], O_RDWR | O_CREAT | O_DIRECT, 0644);
	if (fd < 0 || count < 1 || posix_memalign(&page, PAGE, PAGE))
		die("%s: %s", argv[1], strerror(errno));
	memset(page, 1, PAGE);
	for (int i = 0; i < count; i++) {
		off_t at = (off_t)i * PAGE;

		start = now_us();
		if (pwrite(fd, page, PAGE, at) != PAGE || fdatasync(fd))
			die("write: %s", strerror(errno));
		middle = now_us();
		if (pread(fd, page, PAGE, at) != PAGE)
			die("read: %s", strerror(errno));
		write_us[i] = middle - start;
		read_us[i] = now_us() - middle;
	}
	qsort(write_us, (size_t)count, sizeof(*write_us), compare);
	qsort(read_us, (size_t)count, sizeof(*read_us), compare);
	longest = write_us[count - 1] > read_us[count - 1] ? write_us[count - 1] :
							     read_us[count - 1];
	printf("{\"write\":%.0f,\"read\":%.0f,\"longest\":%.0f}\n", write_us[count / 2],
	       read_us[count / 2], longest);
	return 0;
}

int cmd_verity(int argc, char **argv)
{
	struct fsverity_enable_arg arg = { .version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
					   .block_size = PAGE };
	int fd;

	if (argc != 2)
		die("usage: verity FILE");
	fd = open(argv[1], O_RDONLY);
	if (fd < 0 || ioctl(fd, FS_IOC_ENABLE_VERITY, &arg))
		die("%s: %s", argv[1], strerror(errno));
	return close(fd);
}
