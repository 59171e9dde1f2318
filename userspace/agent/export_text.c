// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/export_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROW_MIN   4096
#define NUMBER_MAX 32
#define EXACT_MAX  9007199254740992.0 /* 2^53: whole numbers below it are exact */

void export_text_free(struct export_text *t)
{
	free(t->data);
	free(t->labels);
	*t = (struct export_text){0};
}

void export_text_clear(struct export_text *t)
{
	t->len = 0;
}

static bool reserve(char **data, size_t *size, size_t need)
{
	size_t more = *size ? *size : GROW_MIN;
	char *p;

	if (need <= *size)
		return true;
	while (more < need)
		more *= 2;
	p = realloc(*data, more);
	if (!p)
		return false;
	*data = p;
	*size = more;
	return true;
}

static void put(struct export_text *t, const char *s, size_t len)
{
	if (len == 0)
		return;
	if (!reserve(&t->data, &t->size, t->len + len)) {
		t->failed = true;
		return;
	}
	memcpy(t->data + t->len, s, len);
	t->len += len;
}

static void put_str(struct export_text *t, const char *s)
{
	put(t, s, strlen(s));
}

/* --- labels ----------------------------------------------------------------------------------- */

/* Escaped as a label's value: at most twice as long. Returns the number of bytes. */
static size_t escape(char *out, const char *value)
{
	char *p = out;

	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			*p++ = '\\';
		if (*value == '\n') {
			*p++ = '\\';
			*p++ = 'n';
			continue;
		}
		*p++ = *value;
	}
	return (size_t)(p - out);
}

/* name="value" behind what is at *data; a comma before it unless it is the first. */
static bool add_label(char **data, size_t *len, size_t *size, bool first, const char *name,
		      const char *value)
{
	size_t name_len = strlen(name);
	char *p;

	if (!reserve(data, size, *len + name_len + 2 * strlen(value) + 4))
		return false;
	p = *data + *len;
	if (!first)
		*p++ = ',';
	memcpy(p, name, name_len);
	p += name_len;
	*p++ = '=';
	*p++ = '"';
	p += escape(p, value);
	*p++ = '"';
	*len = (size_t)(p - *data);
	return true;
}

void export_text_labels(struct export_text *t, ...)
{
	const char *name;
	va_list ap;

	t->labels_len = 0;
	va_start(ap, t);
	while ((name = va_arg(ap, const char *))) {
		const char *value = va_arg(ap, const char *);

		if (!add_label(&t->labels, &t->labels_len, &t->labels_size, t->labels_len == 0,
			       name, value))
			t->failed = true;
	}
	va_end(ap);
}

/* --- samples ---------------------------------------------------------------------------------- */

void export_text_family(struct export_text *t, const char *name, enum export_type type,
			const char *help)
{
	t->name = name;
	t->help = help;
	t->type = type;
	t->headed = false;
}

/* HELP has its own escapes; our texts need none of them. */
static void put_head(struct export_text *t)
{
	put_str(t, "# HELP ");
	put_str(t, t->name);
	put_str(t, " ");
	put_str(t, t->help);
	put_str(t, "\n# TYPE ");
	put_str(t, t->name);
	put_str(t, t->type == EXPORT_COUNTER ? " counter\n" : " gauge\n");
	t->headed = true;
}

static void put_whole(struct export_text *t, int64_t value)
{
	char buf[NUMBER_MAX], *p = buf + sizeof(buf);
	uint64_t n = value < 0 ? -(uint64_t)value : (uint64_t)value;

	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	if (value < 0)
		*--p = '-';
	put(t, p, (size_t)(buf + sizeof(buf) - p));
}

static void put_number(struct export_text *t, double value)
{
	char buf[NUMBER_MAX];

	if (isinf(value)) {
		put_str(t, value < 0 ? "-Inf" : "+Inf");
	} else if (fabs(value) < EXACT_MAX && value == (double)(int64_t)value) {
		put_whole(t, (int64_t)value);
	} else {
		snprintf(buf, sizeof(buf), "%.15g", value);
		put_str(t, buf);
	}
}

/* The sample's own labels, and the braces around all of them. */
static void put_labels(struct export_text *t, va_list ap)
{
	const char *name = va_arg(ap, const char *);
	bool first = t->labels_len == 0;

	if (first && !name)
		return;
	put(t, "{", 1);
	put(t, t->labels, t->labels_len);
	for (; name; name = va_arg(ap, const char *)) {
		const char *value = va_arg(ap, const char *);

		if (!add_label(&t->data, &t->len, &t->size, first, name, value))
			t->failed = true;
		first = false;
	}
	put(t, "}", 1);
}

void export_text_sample(struct export_text *t, double value, ...)
{
	va_list ap;

	if (isnan(value))
		return;
	if (!t->headed)
		put_head(t);
	put_str(t, t->name);
	va_start(ap, value);
	put_labels(t, ap);
	va_end(ap);
	put(t, " ", 1);
	put_number(t, value);
	put(t, "\n", 1);
}
