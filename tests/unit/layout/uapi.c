// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * include/uapi/linux/vpipe.h as programs and kernels in the field know it: only
 * additions at the end of a structure are allowed.  Compiled, never linked.
 */
#include <linux/vpipe.h>

#include "pin.h"

MEMBER(vpipe_ioc_info, size, 0, 4);
MEMBER(vpipe_ioc_info, flags, 4, 4);
MEMBER(vpipe_ioc_info, abi_version, 8, 4);
MEMBER(vpipe_ioc_info, connected, 12, 4);
MEMBER(vpipe_ioc_info, kinds, 16, 4);
MEMBER(vpipe_ioc_info, max_ops, 20, 4);
MEMBER(vpipe_ioc_info, ops_done, 24, 8);
MEMBER(vpipe_ioc_info, ops_declined, 32, 8);
MEMBER(vpipe_ioc_info, bytes, 40, 8);
SIZE(vpipe_ioc_info, 48);

MEMBER(vpipe_ioc_create, size, 0, 4);
MEMBER(vpipe_ioc_create, flags, 4, 4);
MEMBER(vpipe_ioc_create, kind, 8, 4);
MEMBER(vpipe_ioc_create, in_fd, 12, 4);
MEMBER(vpipe_ioc_create, out_fd, 16, 4);
MEMBER(vpipe_ioc_create, handle, 20, 4);
SIZE(vpipe_ioc_create, 24);

MEMBER(vpipe_ioc_destroy, size, 0, 4);
MEMBER(vpipe_ioc_destroy, flags, 4, 4);
MEMBER(vpipe_ioc_destroy, handle, 8, 4);
MEMBER(vpipe_ioc_destroy, reserved, 12, 4);
SIZE(vpipe_ioc_destroy, 16);

MEMBER(vpipe_result, moved, 0, 8);
MEMBER(vpipe_result, status, 8, 4);
MEMBER(vpipe_result, reason, 12, 4);
MEMBER(vpipe_result, error, 16, 4);
MEMBER(vpipe_result, reserved, 20, 4);
SIZE(vpipe_result, 24);

MEMBER(vpipe_ioc_transfer, size, 0, 4);
MEMBER(vpipe_ioc_transfer, flags, 4, 4);
MEMBER(vpipe_ioc_transfer, handle, 8, 4);
MEMBER(vpipe_ioc_transfer, kind, 12, 4);
MEMBER(vpipe_ioc_transfer, in_fd, 16, 4);
MEMBER(vpipe_ioc_transfer, out_fd, 20, 4);
MEMBER(vpipe_ioc_transfer, in_offset, 24, 8);
MEMBER(vpipe_ioc_transfer, out_offset, 32, 8);
MEMBER(vpipe_ioc_transfer, length, 40, 8);
MEMBER(vpipe_ioc_transfer, user_data, 48, 8);
MEMBER(vpipe_ioc_transfer, op, 56, 8);
MEMBER(vpipe_ioc_transfer, result, 64, 24);
SIZE(vpipe_ioc_transfer, 88);

MEMBER(vpipe_ioc_complete, size, 0, 4);
MEMBER(vpipe_ioc_complete, flags, 4, 4);
MEMBER(vpipe_ioc_complete, op, 8, 8);
MEMBER(vpipe_ioc_complete, user_data, 16, 8);
MEMBER(vpipe_ioc_complete, result, 24, 24);
SIZE(vpipe_ioc_complete, 48);

MEMBER(vpipe_ioc_cancel, size, 0, 4);
MEMBER(vpipe_ioc_cancel, flags, 4, 4);
MEMBER(vpipe_ioc_cancel, op, 8, 8);
SIZE(vpipe_ioc_cancel, 16);

VALUE(VPIPE_IOC_INFO, 0xc030b601);
VALUE(VPIPE_IOC_CREATE, 0xc018b602);
VALUE(VPIPE_IOC_DESTROY, 0xc010b603);
VALUE(VPIPE_IOC_TRANSFER, 0xc058b604);
VALUE(VPIPE_IOC_SUBMIT, 0xc058b605);
VALUE(VPIPE_IOC_COMPLETE, 0xc030b606);
VALUE(VPIPE_IOC_CANCEL, 0xc010b607);

VALUE(VPIPE_ABI_VERSION, 1);
VALUE(VPIPE_NO_HANDLE, 0);
VALUE(VPIPE_COMPLETE_NOWAIT, 1);
VALUE(VPIPE_KIND_FILE_TO_SOCKET, 1);
VALUE(VPIPE_KIND_SOCKET_TO_FILE, 2);
VALUE(VPIPE_KIND_FILE_TO_FILE, 3);
VALUE(VPIPE_KIND_SOCKET_TO_SOCKET, 4);
VALUE(VPIPE_STATUS_DONE, 0);
VALUE(VPIPE_STATUS_DECLINED, 1);
VALUE(VPIPE_STATUS_FAILED, 2);
VALUE(VPIPE_REASON_NONE, 0);
VALUE(VPIPE_REASON_NO_BACKEND, 1);
VALUE(VPIPE_REASON_KIND, 2);
VALUE(VPIPE_REASON_FILE_TYPE, 3);
VALUE(VPIPE_REASON_FILESYSTEM, 4);
VALUE(VPIPE_REASON_DISK, 5);
VALUE(VPIPE_REASON_SOCKET_TYPE, 6);
VALUE(VPIPE_REASON_SOCKET_STATE, 7);
VALUE(VPIPE_REASON_ROUTE, 8);
VALUE(VPIPE_REASON_BUSY, 9);
VALUE(VPIPE_REASON_REFUSED, 10);
VALUE(VPIPE_REASON_CONTENDED, 11);
VALUE(VPIPE_REASON_ALIGNMENT, 12);
VALUE(VPIPE_REASON_LIMIT, 13);
