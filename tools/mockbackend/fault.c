// SPDX-License-Identifier: BSD-2-Clause
#include "tools/mockbackend/fault.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = {
	[FAULT_OK] = "ok",       [FAULT_HANG] = "hang",     [FAULT_GARBAGE] = "garbage",
	[FAULT_HUGE] = "huge",   [FAULT_SLOW] = "slow",     [FAULT_TRUNCATED] = "truncated",
	[FAULT_EMPTY] = "empty", [FAULT_STATUS] = "status", [FAULT_RESET] = "reset",
	[FAULT_CLOSE] = "close",
};

#define MODE_LIST "ok, hang, garbage, huge, slow, truncated, empty, status, reset, close"

/* One key of /control: how to read it into a draft, and how to show it. */
struct draft {
	struct fault_settings s;
	struct fault_actions a;
	uint64_t now_us;
};

struct key {
	const char *name;
	const char *accepts;
	/* Returns false when the value is not acceptable. */
	bool (*set)(struct draft *d, const json_t *v);
};

static const char *mode_name(enum fault_mode mode)
{
	assert(mode >= FAULT_OK && mode <= FAULT_CLOSE);
	return mode_names[mode];
}

void fault_defaults(struct fault_settings *s)
{
	memset(s, 0, sizeof(*s));
	s->rate_factor = 1.0;
	s->queue_max = UINT32_MAX;
	s->queue_status = 503;
	s->gpu_memory_pct = -1.0;
	s->kv_usage = -1.0;
	for (int i = 0; i < FAULT_PAGE_N; i++) {
		s->page[i] = FAULT_OK;
		s->page_status[i] = 500;
	}
	s->huge_mb = 64;
}

static bool read_number(const json_t *v, double min, double max, double *ret)
{
	double x = json_number_value(v);

	if (!json_is_number(v) || !isfinite(x) || x < min || x > max)
		return false;
	*ret = x;
	return true;
}

static bool read_u32(const json_t *v, uint32_t min, uint32_t max, uint32_t *ret)
{
	if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)min ||
	    json_integer_value(v) > (json_int_t)max)
		return false;
	*ret = (uint32_t)json_integer_value(v);
	return true;
}

/* null means "not set": a negative number. */
static bool read_override(const json_t *v, double max, double *ret)
{
	if (json_is_null(v)) {
		*ret = -1.0;
		return true;
	}
	return read_number(v, 0, max, ret);
}

static bool read_mode(const json_t *v, enum fault_mode *ret)
{
	const char *text = json_string_value(v);

	for (int m = FAULT_OK; text && m <= FAULT_CLOSE; m++) {
		if (!strcmp(text, mode_names[m])) {
			*ret = (enum fault_mode)m;
			return true;
		}
	}
	return false;
}

static bool set_tokens_per_second(struct draft *d, const json_t *v)
{
	return read_number(v, 0.001, 1e6, &d->s.tokens_per_s);
}

static bool set_rate_factor(struct draft *d, const json_t *v)
{
	return read_number(v, 0, 1000, &d->s.rate_factor);
}

static bool set_slots(struct draft *d, const json_t *v)
{
	return read_u32(v, 1, 1000000, &d->s.slots);
}

static bool set_queue_max(struct draft *d, const json_t *v)
{
	if (json_is_null(v)) {
		d->s.queue_max = UINT32_MAX;
		return true;
	}
	return read_u32(v, 0, 1000000, &d->s.queue_max);
}

static bool set_queue_status(struct draft *d, const json_t *v)
{
	uint32_t status;

	if (!read_u32(v, 429, 503, &status) || (status != 429 && status != 503))
		return false;
	d->s.queue_status = status;
	return true;
}

static bool set_gpu_memory(struct draft *d, const json_t *v)
{
	return read_override(v, 100, &d->s.gpu_memory_pct);
}

static bool set_kv_usage(struct draft *d, const json_t *v)
{
	return read_override(v, 1, &d->s.kv_usage);
}

static bool set_loading_s(struct draft *d, const json_t *v)
{
	double seconds;

	if (json_is_true(v)) {
		d->s.loading_until_us = UINT64_MAX;
		return true;
	}
	if (json_is_false(v)) {
		d->s.loading_until_us = 0;
		return true;
	}
	if (!read_number(v, 0, 86400, &seconds))
		return false;
	d->s.loading_until_us = seconds > 0 ? d->now_us + (uint64_t)(seconds * 1e6) : 0;
	return true;
}

static bool set_draining(struct draft *d, const json_t *v)
{
	if (!json_is_boolean(v))
		return false;
	d->s.draining = json_is_true(v);
	return true;
}

static bool set_health(struct draft *d, const json_t *v)
{
	return read_mode(v, &d->s.page[FAULT_PAGE_HEALTH]);
}

static bool set_metrics(struct draft *d, const json_t *v)
{
	return read_mode(v, &d->s.page[FAULT_PAGE_METRICS]);
}

static bool set_api(struct draft *d, const json_t *v)
{
	return read_mode(v, &d->s.page[FAULT_PAGE_API]);
}

static bool set_all(struct draft *d, const json_t *v)
{
	return set_health(d, v) && set_metrics(d, v) && set_api(d, v);
}

static bool set_health_status(struct draft *d, const json_t *v)
{
	return read_u32(v, 200, 599, &d->s.page_status[FAULT_PAGE_HEALTH]);
}

static bool set_metrics_status(struct draft *d, const json_t *v)
{
	return read_u32(v, 200, 599, &d->s.page_status[FAULT_PAGE_METRICS]);
}

static bool set_api_status(struct draft *d, const json_t *v)
{
	return read_u32(v, 200, 599, &d->s.page_status[FAULT_PAGE_API]);
}

static bool set_health_delay(struct draft *d, const json_t *v)
{
	return read_u32(v, 0, 600000, &d->s.health_delay_ms);
}

static bool set_metrics_delay(struct draft *d, const json_t *v)
{
	return read_u32(v, 0, 600000, &d->s.metrics_delay_ms);
}

static bool set_huge_mb(struct draft *d, const json_t *v)
{
	return read_u32(v, 1, 4096, &d->s.huge_mb);
}

static bool set_abrupt_after(struct draft *d, const json_t *v)
{
	return read_u32(v, 0, 1000000, &d->s.abrupt_after);
}

static bool set_reset(struct draft *d, const json_t *v)
{
	(void)d; /* done before all other keys */
	return json_is_boolean(v);
}

static bool set_refuse_s(struct draft *d, const json_t *v)
{
	double seconds;

	if (!read_number(v, 0, 3600, &seconds))
		return false;
	d->a.refuse_ms = (uint32_t)(seconds * 1000);
	return true;
}

static bool set_break(struct draft *d, const json_t *v)
{
	return read_mode(v, &d->a.break_with) &&
	       (d->a.break_with == FAULT_RESET || d->a.break_with == FAULT_CLOSE);
}

static const struct key keys[] = {
	{"tokens_per_second", "a number from 0.001 to 1000000", set_tokens_per_second},
	{"rate_factor", "a number from 0 (frozen) to 1000", set_rate_factor},
	{"slots", "an integer from 1 to 1000000", set_slots},
	{"queue_max", "an integer from 0 to 1000000, or null for no bound", set_queue_max},
	{"queue_status", "429 or 503", set_queue_status},
	{"gpu_memory", "a number from 0 to 100, or null", set_gpu_memory},
	{"kv_usage", "a number from 0 to 1, or null", set_kv_usage},
	{"loading_s", "seconds from 0 to 86400, true or false", set_loading_s},
	{"draining", "true or false", set_draining},
	{"all", MODE_LIST, set_all},
	{"health", MODE_LIST, set_health},
	{"metrics", MODE_LIST, set_metrics},
	{"api", MODE_LIST, set_api},
	{"health_status", "an integer from 200 to 599", set_health_status},
	{"metrics_status", "an integer from 200 to 599", set_metrics_status},
	{"api_status", "an integer from 200 to 599", set_api_status},
	{"health_delay_ms", "an integer from 0 to 600000", set_health_delay},
	{"metrics_delay_ms", "an integer from 0 to 600000", set_metrics_delay},
	{"huge_mb", "an integer from 1 to 4096", set_huge_mb},
	{"abrupt_after", "an integer from 0 (never) to 1000000", set_abrupt_after},
	{"reset", "true or false", set_reset},
	{"refuse_s", "seconds from 0 to 3600", set_refuse_s},
	{"break", "reset or close", set_break},
};

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

static void unknown_key(const char *name, char *err, size_t err_size)
{
	size_t used = (size_t)snprintf(err, err_size, "unknown key \"%.64s\"; accepted:", name);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && used < err_size; i++)
		used += (size_t)snprintf(err + used, err_size - used, " %s", keys[i].name);
}

int fault_apply(struct fault_settings *s, const struct fault_settings *base, const json_t *object,
		uint64_t now_us, struct fault_actions *ret_actions, char *err, size_t err_size)
{
	struct draft d = {.s = *s, .now_us = now_us};
	const char *name;
	json_t *value;

	if (!json_is_object(object)) {
		snprintf(err, err_size, "a JSON object is expected");
		return -EINVAL;
	}
	d.a.reset = json_is_true(json_object_get(object, "reset"));
	if (d.a.reset)
		d.s = *base;
	json_object_foreach((json_t *)object, name, value) {
		const struct key *k = find_key(name);

		if (!k) {
			unknown_key(name, err, err_size);
			return -EINVAL;
		}
		if (!k->set(&d, value)) {
			snprintf(err, err_size, "%s: accepted: %s", k->name, k->accepts);
			return -EINVAL;
		}
	}
	*s = d.s;
	*ret_actions = d.a;
	return 0;
}

json_t *fault_query_value(const char *text)
{
	json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);

	if (json_is_number(v) || json_is_boolean(v) || json_is_null(v))
		return v;
	json_decref(v);
	return json_string(text);
}

static json_t *loading_json(const struct fault_settings *s, uint64_t now_us)
{
	if (s->loading_until_us == UINT64_MAX)
		return json_true();
	if (s->loading_until_us <= now_us)
		return json_integer(0);
	return json_real((double)(s->loading_until_us - now_us) / 1e6);
}

json_t *fault_json(const struct fault_settings *s, uint64_t now_us)
{
	return json_pack(
		"{s:f,s:f,s:I,s:o,s:I,s:o,s:o,s:o,s:b,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}",
		"tokens_per_second", s->tokens_per_s, "rate_factor", s->rate_factor, "slots",
		(json_int_t)s->slots, "queue_max",
		s->queue_max == UINT32_MAX ? json_null() : json_integer(s->queue_max),
		"queue_status", (json_int_t)s->queue_status, "gpu_memory",
		s->gpu_memory_pct < 0 ? json_null() : json_real(s->gpu_memory_pct), "kv_usage",
		s->kv_usage < 0 ? json_null() : json_real(s->kv_usage), "loading_s",
		loading_json(s, now_us), "draining", s->draining, "health",
		mode_name(s->page[FAULT_PAGE_HEALTH]), "metrics",
		mode_name(s->page[FAULT_PAGE_METRICS]), "api",
		mode_name(s->page[FAULT_PAGE_API]), "health_status",
		(json_int_t)s->page_status[FAULT_PAGE_HEALTH], "metrics_status",
		(json_int_t)s->page_status[FAULT_PAGE_METRICS], "api_status",
		(json_int_t)s->page_status[FAULT_PAGE_API], "health_delay_ms",
		(json_int_t)s->health_delay_ms, "metrics_delay_ms", (json_int_t)s->metrics_delay_ms,
		"huge_mb", (json_int_t)s->huge_mb, "abrupt_after", (json_int_t)s->abrupt_after);
}
