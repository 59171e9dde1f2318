// SPDX-License-Identifier: BSD-2-Clause
/*
 * Compiler of metric expressions: recursive descent, one function for each rule of the grammar in
 * the header. Each fails by fail(), which notes the place and what was expected there.
 */
#include "userspace/agent/metricexpr.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/metricexpr_tree.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/number.h"

struct parser {
	struct metric_expr *e;
	const char *pos;
	char *strings_end;
	const char *question; /* where the last `?` stands */
	unsigned int depth;
	struct metric_error error;
};

static const struct {
	const char *name;
	enum metric_agg agg; /* 0: first() */
} functions[] = {
	{"sum", METRIC_AGG_SUM}, {"max", METRIC_AGG_MAX},     {"min", METRIC_AGG_MIN},
	{"avg", METRIC_AGG_AVG}, {"count", METRIC_AGG_COUNT}, {"first", 0},
};

__attribute__((format(printf, 3, 4))) static int fail(struct parser *p, const char *at,
						      const char *fmt, ...)
{
	va_list ap;

	p->error.pos = (size_t)(at - p->e->text);
	va_start(ap, fmt);
	vsnprintf(p->error.text, sizeof(p->error.text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* "expected WHAT, found …" at the current place. */
static int fail_expected(struct parser *p, const char *what)
{
	unsigned char c = (unsigned char)*p->pos;

	if (!c)
		return fail(p, p->pos, "expected %s, found the end", what);
	if (c < 0x20 || c >= 0x7f)
		return fail(p, p->pos, "expected %s, found byte 0x%02x", what, c);
	return fail(p, p->pos, "expected %s, found '%c'", what, c);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ASCII only, whatever the locale. */
static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name_start(const struct parser *p, char c)
{
	return is_letter(c) || c == '_' || (c == ':' && p->e->format == METRIC_FORMAT_PROM);
}

static bool is_name_char(const struct parser *p, char c)
{
	return is_name_start(p, c) || is_digit(c);
}

static void skip_blanks(struct parser *p)
{
	while (is_blank(*p->pos))
		p->pos++;
}

/* Takes the character if it comes next, behind blanks. */
static bool take(struct parser *p, char c)
{
	skip_blanks(p);
	if (*p->pos != c)
		return false;
	p->pos++;
	return true;
}

/* Copies into the expression's strings: there is room for every byte of the text twice. */
static const char *keep(struct parser *p, const char *s, size_t len)
{
	char *out = p->strings_end;

	memcpy(out, s, len);
	out[len] = '\0';
	p->strings_end = out + len + 1;
	return out;
}

/* Takes name characters, at least one. */
static const char *take_name(struct parser *p)
{
	const char *start = p->pos;

	while (is_name_char(p, *p->pos))
		p->pos++;
	return keep(p, start, (size_t)(p->pos - start));
}

/* A string, from its opening quote. Returns 0 or -EINVAL. */
static int take_string(struct parser *p, const char **ret_s)
{
	const char *start = p->pos++;
	char *out = p->strings_end;

	for (; *p->pos && *p->pos != '"'; p->pos++) {
		char c = *p->pos;

		if (c == '\\') {
			c = *++p->pos;
			if (c == 'n')
				c = '\n';
			else if (c != '"' && c != '\\')
				return fail_expected(p, "one of \\\" \\\\ \\n");
		}
		*out++ = c;
	}
	if (!*p->pos)
		return fail(p, start, "this string has no closing '\"'");
	p->pos++;
	*out++ = '\0';
	*ret_s = p->strings_end;
	p->strings_end = out;
	return 0;
}

/* Appends a node. Returns 0 or -EINVAL. */
static int add_node(struct parser *p, const struct metric_node *node, uint8_t *ret_index)
{
	if (p->e->n_nodes == METRIC_EXPR_MAX_NODES)
		return fail(p, p->pos, "the expression has more than %d parts",
			    METRIC_EXPR_MAX_NODES);
	p->e->nodes[p->e->n_nodes] = *node;
	*ret_index = p->e->n_nodes++;
	return 0;
}

/* One value of a filter. */
static int parse_value(struct parser *p, struct metric_filter *f)
{
	skip_blanks(p);
	if (*p->pos != '"')
		return fail_expected(p, "a label value in '\"'");
	if (p->e->n_values == METRIC_VALUES_MAX)
		return fail(p, p->pos, "more than %d label values", METRIC_VALUES_MAX);
	f->n_values++;
	return take_string(p, &p->e->values[p->e->n_values++]);
}

/* label = "a" | "b" */
static int parse_filter(struct parser *p)
{
	struct metric_filter f = {.first_value = p->e->n_values};
	int r;

	skip_blanks(p);
	if (p->e->n_filters == METRIC_FILTERS_MAX)
		return fail(p, p->pos, "more than %d label filters", METRIC_FILTERS_MAX);
	if (*p->pos == '"') {
		r = take_string(p, &f.label);
		if (r < 0)
			return r;
	} else if (is_name_start(p, *p->pos) && *p->pos != ':') {
		f.label = take_name(p);
	} else {
		return fail_expected(p, "a label name");
	}
	f.negated = take(p, '!');
	if (!take(p, '='))
		return fail_expected(p, f.negated ? "'='" : "'=' or '!='");
	if (*p->pos == '~')
		return fail(p, p->pos,
			    "regular expressions are not supported; write a=\"x\"|\"y\"");
	do {
		r = parse_value(p, &f);
		if (r < 0)
			return r;
	} while (take(p, '|'));
	p->e->filters[p->e->n_filters++] = f;
	return 0;
}

/* { filter, … }, the brace taken already. */
static int parse_filters(struct parser *p, struct metric_selector *s)
{
	int r;

	while (!take(p, '}')) {
		r = parse_filter(p);
		if (r < 0)
			return r;
		s->n++;
		if (!take(p, ',')) {
			skip_blanks(p);
			if (*p->pos != '}')
				return fail_expected(p, "',' or '}' (or '|' and another value)");
		}
	}
	return 0;
}

/* Room for a step; returns 0 or -EINVAL. */
static int add_step(struct parser *p, struct metric_selector *s, struct metric_step step)
{
	if (p->e->n_steps == METRIC_STEPS_MAX)
		return fail(p, p->pos, "more than %d steps in paths", METRIC_STEPS_MAX);
	p->e->steps[p->e->n_steps++] = step;
	s->n++;
	return 0;
}

/* [ index ] or [ * ], the bracket taken already. */
static int parse_index(struct parser *p, struct metric_selector *s)
{
	struct metric_step step = {.kind = METRIC_STEP_ALL};
	uint64_t index;
	bool negative;
	const char *start;

	if (!take(p, '*')) {
		step.kind = METRIC_STEP_INDEX;
		negative = take(p, '-');
		skip_blanks(p);
		start = p->pos;
		while (is_digit(*p->pos))
			p->pos++;
		if (p->pos == start)
			return fail_expected(p, "an index or '*'");
		if (number_parse_u64(start, (size_t)(p->pos - start), INT32_MAX, &index) < 0)
			return fail(p, start, "this index is too large");
		step.index = negative ? -(int32_t)index : (int32_t)index;
		if (negative && !index)
			return fail(p, start, "there is no index -0; the last is -1");
	} else {
		s->series = true;
	}
	if (!take(p, ']'))
		return fail_expected(p, "']'");
	return add_step(p, s, step);
}

/* name or "string" in a path. */
static int parse_key(struct parser *p, struct metric_selector *s)
{
	struct metric_step step = {.kind = METRIC_STEP_KEY};
	int r;

	skip_blanks(p);
	if (*p->pos == '"') {
		r = take_string(p, &step.key);
		if (r < 0)
			return r;
	} else if (is_name_start(p, *p->pos)) {
		step.key = take_name(p);
	} else {
		return fail_expected(p, "a key");
	}
	return add_step(p, s, step);
}

/* A path in a JSON document: key [index] . key … */
static int parse_path(struct parser *p, struct metric_selector *s)
{
	int r = 0;

	s->first = p->e->n_steps;
	if (*p->pos != '[')
		r = parse_key(p, s);
	while (r == 0) {
		if (take(p, '['))
			r = parse_index(p, s);
		else if (take(p, '.'))
			r = parse_key(p, s);
		else
			break;
	}
	return r;
}

/* name { filters } */
static int parse_series(struct parser *p, struct metric_selector *s)
{
	int r;

	s->series = true;
	s->first = p->e->n_filters;
	if (*p->pos == '"') {
		r = take_string(p, &s->name);
		if (r < 0)
			return r;
	} else {
		s->name = take_name(p);
	}
	if (*p->pos == '.')
		return fail(p, p->pos, "a metric name has no '.'; write it in '\"' if it does");
	return take(p, '{') ? parse_filters(p, s) : 0;
}

static int parse_selector(struct parser *p, uint8_t *ret_index)
{
	struct metric_node node = {.kind = METRIC_NODE_SELECT,
				   .operand = METRIC_NODE_NONE,
				   .next = METRIC_NODE_NONE,
				   .selector = p->e->n_selectors};
	struct metric_selector s = {0};
	const char *start = p->pos;
	const char *end;
	int r;

	if (p->e->n_selectors == METRIC_SELECTORS_MAX)
		return fail(p, start, "more than %d selectors", METRIC_SELECTORS_MAX);
	r = p->e->format == METRIC_FORMAT_JSON ? parse_path(p, &s) : parse_series(p, &s);
	if (r < 0)
		return r;
	for (end = p->pos; end > start && is_blank(end[-1]); end--)
		;
	s.text = keep(p, start, (size_t)(end - start));
	node.many = s.series;
	p->e->selectors[p->e->n_selectors++] = s;
	return add_node(p, &node, ret_index);
}

static int parse_number(struct parser *p, uint8_t *ret_index)
{
	struct metric_node node = {
		.kind = METRIC_NODE_NUMBER, .operand = METRIC_NODE_NONE, .next = METRIC_NODE_NONE};
	const char *start = p->pos;

	while (is_letter(*p->pos) || is_digit(*p->pos) || *p->pos == '.' ||
	       ((*p->pos == '+' || *p->pos == '-') && (p->pos[-1] == 'e' || p->pos[-1] == 'E')))
		p->pos++;
	if (number_parse_double(start, (size_t)(p->pos - start), &node.number) < 0)
		return fail(p, start, "'%.*s' is not a number", (int)(p->pos - start), start);
	return add_node(p, &node, ret_index);
}

static int parse_sum(struct parser *p, uint8_t *ret_index);

/* An expression in parentheses or as an argument: `?` cannot end it. */
static int parse_inner(struct parser *p, uint8_t *ret_index)
{
	int r;

	if (p->depth == METRIC_EXPR_MAX_DEPTH)
		return fail(p, p->pos, "more than %d levels of parentheses", METRIC_EXPR_MAX_DEPTH);
	p->depth++;
	r = parse_sum(p, ret_index);
	p->depth--;
	if (r < 0)
		return r;
	if (p->e->nodes[*ret_index].optional)
		return fail(p, p->question,
			    "'?' belongs behind a term of a sum or behind the whole "
			    "expression");
	return 0;
}

/* "(" is taken already. */
static int parse_aggregate(struct parser *p, enum metric_agg agg, uint8_t *ret_index)
{
	struct metric_node node = {.kind = METRIC_NODE_AGG, .agg = agg, .next = METRIC_NODE_NONE};
	const struct metric_node *of;
	int r;

	r = parse_inner(p, &node.operand);
	if (r < 0)
		return r;
	if (!take(p, ')'))
		return fail_expected(p, "')' or an operator");
	of = &p->e->nodes[node.operand];
	if (of->kind == METRIC_NODE_SELECT)
		p->e->selectors[of->selector].series = false;
	return add_node(p, &node, ret_index);
}

static int parse_first(struct parser *p, uint8_t *ret_index)
{
	struct metric_node node = {
		.kind = METRIC_NODE_FIRST, .operand = METRIC_NODE_NONE, .next = METRIC_NODE_NONE};
	uint8_t last = METRIC_NODE_NONE;
	uint8_t arg;
	const char *start;
	int r;

	do {
		skip_blanks(p);
		start = p->pos;
		r = parse_inner(p, &arg);
		if (r < 0)
			return r;
		if (last == METRIC_NODE_NONE) {
			node.operand = arg;
			node.many = p->e->nodes[arg].many;
		} else {
			p->e->nodes[last].next = arg;
		}
		if (p->e->nodes[arg].many != node.many)
			return fail(p, start,
				    "first() mixes one value with many: aggregate each "
				    "argument, as in first(sum(a), sum(b))");
		last = arg;
	} while (take(p, ','));
	if (!take(p, ')'))
		return fail_expected(p, "',' or ')' or an operator");
	return add_node(p, &node, ret_index);
}

/* A name of len bytes at the current place, with "(" behind it. */
static int parse_function(struct parser *p, const char *name, size_t len, uint8_t *ret_index)
{
	p->pos += len;
	(void)take(p, '(');
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		if (strlen(functions[i].name) != len || memcmp(functions[i].name, name, len) != 0)
			continue;
		return functions[i].agg ? parse_aggregate(p, functions[i].agg, ret_index)
					: parse_first(p, ret_index);
	}
	return fail(p, name,
		    "'%.*s' is not a function; expected sum, max, min, avg, count or first",
		    (int)(len < 64 ? len : 64), name);
}

/* Length of the name at the current place if "(" comes behind it, else 0. */
static size_t function_ahead(const struct parser *p)
{
	const char *end = p->pos;
	size_t len;

	while (is_name_char(p, *end))
		end++;
	len = (size_t)(end - p->pos);
	while (is_blank(*end))
		end++;
	return *end == '(' ? len : 0;
}

/* factor without its `?`. */
static int parse_primary(struct parser *p, uint8_t *ret_index)
{
	bool json = p->e->format == METRIC_FORMAT_JSON;
	size_t len;
	int r;

	skip_blanks(p);
	if (take(p, '(')) {
		r = parse_inner(p, ret_index);
		if (r < 0)
			return r;
		return take(p, ')') ? 0 : fail_expected(p, "')' or an operator");
	}
	if (is_digit(*p->pos) || *p->pos == '.')
		return parse_number(p, ret_index);
	if (is_name_start(p, *p->pos)) {
		len = function_ahead(p);
		return len ? parse_function(p, p->pos, len, ret_index)
			   : parse_selector(p, ret_index);
	}
	if (*p->pos == '"' || (json && *p->pos == '['))
		return parse_selector(p, ret_index);
	return fail_expected(p, json ? "a path, a number, a function or '('"
				     : "a metric name, a number, a function or '('");
}

static int parse_factor(struct parser *p, uint8_t *ret_index)
{
	int r = parse_primary(p, ret_index);

	if (r < 0)
		return r;
	if (take(p, '?')) {
		p->question = p->pos - 1;
		p->e->nodes[*ret_index].optional = true;
	}
	return 0;
}

/* left op right -> node */
static int join(struct parser *p, char op, uint8_t left, uint8_t right, uint8_t *ret_index)
{
	struct metric_node *nodes = p->e->nodes;
	struct metric_node node = {.kind = METRIC_NODE_BINARY,
				   .op = op,
				   .many = nodes[left].many || nodes[right].many,
				   .operand = left,
				   .next = METRIC_NODE_NONE};

	nodes[left].next = right;
	return add_node(p, &node, ret_index);
}

static int parse_product(struct parser *p, uint8_t *ret_index)
{
	uint8_t left;
	uint8_t right;
	int r;

	r = parse_factor(p, &left);
	while (r == 0) {
		char op = take(p, '*') ? '*' : take(p, '/') ? '/' : '\0';

		if (!op)
			break;
		r = p->e->nodes[left].optional ? 0 : parse_factor(p, &right);
		if (r < 0)
			return r;
		if (p->e->nodes[left].optional || p->e->nodes[right].optional)
			return fail(p, p->question,
				    "'?' cannot stand beside '%c'; write (...)? to "
				    "make the whole optional",
				    op);
		r = join(p, op, left, right, &left);
	}
	if (r == 0)
		*ret_index = left;
	return r;
}

static int parse_sum(struct parser *p, uint8_t *ret_index)
{
	uint8_t left;
	uint8_t right;
	int r;

	r = parse_product(p, &left);
	while (r == 0) {
		char op = take(p, '+') ? '+' : take(p, '-') ? '-' : '\0';

		if (!op)
			break;
		if (op == '-' && p->e->nodes[left].optional)
			return fail(p, p->question, "what is subtracted from cannot be optional");
		r = parse_product(p, &right);
		if (r < 0)
			return r;
		r = join(p, op, left, right, &left);
	}
	if (r == 0)
		*ret_index = left;
	return r;
}

/* The whole text; many values at the end are aggregated by `agg`. */
static int parse_all(struct parser *p, enum metric_agg agg)
{
	struct metric_expr *e = p->e;
	struct metric_node node = {.kind = METRIC_NODE_AGG, .agg = agg, .next = METRIC_NODE_NONE};
	struct metric_node *root;
	int r;

	r = parse_sum(p, &e->root);
	if (r < 0)
		return r;
	skip_blanks(p);
	if (*p->pos)
		return fail_expected(p, "an operator or the end");
	if (!e->n_selectors)
		return fail(p, e->text,
			    "expected a metric: an expression of numbers alone says "
			    "nothing");
	root = &e->nodes[e->root];
	e->optional = root->optional;
	root->optional = false;
	if (!root->many)
		return 0;
	if (root->kind == METRIC_NODE_SELECT)
		e->selectors[root->selector].series = false;
	node.operand = e->root;
	return add_node(p, &node, &e->root);
}

/* Allocates an empty expression with its strings. Returns NULL without memory. */
static struct metric_expr *expr_alloc(const char *text, enum metric_format format)
{
	struct metric_expr *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->format = format;
	e->text = strdup(text);
	/* Each byte is kept at most twice (as a name and in its selector's text), and each kept
	 * string has a terminator, for which a name of one byte pays with the byte behind it. */
	e->strings = malloc(4 * strlen(text) + 4);
	if (!e->text || !e->strings)
		metric_expr_free(&e);
	return e;
}

int metric_expr_compile(const char *text, enum metric_format format, enum metric_agg agg,
			struct metric_expr **ret_expr, struct metric_error *ret_error)
{
	struct parser p = {0};
	size_t len;
	int r;

	assert(text);
	assert(format == METRIC_FORMAT_PROM || format == METRIC_FORMAT_JSON);
	assert(agg >= METRIC_AGG_SUM && agg <= METRIC_AGG_COUNT);

	len = strlen(text);
	if (len > METRIC_EXPR_MAX_LEN) {
		if (ret_error) {
			ret_error->pos = METRIC_EXPR_MAX_LEN;
			snprintf(ret_error->text, sizeof(ret_error->text),
				 "the expression is longer than %d bytes", METRIC_EXPR_MAX_LEN);
		}
		return -EINVAL;
	}
	p.e = expr_alloc(text, format);
	if (!p.e)
		return -ENOMEM;
	p.pos = p.e->text;
	p.strings_end = p.e->strings;
	r = parse_all(&p, agg);
	if (r < 0) {
		if (ret_error)
			*ret_error = p.error;
		metric_expr_free(&p.e);
		return r;
	}
	*ret_expr = p.e;
	return 0;
}

int metric_expr_check(const char *text, enum metric_format format, struct metric_error *ret_error)
{
	struct metric_expr *e = NULL;
	int r = metric_expr_compile(text, format, METRIC_AGG_SUM, &e, ret_error);

	metric_expr_free(&e);
	return r;
}

void metric_expr_free(struct metric_expr **expr)
{
	if (!*expr)
		return;
	free((*expr)->text);
	free((*expr)->strings);
	free(*expr);
	*expr = NULL;
}

const char *metric_expr_text(const struct metric_expr *expr)
{
	return expr->text;
}

bool metric_expr_optional(const struct metric_expr *expr)
{
	return expr->optional;
}
