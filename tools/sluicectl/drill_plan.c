// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/drill_plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/lib/cleanup.h"
#include "userspace/lib/duration.h"
#include "userspace/lib/number.h"

#define INTERVAL_MIN_MS 10

__attribute__((format(printf, 2, 3))) static int wrong(char err[DRILL_ERROR_MAX], const char *fmt,
						       ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, DRILL_ERROR_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* --- options -> keys -------------------------------------------------------------------------- */

static int load_json(const char *path, const char *what, json_t **ret, char err[DRILL_ERROR_MAX])
{
	json_error_t e;

	*ret = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
	if (*ret)
		return 0;
	if (e.line > 0)
		return wrong(err, "%s %s: line %d: %s", what, path, e.line, e.text);
	return wrong(err, "%s %s: %s", what, path, e.text);
}

static json_t *split(const char *text)
{
	json_t *list = json_array();

	while (*text) {
		size_t n = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, n));
		text += n + (text[n] == ',');
	}
	return list;
}

/* An option with a value. Returns 0; -EINVAL; -ENOENT if there is no such option. */
static int take_option(json_t *keys, const char *option, const char *value,
		       char err[DRILL_ERROR_MAX])
{
	static const char *const texts[][2] = {
		{"--pool", "pool"},
		{"--ca-file", "ca_file"},
		{"--min-capacity", "min_capacity"},
		{"--deadline", "deadline"},
		{"--settle", "settle"},
		{"--pause", "pause"},
		{"--interval", "interval"},
		{"--timeout", "timeout"},
		{"--allow", "allow"},
	};
	json_t *body;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (!strcmp(option, texts[i][0]))
			return json_object_set_new(keys, texts[i][1], json_string(value));
	if (!strcmp(option, "--nodes"))
		return json_object_set_new(keys, "nodes", split(value));
	if (!strcmp(option, "--url")) {
		if (!json_object_get(keys, "urls"))
			json_object_set_new(keys, "urls", json_array());
		return json_array_append_new(json_object_get(keys, "urls"), json_string(value));
	}
	if (strcmp(option, "--body"))
		return -ENOENT;
	if (load_json(value, "--body", &body, err) < 0)
		return -EINVAL;
	return json_object_set_new(keys, "body", body);
}

/* Options as an object with the keys of the file. *ret_path: of the file, NULL: none. */
static int read_options(int argc, char **argv, json_t *keys, const char **ret_path,
			char err[DRILL_ERROR_MAX])
{
	*ret_path = NULL;
	for (int i = 0; i < argc; i++) {
		int r;

		if (!strcmp(argv[i], "--no-probe")) {
			json_object_set_new(keys, "probe", json_false());
			continue;
		}
		if (!strcmp(argv[i], "--dry-run")) {
			json_object_set_new(keys, "dry_run", json_true());
			continue;
		}
		if (argv[i][0] != '-') {
			if (*ret_path)
				return wrong(err, "two plans: %s and %s", *ret_path, argv[i]);
			*ret_path = argv[i];
			continue;
		}
		r = take_option(keys, argv[i], i + 1 < argc ? argv[i + 1] : "", err);
		if (r == -ENOENT)
			return wrong(err, "no option %s", argv[i]);
		if (r < 0)
			return r;
		if (++i == argc)
			return wrong(err, "%s needs a value", argv[i - 1]);
	}
	return 0;
}

/* --- keys -> plan ----------------------------------------------------------------------------- */

static int read_duration(const json_t *keys, const char *key, int64_t min_ms, int64_t *ret_ms,
			 char err[DRILL_ERROR_MAX])
{
	const json_t *value = json_object_get(keys, key);

	if (!value)
		return 0;
	if (!json_is_string(value) || duration_parse(json_string_value(value), ret_ms) < 0 ||
	    *ret_ms < min_ms)
		return wrong(err, "%s: a duration such as 500ms, 30s, 5m is wanted%s", key,
			     min_ms > 0 ? ", not shorter than 10ms" : "");
	return 0;
}

static int read_capacity(const json_t *keys, struct drill_plan *plan, char err[DRILL_ERROR_MAX])
{
	const json_t *value = json_object_get(keys, "min_capacity");
	const char *text = json_string_value(value);
	size_t len = text ? strlen(text) : 0;
	bool percent = len && text[len - 1] == '%';

	if (!value)
		return 0;
	if (json_is_number(value))
		plan->min_capacity = json_number_value(value);
	else if (!text || number_parse_double(text, len - percent, &plan->min_capacity) < 0)
		plan->min_capacity = -1;
	else if (percent)
		plan->min_capacity /= 100;
	if (!(plan->min_capacity >= 0 && plan->min_capacity <= 1))
		return wrong(err, "min_capacity: a share such as 0.6 or 60%% is wanted");
	return 0;
}

static int read_allow(const json_t *keys, struct drill_plan *plan, char err[DRILL_ERROR_MAX])
{
	const json_t *value = json_object_get(keys, "allow");
	const char *text = json_string_value(value);
	uint64_t n = UINT64_MAX;

	if (!value)
		return 0;
	if (json_is_integer(value) && json_integer_value(value) >= 0)
		n = (uint64_t)json_integer_value(value);
	else if (text && number_parse_u64(text, strlen(text), UINT32_MAX, &n) < 0)
		n = UINT64_MAX;
	if (n > UINT32_MAX)
		return wrong(err, "allow: a whole number, 0 or more, is wanted");
	plan->allow = (uint32_t)n;
	return 0;
}

static int read_strings(const json_t *keys, const char *key, const char **ret, size_t max,
			size_t *ret_n, char err[DRILL_ERROR_MAX])
{
	const json_t *list = json_object_get(keys, key), *item;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > max)
		return wrong(err, "%s: a list of up to %zu is wanted", key, max);
	json_array_foreach(list, i, item) {
		const char *text = json_string_value(item);

		if (!text || !*text)
			return wrong(err, "%s: an entry is not text, or empty", key);
		for (size_t k = 0; k < i; k++)
			if (!strcmp(ret[k], text))
				return wrong(err, "%s: %s is there twice", key, text);
		ret[i] = text;
	}
	*ret_n = json_array_size(list);
	return 0;
}

static int read_string(const json_t *keys, const char *key, const char **ret,
		       char err[DRILL_ERROR_MAX])
{
	const json_t *value = json_object_get(keys, key);

	if (value && (!json_is_string(value) || !*json_string_value(value)))
		return wrong(err, "%s: text is wanted", key);
	*ret = json_string_value(value);
	return 0;
}

static int check_keys(const json_t *keys, char err[DRILL_ERROR_MAX])
{
	static const char *const known[] = {"nodes",	"pool",	  "urls",    "body",  "ca_file",
					    "probe",	"pause",  "min_capacity",    "deadline",
					    "settle",	"interval", "timeout", "allow", "dry_run"};
	const char *key;
	const json_t *value;

	json_object_foreach((json_t *)keys, key, value) {
		size_t i = 0;

		while (i < ARRAY_SIZE(known) && strcmp(known[i], key))
			i++;
		if (i == ARRAY_SIZE(known))
			return wrong(err, "no key %.60s", key);
	}
	return 0;
}

static int check_whole(const struct drill_plan *plan, char err[DRILL_ERROR_MAX])
{
	if (!plan->n_nodes && !plan->pool)
		return wrong(err, "which nodes? --nodes A,B or --pool NAME, or a plan with them");
	if (plan->n_nodes && plan->pool)
		return wrong(err, "nodes and pool: one of them");
	if (!plan->n_urls && !plan->no_probe)
		return wrong(err, "nothing to watch: --url URL through a VIP, or --no-probe");
	for (size_t i = 0; i < plan->n_urls; i++)
		if (strncmp(plan->urls[i], "http://", 7) && strncmp(plan->urls[i], "https://", 8))
			return wrong(err, "url %.100s: http:// or https:// is wanted",
				     plan->urls[i]);
	return 0;
}

static int read_keys(json_t *keys, struct drill_plan *plan, char err[DRILL_ERROR_MAX])
{
	const json_t *body = json_object_get(keys, "body");
	int r = check_keys(keys, err);

	if (r == 0)
		r = read_strings(keys, "nodes", plan->nodes, DRILL_NODES_MAX, &plan->n_nodes, err);
	if (r == 0)
		r = read_strings(keys, "urls", plan->urls, DRILL_URLS_MAX, &plan->n_urls, err);
	if (r == 0)
		r = read_string(keys, "pool", &plan->pool, err);
	if (r == 0)
		r = read_string(keys, "ca_file", &plan->ca_file, err);
	if (r == 0)
		r = read_capacity(keys, plan, err);
	if (r == 0)
		r = read_duration(keys, "deadline", 0, &plan->deadline_ms, err);
	if (r == 0)
		r = read_duration(keys, "settle", 0, &plan->settle_ms, err);
	if (r == 0)
		r = read_duration(keys, "pause", 0, &plan->pause_ms, err);
	if (r == 0)
		r = read_duration(keys, "interval", INTERVAL_MIN_MS, &plan->interval_ms, err);
	if (r == 0)
		r = read_duration(keys, "timeout", INTERVAL_MIN_MS, &plan->timeout_ms, err);
	if (r == 0)
		r = read_allow(keys, plan, err);
	if (r < 0)
		return r;
	plan->no_probe = json_is_false(json_object_get(keys, "probe"));
	plan->dry_run = json_is_true(json_object_get(keys, "dry_run"));
	plan->body = body ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	return check_whole(plan, err);
}

/* What only one of them may say replaces the other of the file. */
static void merge(json_t *file, json_t *options)
{
	if (json_object_get(options, "nodes") || json_object_get(options, "pool")) {
		json_object_del(file, "nodes");
		json_object_del(file, "pool");
	}
	json_object_update(file, options);
}

int drill_plan_read(int argc, char **argv, struct drill_plan *ret_plan, char err[DRILL_ERROR_MAX])
{
	struct drill_plan plan = {
		.json = json_object(),
		.min_capacity = 0.5,
		.deadline_ms = 300000,
		.settle_ms = 60000,
		.pause_ms = 1000,
		.interval_ms = 200,
		.timeout_ms = 5000,
	};
	json_t *options = json_object(), *file = NULL;
	const char *path;
	int r = read_options(argc, argv, options, &path, err);

	if (r == 0 && path)
		r = load_json(path, "plan", &file, err);
	if (r == 0 && file && !json_is_object(file))
		r = wrong(err, "plan %s: an object is wanted", path);
	if (r == 0) {
		if (file)
			json_object_update(plan.json, file);
		merge(plan.json, options);
		r = read_keys(plan.json, &plan, err);
	}
	json_decref(options);
	json_decref(file);
	if (r < 0) {
		drill_plan_free(&plan);
		return r;
	}
	*ret_plan = plan;
	return 0;
}

void drill_plan_free(struct drill_plan *plan)
{
	json_decref(plan->json);
	free(plan->body);
	*plan = (struct drill_plan){0};
}
