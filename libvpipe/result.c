// SPDX-License-Identifier: LGPL-2.1-or-later
#include <string.h>

#include "internal.h"

#define RESULT_SAME(name) \
	_Static_assert((int)VPIPE_DECLINED_##name == (int)VPIPE_REASON_##name, #name)
RESULT_SAME(NO_BACKEND);
RESULT_SAME(KIND);
RESULT_SAME(FILE_TYPE);
RESULT_SAME(FILESYSTEM);
RESULT_SAME(DISK);
RESULT_SAME(SOCKET_TYPE);
RESULT_SAME(SOCKET_STATE);
RESULT_SAME(ROUTE);
RESULT_SAME(BUSY);
RESULT_SAME(REFUSED);
RESULT_SAME(CONTENDED);
RESULT_SAME(ALIGNMENT);
RESULT_SAME(LIMIT);
_Static_assert((int)VPIPE_DECLINED_NOT == (int)VPIPE_REASON_NONE, "NOT");
_Static_assert((int)VPIPE_DECLINED_LIMIT == (int)VPIPE_REASON_MAX - 1, "new reason");
_Static_assert(VPIPE_CAN_FILE_TO_SOCKET == 1U << VPIPE_KIND_FILE_TO_SOCKET, "kind");
_Static_assert(VPIPE_CAN_SOCKET_TO_FILE == 1U << VPIPE_KIND_SOCKET_TO_FILE, "kind");
_Static_assert(VPIPE_CAN_FILE_TO_FILE == 1U << VPIPE_KIND_FILE_TO_FILE, "kind");
_Static_assert(VPIPE_CAN_SOCKET_TO_SOCKET == 1U << VPIPE_KIND_SOCKET_TO_SOCKET, "kind");

static _Thread_local struct vpipe_transfer_info result_last;

static const char *const result_reasons[] = {
	[VPIPE_DECLINED_NOT] = "not declined",
	[VPIPE_DECLINED_NO_BACKEND] = "no driver domain is attached",
	[VPIPE_DECLINED_KIND] = "this kind of transfer is not offloaded",
	[VPIPE_DECLINED_FILE_TYPE] = "this type of file is not offloaded",
	[VPIPE_DECLINED_FILESYSTEM] = "the file system cannot be mapped to disk blocks",
	[VPIPE_DECLINED_DISK] = "the file is not on a Xen virtual disk",
	[VPIPE_DECLINED_SOCKET_TYPE] = "this type of socket is not offloaded",
	[VPIPE_DECLINED_SOCKET_STATE] = "the socket is in a state that cannot be handed over",
	[VPIPE_DECLINED_ROUTE] =
		"the connection does not use a Xen virtual interface, or its route has changed",
	[VPIPE_DECLINED_BUSY] = "already offloaded, or a limit is reached",
	[VPIPE_DECLINED_REFUSED] = "refused by the driver domain",
	[VPIPE_DECLINED_CONTENDED] = "somebody else waits to write the file",
	[VPIPE_DECLINED_ALIGNMENT] = "it begins or ends inside a block of the sink's file",
	[VPIPE_DECLINED_LIMIT] = "the sink's file may not grow further",
};

void vpipe_result_set(const struct vpipe_transfer_info *info)
{
	result_last = *info;
}

void vpipe_result_copy(void *to, size_t size, const void *from, size_t from_size)
{
	size_t known = size < from_size ? size : from_size;

	memcpy(to, from, known);
	memset((char *)to + known, 0, size - known);
}

void vpipe_last_result(struct vpipe_transfer_info *info, size_t size)
{
	vpipe_result_copy(info, size, &result_last, sizeof(result_last));
}

const char *vpipe_reason_string(unsigned int reason)
{
	if (reason == VPIPE_DECLINED_NO_DEVICE)
		return "no usable /dev/vpipe";
	if (reason < sizeof(result_reasons) / sizeof(result_reasons[0]))
		return result_reasons[reason];
	return "unknown reason";
}
