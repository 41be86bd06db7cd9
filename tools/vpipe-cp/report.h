/* SPDX-License-Identifier: GPL-2.0 */
/* report.h: how the copy of one file went */
#ifndef VPIPE_CP_REPORT_H
#define VPIPE_CP_REPORT_H

struct copy;

/* One line of JSON; `error` may be NULL. */
void report_json(const struct copy *c, const char *source, const char *dest,
		 double seconds, const char *error);

#endif
