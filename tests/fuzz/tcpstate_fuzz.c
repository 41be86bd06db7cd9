// SPDX-License-Identifier: LGPL-2.1-or-later
/* backend/tcpstate.h: any state against the slow model. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tcpstate.h"
#include "input.h"
#include "../unit/tcpstate/model.h"
#include "../unit/tcpstate/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct xen_vpipe_tcp_state *st = malloc(sizeof(*st));
	int status;

	if (!st)
		abort();
	uint64_t kind = input_take(&in, 1);

	*st = kind & 2 ? sample_state6() : sample_state();
	/* Edits of an ordinary state; or all of it. */
	if (kind & 1)
		memcpy(st, in.data, in.left < sizeof(*st) ? in.left : sizeof(*st));
	else
		while (in.left) {
			uint64_t what = input_take(&in, 8);

			sample_edit(st, what, input_take(&in, 8));
		}
	status = vpback_tcpstate_check(st);
	if (status != (model_tcpstate(st) ? 0 : -EINVAL)) {
		fprintf(stderr, "%d, but the model says otherwise\n", status);
		abort();
	}
	free(st);
	return 0;
}
