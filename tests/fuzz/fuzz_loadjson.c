// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any bytes as a JSON page of load, and as the body of a health answer. Checked: a sample is finite
 * and in its ranges; a page is refused with a reason; a cause is one printable line; and pieces
 * make no difference.
 */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "userspace/agent/healthbody.h"
#include "userspace/agent/metrics.h"
#include "userspace/agent/preset.h"
#include "userspace/lib/cleanup.h"

static struct metrics_reader *make_reader(void)
{
	struct preset_overrides o = {
		.expr = {[LOAD_RUNNING] = "first(running, sum(engines[*].running), [-1].running)",
			 [LOAD_KV] = "max(gpus[*].used / gpus[*].total)",
			 [LOAD_SLOTS] = "count([*][*].x) + a.b[0].c?"},
	};
	struct preset_spec *spec = NULL;
	struct metrics_reader *r = NULL;
	struct preset_error error;

	CHECK(preset_apply(preset_find("json"), &o, &spec, &error) == 0);
	CHECK(metrics_reader_new(spec->sources[0].set, 0, &r) == 0);
	preset_spec_free(&spec);
	return r;
}

static int read_page(struct metrics_reader *r, const char *data, size_t len, size_t piece,
		     struct load_sample *ret)
{
	int e;

	metrics_reader_begin(r);
	for (size_t at = 0; at < len; at += piece)
		CHECK(metrics_reader_feed(r, data + at, len - at < piece ? len - at : piece) == 0);
	e = metrics_reader_end(r, METRICS_END_CLOSED, ret);
	CHECK(e == 0 || e == -EBADMSG);
	CHECK((e == 0) == (metrics_reader_error(r)[0] == '\0'));
	return e;
}

static void check_page(struct metrics_reader *r, const char *data, size_t len)
{
	struct load_sample whole = {0};
	struct load_sample pieces = {0};
	int e = read_page(r, data, len, len ? len : 1, &whole);

	CHECK(read_page(r, data, len, 1 + len % 17, &pieces) == e);
	CHECK(memcmp(&whole, &pieces, sizeof(whole)) == 0);
	if (e < 0)
		return;
	for (unsigned int f = 0; f < LOAD_FIELD_N; f++) {
		CHECK(isfinite(whole.value[f]) && whole.value[f] >= 0);
		CHECK(!(whole.has & LOAD_HAS(f)) == (metrics_reader_status(r, f) != METRIC_OK));
	}
	CHECK(whole.kv <= 1 && whole.gpu_mem <= 1);
}

static void check_health(const char *data, size_t len)
{
	static const unsigned int statuses[] = {200, 302, 400, 404, 429, 500, 503};
	const struct preset *p;
	char cause[100];

	for (size_t i = 0; (p = preset_at(i)); i++)
		for (size_t s = 0; s < ARRAY_SIZE(statuses); s++) {
			enum health_verdict v;

			v = health_body_judge(&p->rules, statuses[s], data, len,
					      len % 2 ? HEALTH_NEVER_READY : HEALTH_WAS_READY,
					      cause, sizeof(cause));
			CHECK(v >= HEALTH_VERDICT_PASS && v <= HEALTH_VERDICT_FAIL);
			CHECK(v != HEALTH_VERDICT_PASS || statuses[s] == 200);
			CHECK(cause[0]);
			for (const char *c = cause; *c; c++)
				CHECK(*c >= 0x20 && *c < 0x7f);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct metrics_reader *reader;

	if (!reader)
		reader = make_reader();
	check_page(reader, (const char *)data, size);
	check_health((const char *)data, size);
	return 0;
}
