// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any bytes as a page of Prometheus text. Checked: the pieces a page comes in do not change what is
 * read; labels lie in their limits; a sample is finite and in its ranges.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "userspace/agent/metrics.h"
#include "userspace/agent/promtext.h"
#include "userspace/lib/cleanup.h"

/* Everything that came out, as one number. */
struct digest {
	uint64_t hash;
	uint64_t calls;
};

static void mix(struct digest *d, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		d->hash = (d->hash ^ p[i]) * 0x100000001b3ull;
	d->hash = (d->hash ^ len) * 0x100000001b3ull;
}

/* Two names of three are wanted. */
static int on_want(void *ctx, const char *name, size_t len)
{
	(void)ctx;
	CHECK(len > 0);
	return (name[0] + (int)len) % 3 == 0 ? -1 : (int)(len % 7);
}

static int on_sample(void *ctx, int id, const struct promtext_label *labels, size_t n_labels,
		     double value)
{
	struct digest *d = ctx;

	CHECK(id >= 0 && id < 7 && n_labels <= PROMTEXT_LABELS_MAX);
	mix(d, &id, sizeof(id));
	for (size_t i = 0; i < n_labels; i++) {
		CHECK(labels[i].name_len > 0);
		mix(d, labels[i].name, labels[i].name_len);
		mix(d, labels[i].value, labels[i].value_len);
	}
	if (!isnan(value))
		mix(d, &value, sizeof(value));
	d->calls++;
	return 0;
}

static void on_unreadable(void *ctx, int id)
{
	struct digest *d = ctx;

	mix(d, "unreadable", 10);
	mix(d, &id, sizeof(id));
	d->calls++;
}

static const struct promtext_ops ops = {on_want, on_sample, on_unreadable};

static struct digest parse(struct promtext *p, struct digest *d, const char *data, size_t len,
			   size_t piece, struct promtext_stats *ret_stats)
{
	*d = (struct digest){0};
	promtext_begin(p);
	for (size_t at = 0; at < len; at += piece)
		CHECK(promtext_feed(p, data + at, len - at < piece ? len - at : piece) == 0);
	CHECK(promtext_finish(p) == 0);
	CHECK(!promtext_in_line(p));
	promtext_stats(p, ret_stats);
	CHECK(ret_stats->bytes == len);
	CHECK(ret_stats->samples + ret_stats->bad_lines == d->calls);
	CHECK(ret_stats->samples + ret_stats->bad_lines <= ret_stats->lines);
	return *d;
}

static void check_pieces(const char *data, size_t len)
{
	size_t pieces[] = {len ? len : 1, 1, 2 + len % 61};
	struct promtext_stats stats[ARRAY_SIZE(pieces)];
	struct digest digests[ARRAY_SIZE(pieces)];
	struct promtext *p = NULL;
	struct digest d;

	CHECK(promtext_new(&ops, &d, &p) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		digests[i] = parse(p, &d, data, len, pieces[i], &stats[i]);
		CHECK(digests[i].hash == digests[0].hash && digests[i].calls == digests[0].calls);
		CHECK(memcmp(&stats[i], &stats[0], sizeof(stats[0])) == 0);
	}
	promtext_free(&p);
}

static struct metrics_reader *make_reader(void)
{
	static const char *const expr[LOAD_FIELD_N] = {
		[LOAD_QUEUE] = "sum(vllm:num_requests_waiting) + sum(vllm:num_requests_swapped)?",
		[LOAD_RUNNING] = "sglang:num_running_reqs{tp_rank=\"0\"|\"\"}",
		[LOAD_KV] = "first(max(vllm:kv_cache_usage_perc), avg(v / w))",
		[LOAD_GPU_MEM] = "max(DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + "
				 "DCGM_FI_DEV_FB_FREE))",
		[LOAD_PROGRESS] = "min(first(m, v)) * count(v{a!=\"b\"}) - 1",
		[LOAD_SLOTS] = "max(m + v? - w?)",
	};
	struct metrics_reader *r = NULL;
	struct metric_set *set = NULL;

	CHECK(metric_set_new(METRIC_FORMAT_PROM, &set) == 0);
	for (unsigned int f = 0; f < LOAD_FIELD_N; f++) {
		struct metric_expr *e = NULL;

		if (!expr[f])
			continue;
		CHECK(metric_expr_compile(expr[f], METRIC_FORMAT_PROM, load_field_agg(f), &e,
					  NULL) == 0);
		CHECK(metric_set_add(set, f, &e) == 0);
	}
	CHECK(metrics_reader_new(set, 0, &r) == 0);
	metric_set_unref(&set);
	return r;
}

static void check_sample(const struct metrics_reader *r, const struct load_sample *s)
{
	char text[200];

	for (unsigned int f = 0; f < LOAD_FIELD_N; f++) {
		bool has = s->has & LOAD_HAS(f);

		CHECK(isfinite(s->value[f]) && s->value[f] >= 0);
		CHECK(has == (metrics_reader_status(r, f) == METRIC_OK));
		CHECK(has || s->value[f] == 0);
		CHECK(strlen(metrics_reader_explain(r, f, text, sizeof(text))) > 0);
	}
	CHECK(s->kv <= 1 && s->gpu_mem <= 1);
	CHECK(s->queue <= LOAD_REQUESTS_MAX && s->running <= LOAD_REQUESTS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct metrics_reader *reader;
	struct load_sample s;

	check_pieces((const char *)data, size);
	if (!reader)
		reader = make_reader();
	metrics_reader_begin(reader);
	CHECK(metrics_reader_feed(reader, (const char *)data, size) == 0);
	CHECK(metrics_reader_end(reader, METRICS_END_FRAMED, &s) == 0);
	check_sample(reader, &s);
	return 0;
}
