// SPDX-License-Identifier: GPL-2.0
/*
 * vptest bad FILE HOST PORT: arguments that /dev/vpipe must refuse.  For each a
 * line {"case":,"errno":,"want":,"ok":}; FILE must have at least 8192 bytes, and
 * HOST PORT accept a connection, over which nothing must come.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vpipe.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vptest.h"

static int device, file, sock;

static struct vpipe_ioc_transfer good(void)
{
	return (struct vpipe_ioc_transfer){
		.size = sizeof(struct vpipe_ioc_transfer), .kind = VPIPE_KIND_FILE_TO_SOCKET,
		.in_fd = file, .out_fd = sock, .length = 4096,
	};
}

static int all_ok = 1;

static void verdict(const char *name, int got, int want)
{
	printf("{\"case\":\"%s\",\"errno\":%d,\"want\":%d,\"ok\":%s}\n", name, got, want,
	       got == want ? "true" : "false");
	if (got != want)
		all_ok = 0;
}

static int transfer(struct vpipe_ioc_transfer *t)
{
	return ioctl(device, VPIPE_IOC_TRANSFER, t) ? errno : 0;
}

/* The transfer with one thing changed. */
#define REFUSED(name, want, change) do {			\
	struct vpipe_ioc_transfer t = good();			\
								\
	change;							\
	verdict(name, transfer(&t), want);			\
} while (0)

static void sockets(void)
{
	int udp = socket(AF_INET, SOCK_DGRAM, 0), fresh = socket(AF_INET, SOCK_STREAM, 0);
	int listening = socket(AF_INET, SOCK_STREAM, 0), pipes[2];

	if (listen(listening, 1) || pipe(pipes))
		die("sockets: %s", strerror(errno));
	REFUSED("UDP socket", EPROTOTYPE, t.out_fd = udp);
	REFUSED("unconnected socket", ENOTCONN, t.out_fd = fresh);
	REFUSED("listening socket", ENOTCONN, t.out_fd = listening);
	REFUSED("file as the socket", ENOTSOCK, t.out_fd = open("/tmp/bad", O_RDWR | O_CREAT, 0600));
	REFUSED("pipe as the file", ESPIPE, t.in_fd = pipes[0]);
	REFUSED("socket as the file", ESPIPE, t.in_fd = sock);
}

static void files(const char *path)
{
	REFUSED("directory", EISDIR, t.in_fd = open("/", O_RDONLY | O_DIRECTORY));
	REFUSED("write-only file", EBADF, t.in_fd = open(path, O_WRONLY));
	REFUSED("O_PATH file", EBADF, t.in_fd = open(path, O_PATH));
	REFUSED("closed fd", EBADF, t.in_fd = 999);
	REFUSED("closed socket fd", EBADF, t.out_fd = 999);
	REFUSED("negative fd", EBADF, t.in_fd = -1);
}

static void ranges(void)
{
	struct stat st;

	fstat(file, &st);
	REFUSED("offset beyond the end", ENXIO, t.in_offset = st.st_size + 1);
	REFUSED("negative offset", EINVAL, t.in_offset = -1);
	REFUSED("most negative offset", EINVAL, t.in_offset = INT64_MIN);
	REFUSED("overflowing range", EOVERFLOW, t.in_offset = 1; t.length = INT64_MAX);
	REFUSED("length of all ones", EOVERFLOW, t.length = UINT64_MAX);
	REFUSED("offset for a socket", EINVAL, t.out_offset = 1);
	REFUSED("at the end, nothing to do", 0, t.in_offset = st.st_size);
	REFUSED("no length, nothing to do", 0, t.length = 0);
}

static void structures(void)
{
	char big[4096] = { 0 };
	struct vpipe_ioc_info info = { .size = sizeof(info) };

	REFUSED("unknown flag", EINVAL, t.flags = 1);
	REFUSED("unknown flag, high", EINVAL, t.flags = 0x80000000U);
	REFUSED("unknown kind", EINVAL, t.kind = 5);
	REFUSED("kind 0", EINVAL, t.kind = 0);
	REFUSED("size 0", EINVAL, t.size = 0);
	REFUSED("size too small", EINVAL, t.size = 8);
	REFUSED("size beyond a page", EINVAL, t.size = 1 << 20);
	REFUSED("op set", EINVAL, t.op = 1);
	REFUSED("result set", EINVAL, t.result.moved = 1);
	memcpy(big, &(struct vpipe_ioc_transfer){ .size = 4096 }, 4);
	big[4095] = 1;
	verdict("larger structure, unknown bytes set",
		ioctl(device, VPIPE_IOC_TRANSFER, big) ? errno : 0, E2BIG);
	verdict("null pointer", ioctl(device, VPIPE_IOC_TRANSFER, NULL) ? errno : 0, EFAULT);
	verdict("unknown call", ioctl(device, _IO(VPIPE_IOC_MAGIC, 99), 0) ? errno : 0, ENOTTY);
	verdict("info", ioctl(device, VPIPE_IOC_INFO, &info) ? errno : 0, 0);
	info.flags = 1;
	verdict("info, unknown flag", ioctl(device, VPIPE_IOC_INFO, &info) ? errno : 0, EINVAL);
}

static void handles(void)
{
	struct vpipe_ioc_create create = {
		.size = sizeof(create), .kind = VPIPE_KIND_FILE_TO_SOCKET,
		.in_fd = file, .out_fd = sock,
	};
	struct vpipe_ioc_destroy destroy = { .size = sizeof(destroy) };
	struct vpipe_ioc_complete complete = { .size = sizeof(complete) };
	struct vpipe_ioc_cancel cancel = { .size = sizeof(cancel), .op = 77 };
	pid_t child;
	int status;

	if (ioctl(device, VPIPE_IOC_CREATE, &create))
		die("create: %s", strerror(errno));
	REFUSED("handle that does not exist", ENOENT,
		t.handle = create.handle + 7; t.kind = 0; t.in_fd = t.out_fd = -1);
	REFUSED("handle and descriptors", EINVAL, t.handle = create.handle);
	child = fork();
	if (!child) {
		/* another process: its own open of the device */
		device = open(VPIPE_DEVICE, O_RDWR);
		REFUSED("handle of another process", ENOENT,
			t.handle = create.handle; t.kind = 0; t.in_fd = t.out_fd = -1);
		destroy.handle = create.handle;
		verdict("destroy of another process's handle",
			ioctl(device, VPIPE_IOC_DESTROY, &destroy) ? errno : 0, ENOENT);
		fflush(stdout);
		_exit(!all_ok);
	}
	waitpid(child, &status, 0);
	if (status)
		all_ok = 0;
	destroy.handle = create.handle;
	verdict("destroy", ioctl(device, VPIPE_IOC_DESTROY, &destroy) ? errno : 0, 0);
	verdict("destroy again", ioctl(device, VPIPE_IOC_DESTROY, &destroy) ? errno : 0, ENOENT);
	verdict("complete of nothing", ioctl(device, VPIPE_IOC_COMPLETE, &complete) ? errno : 0,
		ENOENT);
	verdict("cancel of nothing", ioctl(device, VPIPE_IOC_CANCEL, &cancel) ? errno : 0, ENOENT);
}

int cmd_bad(int argc, char **argv)
{
	if (argc != 4)
		die("usage: bad FILE HOST PORT");
	device = open(VPIPE_DEVICE, O_RDWR);
	file = open(argv[1], O_RDONLY);
	if (device < 0 || file < 0)
		die("%s or %s: %s", VPIPE_DEVICE, argv[1], strerror(errno));
	sock = tcp_connect(argv[2], argv[3]);
	sockets();
	files(argv[1]);
	ranges();
	structures();
	handles();
	return !all_ok;
}
