// SPDX-License-Identifier: GPL-2.0
/* vpipectl: a terminal's screen, by ncurses */
#include <curses.h>
#include <string.h>

#include "screen.h"

static SCREEN *terminal;

/* false: the terminal has none */
bool screen_open(void)
{
	/* initscr() would end the process */
	terminal = newterm(NULL, stdout, stdin);
	if (!terminal)
		return false;
	set_term(terminal);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	return true;
}

void screen_close(void)
{
	endwin();
	delscreen(terminal);
}

unsigned int screen_lines(void)
{
	return LINES;
}

/* So much of the text as there is room for */
void screen_show(const char *text)
{
	int y;

	erase();
	for (y = 0; *text && y < LINES - 1; y++) {
		size_t n = strcspn(text, "\n");

		if (y == 1)
			attron(A_REVERSE);
		mvaddnstr(y, 0, text, n < (size_t)COLS ? (int)n : COLS);
		attroff(A_REVERSE);
		text += n + (text[n] == '\n');
	}
	mvaddnstr(LINES - 1, 0, "q: quit", COLS);
	refresh();
}

/* So many milliseconds, or until a key is pressed; false: q was */
bool screen_wait(int ms)
{
	int key;

	timeout(ms);
	key = getch();
	return key != 'q' && key != 'Q';
}
