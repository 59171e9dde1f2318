// SPDX-License-Identifier: BSD-2-Clause
#include "tools/loadgen/stats.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const char *stats_stage_name(enum stats_stage stage)
{
	static const char *const names[] = {
		[STAGE_CONNECT] = "connect",
		[STAGE_HEAD] = "head",
		[STAGE_BODY] = "body",
		[STAGE_CLOSING] = "closing",
	};

	assert(stage >= STAGE_CONNECT && stage <= STAGE_CLOSING);
	return names[stage];
}

uint32_t stats_backend_id(struct stats *s, const char *name)
{
	if (!*name)
		return STATS_NO_BACKEND;
	for (uint32_t i = 0; i < s->n_backends; i++)
		if (!strcmp(s->backends[i].name, name))
			return i;
	if (s->n_backends == STATS_BACKENDS_MAX)
		return STATS_NO_BACKEND;
	snprintf(s->backends[s->n_backends].name, sizeof(s->backends[0].name), "%s", name);
	return s->n_backends++;
}

const char *stats_backend_name(const struct stats *s, uint32_t id)
{
	return id < s->n_backends ? s->backends[id].name : "";
}

void stats_end(struct stats *s, enum stats_stage stage, enum check_cause cause, uint32_t id)
{
	struct stats_backend *b = id < s->n_backends ? &s->backends[id] : NULL;

	s->causes[cause]++;
	if (cause == CAUSE_OK)
		s->completed++;
	else if (stage < STAGE_BODY)
		s->failed++;
	else
		s->broken++;
	if (!b || stage < STAGE_BODY)
		return;
	if (cause == CAUSE_OK)
		b->completed++;
	else
		b->broken++;
}

/* Eight buckets for each power of two. */
static uint32_t bucket(uint64_t us)
{
	uint32_t log2;

	if (us < 8)
		return (uint32_t)us;
	log2 = 63 - (uint32_t)__builtin_clzll(us);
	return (log2 - 2) * 8 + (uint32_t)((us >> (log2 - 3)) & 7);
}

static uint64_t bucket_end(uint32_t i)
{
	if (i < 8)
		return i + 1;
	return (uint64_t)(8 + i % 8 + 1) << (i / 8 - 1);
}

void stats_latency_add(struct stats_latency *l, uint64_t us)
{
	uint32_t i = bucket(us);

	l->count[i < STATS_LATENCY_N ? i : STATS_LATENCY_N - 1]++;
	l->n++;
	if (us > l->max_us)
		l->max_us = us;
}

double stats_latency_ms(const struct stats_latency *l, double percent)
{
	double want = percent / 100.0 * (double)l->n;
	uint64_t sum = 0;

	if (!l->n)
		return 0;
	for (uint32_t i = 0; i < STATS_LATENCY_N; i++) {
		sum += l->count[i];
		if ((double)sum >= want && sum)
			return (double)(bucket_end(i) < l->max_us ? bucket_end(i) : l->max_us) /
			       1000.0;
	}
	return (double)l->max_us / 1000.0;
}

static json_t *latency_json(const struct stats_latency *l)
{
	return json_pack("{s:f,s:f,s:f,s:f}", "p50", stats_latency_ms(l, 50), "p90",
			 stats_latency_ms(l, 90), "p99", stats_latency_ms(l, 99), "max",
			 (double)l->max_us / 1000.0);
}

static json_t *causes_json(const struct stats *s)
{
	json_t *o = json_object();

	for (int i = CAUSE_OK + 1; i < CAUSE_N; i++)
		if (s->causes[i])
			json_object_set_new(o, check_cause_name((enum check_cause)i),
					    json_integer((json_int_t)s->causes[i]));
	return o;
}

static json_t *http_json(const struct stats *s)
{
	json_t *o = json_object();
	char name[12];

	for (int i = 0; i < STATS_HTTP_MAX; i++) {
		if (!s->http[i])
			continue;
		snprintf(name, sizeof(name), "%d", i);
		json_object_set_new(o, name, json_integer((json_int_t)s->http[i]));
	}
	return o;
}

static json_t *backends_json(const struct stats *s)
{
	json_t *o = json_object();

	for (uint32_t i = 0; i < s->n_backends; i++) {
		const struct stats_backend *b = &s->backends[i];

		json_object_set_new(
			o, b->name,
			json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "started", (json_int_t)b->started,
				  "active", (json_int_t)b->active, "completed",
				  (json_int_t)b->completed, "broken", (json_int_t)b->broken,
				  "tokens", (json_int_t)b->tokens, "bytes", (json_int_t)b->bytes));
	}
	return o;
}

json_t *stats_progress(const struct stats *s)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "active", (json_int_t)s->active,
			 "started", (json_int_t)s->started, "completed", (json_int_t)s->completed,
			 "failed", (json_int_t)s->failed, "broken", (json_int_t)s->broken, "tokens",
			 (json_int_t)s->tokens, "bytes", (json_int_t)s->bytes, "causes",
			 causes_json(s), "by_backend", backends_json(s));
}

json_t *stats_report(const struct stats *s)
{
	json_t *o = stats_progress(s);

	if (!o)
		return NULL;
	json_object_update_new(
		o,
		json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o}", "unfinished",
			  (json_int_t)s->unfinished, "behind", (json_int_t)s->behind, "active_max",
			  (json_int_t)s->active_max, "peer_same", (json_int_t)s->peer_same,
			  "peer_different", (json_int_t)s->peer_different, "http_status",
			  http_json(s), "connect_ms", latency_json(&s->connect), "first_byte_ms",
			  latency_json(&s->first_byte), "whole_ms", latency_json(&s->whole)));
	return o;
}
