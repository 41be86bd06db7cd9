// SPDX-License-Identifier: GPL-2.0
/*
 * vptest grants FRAMES FREE: how many grant references this kernel has in use.
 *
 * Nothing in /sys tells, and the hypervisor only knows of the grants that the other
 * side has mapped.  So the kernel's own counts are read, through /proc/kcore (an ELF
 * core file of the running kernel): FRAMES and FREE are where /proc/kallsyms has
 * nr_grant_frames (pages of the table) and gnttab_free_count.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vptest.h"

/* Of version 1 of the table, which Linux uses: 4096 / sizeof(struct grant_entry_v1) */
#define GRANTS_PER_FRAME	512

static void read_at(int fd, uint64_t at, void *to, size_t len)
{
	if (pread(fd, to, len, (off_t)at) != (ssize_t)len)
		die("/proc/kcore at %llx: %s", (unsigned long long)at, strerror(errno));
}

static int read_int(int fd, const Elf64_Ehdr *header, uint64_t address)
{
	Elf64_Phdr segment;
	int value;

	for (unsigned int i = 0; i < header->e_phnum; i++) {
		read_at(fd, header->e_phoff + i * sizeof(segment), &segment, sizeof(segment));
		if (segment.p_type != PT_LOAD || address < segment.p_vaddr ||
		    address - segment.p_vaddr >= segment.p_memsz)
			continue;
		read_at(fd, segment.p_offset + (address - segment.p_vaddr), &value, sizeof(value));
		return value;
	}
	die("/proc/kcore does not have %llx", (unsigned long long)address);
}

int cmd_grants(int argc, char **argv)
{
	int fd = open("/proc/kcore", O_RDONLY), frames, free;
	Elf64_Ehdr header;

	if (argc != 3)
		die("usage: vptest grants FRAMES FREE");
	if (fd < 0)
		die("/proc/kcore: %s", strerror(errno));
	read_at(fd, 0, &header, sizeof(header));
	frames = read_int(fd, &header, strtoull(argv[1], NULL, 16));
	free = read_int(fd, &header, strtoull(argv[2], NULL, 16));
	printf("%d\n", frames * GRANTS_PER_FRAME - free);
	return 0;
}
