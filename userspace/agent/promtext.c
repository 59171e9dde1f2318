// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/promtext.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/lib/number.h"

struct promtext {
	const struct promtext_ops *ops;
	void *ctx;
	struct promtext_stats stats;

	/* The start of a line whose end has not come yet. */
	char *line;
	size_t line_len;
	size_t line_cap;
	bool skip; /* the line is too long: drop bytes up to its end */

	char *scratch; /* label values with their escapes resolved */
	size_t scratch_cap;
};

/* A line being taken apart. */
struct cursor {
	const char *pos;
	const char *end;
	char *scratch; /* has room for end - pos bytes */
};

struct labels {
	struct promtext_label at[PROMTEXT_LABELS_MAX];
	size_t n;
	const char *name; /* of the metric, if it stood inside the braces; else NULL */
	size_t name_len;
};

enum {
	CLASS_NAME = 1,  /* in a metric's name */
	CLASS_LABEL = 2, /* in a label's name */
	CLASS_BLANK = 4,
};

static const uint8_t class_of[256] = {
	['a' ... 'z'] = CLASS_NAME | CLASS_LABEL,
	['A' ... 'Z'] = CLASS_NAME | CLASS_LABEL,
	['0' ... '9'] = CLASS_NAME | CLASS_LABEL,
	['_'] = CLASS_NAME | CLASS_LABEL,
	[':'] = CLASS_NAME,
	[' '] = CLASS_BLANK,
	['\t'] = CLASS_BLANK,
};

static bool is_class(char c, uint8_t class)
{
	return class_of[(unsigned char)c] & class;
}

static bool peek(const struct cursor *c, char want)
{
	return c->pos < c->end && *c->pos == want;
}

static bool take(struct cursor *c, char want)
{
	if (!peek(c, want))
		return false;
	c->pos++;
	return true;
}

/* Returns how many characters of the class were passed over. */
static size_t skip_class(struct cursor *c, uint8_t class)
{
	const char *start = c->pos;

	while (c->pos < c->end && is_class(*c->pos, class))
		c->pos++;
	return (size_t)(c->pos - start);
}

/*
 * A string in quotes, its opening quote taken already. Without escapes the result points into the
 * line, otherwise into the scratch buffer. An unknown escape stands for itself, as in Prometheus.
 * Returns 0, or -EINVAL if the closing quote is missing.
 */
static int take_string(struct cursor *c, const char **ret_s, size_t *ret_len)
{
	const char *start = c->pos;
	char *out;

	while (c->pos < c->end && *c->pos != '"' && *c->pos != '\\')
		c->pos++;
	if (peek(c, '"')) {
		*ret_s = start;
		*ret_len = (size_t)(c->pos++ - start);
		return 0;
	}

	out = c->scratch;
	*ret_s = out;
	memcpy(out, start, (size_t)(c->pos - start));
	out += c->pos - start;
	while (c->pos < c->end && *c->pos != '"') {
		if (*c->pos == '\\' && c->pos + 1 < c->end) {
			char e = c->pos[1];

			if (e != 'n' && e != '\\' && e != '"')
				*out++ = '\\';
			*out++ = e == 'n' ? '\n' : e;
			c->pos += 2;
		} else {
			*out++ = *c->pos++;
		}
	}
	*ret_len = (size_t)(out - *ret_s);
	c->scratch = out;
	return take(c, '"') ? 0 : -EINVAL;
}

static bool has_label(const struct labels *l, const char *name, size_t len)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].name_len == len && memcmp(l->at[i].name, name, len) == 0)
			return true;
	return false;
}

/* One `name = "value"`, or the metric's name as a string. Returns 0 or -EINVAL. */
static int take_label(struct cursor *c, struct labels *l)
{
	struct promtext_label *label = &l->at[l->n];
	bool quoted = take(c, '"');

	if (l->n == PROMTEXT_LABELS_MAX)
		return -EINVAL;
	if (quoted) {
		if (take_string(c, &label->name, &label->name_len) < 0)
			return -EINVAL;
	} else {
		label->name = c->pos;
		label->name_len = skip_class(c, CLASS_LABEL);
	}
	if (!label->name_len)
		return -EINVAL;
	skip_class(c, CLASS_BLANK);
	if (quoted && (peek(c, ',') || peek(c, '}')) && !l->name && !l->n) {
		l->name = label->name;
		l->name_len = label->name_len;
		return 0;
	}
	if (has_label(l, label->name, label->name_len) || !take(c, '='))
		return -EINVAL;
	skip_class(c, CLASS_BLANK);
	if (!take(c, '"') || take_string(c, &label->value, &label->value_len) < 0)
		return -EINVAL;
	l->n++;
	return 0;
}

/* What is between the braces, the opening one taken already. Returns 0 or -EINVAL. */
static int take_labels(struct cursor *c, struct labels *l)
{
	skip_class(c, CLASS_BLANK);
	while (!take(c, '}')) {
		if (take_label(c, l) < 0)
			return -EINVAL;
		skip_class(c, CLASS_BLANK);
		if (!take(c, ',') && !peek(c, '}'))
			return -EINVAL;
		skip_class(c, CLASS_BLANK);
	}
	return 0;
}

/* A run of characters up to the next blank -> number. Returns 0 or -EINVAL. */
static int take_number(struct cursor *c, double *ret_value)
{
	const char *start = c->pos;

	while (c->pos < c->end && !is_class(*c->pos, CLASS_BLANK))
		c->pos++;
	return number_parse_double(start, (size_t)(c->pos - start), ret_value) < 0 ? -EINVAL : 0;
}

/* value [timestamp] [# exemplar]. Returns 0 or -EINVAL. */
static int take_value(struct cursor *c, double *ret_value)
{
	double timestamp;
	double value;

	skip_class(c, CLASS_BLANK);
	if (take_number(c, &value) < 0)
		return -EINVAL;
	skip_class(c, CLASS_BLANK);
	if (c->pos < c->end && *c->pos != '#') {
		if (take_number(c, &timestamp) < 0 || !isfinite(timestamp))
			return -EINVAL;
		skip_class(c, CLASS_BLANK);
	}
	if (c->pos < c->end && *c->pos != '#')
		return -EINVAL;
	*ret_value = value;
	return 0;
}

/* Buffers that live in the parser grow by doubling up to the longest line. */
static int grow(char **buf, size_t *cap, size_t need)
{
	size_t size = *cap ? *cap : 256;
	char *p;

	assert(need <= PROMTEXT_LINE_MAX);
	if (need <= *cap)
		return 0;
	while (size < need)
		size *= 2;
	p = realloc(*buf, size);
	if (!p)
		return -ENOMEM;
	*buf = p;
	*cap = size;
	return 0;
}

/* The name of a line that starts with it: outside of braces. Empty if the name is not followed by
 * what may follow one, so that `a.b` is not taken for `a`. */
static size_t take_plain_name(struct cursor *c, const char **ret_name)
{
	size_t len;

	*ret_name = c->pos;
	len = skip_class(c, CLASS_NAME);
	if (c->pos < c->end && *c->pos != '{' && !is_class(*c->pos, CLASS_BLANK))
		return 0;
	return len;
}

/* {"the.name", label="value"} …: the name is known only after the labels. If they cannot be read,
 * the sample is still known by a name that comes first. */
static int line_quoted(struct promtext *p, struct cursor *c)
{
	struct labels labels = {0};
	double value;
	int id = -1;
	int r;

	r = take_labels(c, &labels);
	if (labels.name)
		id = p->ops->want(p->ctx, labels.name, labels.name_len);
	if (id < 0)
		return 0;
	if (r < 0 || take_value(c, &value) < 0) {
		p->stats.bad_lines++;
		p->ops->unreadable(p->ctx, id);
		return 0;
	}
	p->stats.samples++;
	return p->ops->sample(p->ctx, id, labels.at, labels.n, value);
}

/* The rest of a line whose name is wanted. */
static int line_wanted(struct promtext *p, struct cursor *c, int id)
{
	struct labels labels;
	double value;
	bool bad;

	labels.n = 0;
	labels.name = ""; /* it stood before the braces: none may stand inside */
	skip_class(c, CLASS_BLANK);
	bad = take(c, '{') && take_labels(c, &labels) < 0;
	if (bad || take_value(c, &value) < 0) {
		p->stats.bad_lines++;
		p->ops->unreadable(p->ctx, id);
		return 0;
	}
	p->stats.samples++;
	return p->ops->sample(p->ctx, id, labels.at, labels.n, value);
}

/* A line of any length was dropped; only its first PROMTEXT_LINE_MAX bytes are at `line`. */
static void line_too_long(struct promtext *p, const char *line)
{
	struct cursor c = {.pos = line, .end = line + PROMTEXT_LINE_MAX};
	const char *name;
	size_t len;
	int id;

	skip_class(&c, CLASS_BLANK);
	if (peek(&c, '#'))
		return;
	p->stats.lines++;
	p->stats.long_lines++;
	len = take_plain_name(&c, &name);
	id = len ? p->ops->want(p->ctx, name, len) : -1;
	if (id >= 0) {
		p->stats.bad_lines++;
		p->ops->unreadable(p->ctx, id);
	}
}

/* One whole line without its newline, len <= PROMTEXT_LINE_MAX. */
static int line_parse(struct promtext *p, const char *line, size_t len)
{
	struct cursor c = {.pos = line, .end = line + len};
	const char *name;
	size_t name_len;
	bool quoted;
	int id = -1;
	int r;

	skip_class(&c, CLASS_BLANK);
	if (c.end > c.pos && c.end[-1] == '\r')
		c.end--;
	if (c.pos == c.end || *c.pos == '#')
		return 0;
	p->stats.lines++;

	quoted = take(&c, '{');
	if (!quoted) {
		name_len = take_plain_name(&c, &name);
		if (!name_len)
			return 0;
		id = p->ops->want(p->ctx, name, name_len);
		if (id < 0)
			return 0;
	}
	r = grow(&p->scratch, &p->scratch_cap, len);
	if (r < 0)
		return r;
	c.scratch = p->scratch;
	return quoted ? line_quoted(p, &c) : line_wanted(p, &c, id);
}

/* Keeps the start of an incomplete line. */
static int line_keep(struct promtext *p, const char *data, size_t len)
{
	size_t room = PROMTEXT_LINE_MAX - p->line_len;
	int r;

	if (p->skip)
		return 0;
	r = grow(&p->line, &p->line_cap, p->line_len + (len < room ? len : room));
	if (r < 0)
		return r;
	memcpy(p->line + p->line_len, data, len < room ? len : room);
	p->line_len += len < room ? len : room;
	if (len > room) {
		p->skip = true;
		line_too_long(p, p->line);
	}
	return 0;
}

/* The bytes up to the end of the line that is being kept. */
static int line_complete(struct promtext *p, const char *data, size_t len)
{
	int r;

	r = line_keep(p, data, len);
	if (r < 0)
		return r;
	if (!p->skip)
		r = line_parse(p, p->line, p->line_len);
	p->line_len = 0;
	p->skip = false;
	return r;
}

int promtext_new(const struct promtext_ops *ops, void *ctx, struct promtext **ret_parser)
{
	struct promtext *p;

	assert(ops);
	assert(ret_parser);

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->ops = ops;
	p->ctx = ctx;
	*ret_parser = p;
	return 0;
}

void promtext_free(struct promtext **parser)
{
	if (!*parser)
		return;
	free((*parser)->line);
	free((*parser)->scratch);
	free(*parser);
	*parser = NULL;
}

void promtext_begin(struct promtext *parser)
{
	parser->line_len = 0;
	parser->skip = false;
	parser->stats = (struct promtext_stats){0};
}

int promtext_feed(struct promtext *parser, const char *data, size_t len)
{
	const char *end = data + len;
	int r;

	parser->stats.bytes += len;
	while (data < end) {
		const char *nl = memchr(data, '\n', (size_t)(end - data));
		size_t n = (size_t)((nl ? nl : end) - data);

		if (!nl)
			return line_keep(parser, data, n);
		if (promtext_in_line(parser)) {
			r = line_complete(parser, data, n);
		} else if (n > PROMTEXT_LINE_MAX) {
			line_too_long(parser, data);
			r = 0;
		} else {
			r = line_parse(parser, data, n);
		}
		if (r < 0)
			return r;
		data = nl + 1;
	}
	return 0;
}

bool promtext_in_line(const struct promtext *parser)
{
	return parser->line_len > 0;
}

int promtext_finish(struct promtext *parser)
{
	return promtext_in_line(parser) ? line_complete(parser, "", 0) : 0;
}

void promtext_stats(const struct promtext *parser, struct promtext_stats *ret_stats)
{
	*ret_stats = parser->stats;
}
