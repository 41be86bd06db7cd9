/* SPDX-License-Identifier: GPL-2.0 */
/* screen.h: a terminal's screen; apart from vpipectl.h, whose OK is not that of curses */
#ifndef SCREEN_H
#define SCREEN_H

#include <stdbool.h>

bool screen_open(void);
void screen_close(void);
unsigned int screen_lines(void);
void screen_show(const char *text);
bool screen_wait(int ms);

#endif
