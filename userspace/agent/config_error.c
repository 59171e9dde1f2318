/* SPDX-License-Identifier: BSD-2-Clause */
/* Errors of a configuration: collected with their places, sorted, handed out, printed. */
#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config_schema.h"

#define PATH_TEXT_MAX 256
#define QUOTE_MAX     60

static size_t path_append(const struct config_path *path, char *buf, size_t size)
{
	size_t used;
	int n;

	if (!path)
		return 0;
	used = path_append(path->up, buf, size);
	if (path->key)
		n = snprintf(buf + used, size - used, "%s%s", used ? "." : "", path->key);
	else
		n = snprintf(buf + used, size - used, "[%u]", path->index);
	if (n < 0)
		return used;
	return used + (size_t)n < size ? used + (size_t)n : size - 1;
}

const char *config_path_text(struct config_ctx *ctx, const struct config_path *path)
{
	char buf[PATH_TEXT_MAX];
	const char *text;

	buf[0] = '\0';
	path_append(path, buf, sizeof(buf));
	text = arena_strdup(ctx->scratch, buf);
	return text ? text : "?";
}

void config_fail(struct config_ctx *ctx, const struct yaml_node *node,
		 const struct config_path *path, const char *fmt, ...)
{
	struct config_error *e;
	char place[32] = "";
	const char *text;
	va_list ap;

	if (ctx->n_errors == CONFIG_ERRORS_FOUND) {
		ctx->n_dropped++;
		return;
	}
	va_start(ap, fmt);
	text = arena_vprintf(ctx->scratch, fmt, ap);
	va_end(ap);
	e = &ctx->errors[ctx->n_errors];
	e->line = node ? node->line : 0;
	e->column = node ? node->column : 0;
	if (e->line)
		snprintf(place, sizeof(place), ":%u:%u", e->line, e->column);
	if (text && path)
		e->text = arena_printf(ctx->scratch, "%s%s: key '%s': %s", ctx->name, place,
				       config_path_text(ctx, path), text);
	else if (text)
		e->text = arena_printf(ctx->scratch, "%s%s: %s", ctx->name, place, text);
	if (e->text)
		ctx->n_errors++;
}

const char *config_escape(struct config_ctx *ctx, const char *text)
{
	char buf[QUOTE_MAX * 4 + 8];
	size_t used = 0;
	const char *p;

	for (p = text; *p && p < text + QUOTE_MAX; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < 0x20 || c == 0x7f)
			used += (size_t)snprintf(buf + used, 5, "\\x%02x", c);
		else
			buf[used++] = *p;
	}
	while (*p && ((unsigned char)*p & 0xc0) == 0x80) /* finish a character */
		buf[used++] = *p++;
	snprintf(buf + used, sizeof(buf) - used, "%s", *p ? "…" : "");
	text = arena_strdup(ctx->scratch, buf);
	return text ? text : "?";
}

const char *config_quote(struct config_ctx *ctx, const char *text)
{
	const char *quoted = arena_printf(ctx->scratch, "'%s'", config_escape(ctx, text));

	return quoted ? quoted : "?";
}

/* Levenshtein distance, letters without case; words longer than the row count as far apart. */
static uint32_t distance(const char *a, const char *b)
{
	uint32_t row[64];
	size_t n = strlen(b);

	if (n >= 64 || strlen(a) >= 64)
		return UINT32_MAX;
	for (uint32_t j = 0; j <= n; j++)
		row[j] = j;
	for (uint32_t i = 1; a[i - 1]; i++) {
		uint32_t diagonal = row[0];

		row[0] = i;
		for (uint32_t j = 1; j <= n; j++) {
			bool same = tolower((unsigned char)a[i - 1]) ==
				    tolower((unsigned char)b[j - 1]);
			uint32_t best = diagonal + !same;

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *config_suggest(const char *word, const char *const *words, size_t n)
{
	uint32_t limit = (uint32_t)strlen(word) / 3 + 1;
	const char *best = NULL;

	if (limit > 3)
		limit = 3;
	for (size_t i = 0; i < n; i++) {
		uint32_t d = distance(word, words[i]);

		if (d > limit || d >= strlen(words[i]))
			continue;
		best = words[i];
		limit = d ? d - 1 : 0;
		if (d == 0)
			break;
	}
	return best;
}

static int by_place(const void *pa, const void *pb)
{
	const struct config_error *a = pa, *b = pb;

	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return strcmp(a->text, b->text);
}

/* Move what ctx found into errs: in the order of the file, each once, copied. */
void config_errors_finish(struct config_ctx *ctx, struct config_errors *errs)
{
	const struct config_error *last = NULL;

	qsort(ctx->errors, ctx->n_errors, sizeof(ctx->errors[0]), by_place);
	for (uint32_t i = 0; i < ctx->n_errors; i++) {
		const struct config_error *e = &ctx->errors[i];

		if (last && by_place(last, e) == 0)
			continue;
		last = e;
		config_errors_add(errs, e->line, e->column, e->text);
	}
	errs->n_dropped += ctx->n_dropped;
}

void config_errors_add(struct config_errors *errs, uint32_t line, uint32_t column, const char *text)
{
	struct config_error *e = &errs->items[errs->n];

	if (errs->n == CONFIG_ERRORS_MAX) {
		errs->n_dropped++;
		return;
	}
	e->line = line;
	e->column = column;
	e->text = strdup(text);
	if (e->text)
		errs->n++;
	else
		errs->n_dropped++;
}

void config_errors_addf(struct config_errors *errs, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	config_errors_add(errs, 0, 0, text);
}

void config_errors_free(struct config_errors *errs)
{
	if (!errs)
		return;
	for (uint32_t i = 0; i < errs->n; i++)
		free(errs->items[i].text);
	*errs = (struct config_errors){0};
}

void config_errors_print(const struct config_errors *errs, FILE *out)
{
	assert(errs);
	assert(out);

	for (uint32_t i = 0; i < errs->n; i++)
		fprintf(out, "%s\n", errs->items[i].text);
	if (errs->n_dropped)
		fprintf(out, "… and %u more\n", errs->n_dropped);
}
