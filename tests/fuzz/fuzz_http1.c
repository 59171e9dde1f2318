/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes as the answer on an HTTP/1 connection. Checked: the pieces it comes in do not change
 * what is read; nothing is taken that was not given; the body and its length agree.
 */
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "userspace/agent/http1.h"
#include "userspace/lib/cleanup.h"

struct run {
	const char *in;
	size_t len;
	size_t used;
	uint64_t hash;
	uint64_t body_len;
	enum http1_result result;
	const char *error;
	struct http1 h;
};

static int on_body(void *userdata, const char *buf, size_t len)
{
	struct run *run = userdata;

	CHECK(len > 0 && buf >= run->in && buf + len <= run->in + run->len);
	for (size_t i = 0; i < len; i++)
		run->hash = (run->hash ^ (unsigned char)buf[i]) * 0x100000001b3ull;
	run->body_len += len;
	return 0;
}

static void feed(struct run *run, const char *in, size_t len, size_t piece)
{
	/* The header's limit does depend on pieces: it is not to matter here. */
	const struct http1_limits limits = {.header_max = UINT64_MAX, .body_max = 1 << 20};
	size_t used = 0;

	*run = (struct run){.in = in, .len = len, .result = HTTP1_MORE};
	http1_begin(&run->h);
	for (size_t at = 0; at < len && run->result == HTTP1_MORE; at += piece) {
		size_t n = len - at < piece ? len - at : piece;

		run->result =
			http1_feed(&run->h, in + at, n, &limits, on_body, run, &used, &run->error);
		CHECK(run->result >= HTTP1_MORE && run->result < HTTP1_STOPPED);
		CHECK((run->result == HTTP1_BAD) == !!run->error);
		if (run->result == HTTP1_MORE)
			CHECK(used == n);
		if (run->result == HTTP1_COMPLETE) {
			CHECK(used <= n);
			run->used = at + used;
		}
	}
}

static void check(struct run *run)
{
	const struct http1 *h = &run->h;

	CHECK(h->body_bytes == run->body_len);
	CHECK(h->header_bytes + h->body_bytes <= run->len);
	if (run->result == HTTP1_MORE && run->len && http1_closed(&run->h))
		CHECK(!http1_framed(h) && !h->keep_alive);
	if (run->result != HTTP1_COMPLETE)
		return;
	CHECK(h->status >= 200 && h->status <= 999 && h->state == HTTP1_DONE);
	CHECK(http1_framed(h));
	if (h->has_length && !h->chunked && h->status != 204 && h->status != 304)
		CHECK(h->length == run->body_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t pieces[] = {size ? size : 1, 1, 2 + size % 61};
	struct run runs[ARRAY_SIZE(pieces)];

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		feed(&runs[i], (const char *)data, size, pieces[i]);
		CHECK(runs[i].result == runs[0].result && runs[i].hash == runs[0].hash);
		CHECK(runs[i].used == runs[0].used && runs[i].error == runs[0].error);
		CHECK(runs[i].h.status == runs[0].h.status);
		CHECK(runs[i].h.header_bytes == runs[0].h.header_bytes ||
		      runs[0].result == HTTP1_BAD);
	}
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
		check(&runs[i]);
	return 0;
}
