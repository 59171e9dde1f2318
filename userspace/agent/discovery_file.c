// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/discovery_file.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/file_read.h"
#include "userspace/lib/number.h"

#define SHOWN_MAX 64 /* bytes of a bad text that are shown */

struct reader {
	struct discovery_answer answer;
	uint32_t max;
	char *error;
};

static int fail(struct reader *r, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct reader *r, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error, DISCOVERY_ERROR_MAX, fmt, ap);
	va_end(ap);
	/* What the file says may be anything; a log line is one line. */
	for (char *p = r->error; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = '?';
	return code;
}

/* A label's value, "2" or 2. */
static int read_number(struct reader *r, const json_t *labels, size_t group, const char *key,
		       uint32_t max, bool *ret_has, uint32_t *ret_value)
{
	const json_t *value = json_object_get(labels, key);
	const char *text = json_string_value(value);
	uint64_t n = 0;

	if (!value)
		return 0;
	if (json_is_integer(value) && json_integer_value(value) >= 0 &&
	    json_integer_value(value) <= max)
		n = (uint64_t)json_integer_value(value);
	else if (!text || number_parse_u64(text, json_string_length(value), max, &n) < 0)
		return fail(r, -EINVAL, "[%zu].labels.%s: expected a whole number, 0 to %u%s%.*s%s",
			    group, key, max, text ? ", found '" : "", SHOWN_MAX, text ? text : "",
			    text ? "'" : "");
	*ret_value = (uint32_t)n;
	*ret_has = true;
	return 0;
}

static int read_labels(struct reader *r, const json_t *item, size_t group,
		       struct discovery_target *ret_target)
{
	const json_t *labels = json_object_get(item, "labels");
	int e;

	*ret_target = (struct discovery_target){0};
	if (!labels)
		return 0;
	if (!json_is_object(labels))
		return fail(r, -EINVAL, "[%zu].labels: expected an object", group);
	e = read_number(r, labels, group, "weight", CONFIG_WEIGHT_MAX, &ret_target->has_weight,
			&ret_target->weight);
	if (e == 0)
		e = read_number(r, labels, group, "tier", CONFIG_TIER_MAX, &ret_target->has_tier,
				&ret_target->tier);
	if (e == 0)
		e = read_number(r, labels, group, "slots", 1000000, &ret_target->has_slots,
				&ret_target->slots);
	return e;
}

static int read_target(struct reader *r, const json_t *value, size_t group, size_t index,
		       struct discovery_target *target)
{
	const char *text = json_string_value(value);

	if (!text || strlen(text) != json_string_length(value) ||
	    endpoint_parse_optional_port(text, &target->endpoint) < 0)
		return fail(r, -EINVAL,
			    "[%zu].targets[%zu]: expected an address with or without a port, such "
			    "as 10.0.1.11:8000 (names are not looked up)%s%.*s%s",
			    group, index, text ? ", found '" : "", SHOWN_MAX, text ? text : "",
			    text ? "'" : "");
	if (r->answer.n >= r->max)
		return fail(r, -E2BIG, "more than %u targets", r->max);
	if (discovery_answer_add(&r->answer, target) < 0)
		return fail(r, -ENOMEM, "out of memory");
	return 0;
}

static int read_group(struct reader *r, const json_t *item, size_t group)
{
	const json_t *targets = json_object_get(item, "targets"), *value;
	struct discovery_target target;
	size_t i;
	int e;

	if (!json_is_object(item))
		return fail(r, -EINVAL, "[%zu]: expected an object with 'targets'", group);
	if (!json_is_array(targets))
		return fail(r, -EINVAL, "[%zu].targets: expected a list of addresses", group);
	e = read_labels(r, item, group, &target);
	json_array_foreach(targets, i, value) {
		if (e < 0)
			break;
		e = read_target(r, value, group, i, &target);
	}
	return e;
}

static int read_groups(struct reader *r, const json_t *root)
{
	const struct endpoint *twice;
	char text[ENDPOINT_TEXT_MAX];
	const json_t *item;
	size_t i;
	int e = 0;

	if (!json_is_array(root))
		return fail(r, -EINVAL, "expected a list of {\"targets\": [...]}");
	json_array_foreach(root, i, item) {
		e = read_group(r, item, i);
		if (e < 0)
			return e;
	}
	twice = discovery_answer_finish(&r->answer);
	if (twice)
		return fail(r, -EINVAL, "%s is listed twice", endpoint_format(twice, text));
	if (!r->answer.n)
		return fail(r, -ENODATA, "it names no target");
	return 0;
}

int discovery_file_parse(const char *text, size_t len, uint32_t max,
			 struct discovery_answer *ret_answer, char error[DISCOVERY_ERROR_MAX])
{
	struct reader r = {.max = max, .error = error};
	json_error_t where;
	json_t *root;
	int e;

	if (!len)
		return fail(&r, -ENODATA, "it is empty");
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (!root)
		return fail(&r, -EINVAL, "line %d, column %d: %s", where.line, where.column,
			    where.text);
	e = read_groups(&r, root);
	json_decref(root);
	if (e < 0) {
		discovery_answer_free(&r.answer);
		return e;
	}
	*ret_answer = r.answer;
	return 0;
}

int discovery_file_read(const char *path, uint32_t max, struct discovery_answer *ret_answer,
			char error[DISCOVERY_ERROR_MAX])
{
	_cleanup_free_ char *text = NULL;
	struct reader r = {.error = error};
	size_t len = 0;
	int e;

	e = file_read(path, DISCOVERY_FILE_SIZE_MAX, &text, &len);
	if (e < 0)
		return fail(&r, e, "cannot be read: %s",
			    e == -EINVAL ? "not a regular file" : strerror(-e));
	return discovery_file_parse(text, len, max, ret_answer, error);
}
