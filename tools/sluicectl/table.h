/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows of text -> aligned columns on standard output.
 *
 * To a file or a pipe every column is printed whole. On a terminal that is too narrow columns are
 * left out, the least important first, and the last column is cut; what was left out is said below.
 * Colours only on a terminal, and not if NO_COLOR is set (no-color.org) or TERM is "dumb".
 */
#ifndef SLUICECTL_TABLE_H
#define SLUICECTL_TABLE_H

#include <stddef.h>

#define TABLE_COLUMNS_MAX 12

enum table_colour {
	TABLE_PLAIN = 0,
	TABLE_GOOD,  /* green */
	TABLE_WATCH, /* yellow */
	TABLE_BAD,   /* red */
};

struct table_column {
	const char *title;
	int leave_out; /* 1 goes first, then 2 …; 0: always printed */
	enum table_colour (*colour)(const char *cell); /* NULL: plain */
};

struct table {
	const struct table_column *columns;
	int n_columns;
	char **cells; /* n_rows * n_columns, row by row; owned */
	size_t n_rows;
};

/* One cell a column, copied. Without memory the row is missing. */
void table_row(struct table *t, const char *const *cells);

/* Print it for standard output as it is, and free the rows. */
void table_print(struct table *t);

/* The same for a terminal of that many columns; 0: as for a file. */
void table_print_width(struct table *t, int width, int colours);

/* Columns of the terminal on standard output; 0 if it is none. */
int table_terminal_width(void);

/* Text in a colour, if standard output takes them. */
void table_paint(enum table_colour colour, const char *text);

#endif
