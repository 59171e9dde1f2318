// SPDX-License-Identifier: BSD-2-Clause
/* sluicectl's tables: whole for a file, cut to fit for a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/sluicectl/table.c"

static enum table_colour red_if_down(const char *cell)
{
	return !strcmp(cell, "down") ? TABLE_BAD : TABLE_PLAIN;
}

static const struct table_column columns[] = {
	{"NODE", 0, NULL},  {"ADDRESS", 1, NULL}, {"STATE", 0, red_if_down},
	{"QUEUE", 2, NULL}, {"CAUSE", 0, NULL},
};

/* What the table of two nodes looks like; freed by the caller. */
static char *printed(int width, int colours)
{
	struct table t = {.columns = columns, .n_columns = 5};
	FILE *real = stdout;
	size_t size = 0;
	char *text = NULL;

	table_row(&t, (const char *[]){"gpu1", "10.0.0.1:8000", "up", "3", "works"});
	table_row(&t, (const char *[]){"gpu2", "[2001:db8::2]:8000", "down", "-",
				       "fails: 3 times in a row: connection refused"});
	stdout = open_memstream(&text, &size);
	assert_non_null(stdout);
	table_print_width(&t, width, colours);
	fclose(stdout);
	stdout = real;
	assert_null(t.cells);
	return text;
}

static void assert_printed(int width, int colours, const char *want)
{
	char *text = printed(width, colours);

	assert_string_equal(text, want);
	free(text);
}

static void a_file_gets_every_column_whole(void **state)
{
	(void)state;
	assert_printed(0, 0,
		       "NODE  ADDRESS             STATE  QUEUE  CAUSE\n"
		       "gpu1  10.0.0.1:8000       up     3      works\n"
		       "gpu2  [2001:db8::2]:8000  down   -      "
		       "fails: 3 times in a row: connection refused\n");
}

static void a_wide_terminal_gets_every_column_too(void **state)
{
	char *text = printed(83, 0);

	(void)state;
	assert_non_null(strstr(text, "connection refused\n"));
	assert_null(strstr(text, "too narrow"));
	free(text);
}

static void the_last_column_is_cut_first(void **state)
{
	(void)state;
	assert_printed(70, 0,
		       "NODE  ADDRESS             STATE  QUEUE  CAUSE\n"
		       "gpu1  10.0.0.1:8000       up     3      works\n"
		       "gpu2  [2001:db8::2]:8000  down   -      fails: 3 times in a row: conn…\n");
}

static void then_columns_are_left_out_the_least_important_first(void **state)
{
	(void)state;
	assert_printed(50, 0,
		       "NODE  STATE  QUEUE  CAUSE\n"
		       "gpu1  up     3      works\n"
		       "gpu2  down   -      fails: 3 times in a row: conn…\n"
		       "(the terminal is too narrow for: ADDRESS; `| cat` shows all)\n");
}

static void what_must_be_there_stays_on_any_terminal(void **state)
{
	(void)state;
	assert_printed(20, 0,
		       "NODE  STATE  CAUSE\n"
		       "gpu1  up     works\n"
		       "gpu2  down   fails: 3 times in a row: connection refused\n"
		       "(the terminal is too narrow for: ADDRESS, QUEUE; `| cat` shows all)\n");
}

static void colours_do_not_move_columns(void **state)
{
	(void)state;
	assert_printed(50, 1,
		       "NODE  STATE  QUEUE  CAUSE\n"
		       "gpu1  up     3      works\n"
		       "gpu2  \033[31mdown\033[0m   -      fails: 3 times in a row: conn…\n"
		       "(the terminal is too narrow for: ADDRESS; `| cat` shows all)\n");
}

static void a_character_of_several_bytes_is_one_column(void **state)
{
	struct table t = {.columns = columns + 3, .n_columns = 2};
	FILE *real = stdout;
	size_t size = 0;
	char *text = NULL;

	(void)state;
	table_row(&t, (const char *[]){"äöü", "ß"});
	stdout = open_memstream(&text, &size);
	table_print_width(&t, 0, 0);
	fclose(stdout);
	stdout = real;
	assert_string_equal(text, "QUEUE  CAUSE\näöü    ß\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_gets_every_column_whole),
		cmocka_unit_test(a_wide_terminal_gets_every_column_too),
		cmocka_unit_test(the_last_column_is_cut_first),
		cmocka_unit_test(then_columns_are_left_out_the_least_important_first),
		cmocka_unit_test(what_must_be_there_stays_on_any_terminal),
		cmocka_unit_test(colours_do_not_move_columns),
		cmocka_unit_test(a_character_of_several_bytes_is_one_column),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
