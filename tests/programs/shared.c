// SPDX-License-Identifier: GPL-2.0
/*
 * One connection as source and as sink.
 *
 * vptest twice HOST PORT IN OUT LEN   two handles of one connection: file IN to it in a thread,
 *   and, when a line comes on standard input, LEN bytes of it to file OUT; then close.
 *   {"second":the result's status,"moved":,"reason":,"error":of asking the driver for it}
 *   {"to":bytes,"offloaded":,"from":bytes,"copied":,"reason":,"device_error":of the second}
 * vptest echo HOST PORT LEN           from it to itself;
 *   {"moved":,"errno":,"offloaded":,"reason":,"device_error":}
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vpipe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vpipe.h>

#include "vptest.h"

struct sending {
	vpipe_t *pipe;
	int64_t moved;
	struct vpipe_transfer_info info;
};

static void *twice_send(void *arg)
{
	struct sending *sending = arg;

	sending->moved = vpipe_file_to_socket(sending->pipe, 0, INT64_MAX);
	vpipe_last_result(&sending->info, sizeof(sending->info));
	return NULL;
}

/* What the driver says to another handle while the first has the connection. */
static void twice_ask(int in, int out, uint64_t length)
{
	int device = open(VPIPE_DEVICE, O_RDWR | O_CLOEXEC);
	struct vpipe_ioc_create create = {
		.size = sizeof(create), .kind = VPIPE_KIND_SOCKET_TO_FILE,
		.in_fd = in, .out_fd = out,
	};
	struct vpipe_ioc_transfer t = {
		.size = sizeof(t), .in_fd = -1, .out_fd = -1, .length = length,
	};

	if (device < 0 || ioctl(device, VPIPE_IOC_CREATE, &create))
		die("%s: %s", VPIPE_DEVICE, strerror(errno));
	t.handle = create.handle;
	if (ioctl(device, VPIPE_IOC_TRANSFER, &t))
		die("VPIPE_IOC_TRANSFER: %s", strerror(errno));
	printf("{\"second\":%u,\"moved\":%llu,\"reason\":%u,\"error\":%u}\n", t.result.status,
	       t.result.moved, t.result.reason, t.result.error);
	close(device);
}

int cmd_twice(int argc, char **argv)
{
	struct vpipe_transfer_info info;
	struct sending sending;
	int in, out, fd;
	pthread_t thread;
	vpipe_t *from;
	int64_t moved;
	char line[16];

	if (argc != 6)
		die("usage: twice HOST PORT IN OUT LEN");
	fd = tcp_connect(argv[1], argv[2]);
	in = open(argv[3], O_RDONLY);
	out = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	sending.pipe = vpipe_create(in, fd);
	from = vpipe_create(fd, out);
	if (!sending.pipe || !from || pthread_create(&thread, NULL, twice_send, &sending))
		die("%s, %s: %s", argv[3], argv[4], strerror(errno));
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	twice_ask(fd, out, strtoull(argv[5], NULL, 0));
	moved = vpipe_socket_to_file(from, 0, strtoull(argv[5], NULL, 0));
	vpipe_last_result(&info, sizeof(info));
	pthread_join(thread, NULL);
	printf("{\"to\":%" PRId64 ",\"offloaded\":%" PRIu64 ",\"from\":%" PRId64 ",\"copied\":%" PRIu64
	       ",\"reason\":\"%s\",\"device_error\":%d}\n", sending.moved, sending.info.offloaded,
	       moved, info.ordinary, vpipe_reason_string(info.reason), info.device_error);
	return 0;
}

int cmd_echo(int argc, char **argv)
{
	struct vpipe_transfer_info info;
	int64_t moved;
	int fd;

	if (argc != 4)
		die("usage: echo HOST PORT LEN");
	fd = tcp_connect(argv[1], argv[2]);
	moved = vpipe_socket_to_socket_fd(fd, fd, strtoull(argv[3], NULL, 0));
	vpipe_last_result(&info, sizeof(info));
	printf("{\"moved\":%" PRId64 ",\"errno\":%d,\"offloaded\":%" PRIu64 ",\"reason\":\"%s\","
	       "\"device_error\":%d}\n", moved, info.error, info.offloaded,
	       vpipe_reason_string(info.reason), info.device_error);
	return 0;
}
