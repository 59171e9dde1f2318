// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/table.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GAP          2
#define LAST_MIN     24 /* of the last column's width, before columns are left out for it */
#define TERMINAL_MIN 20

static const char *const colour_codes[] = {
	[TABLE_GOOD] = "\033[32m",
	[TABLE_WATCH] = "\033[33m",
	[TABLE_BAD] = "\033[31m",
};

/* What is printed of a table, and how wide. */
struct layout {
	size_t widths[TABLE_COLUMNS_MAX];
	bool left_out[TABLE_COLUMNS_MAX];
	size_t last_max; /* 0: the last column is not cut */
};

/* Columns of the terminal on standard output; 0 if it is none. */
int table_terminal_width(void)
{
	struct winsize size = {};

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < TERMINAL_MIN)
		return 80;
	return size.ws_col;
}

/* Whether standard output takes colours. */
static int wants_colours(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && !(term && !strcmp(term, "dumb"));
}

void table_paint(enum table_colour colour, const char *text)
{
	if (colour != TABLE_PLAIN && wants_colours())
		printf("%s%s\033[0m", colour_codes[colour], text);
	else
		fputs(text, stdout);
}

/* Characters of UTF-8 text, each taken as one column. */
static size_t text_width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void table_row(struct table *t, const char *const *cells)
{
	size_t n = (size_t)t->n_columns;
	char **all = reallocarray(t->cells, (t->n_rows + 1) * n, sizeof(*all));

	if (!all)
		return;
	t->cells = all;
	for (size_t i = 0; i < n; i++)
		t->cells[t->n_rows * n + i] = strdup(cells[i]);
	t->n_rows++;
}

static const char *cell_of(const struct table *t, size_t row, int column)
{
	const char *text = t->cells[row * (size_t)t->n_columns + (size_t)column];

	return text ? text : "";
}

static size_t total_width(const struct table *t, const struct layout *l, size_t last)
{
	size_t sum = 0;

	for (int i = 0; i < t->n_columns - 1; i++)
		sum += l->left_out[i] ? 0 : l->widths[i] + GAP;
	return sum + last;
}

static bool leave_one_out(const struct table *t, struct layout *l)
{
	int first = -1;

	for (int i = 0; i < t->n_columns; i++)
		if (t->columns[i].leave_out && !l->left_out[i] &&
		    (first < 0 || t->columns[i].leave_out < t->columns[first].leave_out))
			first = i;
	if (first >= 0)
		l->left_out[first] = true;
	return first >= 0;
}

static void lay_out(const struct table *t, int width, struct layout *ret_layout)
{
	struct layout l = {};
	int last = t->n_columns - 1;
	size_t want;

	for (int i = 0; i < t->n_columns; i++) {
		l.widths[i] = text_width(t->columns[i].title);
		for (size_t r = 0; r < t->n_rows; r++)
			if (text_width(cell_of(t, r, i)) > l.widths[i])
				l.widths[i] = text_width(cell_of(t, r, i));
	}
	want = l.widths[last] < LAST_MIN ? l.widths[last] : LAST_MIN;
	if (width > 0) {
		while (total_width(t, &l, want) > (size_t)width && leave_one_out(t, &l))
			;
		if (total_width(t, &l, want) <= (size_t)width)
			l.last_max = (size_t)width - total_width(t, &l, 0);
	}
	*ret_layout = l;
}

/* At most max characters, the last one "…" if there are more. */
static void put_cut(const char *text, size_t max)
{
	size_t n = 0;

	if (!max || text_width(text) <= max) {
		fputs(text, stdout);
		return;
	}
	for (; *text; text++) {
		n += ((unsigned char)*text & 0xc0) != 0x80;
		if (n >= max)
			break;
		putchar(*text);
	}
	fputs("…", stdout);
}

static void put_cell(const struct table *t, const struct layout *l, int i, const char *text,
		     enum table_colour colour)
{
	size_t width = text_width(text);

	if (l->left_out[i])
		return;
	if (colour != TABLE_PLAIN)
		fputs(colour_codes[colour], stdout);
	put_cut(text, i == t->n_columns - 1 ? l->last_max : 0);
	if (colour != TABLE_PLAIN)
		fputs("\033[0m", stdout);
	if (i < t->n_columns - 1)
		printf("%*s", (int)(l->widths[i] - width + GAP), "");
	else
		putchar('\n');
}

static void say_left_out(const struct table *t, const struct layout *l)
{
	const char *comma = "";

	for (int i = 0; i < t->n_columns; i++) {
		if (!l->left_out[i])
			continue;
		printf("%s%s",
		       *comma ? comma : "(the terminal is too narrow for: ", t->columns[i].title);
		comma = ", ";
	}
	if (*comma)
		puts("; `| cat` shows all)");
}

void table_print_width(struct table *t, int width, int colours)
{
	struct layout l;

	lay_out(t, width, &l);
	for (int i = 0; i < t->n_columns; i++)
		put_cell(t, &l, i, t->columns[i].title, TABLE_PLAIN);
	for (size_t r = 0; r < t->n_rows; r++)
		for (int i = 0; i < t->n_columns; i++) {
			const char *text = cell_of(t, r, i);
			bool paint = colours && t->columns[i].colour;

			put_cell(t, &l, i, text, paint ? t->columns[i].colour(text) : TABLE_PLAIN);
		}
	say_left_out(t, &l);
	for (size_t i = 0; i < t->n_rows * (size_t)t->n_columns; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->n_rows = 0;
}

void table_print(struct table *t)
{
	table_print_width(t, table_terminal_width(), wants_colours());
}
