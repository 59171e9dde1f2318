/* SPDX-License-Identifier: BSD-2-Clause */
/* One value of the file: text -> typed field, and back. */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/duration.h"

#define TEXT_MAX 1024

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "12", "0.25": up to 15 digits, no sign, no exponent, whatever the locale. */
static int number_parse(const char *text, const char **ret_end, double *ret)
{
	double value = 0, scale = 1;
	bool fraction = false;
	uint32_t digits = 0;

	if (!is_digit(*text))
		return -EINVAL;
	for (; is_digit(*text) || (*text == '.' && !fraction && is_digit(text[1])); text++) {
		if (*text == '.') {
			fraction = true;
			continue;
		}
		if (++digits > 15)
			return -ERANGE;
		value = value * 10 + (*text - '0');
		if (fraction)
			scale *= 10;
	}
	*ret_end = text;
	*ret = value / scale;
	return 0;
}

static int parse_number(const struct schema_field *f, const char *text, double *ret)
{
	const char *end;
	double v;

	if ((f->flags & SCHEMA_OFF_IS_0) && strcmp(text, "off") == 0) {
		*ret = 0;
		return 0;
	}
	if (number_parse(text, &end, &v) < 0 || *end || v < f->min || v > f->max)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int parse_whole(const struct schema_field *f, const char *text, double *ret)
{
	return strchr(text, '.') ? -EINVAL : parse_number(f, text, ret);
}

static int parse_u16(const struct schema_field *f, const char *text, void *dst)
{
	double v;

	if (parse_whole(f, text, &v) < 0)
		return -EINVAL;
	*(uint16_t *)dst = (uint16_t)v;
	return 0;
}

static int parse_u32(const struct schema_field *f, const char *text, void *dst)
{
	double v;

	if (parse_whole(f, text, &v) < 0)
		return -EINVAL;
	*(uint32_t *)dst = (uint32_t)v;
	return 0;
}

static int parse_double(const struct schema_field *f, const char *text, void *dst)
{
	return parse_number(f, text, dst);
}

static int parse_ratio_within(const struct schema_field *f, const char *text, double min,
			      double max, double *ret)
{
	const char *end;
	double v;

	if ((f->flags & SCHEMA_OFF_IS_0) && strcmp(text, "off") == 0) {
		*ret = 0;
		return 0;
	}
	if (number_parse(text, &end, &v) < 0)
		return -EINVAL;
	if (strcmp(end, "%") == 0)
		v /= 100;
	else if (*end)
		return -EINVAL;
	if (v < min || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int parse_ratio(const struct schema_field *f, const char *text, void *dst)
{
	return parse_ratio_within(f, text, f->min, f->max, dst);
}

static int parse_percent(const struct schema_field *f, const char *text, void *dst)
{
	double v;

	if (parse_ratio_within(f, text, f->min / 100, f->max / 100, &v) < 0)
		return -EINVAL;
	*(uint32_t *)dst = (uint32_t)lround(v * 100);
	return 0;
}

static int parse_duration(const struct schema_field *f, const char *text, void *dst)
{
	int64_t ms;

	if ((f->flags & SCHEMA_OFF_IS_0) && strcmp(text, "off") == 0) {
		*(int64_t *)dst = 0;
		return 0;
	}
	if (duration_parse(text, &ms) < 0 || (double)ms < f->min || (double)ms > f->max)
		return -EINVAL;
	*(int64_t *)dst = ms;
	return 0;
}

static int parse_word(const struct schema_field *f, const char *text, void *dst)
{
	for (const struct schema_word *w = f->words; w->word; w++) {
		if (strcmp(w->word, text) != 0)
			continue;
		*(int *)dst = w->value;
		return 0;
	}
	return -EINVAL;
}

static int parse_bool(const struct schema_field *f, const char *text, void *dst)
{
	static const char *const yes[] = {"true", "yes", "on"};
	static const char *const no[] = {"false", "no", "off"};

	(void)f;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(text, yes[i]) != 0 && strcmp(text, no[i]) != 0)
			continue;
		*(bool *)dst = strcmp(text, yes[i]) == 0;
		return 0;
	}
	return -EINVAL;
}

static int parse_address(const struct schema_field *f, const char *text, void *dst)
{
	struct address a;

	if (address_parse(text, &a) < 0)
		return -EINVAL;
	if ((f->type == SCHEMA_IPV4 && a.family != AF_INET) ||
	    (f->type == SCHEMA_IPV6 && a.family != AF_INET6))
		return -EINVAL;
	*(struct address *)dst = a;
	return 0;
}

/* Printable and on one line; blanks inside only where they are wanted; min..max bytes. */
static int check_line(const struct schema_field *f, const char *text, bool blanks)
{
	size_t max = f->max > 0 ? (size_t)f->max : TEXT_MAX;
	size_t len = strlen(text);

	if (len == 0 || len > max)
		return -EINVAL;
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f || (!blanks && *text == ' '))
			return -EINVAL;
	return 0;
}

/* Whether the text suits a field whose value is a string. */
static int check_string(const struct schema_field *f, const char *text)
{
	struct endpoint ep;

	switch (f->type) {
	case SCHEMA_NAME:
		return config_name_valid(text) ? 0 : -EINVAL;
	case SCHEMA_TEXT:
	case SCHEMA_FILE:
		return check_line(f, text, true);
	case SCHEMA_TOKEN:
		return check_line(f, text, false);
	case SCHEMA_HTTP_PATH:
		return *text == '/' ? check_line(f, text, false) : -EINVAL;
	case SCHEMA_DIR:
		return *text == '/' ? check_line(f, text, false) : -EINVAL;
	case SCHEMA_SERVER:
		return endpoint_parse_optional_port(text, &ep);
	case SCHEMA_PRESET:
		return preset_find(text) && !preset_find(text)->addon ? 0 : -EINVAL;
	case SCHEMA_EXPR: /* may be written over several lines */
		return *text && strlen(text) <= METRIC_EXPR_MAX_LEN ? 0 : -EINVAL;
	default:
		assert(false);
		return -EINVAL;
	}
}

static int (*parser_of(enum schema_type type))(const struct schema_field *, const char *, void *)
{
	static int (*const parsers[])(const struct schema_field *, const char *, void *) = {
		[SCHEMA_WORD] = parse_word,         [SCHEMA_BOOL] = parse_bool,
		[SCHEMA_U16] = parse_u16,           [SCHEMA_U32] = parse_u32,
		[SCHEMA_DURATION] = parse_duration, [SCHEMA_RATIO] = parse_ratio,
		[SCHEMA_PERCENT] = parse_percent,   [SCHEMA_NUMBER] = parse_double,
		[SCHEMA_ADDRESS] = parse_address,   [SCHEMA_IPV4] = parse_address,
		[SCHEMA_IPV6] = parse_address,
	};

	return type < ARRAY_SIZE(parsers) ? parsers[type] : NULL;
}

/* "hash, p2c, …" */
static void words_list(const struct schema_word *words, char *buf, size_t size)
{
	size_t used = 0;

	for (; words->word && used < size; words++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "",
					 words->word);
}

static const char *word_suggest(const struct schema_field *f, const char *text)
{
	const char *words[64], *other;
	const struct preset *p;
	size_t n = 0;

	if (f->type == SCHEMA_WORD)
		for (const struct schema_word *w = f->words; w->word && n < 64; w++)
			words[n++] = w->word;
	else if (f->type == SCHEMA_PRESET)
		for (size_t i = 0; (p = preset_at(i)) && n < 64; i++)
			if (!p->addon)
				words[n++] = p->name;
	other = config_other_name(text, words, n);
	return other ? other : config_suggest(text, words, n);
}

/* What would have been right, to complete "expected …". */
static void expected(const struct schema_field *f, char *buf, size_t size)
{
	const char *off = f->flags & SCHEMA_OFF_IS_0 ? ", or off" : "";
	char min[DURATION_TEXT_MAX], max[DURATION_TEXT_MAX];

	switch (f->type) {
	case SCHEMA_U16:
	case SCHEMA_U32:
		snprintf(buf, size, "a whole number from %.0f to %.0f%s", f->min, f->max, off);
		break;
	case SCHEMA_NUMBER:
		snprintf(buf, size, "a number from %g to %g%s", f->min, f->max, off);
		break;
	case SCHEMA_RATIO:
		snprintf(buf, size, "a share from %g to %g, such as 0.25 or 25%%%s", f->min, f->max,
			 off);
		break;
	case SCHEMA_PERCENT:
		snprintf(buf, size, "a share from %g to %g, such as 0.25 or 25%%%s", f->min / 100,
			 f->max / 100, off);
		break;
	case SCHEMA_DURATION:
		snprintf(buf, size, "a duration from %s to %s, such as 500ms, 30s or 1h30m%s",
			 duration_format((int64_t)f->min, min),
			 duration_format((int64_t)f->max, max), off);
		break;
	case SCHEMA_BOOL:
		snprintf(buf, size, "true or false");
		break;
	case SCHEMA_NAME:
		snprintf(buf, size,
			 "a name of 1 to %d letters, digits, '.', '_' and '-' that begins with a "
			 "letter, a digit or '_'",
			 CONFIG_NAME_MAX);
		break;
	case SCHEMA_TEXT:
	case SCHEMA_FILE:
	case SCHEMA_TOKEN:
		snprintf(buf, size, "one line of text%s, at most %.0f bytes",
			 f->type == SCHEMA_TOKEN ? " without blanks" : "",
			 f->max > 0 ? f->max : TEXT_MAX);
		break;
	case SCHEMA_HTTP_PATH:
		snprintf(buf, size, "a path that starts with '/', such as /health");
		break;
	case SCHEMA_DIR:
		snprintf(buf, size, "an absolute path of at most %.0f bytes", f->max);
		break;
	case SCHEMA_EXPR:
		snprintf(buf, size, "an expression of at most %d bytes, or none",
			 METRIC_EXPR_MAX_LEN);
		break;
	case SCHEMA_SERVER:
		snprintf(buf, size,
			 "an address, such as 10.0.0.53, 10.0.0.53:53 or [2001:db8::53]:53");
		break;
	case SCHEMA_ADDRESS:
		snprintf(buf, size, "an IPv4 or IPv6 address");
		break;
	case SCHEMA_IPV4:
		snprintf(buf, size, "an IPv4 address");
		break;
	case SCHEMA_IPV6:
		snprintf(buf, size, "an IPv6 address");
		break;
	default:
		snprintf(buf, size, "another value");
	}
}

static int fail_value(struct config_ctx *ctx, const struct schema_field *f,
		      const struct yaml_node *node, const struct config_path *path)
{
	const char *found = node->kind == YAML_SCALAR && !node->is_null
				    ? config_quote(ctx, node->text)
				    : yaml_kind_name(node);
	const char *better = NULL;
	char text[512];

	if (f->type == SCHEMA_WORD || f->type == SCHEMA_PRESET) {
		if (f->type == SCHEMA_WORD)
			words_list(f->words, text, sizeof(text));
		else
			snprintf(text, sizeof(text), "%s", preset_names());
		if (node->kind != YAML_SCALAR || node->is_null) {
			config_fail(ctx, node, path, "expected one of %s, found %s", text, found);
			return -EINVAL;
		}
		better = word_suggest(f, node->text);
		config_fail(ctx, node, path, "unknown value %s%s%s%s; accepted: %s", found,
			    better ? " (did you mean '" : "", better ? better : "",
			    better ? "'?)" : "", text);
		return -EINVAL;
	}
	expected(f, text, sizeof(text));
	config_fail(ctx, node, path, "expected %s, found %s%s", text, found,
		    f->type == SCHEMA_ADDRESS && node->kind == YAML_SCALAR
			    ? config_address_hint(node->text, path)
			    : "");
	return -EINVAL;
}

static int note_file(struct config_ctx *ctx, const struct yaml_node *node,
		     const struct config_path *path, const char *file)
{
	struct config *cfg = ctx->cfg;
	struct config_file *files;
	uint32_t cap;

	if (cfg->n_files == ctx->files_cap) {
		cap = ctx->files_cap ? ctx->files_cap * 2 : 16;
		files = arena_alloc(cfg->arena, cap, sizeof(*files));
		if (!files)
			return -ENOMEM;
		if (cfg->n_files)
			memcpy(files, cfg->files, cfg->n_files * sizeof(*files));
		cfg->files = files;
		ctx->files_cap = cap;
	}
	for (uint32_t i = 0; i < cfg->n_files; i++)
		if (cfg->files[i].line == node->line && cfg->files[i].column == node->column)
			return 0;
	cfg->files[cfg->n_files++] = (struct config_file){
		.path = file,
		.key = arena_strdup(cfg->arena, config_path_text(ctx, path)),
		.line = node->line,
		.column = node->column,
	};
	return 0;
}

static int take_string(struct config_ctx *ctx, const struct schema_field *f,
		       const struct yaml_node *node, const struct config_path *path,
		       const char **dst)
{
	const char *value;

	if (f->type == SCHEMA_FILE && node->text[0] != '/')
		value = arena_printf(ctx->cfg->arena, "%s%s", ctx->dir, node->text);
	else
		value = arena_strdup(ctx->cfg->arena, node->text);
	if (!value)
		return -ENOMEM;
	*dst = value;
	return f->type == SCHEMA_FILE ? note_file(ctx, node, path, value) : 0;
}

/* null, or the word "none" where a value can be taken away. */
static int take_nothing(const struct schema_field *f, void *dst)
{
	if (f->type == SCHEMA_IPV4 || f->type == SCHEMA_IPV6)
		*(struct address *)dst = (struct address){0};
	else
		*(const char **)dst = NULL;
	return 0;
}

int schema_scalar(struct config_ctx *ctx, const struct schema_field *field,
		  const struct yaml_node *node, const struct config_path *path, void *dst)
{
	int (*parse)(const struct schema_field *, const char *, void *) = parser_of(field->type);
	int r;

	if (node->kind != YAML_SCALAR)
		return fail_value(ctx, field, node, path);
	if ((field->flags & SCHEMA_NULLABLE) && (node->is_null || strcmp(node->text, "none") == 0))
		return take_nothing(field, dst);
	if (node->is_null && field->type == SCHEMA_EXPR) {
		*(const char **)dst = "none"; /* as preset_apply() spells it */
		return 0;
	}
	if (node->is_null)
		return fail_value(ctx, field, node, path);
	r = parse ? parse(field, node->text, dst) : check_string(field, node->text);
	if (r < 0)
		return fail_value(ctx, field, node, path);
	return parse ? 0 : take_string(ctx, field, node, path, dst);
}

static void format_ratio(double ratio, char *buf, size_t size)
{
	snprintf(buf, size, "%g%%", ratio * 100);
}

static void format_word(const struct schema_field *f, int value, char *buf, size_t size)
{
	const struct schema_word *w = f->words;

	while (w->word && w->value != value)
		w++;
	snprintf(buf, size, "%s", w->word ? w->word : "none");
}

static void format_address(const struct address *addr, char *buf, size_t size)
{
	char text[ADDRESS_TEXT_MAX];

	snprintf(buf, size, "%s", address_format(addr, text));
}

/* Whether a field's value is the one that the file calls "off". */
static bool is_off(const struct schema_field *f, const void *p)
{
	if (!(f->flags & SCHEMA_OFF_IS_0))
		return false;
	if (f->type == SCHEMA_DURATION)
		return *(const int64_t *)p == 0;
	if (f->type == SCHEMA_U32)
		return *(const uint32_t *)p == 0;
	return *(const double *)p == 0; /* SCHEMA_NUMBER, SCHEMA_RATIO */
}

void schema_format(const struct schema_field *field, const void *base, char *buf, size_t size)
{
	const void *p = (const char *)base + field->offset;
	char text[DURATION_TEXT_MAX];

	if (is_off(field, p)) {
		snprintf(buf, size, "off");
		return;
	}
	switch (field->type) {
	case SCHEMA_WORD:
		return format_word(field, *(const int *)p, buf, size);
	case SCHEMA_BOOL:
		snprintf(buf, size, "%s", *(const bool *)p ? "true" : "false");
		return;
	case SCHEMA_U16:
		snprintf(buf, size, *(const uint16_t *)p ? "%u" : "none", *(const uint16_t *)p);
		return;
	case SCHEMA_U32:
		snprintf(buf, size, "%u", *(const uint32_t *)p);
		return;
	case SCHEMA_NUMBER:
		snprintf(buf, size, "%g", *(const double *)p);
		return;
	case SCHEMA_RATIO:
		return format_ratio(*(const double *)p, buf, size);
	case SCHEMA_PERCENT:
		return format_ratio(*(const uint32_t *)p / 100.0, buf, size);
	case SCHEMA_DURATION:
		snprintf(buf, size, "%s", duration_format(*(const int64_t *)p, text));
		return;
	case SCHEMA_ADDRESS:
	case SCHEMA_IPV4:
	case SCHEMA_IPV6:
		return format_address(p, buf, size);
	case SCHEMA_CUSTOM:
		return field->custom->format(base, buf, size);
	case SCHEMA_SECTION:
	case SCHEMA_ELSEWHERE:
		assert(false);
		return;
	default:
		snprintf(buf, size, "%s",
			 *(const char *const *)p ? *(const char *const *)p : "none");
	}
}
