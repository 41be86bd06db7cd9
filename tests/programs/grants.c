// SPDX-License-Identifier: GPL-2.0
/*
 * vptest grants ADDRESS: how many grant references this kernel has left.
 *
 * Nothing in /sys tells, and the hypervisor only knows of the grants that the other
 * side has mapped.  So the kernel's own count is read, through /proc/kcore (an ELF core
 * file of the running kernel): ADDRESS is where /proc/kallsyms has gnttab_free_count.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vptest.h"

static void read_at(int fd, uint64_t at, void *to, size_t len)
{
	if (pread(fd, to, len, (off_t)at) != (ssize_t)len)
		die("/proc/kcore at %llx: %s", (unsigned long long)at, strerror(errno));
}

int cmd_grants(int argc, char **argv)
{
	uint64_t address = argc > 1 ? strtoull(argv[1], NULL, 16) : 0;
	int fd = open("/proc/kcore", O_RDONLY), count;
	Elf64_Phdr segment;
	Elf64_Ehdr header;

	if (fd < 0)
		die("/proc/kcore: %s", strerror(errno));
	read_at(fd, 0, &header, sizeof(header));
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		read_at(fd, header.e_phoff + i * sizeof(segment), &segment, sizeof(segment));
		if (segment.p_type != PT_LOAD || address < segment.p_vaddr ||
		    address - segment.p_vaddr >= segment.p_memsz)
			continue;
		read_at(fd, segment.p_offset + (address - segment.p_vaddr), &count, sizeof(count));
		printf("%d\n", count);
		return 0;
	}
	die("/proc/kcore does not have %llx", (unsigned long long)address);
}
