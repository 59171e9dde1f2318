// SPDX-License-Identifier: BSD-2-Clause
/* Metric expressions: what they compute, what they refuse and where they point then. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/metricexpr.h"
#include "userspace/agent/promtext.h"
#include "userspace/lib/cleanup.h"

/* --- a page fed to one expression ------------------------------------------------------------ */

static struct metric_run *run_of(const char *text, enum metric_format format, enum metric_agg agg)
{
	struct metric_error error = {0};
	struct metric_expr *e = NULL;
	struct metric_set *set = NULL;
	struct metric_run *run = NULL;

	if (metric_expr_compile(text, format, agg, &e, &error) < 0)
		fail_msg("'%s' at %zu: %s", text, error.pos, error.text);
	assert_string_equal(metric_expr_text(e), text);
	assert_int_equal(metric_set_new(format, &set), 0);
	assert_int_equal(metric_set_add(set, 0, &e), 0);
	assert_null(e);
	assert_int_equal(metric_run_new(set, &run), 0);
	metric_set_unref(&set);
	return run;
}

static int on_want(void *ctx, const char *name, size_t len)
{
	return metric_run_want(ctx, name, len);
}

static int on_sample(void *ctx, int id, const struct promtext_label *labels, size_t n, double v)
{
	return metric_run_sample(ctx, id, labels, n, v);
}

static void on_unreadable(void *ctx, int id)
{
	metric_run_unreadable(ctx, id);
}

static void feed_prom(struct metric_run *run, const char *page)
{
	static const struct promtext_ops ops = {on_want, on_sample, on_unreadable};
	struct promtext *p = NULL;

	assert_int_equal(promtext_new(&ops, run, &p), 0);
	promtext_begin(p);
	assert_int_equal(promtext_feed(p, page, strlen(page)), 0);
	assert_int_equal(promtext_finish(p), 0);
	promtext_free(&p);
}

static void feed_json(struct metric_run *run, const char *page)
{
	json_t *root = json_loads(page, JSON_DECODE_INT_AS_REAL, NULL);

	assert_non_null(root);
	assert_int_equal(metric_run_json(run, root), 0);
	json_decref(root);
}

struct eval_case {
	const char *name;
	const char *expr;
	const char *page;
	enum metric_status status;
	double want;
};

static void check_eval(const struct eval_case *c, enum metric_format format, enum metric_agg agg)
{
	struct metric_run *run = run_of(c->expr, format, agg);

	/* Twice: the second page must not see the first. */
	for (int i = 0; i < 2; i++) {
		enum metric_status status;
		double v = -12345;

		metric_run_reset(run);
		if (format == METRIC_FORMAT_PROM)
			feed_prom(run, c->page);
		else
			feed_json(run, c->page);
		status = metric_run_value(run, 0, &v);
		if (status != c->status)
			fail_msg("%s: status %d, not %d (value %g)", c->name, status, c->status, v);
		if (status != METRIC_OK)
			assert_true(v == -12345);
		else if (fabs(v - c->want) > 1e-12 * fabs(c->want))
			fail_msg("%s: %.17g, not %.17g", c->name, v, c->want);
		assert_int_equal(metric_run_value(run, 1, &v), METRIC_UNUSED);
	}
	metric_run_free(&run);
}

/* --- Prometheus text ------------------------------------------------------------------------- */

#define ABC "m{l=\"a\"} 1\nm{l=\"b\"} 2\nm{l=\"c\",k=\"x\"} 4\nn 10\nz 0\n"
#define GPU                                                                                        \
	"used{gpu=\"0\",host=\"h\"} 10\nused{gpu=\"1\",host=\"h\"} 30\n"                           \
	"free{host=\"h\",gpu=\"1\"} 10\nfree{host=\"h\",gpu=\"0\"} 90\n"                           \
	"total{gpu=\"0\",host=\"h\",e=\"\"} 100\ntotal{gpu=\"1\",host=\"h\"} 40\n"

/* A bare selector of several samples is summed here. */
static const struct eval_case prom_cases[] = {
	{"a bare selector is aggregated as its field says", "m", ABC, METRIC_OK, 7},
	{"sum", "sum(m)", ABC, METRIC_OK, 7},
	{"max", "max(m)", ABC, METRIC_OK, 4},
	{"min", "min(m)", ABC, METRIC_OK, 1},
	{"avg", "avg(m)", ABC, METRIC_OK, 7.0 / 3},
	{"count", "count(m)", ABC, METRIC_OK, 3},
	{"an aggregate of an aggregate", "max(sum(m))", ABC, METRIC_OK, 7},
	{"zero is a value", "sum(z)", ABC, METRIC_OK, 0},
	{"what is not there is absent", "sum(nope)", ABC, METRIC_ABSENT, 0},
	{"a count of nothing is absent, not zero", "count(nope)", ABC, METRIC_ABSENT, 0},
	{"a prefix is another metric", "sum(mm)", ABC, METRIC_ABSENT, 0},

	{"a label filter", "sum(m{l=\"b\"})", ABC, METRIC_OK, 2},
	{"a filter that excludes", "sum(m{l!=\"b\"})", ABC, METRIC_OK, 5},
	{"either of two values", "sum(m{l=\"a\"|\"c\"})", ABC, METRIC_OK, 5},
	{"neither of two values", "sum(m{l!=\"a\"|\"c\"})", ABC, METRIC_OK, 2},
	{"two filters, both must pass", "sum(m{l=\"c\"|\"a\", k=\"x\"})", ABC, METRIC_OK, 4},
	{"a label that is not there reads as empty", "sum(m{k=\"\"})", ABC, METRIC_OK, 3},
	{"a rank label or none", "sum(m{k=\"x\"|\"\"})", ABC, METRIC_OK, 7},
	{"a filter that nothing passes", "sum(m{l=\"d\"})", ABC, METRIC_ABSENT, 0},
	{"a value is not matched by its part", "sum(m{l=\"\"})", ABC, METRIC_ABSENT, 0},
	{"empty braces and a trailing comma", "sum(m{}) + sum(m{l=\"a\",})", ABC, METRIC_OK, 8},
	{"escapes in a filter", "sum(e{a=\"x\\\"y\\\\z\\nw\"})", "e{a=\"x\\\"y\\\\z\\nw\"} 5\n",
	 METRIC_OK, 5},
	{"names and labels as strings", "sum(\"odd name\"{\"a b\"=\"c\"})",
	 "{\"odd name\",\"a b\"=\"c\"} 6\n", METRIC_OK, 6},
	{"one metric in several selectors", "sum(m{l=\"a\"}) * 100 + max(m)", ABC, METRIC_OK, 104},
	{"a metric may be called like a function", "sum + count", "sum 1\ncount 2\n", METRIC_OK, 3},

	{"numbers", "sum(n) * 2.5e1 - .5", ABC, METRIC_OK, 249.5},
	{"products before sums", "1 + 2 * sum(n) - 4 / 2", ABC, METRIC_OK, 19},
	{"from the left", "sum(n) - 3 - 2", ABC, METRIC_OK, 5},
	{"division from the left", "sum(n) / 5 / 2", ABC, METRIC_OK, 1},
	{"parentheses", "(1 + 2) * sum(n) / (2 + 3)", ABC, METRIC_OK, 6},
	{"blanks and lines anywhere", " \n sum (\t m { l = \"a\" \n } ) \r\n + 1 ", ABC, METRIC_OK,
	 2},
	{"division by zero has no value", "sum(n) / sum(z)", ABC, METRIC_DIV_ZERO, 0},
	{"an overflow has no value", "sum(n) * 1e308 * 1e308", ABC, METRIC_NOT_FINITE, 0},
	{"a sum that overflows has no value", "sum(h)", "h{a=\"1\"} 1e308\nh{a=\"2\"} 1e308\n",
	 METRIC_NOT_FINITE, 0},

	{"with an absent term a sum is absent", "sum(m) + sum(nope)", ABC, METRIC_ABSENT, 0},
	{"an optional term is left out", "sum(m) + sum(nope)?", ABC, METRIC_OK, 7},
	{"an optional term that is there counts", "sum(m) + sum(n)?", ABC, METRIC_OK, 17},
	{"the first term may be optional", "sum(nope)? + sum(m)", ABC, METRIC_OK, 7},
	{"a subtracted term may be optional", "sum(m) - sum(nope)?", ABC, METRIC_OK, 7},
	{"all terms optional and absent", "sum(nope)? + sum(no)?", ABC, METRIC_ABSENT, 0},
	{"a chain of optional terms", "sum(a)? + sum(m)? + sum(b)? + sum(n)?", ABC, METRIC_OK, 17},
	{"an optional whole that is absent", "sum(nope)?", ABC, METRIC_ABSENT, 0},
	{"an optional whole that is there", "(sum(m) / 7)?", ABC, METRIC_OK, 1},
	{"an optional term that is NaN is there, but no number", "sum(m) + sum(bad)?",
	 ABC "bad NaN\n", METRIC_NOT_FINITE, 0},

	{"first() takes the first", "first(sum(m), sum(n))", ABC, METRIC_OK, 7},
	{"first() passes over absent ones", "first(sum(nope), sum(no), sum(n))", ABC, METRIC_OK,
	 10},
	{"first() takes a zero", "first(sum(z), sum(n))", ABC, METRIC_OK, 0},
	{"first() passes over what is no number", "first(max(bad), sum(n))", ABC "bad NaN\n",
	 METRIC_OK, 10},
	{"first() of nothing", "first(sum(nope), sum(no))", ABC, METRIC_ABSENT, 0},
	{"first() of trouble and nothing tells the trouble", "first(sum(no), max(bad))",
	 "bad +Inf\n", METRIC_NOT_FINITE, 0},
	{"first() with a constant behind", "first(sum(nope), 5)", ABC, METRIC_OK, 5},
	{"first() of selectors", "first(nope, m)", ABC, METRIC_OK, 7},
	{"first() of selectors takes all samples of one, none of the other", "sum(first(m, other))",
	 ABC "other{l=\"z\"} 1000\n", METRIC_OK, 7},
	{"first() of ratios", "max(first(a / b, used / total))", GPU, METRIC_OK, 0.75},
	{"first() of selectors passes over NaN", "max(first(bad, m))", ABC "bad NaN\n", METRIC_OK,
	 4},

	{"max over GPUs of used / (used + free)", "max(used / (used + free))", GPU, METRIC_OK,
	 0.75},
	{"the same with min", "min(used / (used + free))", GPU, METRIC_OK, 0.1},
	{"and with the field's aggregate", "used / (used + free)", GPU, METRIC_OK, 0.85},
	{"an empty label is as none", "max(used / total)", GPU, METRIC_OK, 0.75},
	{"a ratio of sums is another thing", "sum(used) / sum(total)", GPU, METRIC_OK, 40.0 / 140},
	{"a constant with many", "max(100 * used / total - 5)", GPU, METRIC_OK, 70},
	{"an aggregate within arithmetic on many", "max(used / sum(used))", GPU, METRIC_OK, 0.75},
	{"what has no partner drops out", "sum(used / lone)",
	 GPU "lone{gpu=\"1\",host=\"h\"} 60\nlone{gpu=\"7\",host=\"h\"} 1\n", METRIC_OK, 0.5},
	{"no partners at all", "sum(used / m)", GPU ABC, METRIC_ABSENT, 0},
	{"an optional term among many", "sum(used + lone?)",
	 GPU "lone{gpu=\"1\",host=\"h\"} 60\nlone{gpu=\"7\",host=\"h\"} 1000\n", METRIC_OK, 100},
	{"a filter among many", "max(used{gpu=\"0\"} / total)", GPU, METRIC_OK, 0.1},
	{"a GPU that reports zeros drops out of a maximum", "max(used / (used + free))",
	 GPU "used{gpu=\"2\"} 0\nfree{gpu=\"2\"} 0\n", METRIC_OK, 0.75},
	{"but not of a sum", "sum(used / (used + free))",
	 GPU "used{gpu=\"2\"} 0\nfree{gpu=\"2\"} 0\n", METRIC_DIV_ZERO, 0},
	{"only zeros", "max(a / b)", "a 0\nb 0\n", METRIC_DIV_ZERO, 0},
	{"the same labels twice with one value", "sum(a / b)", "a 1\na 1\nb 2\n", METRIC_OK, 0.5},
	{"the same labels twice with two values are not trusted", "max(a / b)", "a 1\na 2\nb 2\n",
	 METRIC_NOT_FINITE, 0},

	{"max passes over NaN and infinities", "max(v)",
	 "v{e=\"0\"} NaN\nv{e=\"1\"} 0.5\nv{e=\"2\"} +Inf\nv{e=\"3\"} -Inf\n", METRIC_OK, 0.5},
	{"avg does so as well", "avg(v)", "v{e=\"0\"} NaN\nv{e=\"1\"} 4\nv{e=\"2\"} 6\n", METRIC_OK,
	 5},
	{"a sum with NaN would be too low", "sum(v)", "v{e=\"0\"} NaN\nv{e=\"1\"} 4\n",
	 METRIC_NOT_FINITE, 0},
	{"nothing but NaN", "max(v)", "v NaN\n", METRIC_NOT_FINITE, 0},
	{"a sum with an unreadable line would be too low", "sum(v)", "v{e=\"0\"} x\nv{e=\"1\"} 4\n",
	 METRIC_UNREADABLE, 0},
	{"an unreadable line outweighs NaN", "sum(v)", "v{e=\"0\"} NaN\nv{e=\"1\" 4\n",
	 METRIC_UNREADABLE, 0},
	{"a maximum of the lines that can be read", "max(v)", "v{e=\"0\"} x\nv{e=\"1\"} 4\n",
	 METRIC_OK, 4},
	{"an unreadable line among many", "sum(used / total)", GPU "total x\n", METRIC_UNREADABLE,
	 0},
	{"NaN among many", "sum(used / total)", GPU "used{gpu=\"9\"} NaN\ntotal{gpu=\"9\"} 1\n",
	 METRIC_NOT_FINITE, 0},
	{"NaN among many in a maximum", "max(used / total)",
	 GPU "used{gpu=\"9\"} NaN\ntotal{gpu=\"9\"} 1\n", METRIC_OK, 0.75},
};

static void test_prometheus(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(prom_cases); i++)
		check_eval(&prom_cases[i], METRIC_FORMAT_PROM, METRIC_AGG_SUM);
}

static void test_default_aggregates(void **state)
{
	static const struct {
		enum metric_agg agg;
		double want;
	} aggs[] = {
		{METRIC_AGG_SUM, 7},       {METRIC_AGG_MAX, 4},   {METRIC_AGG_MIN, 1},
		{METRIC_AGG_AVG, 7.0 / 3}, {METRIC_AGG_COUNT, 3},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(aggs); i++) {
		struct eval_case bare = {"bare", "m", ABC, METRIC_OK, aggs[i].want};
		struct eval_case many = {"many", "m + 0", ABC, METRIC_OK, aggs[i].want};
		struct eval_case own = {"own", "sum(m)", ABC, METRIC_OK, 7};

		check_eval(&bare, METRIC_FORMAT_PROM, aggs[i].agg);
		check_eval(&many, METRIC_FORMAT_PROM, aggs[i].agg);
		check_eval(&own, METRIC_FORMAT_PROM, aggs[i].agg);
	}
}

/* --- JSON ------------------------------------------------------------------------------------ */

#define DOC                                                                                        \
	"{\"queue_depth\":3,\"a\":{\"b\":[{\"c\":1},{\"c\":20},{\"c\":300}]},\"a.b\":7,"           \
	"\"none\":null,\"text\":\"5\",\"yes\":true,\"zero\":0,\"list\":[1,2,3],"                   \
	"\"gpus\":[{\"used\":1,\"total\":4},{\"used\":3,\"total\":4},{\"used\":9}]}"

static const struct eval_case json_cases[] = {
	{"a key", "queue_depth", DOC, METRIC_OK, 3},
	{"a path", "a.b[0].c", DOC, METRIC_OK, 1},
	{"blanks in a path", "a . b [ 1 ] . c", DOC, METRIC_OK, 20},
	{"from the end", "a.b[-1].c", DOC, METRIC_OK, 300},
	{"all elements", "sum(a.b[*].c)", DOC, METRIC_OK, 321},
	{"all elements, aggregated as the field says", "a.b[*].c", DOC, METRIC_OK, 321},
	{"the largest element", "max(list[*])", DOC, METRIC_OK, 3},
	{"a key with a dot", "\"a.b\"", DOC, METRIC_OK, 7},
	{"a key as a string within a path", "\"a\".\"b\"[2].c", DOC, METRIC_OK, 300},
	{"zero is a value", "zero", DOC, METRIC_OK, 0},
	{"a key that is not there", "nope", DOC, METRIC_ABSENT, 0},
	{"a path that leads nowhere", "queue_depth.x[3]", DOC, METRIC_ABSENT, 0},
	{"an index behind the end", "list[3]", DOC, METRIC_ABSENT, 0},
	{"an index before the start", "list[-4]", DOC, METRIC_ABSENT, 0},
	{"the first element from the end", "list[-3]", DOC, METRIC_OK, 1},
	{"all elements of what is no list", "sum(a[*])", DOC, METRIC_ABSENT, 0},
	{"null is absent", "none", DOC, METRIC_ABSENT, 0},
	{"a number written as a string is refused", "text", DOC, METRIC_UNREADABLE, 0},
	{"a boolean is refused", "yes", DOC, METRIC_UNREADABLE, 0},
	{"a list is no number", "list", DOC, METRIC_UNREADABLE, 0},
	{"arithmetic", "(queue_depth + list[1]) / 10", DOC, METRIC_OK, 0.5},
	{"an optional term", "queue_depth + swapped?", DOC, METRIC_OK, 3},
	{"first()", "first(nope, text, queue_depth)", DOC, METRIC_OK, 3},
	{"pairs by position; one without a partner drops out", "max(gpus[*].used / gpus[*].total)",
	 DOC, METRIC_OK, 0.75},
	{"an aggregate of one value", "max(queue_depth)", DOC, METRIC_OK, 3},
	{"a document that is a list", "[1].x", "[{\"x\":1},{\"x\":2}]", METRIC_OK, 2},
	{"all of a document that is a list", "sum([*].x)", "[{\"x\":1},{\"x\":2}]", METRIC_OK, 3},
	{"lists in lists", "sum(m[*][*])", "{\"m\":[[1,2],[3],[]]}", METRIC_OK, 6},
	{"lists in lists pair by both positions", "sum(m[*][*] * n[*][*])",
	 "{\"m\":[[1,2],[3]],\"n\":[[10],[100,1000]]}", METRIC_OK, 310},
};

static void test_json(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(json_cases); i++)
		check_eval(&json_cases[i], METRIC_FORMAT_JSON, METRIC_AGG_SUM);
}

/* --- errors ---------------------------------------------------------------------------------- */

static const struct {
	const char *expr;
	size_t pos;
	const char *text;
} prom_errors[] =
	{
		{"", 0, "expected a metric name, a number, a function or '(', found the end"},
		{"  ", 2, "expected a metric name, a number, a function or '(', found the end"},
		{"sum(", 4, "expected a metric name, a number, a function or '(', found the end"},
		{"sum(m", 5, "expected ')' or an operator, found the end"},
		{"sum(m))", 6, "expected an operator or the end, found ')'"},
		{"sum(m) sum(n)", 7, "expected an operator or the end, found 's'"},
		{"total(m)", 0,
		 "'total' is not a function; expected sum, max, min, avg, count or first"},
		{"m +", 3, "expected a metric name, a number, a function or '(', found the end"},
		{"m + * n", 4, "expected a metric name, a number, a function or '(', found '*'"},
		{"-m", 0, "expected a metric name, a number, a function or '(', found '-'"},
		{"m{", 2, "expected a label name, found the end"},
		{"m{a", 3, "expected '=' or '!=', found the end"},
		{"m{a!\"b\"}", 4, "expected '=', found '\"'"},
		{"m{a=b}", 4, "expected a label value in '\"', found 'b'"},
		{"m{a=\"b}", 4, "this string has no closing '\"'"},
		{"m{a=\"\\d\"}", 6, "expected one of \\\" \\\\ \\n, found 'd'"},
		{"m{a=~\"b.*\"}", 4, "regular expressions are not supported; write a=\"x\"|\"y\""},
		{"m{a=\"b\" c=\"d\"}", 8,
		 "expected ',' or '}' (or '|' and another value), found 'c'"},
		{"m{a=\"b\"|}", 8, "expected a label value in '\"', found '}'"},
		{"m{:a=\"b\"}", 2, "expected a label name, found ':'"},
		{"m.x", 1, "a metric name has no '.'; write it in '\"' if it does"},
		{"m[0]", 1, "expected an operator or the end, found '['"},
		{"first()", 6, "expected a metric name, a number, a function or '(', found ')'"},
		{"first(sum(a), b)", 14,
		 "first() mixes one value with many: aggregate each argument, as in "
		 "first(sum(a), sum(b))"},
		{"first(a", 7, "expected ',' or ')' or an operator, found the end"},
		{"sum(m, n)", 5, "expected ')' or an operator, found ','"},
		{"m? * 2", 1, "'?' cannot stand beside '*'; write (...)? to make the whole optional"},
		{"m / 100?", 7,
		 "'?' cannot stand beside '/'; write (...)? to make the whole optional"},
		{"a? - b", 1, "what is subtracted from cannot be optional"},
		{"sum(m?)", 5, "'?' belongs behind a term of a sum or behind the whole expression"},
		{"(m?)", 2, "'?' belongs behind a term of a sum or behind the whole expression"},
		{"m??", 2, "expected an operator or the end, found '?'"},
		{"1 + 2", 0, "expected a metric: an expression of numbers alone says nothing"},
		{"m + 1x", 4, "'1x' is not a number"},
		{"m + 1e999", 4, "'1e999' is not a number"},
		{"m \xc3\xa9", 2, "expected an operator or the end, found byte 0xc3"},
		{"m \x01", 2, "expected an operator or the end, found byte 0x01"},
},
  json_errors[] = {
	  {"", 0, "expected a path, a number, a function or '(', found the end"},
	  {"a.", 2, "expected a key, found the end"},
	  {"a..b", 2, "expected a key, found '.'"},
	  {"a[", 2, "expected an index or '*', found the end"},
	  {"a[x]", 2, "expected an index or '*', found 'x'"},
	  {"a[1", 3, "expected ']', found the end"},
	  {"a[99999999999]", 2, "this index is too large"},
	  {"a[-0]", 3, "there is no index -0; the last is -1"},
	  {"a{b=\"c\"}", 1, "expected an operator or the end, found '{'"},
	  {"vllm:x", 4, "expected an operator or the end, found ':'"},
	  {"first(a, b[*])", 9,
	   "first() mixes one value with many: aggregate each argument, as in "
	   "first(sum(a), sum(b))"},
};

static void check_error(const char *expr, enum metric_format format, size_t pos, const char *text)
{
	struct metric_expr *e = NULL;
	struct metric_error error;

	if (metric_expr_compile(expr, format, METRIC_AGG_SUM, &e, &error) != -EINVAL)
		fail_msg("'%s' compiles", expr);
	assert_null(e);
	if (error.pos != pos || strcmp(error.text, text) != 0)
		fail_msg("'%s':\n got %zu: %s\nwant %zu: %s", expr, error.pos, error.text, pos,
			 text);
	assert_int_equal(metric_expr_check(expr, format, NULL), -EINVAL);
}

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(prom_errors); i++)
		check_error(prom_errors[i].expr, METRIC_FORMAT_PROM, prom_errors[i].pos,
			    prom_errors[i].text);
	for (size_t i = 0; i < ARRAY_SIZE(json_errors); i++)
		check_error(json_errors[i].expr, METRIC_FORMAT_JSON, json_errors[i].pos,
			    json_errors[i].text);
}

/* Repeats a piece n times between a start and an end, with a separator. */
static char *repeat(const char *start, const char *piece, const char *sep, int n, const char *end)
{
	static char text[8192];
	size_t len = (size_t)sprintf(text, "%s", start);

	for (int i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, "%s%s", i ? sep : "", piece);
	sprintf(text + len, "%s", end);
	return text;
}

static void test_limits(void **state)
{
	struct metric_error error;

	(void)state;
	assert_int_equal(
		metric_expr_check(repeat("", "m", " + ", 24, ""), METRIC_FORMAT_PROM, NULL), 0);
	assert_int_equal(
		metric_expr_check(repeat("", "m", " + ", 25, ""), METRIC_FORMAT_PROM, &error),
		-EINVAL);
	assert_string_equal(error.text, "more than 24 selectors");
	assert_int_equal(
		metric_expr_check(repeat("m + ", "1", " + ", 40, ""), METRIC_FORMAT_PROM, &error),
		-EINVAL);
	assert_string_equal(error.text, "the expression has more than 64 parts");
	assert_int_equal(
		metric_expr_check(repeat("m{", "a=\"b\"", ",", 32, "}"), METRIC_FORMAT_PROM, NULL),
		0);
	assert_int_equal(metric_expr_check(repeat("m{", "a=\"b\"", ",", 33, "}"),
					   METRIC_FORMAT_PROM, &error),
			 -EINVAL);
	assert_string_equal(error.text, "more than 32 label filters");
	assert_int_equal(metric_expr_check(repeat("m{a=", "\"b\"", "|", 65, "}"),
					   METRIC_FORMAT_PROM, &error),
			 -EINVAL);
	assert_string_equal(error.text, "more than 64 label values");
	assert_int_equal(
		metric_expr_check(repeat("", "a", ".", 65, ""), METRIC_FORMAT_JSON, &error),
		-EINVAL);
	assert_string_equal(error.text, "more than 64 steps in paths");
	assert_int_equal(metric_expr_check(repeat("", "(", "", 16, "m))))))))))))))))"),
					   METRIC_FORMAT_PROM, NULL),
			 0);
	assert_int_equal(
		metric_expr_check(repeat("", "(", "", 1000, ""), METRIC_FORMAT_PROM, &error),
		-EINVAL);
	assert_string_equal(error.text, "more than 16 levels of parentheses");
	assert_int_equal(metric_expr_check(repeat("", "m", "", 1024, ""), METRIC_FORMAT_PROM, NULL),
			 0);
	assert_int_equal(
		metric_expr_check(repeat("", "m", "", 1025, ""), METRIC_FORMAT_PROM, &error),
		-EINVAL);
	assert_string_equal(error.text, "the expression is longer than 1024 bytes");
}

static void test_optional_whole(void **state)
{
	static const struct {
		const char *expr;
		bool optional;
	} cases[] = {
		{"m", false},       {"m?", true},          {"a? + b", false}, {"a + b?", false},
		{"(a + b)?", true}, {"(a / 100) ?", true}, {"max(a)?", true}, {"a? + b?", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct metric_expr *e = NULL;

		assert_int_equal(metric_expr_compile(cases[i].expr, METRIC_FORMAT_PROM,
						     METRIC_AGG_SUM, &e, NULL),
				 0);
		assert_int_equal(metric_expr_optional(e), cases[i].optional);
		metric_expr_free(&e);
		metric_expr_free(&e);
	}
}

/* --- sets ------------------------------------------------------------------------------------ */

static void test_set(void **state)
{
	struct metric_expr *e = NULL;
	struct metric_set *set = NULL;
	struct metric_run *run = NULL;
	double v = 0;

	(void)state;
	assert_int_equal(metric_set_new(METRIC_FORMAT_PROM, &set), 0);
	assert_int_equal(metric_set_format(set), METRIC_FORMAT_PROM);
	assert_int_equal(metric_expr_compile("a", METRIC_FORMAT_JSON, METRIC_AGG_SUM, &e, NULL), 0);
	assert_int_equal(metric_set_add(set, 3, &e), -EINVAL);
	metric_expr_free(&e);
	assert_int_equal(metric_expr_compile("a", METRIC_FORMAT_PROM, METRIC_AGG_SUM, &e, NULL), 0);
	assert_int_equal(metric_set_add(set, 3, &e), 0);
	assert_int_equal(
		metric_expr_compile("max(a) - b", METRIC_FORMAT_PROM, METRIC_AGG_SUM, &e, NULL), 0);
	assert_int_equal(metric_set_add(set, 3, &e), -EEXIST);
	assert_int_equal(metric_set_add(set, METRIC_SET_MAX - 1, &e), 0);
	assert_null(metric_set_expr(set, 0));
	assert_null(metric_set_expr(set, METRIC_SET_MAX));
	assert_string_equal(metric_expr_text(metric_set_expr(set, 3)), "a");

	assert_int_equal(metric_run_new(set, &run), 0);
	metric_set_unref(&set);
	feed_prom(run, "a{x=\"1\"} 1\na{x=\"2\"} 5\nb 2\n");
	assert_int_equal(metric_run_value(run, 3, &v), METRIC_OK);
	assert_true(v == 6);
	assert_int_equal(metric_run_value(run, METRIC_SET_MAX - 1, &v), METRIC_OK);
	assert_true(v == 3);
	assert_null(metric_run_culprit(run, 3));
	assert_int_equal(metric_run_want(run, "c", 1), -1);
	metric_run_free(&run);
	metric_run_free(&run);
}

/* Names that fall on each other in the table are all found, and only they. */
static void test_many_names(void **state)
{
	struct metric_set *set = NULL;
	struct metric_run *run = NULL;
	char text[1024];
	char name[32];

	(void)state;
	assert_int_equal(metric_set_new(METRIC_FORMAT_PROM, &set), 0);
	for (unsigned int slot = 0; slot < METRIC_SET_MAX; slot++) {
		struct metric_expr *e = NULL;
		size_t len = 0;

		for (unsigned int i = 0; i < 24; i++)
			len += (size_t)sprintf(text + len, "%sname_%u", i ? " + " : "",
					       slot * 24 + i);
		assert_int_equal(
			metric_expr_compile(text, METRIC_FORMAT_PROM, METRIC_AGG_SUM, &e, NULL), 0);
		assert_int_equal(metric_set_add(set, slot, &e), 0);
	}
	assert_int_equal(metric_run_new(set, &run), 0);
	metric_set_unref(&set);
	for (unsigned int i = 0; i < 2000; i++) {
		int len = sprintf(name, "name_%u", i);
		bool found = metric_run_want(run, name, (size_t)len) >= 0;

		assert_int_equal(found, i < METRIC_SET_MAX * 24);
	}
	metric_run_free(&run);
}

/* Arithmetic on many keeps a bounded number of samples; aggregates need no bound. */
static void test_too_many_samples(void **state)
{
	static char page[METRIC_SERIES_MAX * 64];
	struct metric_run *run;
	size_t len = 0;
	double v = 0;

	(void)state;
	for (unsigned int i = 0; i <= METRIC_SERIES_MAX; i++) {
		if (i == METRIC_SERIES_MAX) {
			run = run_of("max(a / b)", METRIC_FORMAT_PROM, METRIC_AGG_SUM);
			feed_prom(run, page);
			assert_int_equal(metric_run_value(run, 0, &v), METRIC_OK);
			assert_true(v == METRIC_SERIES_MAX - 1);
			metric_run_free(&run);
		}
		len += (size_t)sprintf(page + len, "a{i=\"%u\"} %u\nb{i=\"%u\"} 1\n", i, i, i);
	}
	run = run_of("max(a / b)", METRIC_FORMAT_PROM, METRIC_AGG_SUM);
	feed_prom(run, page);
	assert_int_equal(metric_run_value(run, 0, &v), METRIC_TOO_MANY);
	assert_string_equal(metric_run_culprit(run, 0), "a");
	metric_run_free(&run);
	run = run_of("count(a)", METRIC_FORMAT_PROM, METRIC_AGG_SUM);
	feed_prom(run, page);
	assert_int_equal(metric_run_value(run, 0, &v), METRIC_OK);
	assert_true(v == METRIC_SERIES_MAX + 1);
	metric_run_free(&run);
}

static void test_culprit(void **state)
{
	struct metric_run *run = run_of("sum(a) + sum( b{x = \"y\"} ) + sum(c)?",
					METRIC_FORMAT_PROM, METRIC_AGG_SUM);

	(void)state;
	feed_prom(run, "a 1\nc 1\n");
	assert_string_equal(metric_run_culprit(run, 0), "b{x = \"y\"}");
	metric_run_reset(run);
	feed_prom(run, "c x\n"); /* worse than what is not there */
	assert_string_equal(metric_run_culprit(run, 0), "c");
	assert_null(metric_run_culprit(run, 1));
	metric_run_free(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prometheus),
		cmocka_unit_test(test_default_aggregates),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_optional_whole),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_many_names),
		cmocka_unit_test(test_too_many_samples),
		cmocka_unit_test(test_culprit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
