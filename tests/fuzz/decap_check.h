/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frame in, what a node's program made of it -> whether that is right: untouched, or one outer
 * header less, which was one; the rest is as it was, but for congestion met in the tunnel, which
 * an inner packet that cannot carry it does not survive.
 */
#ifndef TESTS_FUZZ_DECAP_CHECK_H
#define TESTS_FUZZ_DECAP_CHECK_H

#include <string.h>

#include "tests/fuzz/frame_view.h"
#include "tests/packet/decap_native.h"

/* Bytes of the outer header; of what a tunnel looks like nothing else has a length. */
static uint32_t outer_of(const struct view *v)
{
	if (v->proto == 4 || v->proto == 41)
		return v->hlen;
	REQUIRE(v->proto == 17 && get16(v->b + v->l4 + 2) == 6080);
	return v->hlen + 8;
}

static void require_same_but_ecn(const struct view *was, const struct view *is, int met)
{
	uint32_t n = is->len - is->l3;

	REQUIRE(!met || (was->tos & 3));
	REQUIRE(is->tos == (met ? was->tos | 3 : was->tos));
	for (uint32_t i = 0; i < n; i++) {
		/* byte 1: the type of service, or in IPv6 half of it and of the flow label */
		if (i == 1)
			REQUIRE(is->family == 4 || !((is->b[is->l3 + 1] ^ was->b[was->l3 + 1]) & 0xf));
		else if (is->family == 6 || (i != 10 && i != 11))
			REQUIRE(is->b[is->l3 + i] == was->b[was->l3 + i]);
	}
	if (is->family == 4 && is->hlen >= 20 && is->l3 + is->hlen <= is->len)
		REQUIRE(view_ip_sum(is) == view_ip_sum(was));
}

static void check_decap(const struct frame *f)
{
	struct view in = view_of(f), was, is;
	struct outcome o;
	uint32_t outer;

	decap_native(f, &o);
	if (o.verdict == DROP) {
		REQUIRE(in.family && (in.tos & 3) == 3);
		outer = outer_of(&in);
		was = view_at(f->b, f->len, in.l3 + outer,
			      f->b[in.l3 + outer] >> 4 == 4 ? 0x0800 : 0x86dd);
		REQUIRE(was.family && !(was.tos & 3));
		return;
	}
	REQUIRE(o.verdict == PASS);
	if (o.frame.len == f->len) {
		REQUIRE(!memcmp(o.frame.b, f->b, f->len));
		return;
	}
	is = view_of(&o.frame);
	REQUIRE(in.family && is.family && is.l3 == in.l3);
	outer = outer_of(&in);
	REQUIRE(o.frame.len == f->len - outer);
	REQUIRE(!memcmp(o.frame.b, f->b, in.l3 - 2));
	was = view_at(f->b, f->len, in.l3 + outer, is.family == 4 ? 0x0800 : 0x86dd);
	REQUIRE(was.family == is.family);
	REQUIRE(in.proto == 17 || in.proto == (is.family == 4 ? 4 : 41));
	require_same_but_ecn(&was, &is, (in.tos & 3) == 3);
}

#endif
