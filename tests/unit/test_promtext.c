// SPDX-License-Identifier: BSD-2-Clause
/*
 * Prometheus text -> samples. Every case is parsed whole, byte by byte and in odd pieces: the
 * result must be the same.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/promtext.h"
#include "userspace/lib/cleanup.h"

/* What came out of a page, as one line of text for each call. */
struct record {
	char text[PROMTEXT_LINE_MAX + 64];
	size_t len;
	int sample_returns;
};

__attribute__((format(printf, 2, 3))) static void note(struct record *rec, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(rec->text + rec->len, sizeof(rec->text) - rec->len, fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < sizeof(rec->text) - rec->len);
	rec->len += (size_t)n;
}

/* Names wanted by all cases: m, n:x, "odd name". */
static int on_want(void *ctx, const char *name, size_t len)
{
	static const char *const wanted[] = {"m", "n:x", "odd name"};

	(void)ctx;
	for (int i = 0; i < (int)ARRAY_SIZE(wanted); i++)
		if (strlen(wanted[i]) == len && memcmp(wanted[i], name, len) == 0)
			return i;
	return -1;
}

static int on_sample(void *ctx, int id, const struct promtext_label *labels, size_t n_labels,
		     double value)
{
	struct record *rec = ctx;

	note(rec, "%d", id);
	for (size_t i = 0; i < n_labels; i++)
		note(rec, " %.*s<%.*s>", (int)labels[i].name_len, labels[i].name,
		     (int)labels[i].value_len, labels[i].value);
	if (isnan(value))
		note(rec, " = NaN;");
	else
		note(rec, " = %.17g;", value);
	return rec->sample_returns;
}

static void on_unreadable(void *ctx, int id)
{
	note(ctx, "%d unreadable;", id);
}

static const struct promtext_ops ops = {
	.want = on_want,
	.sample = on_sample,
	.unreadable = on_unreadable,
};

/* Parses the page in pieces of `piece` bytes. */
static void parse(const char *page, size_t len, size_t piece, struct record *rec,
		  struct promtext_stats *ret_stats)
{
	struct promtext *p = NULL;

	assert_int_equal(promtext_new(&ops, rec, &p), 0);
	promtext_begin(p);
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		/* An allocation of its own, so that a read outside of the piece is seen. */
		char *copy = malloc(n);

		assert_non_null(copy);
		memcpy(copy, page + at, n);
		assert_int_equal(promtext_feed(p, copy, n), 0);
		free(copy);
	}
	assert_int_equal(promtext_finish(p), 0);
	assert_false(promtext_in_line(p));
	promtext_stats(p, ret_stats);
	promtext_free(&p);
	assert_null(p);
}

static const struct {
	const char *name;
	const char *page;
	const char *want;
} cases[] = {
	{"an empty page has no samples", "", ""},
	{"a plain sample", "m 1\n", "0 = 1;"},
	{"a name with a colon is one name", "n:x 2\nn 3\nx 4\n", "1 = 2;"},
	{"a name that only starts alike is another", "m_total 1\nmm 2\nm1 3\nm:x 4\n", ""},
	{"a name with a foreign character is not its first part", "m.x 1\nm-x 2\nm/x 3\n", ""},
	{"no final newline", "m 1\nm 2", "0 = 1;0 = 2;"},
	{"CRLF", "m{a=\"b\"} 1\r\nm 2\r\n\r\n# x\r\n", "0 a<b> = 1;0 = 2;"},
	{"CRLF without the last LF", "m 2\r", "0 = 2;"},
	{"comments of every kind are skipped", "# HELP m text\n#m 1\n  # m 1\n#\n# EOF\nm 1\n",
	 "0 = 1;"},
	{"blanks and tabs between all tokens", " \t m \t{ a \t= \"b\" , c=\"d\"\t}\t 1 \t 17 \n",
	 "0 a<b> c<d> = 1;"},
	{"no blank before the value", "m{a=\"b\"}1\n", "0 a<b> = 1;"},
	{"a trailing comma", "m{a=\"b\",} 1\n", "0 a<b> = 1;"},
	{"empty braces", "m{} 1\n", "0 = 1;"},
	{"an empty label value", "m{a=\"\"} 1\n", "0 a<> = 1;"},
	{"escapes", "m{a=\"x\\\"y\\\\z\\nw\"} 1\n", "0 a<x\"y\\z\nw> = 1;"},
	{"an unknown escape stands for itself", "m{a=\"\\d+\\t\"} 1\n", "0 a<\\d+\\t> = 1;"},
	{"braces, commas, '#' and blanks inside a value",
	 "m{a=\"{x=\\\"y\\\"} 9, # \",b=\"}\"} 1\n", "0 a<{x=\"y\"} 9, # > b<}> = 1;"},
	{"UTF-8 passes through", "m{a=\"\xc3\xa9\"} 1\n", "0 a<\xc3\xa9> = 1;"},
	{"several escaped values do not mix", "m{a=\"1\\\\\",b=\"2\\\\\",c=\"3\"} 1\n",
	 "0 a<1\\> b<2\\> c<3> = 1;"},
	{"a timestamp in milliseconds", "m 1 1758123456789\nm 2 -5\n", "0 = 1;0 = 2;"},
	{"a timestamp in seconds, as OpenMetrics has it", "m 1 1758123456.789\n", "0 = 1;"},
	{"an exemplar", "m 1 # {trace_id=\"x\"} 1 1758123456.789\n", "0 = 1;"},
	{"an exemplar behind a timestamp", "m 1 17 # {a=\"} #\"} 1\n", "0 = 1;"},
	{"exponents", "m 1e1\nm 1.5E-3\nm +7.557572e+06\n", "0 = 10;0 = 0.0015;0 = 7557572;"},
	{"not finite", "m NaN\nm +Inf\nm -Inf\nm inf\nm nan\n",
	 "0 = NaN;0 = inf;0 = -inf;0 = inf;0 = NaN;"},
	{"a line without value is unreadable", "m\nm \nm{a=\"b\"}\n",
	 "0 unreadable;0 unreadable;0 unreadable;"},
	{"a value that is no number", "m x\nm 1x\nm 0x10\nm 1_000\nm 1e999\nm --1\n",
	 "0 unreadable;0 unreadable;0 unreadable;0 unreadable;0 unreadable;0 unreadable;"},
	{"a comma for a decimal point", "m 1,5\n", "0 unreadable;"},
	{"a timestamp that is no number", "m 1 x\nm 1 NaN\n", "0 unreadable;0 unreadable;"},
	{"something behind the timestamp", "m 1 2 3\n", "0 unreadable;"},
	{"a label without closing quote", "m{a=\"b 1\n", "0 unreadable;"},
	{"a label whose last quote is escaped", "m{a=\"b\\\"} 1\n", "0 unreadable;"},
	{"a lone backslash at the end", "m{a=\"b\\", "0 unreadable;"},
	{"a label without closing brace", "m{a=\"b\" 1\n", "0 unreadable;"},
	{"a label without quotes", "m{a=b} 1\n", "0 unreadable;"},
	{"a label without name", "m{=\"b\"} 1\nm{,} 1\n", "0 unreadable;0 unreadable;"},
	{"a label twice", "m{a=\"1\",a=\"2\"} 1\n", "0 unreadable;"},
	{"two labels without comma", "m{a=\"1\" b=\"2\"} 1\n", "0 unreadable;"},
	{"broken lines of other names are nobody's business",
	 "bad{unterminated=\"x\nno_value\n{}\n{\"\"} 1\n} 1\n\"\n= 1\nm 1\n", "0 = 1;"},
	{"a name as a string inside the braces",
	 "{\"odd name\",a=\"b\"} 1\n{\"odd name\"} 2\n{ \"m\" } 3\n", "2 a<b> = 1;2 = 2;0 = 3;"},
	{"a label name as a string", "m{\"a b\"=\"c\"} 1\n", "0 a b<c> = 1;"},
	{"a second name inside the braces is unreadable", "m{\"m\"} 1\n{\"m\",\"n\"} 1\n",
	 "0 unreadable;0 unreadable;"},
	{"braces without a name are nobody's", "{a=\"b\"} 1\n", ""},
	{"zero is a value", "m 0\nm -0\n", "0 = 0;0 = -0;"},
	{"the same sample twice comes twice", "m 1\nm 1\n", "0 = 1;0 = 1;"},
};

static void test_cases(void **state)
{
	static const size_t pieces[] = {SIZE_MAX / 2, 1, 2, 3, 5, 17};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
			struct promtext_stats stats;
			struct record rec = {0};

			parse(cases[i].page, strlen(cases[i].page), pieces[k], &rec, &stats);
			if (strcmp(rec.text, cases[i].want) != 0)
				fail_msg("%s (pieces of %zu):\n got %s\nwant %s", cases[i].name,
					 pieces[k], rec.text, cases[i].want);
			assert_int_equal(stats.bytes, strlen(cases[i].page));
		}
	}
}

/* Parses a page with one line of `len` bytes, `name` at its start, between two samples. */
static void parse_long(const char *name, size_t len, size_t piece, struct record *rec,
		       struct promtext_stats *ret_stats)
{
	_cleanup_free_ char *page = malloc(len + 64);
	size_t n = 0;

	assert_non_null(page);
	n += (size_t)sprintf(page, "m 1\n%s", name);
	while (n < 4 + len)
		page[n++] = 'y';
	n += (size_t)sprintf(page + n, "\nm 2\n");
	parse(page, n, piece, rec, ret_stats);
}

static void test_long_lines(void **state)
{
	static const struct {
		const char *start;
		const char *want;
		uint64_t long_lines;
	} lines[] = {
		{"m{a=\"", "0 = 1;0 unreadable;0 = 2;", 1},
		{"other{a=\"", "0 = 1;0 = 2;", 1},
		{"# HELP m ", "0 = 1;0 = 2;", 0},
		{"y", "0 = 1;0 = 2;", 1},
	};
	static const size_t sizes[] = {PROMTEXT_LINE_MAX + 1, 3 * PROMTEXT_LINE_MAX, 1 << 20};
	static const size_t pieces[] = {SIZE_MAX / 2, 1, 1000, PROMTEXT_LINE_MAX};

	(void)state;
	for (size_t l = 0; l < ARRAY_SIZE(lines); l++)
		for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
			for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
				struct promtext_stats stats;
				struct record rec = {0};

				parse_long(lines[l].start, sizes[s], pieces[k], &rec, &stats);
				assert_string_equal(rec.text, lines[l].want);
				assert_int_equal(stats.long_lines, lines[l].long_lines);
			}
}

/* A line as long as a line may be, nearly all of it a label value with an escape. */
static void test_longest_line_is_read(void **state)
{
	static const size_t pieces[] = {SIZE_MAX / 2, 1, 1000, PROMTEXT_LINE_MAX};
	static char page[PROMTEXT_LINE_MAX + 2];
	size_t n;

	(void)state;
	n = (size_t)sprintf(page, "m{a=\"\\\\");
	memset(page + n, 'y', PROMTEXT_LINE_MAX - 4 - n);
	memcpy(page + PROMTEXT_LINE_MAX - 4, "\"} 7\n", 6);
	for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
		static struct record rec;
		struct promtext_stats stats;

		rec = (struct record){0};
		parse(page, PROMTEXT_LINE_MAX + 1, pieces[k], &rec, &stats);
		assert_int_equal(stats.long_lines, 0);
		assert_int_equal(stats.samples, 1);
		assert_memory_equal(rec.text, "0 a<\\yyy", 8);
		assert_string_equal(rec.text + rec.len - 8, "yy> = 7;");
	}
}

static void test_label_limit(void **state)
{
	for (size_t n = PROMTEXT_LABELS_MAX - 1; n <= PROMTEXT_LABELS_MAX + 1; n++) {
		struct promtext_stats stats;
		struct record rec = {0};
		char page[4096];
		size_t len = (size_t)sprintf(page, "m{");

		(void)state;
		for (size_t i = 0; i < n; i++)
			len += (size_t)sprintf(page + len, "l%zu=\"v\",", i);
		len += (size_t)sprintf(page + len, "} 1\n");
		parse(page, len, SIZE_MAX / 2, &rec, &stats);
		assert_int_equal(stats.samples, n <= PROMTEXT_LABELS_MAX);
		assert_int_equal(stats.bad_lines, n > PROMTEXT_LABELS_MAX);
	}
}

static void test_nul_bytes_are_only_bytes(void **state)
{
	static const char page[] = "m 1\n\0\0\nm\0 2\nm{a=\"\0\"} 3\nm 4\n";
	struct promtext_stats stats;
	struct record rec = {0};

	(void)state;
	parse(page, sizeof(page) - 1, 1, &rec, &stats);
	assert_int_equal(stats.samples, 3);
	assert_int_equal(stats.bad_lines, 0);
}

static void test_failing_receiver_ends_the_page(void **state)
{
	struct record rec = {.sample_returns = -ENOMEM};
	struct promtext *p = NULL;

	(void)state;
	assert_int_equal(promtext_new(&ops, &rec, &p), 0);
	promtext_begin(p);
	assert_int_equal(promtext_feed(p, "m 1\nm 2\n", 8), -ENOMEM);
	assert_string_equal(rec.text, "0 = 1;");
	promtext_free(&p);
}

static void test_next_page_starts_clean(void **state)
{
	struct promtext_stats stats;
	struct record rec = {0};
	struct promtext *p = NULL;

	(void)state;
	assert_int_equal(promtext_new(&ops, &rec, &p), 0);
	promtext_begin(p);
	assert_int_equal(promtext_feed(p, "m 1\nm{cut", 9), 0);
	assert_true(promtext_in_line(p));
	promtext_begin(p);
	assert_false(promtext_in_line(p));
	assert_int_equal(promtext_feed(p, "m 2\n", 4), 0);
	assert_int_equal(promtext_finish(p), 0);
	promtext_stats(p, &stats);
	assert_string_equal(rec.text, "0 = 1;0 = 2;");
	assert_int_equal(stats.samples, 1);
	assert_int_equal(stats.bad_lines, 0);
	promtext_free(&p);
	promtext_free(&p);
}

static void test_counts(void **state)
{
	static const char page[] = "# x\n\nm 1\nother 2\nm x\nm 3";
	struct promtext_stats stats;
	struct record rec = {0};

	(void)state;
	parse(page, sizeof(page) - 1, 4, &rec, &stats);
	assert_int_equal(stats.lines, 4);
	assert_int_equal(stats.samples, 2);
	assert_int_equal(stats.bad_lines, 1);
	assert_int_equal(stats.long_lines, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_longest_line_is_read),
		cmocka_unit_test(test_label_limit),
		cmocka_unit_test(test_nul_bytes_are_only_bytes),
		cmocka_unit_test(test_failing_receiver_ends_the_page),
		cmocka_unit_test(test_next_page_starts_clean),
		cmocka_unit_test(test_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
