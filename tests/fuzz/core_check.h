/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frame in, what the core made of it -> whether that is right, whatever the frame was.
 *
 *	passed		untouched
 *	sent		to the node that was counted: its addresses, by its device, within its MTU;
 *			the client's packet one hop later and otherwise byte for byte the same
 *	answered	back to where it came from, with the numbers that make an answer be accepted
 *
 * A checksum that was right stays right, and one that was wrong stays as wrong.
 */
#ifndef TESTS_FUZZ_CORE_CHECK_H
#define TESTS_FUZZ_CORE_CHECK_H

#include <arpa/inet.h>
#include <string.h>

#include "tests/fuzz/frame_view.h"
#include "tests/packet/decap_native.h"
#include "tests/packet/env_native.h"
#include "tests/packet/runner.h"

struct fate {
	enum lb_mode mode;
	const struct frame *frame;   /* as it came */
	const struct outcome *o;
	const struct lb_backend *b;  /* that was counted; NULL: none */
	const struct native_tables *t;
};

/* The tag of the way (0: none), or with keep those that the frame came with. */
static void require_tags(const struct view *in, const struct view *out, __be16 vlan, int keep)
{
	if (vlan) {
		REQUIRE(out->tags == 4 && get16(out->b + 12) == 0x8100);
		REQUIRE(htons(get16(out->b + 14)) == vlan);
		return;
	}
	REQUIRE(out->tags == (keep ? in->tags : 0));
	REQUIRE(!memcmp(out->b + 12, in->b + 12, out->tags));
}

/* --- to a node ---------------------------------------------------------------------------------- */

/* The client's packet, one hop later; bytes behind it as they were. */
static void require_inner(const struct view *in, const uint8_t *out, uint32_t len)
{
	const uint8_t *p = in->b + in->l3;
	uint32_t ttl = in->family == 4 ? 8 : 7;
	struct view v = view_at(out, len, 0, in->family == 4 ? 0x0800 : 0x86dd);

	REQUIRE(len == in->len - in->l3);
	REQUIRE(p[ttl] > 1 && out[ttl] == p[ttl] - 1);
	for (uint32_t i = 0; i < len; i++)
		REQUIRE(out[i] == p[i] || i == ttl || (in->family == 4 && (i == 10 || i == 11)));
	REQUIRE(view_ip_sum(&v) == view_ip_sum(in));
}

/* Outer source: the node's, but for the bits that may vary. Word 3 of an IPv6 address, or IPv4. */
static void require_source(const uint8_t *at, const struct lb_backend *b)
{
	uint32_t word;

	memcpy(&word, at, sizeof(word));
	REQUIRE((word & ~b->src_vary) == (b->src[3] & ~b->src_vary));
}

static void require_outer4(const struct view *out, const struct lb_backend *b)
{
	const uint8_t *p = out->b + out->l3;

	REQUIRE(out->hlen == 20 && view_ip_sum(out) == 0);
	REQUIRE(get16(p + 4) == 0 && get16(p + 6) == 0x4000); /* no id: it may not be fragmented */
	require_source(p + 12, b);
	REQUIRE(!memcmp(p + 16, &b->addr[3], 4));
}

static void require_outer6(const struct view *out, const struct lb_backend *b)
{
	const uint8_t *p = out->b + out->l3;

	REQUIRE(!memcmp(p + 8, b->src, 12));
	require_source(p + 20, b);
	REQUIRE(!memcmp(p + 24, b->addr, 16));
}

static void require_udp(const struct view *in, const struct view *out, const struct lb_backend *b)
{
	const uint8_t *p = out->b + out->l4;

	REQUIRE(out->proto == 17 && get16(p) >= 0xc000 && htons(get16(p + 2)) == b->gue_port);
	REQUIRE(get16(p + 4) == in->ip_len + 8 && get16(p + 6) == 0);
}

/* The node's program makes of it the packet that l2dsr would have sent; it knows the usual port. */
static void require_decapped(const struct view *in, const struct fate *f)
{
	struct outcome o;
	struct view out;

	decap_native(&f->o->frame, &o);
	out = view_of(&o.frame);
	if (f->mode == LB_MODE_GUE && f->b->gue_port != htons(6080)) {
		REQUIRE(o.verdict == PASS && o.frame.len == f->o->frame.len);
		return;
	}
	REQUIRE(o.verdict == PASS && out.family == in->family);
	REQUIRE(!memcmp(o.frame.b, f->o->frame.b, out.l3 - 2));
	require_inner(in, out.b + out.l3, out.len - out.l3);
}

static void require_tunnel(const struct view *in, const struct view *out, const struct fate *f)
{
	uint32_t extra = f->mode == LB_MODE_GUE ? 8 : 0;
	uint32_t inner_at = out->l3 + (out->family == 4 ? 20 : 40) + extra;

	REQUIRE(out->family == f->b->family);
	REQUIRE(out->ip_len == in->ip_len + inner_at - out->l3);
	REQUIRE(out->ip_len <= f->b->mtu);
	REQUIRE(out->ttl == 64 && out->tos == in->tos);
	if (out->family == 4)
		require_outer4(out, f->b);
	else
		require_outer6(out, f->b);
	if (f->mode == LB_MODE_GUE)
		require_udp(in, out, f->b);
	else
		REQUIRE(out->proto == (in->family == 4 ? 4 : 41));
	require_inner(in, out->b + inner_at, out->len - inner_at);
	require_decapped(in, f);
}

/* --- translated --------------------------------------------------------------------------------- */

/* Addresses, ports, hop count and what is summed up over them; the rest is as it was. */
static void require_translated(const struct view *in, const struct view *out)
{
	const uint8_t *p = in->b + in->l3, *q = out->b + out->l3;
	uint32_t addresses = in->family == 4 ? 12 : 8, tcp = in->l4 - in->l3;
	uint32_t ttl = in->family == 4 ? 8 : 7, end = in->len - in->l3;

	REQUIRE(out->family == in->family && out->len - out->l3 == end);
	REQUIRE(in->proto == 6 && p[ttl] > 1 && q[ttl] == p[ttl] - 1);
	for (uint32_t i = 0; i < end; i++) {
		if (i == ttl || (i >= addresses && i < (in->family == 4 ? 20u : 40u)))
			continue;
		if ((in->family == 4 && (i == 10 || i == 11)) || (i >= tcp && i < tcp + 4) ||
		    i == tcp + 16 || i == tcp + 17)
			continue;
		REQUIRE(q[i] == p[i]);
	}
	REQUIRE(view_ip_sum(out) == view_ip_sum(in) && view_l4_sum(out) == view_l4_sum(in));
}

/* Offset of what an ICMP error quotes: its IP header, its ports. */
static struct view quote_of(const struct view *v)
{
	return view_at(v->b, v->len, v->l4 + 8, v->family == 4 ? 0x0800 : 0x86dd);
}

/* Addresses, ports and checksum of a quoted segment: what a whole one would sum up to, less the rest. */
static uint32_t quoted_sum(const struct view *q)
{
	uint32_t at = q->l3 + (q->family == 4 ? 12 : 8), n = q->family == 4 ? 8 : 32;
	uint32_t sum = checksum_add(checksum_add(0, q->b + at, n), q->b + q->l4, 4);

	sum = checksum_end(checksum_add(sum, q->b + q->l4 + 16, 2));
	return sum == 0xffff ? 0 : sum;
}

/* May byte i differ between an ICMP error and its translation? in: as it came; q: what it quotes. */
static int is_translated(const struct view *in, const struct view *q, uint32_t i)
{
	uint32_t addresses = in->family == 4 ? 12 : 8, n = in->family == 4 ? 8 : 32;

	for (const struct view *v = in;; v = q) {
		if (i >= v->l3 + addresses && i < v->l3 + addresses + n)
			return 1;
		if (v->family == 4 && (i == v->l3 + 10 || i == v->l3 + 11))
			return 1;
		if (v == q)
			break;
	}
	return i == in->l3 + (in->family == 4 ? 8u : 7u) || i == in->l4 + 2 || i == in->l4 + 3 ||
	       (i >= q->l4 && i < q->l4 + 4) || i == q->l4 + 16 || i == q->l4 + 17;
}

static void require_translated_icmp(const struct view *in, const struct view *out)
{
	struct view q = quote_of(in), p = quote_of(out);
	uint32_t moved = in->l3 - out->l3;

	REQUIRE(out->family == in->family && out->len - out->l3 == in->len - in->l3);
	REQUIRE(in->ttl > 1 && out->ttl == in->ttl - 1);
	REQUIRE(q.family == in->family && p.family == in->family && q.proto == 6);
	for (uint32_t i = in->l3; i < in->len; i++)
		REQUIRE(out->b[i - moved] == in->b[i] || is_translated(in, &q, i));
	REQUIRE(view_ip_sum(out) == view_ip_sum(in) && view_l4_sum(out) == view_l4_sum(in));
	REQUIRE(view_ip_sum(&p) == view_ip_sum(&q));
	if (q.l4 + 18 <= in->l3 + in->ip_len)
		REQUIRE(quoted_sum(&p) == quoted_sum(&q));
	else /* not quoted: what stands there belongs to nobody */
		REQUIRE(!memcmp(in->b + q.l4 + 4, out->b + p.l4 + 4, in->len - q.l4 - 4));
}

static int is_address(const struct view *v, uint32_t which, const __be32 *addr)
{
	uint32_t at = v->l3 + (v->family == 4 ? 12 + 4 * which : 8 + 16 * which);

	return v->family == 4 ? !memcmp(v->b + at, &addr[3], 4) : !memcmp(v->b + at, addr, 16);
}

static const struct native_nat_reply *reply_of(const struct native_tables *t,
					       const struct view *node, uint32_t which)
{
	for (uint32_t i = 0; i < NATIVE_NAT_ROOM; i++) {
		const struct native_nat_reply *e = &t->nat_replies[i];
		uint32_t port = get16(node->b + node->l4 + 2 * which);
		uint32_t nat_port = get16(node->b + node->l4 + 2 * !which);

		if (e->used && is_address(node, which, e->key.node) &&
		    e->key.node_port == htons(port) && e->key.nat_port == htons(nat_port))
			return e;
	}
	return NULL;
}

static void require_to_node(const struct view *in, const struct view *out, const struct fate *f)
{
	const struct native_nat_reply *e = reply_of(f->t, out, 1);
	uint32_t port = get16(out->b + out->l4);

	require_translated(in, out);
	REQUIRE(out->ip_len <= f->b->mtu);
	REQUIRE(is_address(out, 0, f->b->src) && is_address(out, 1, f->b->addr));
	REQUIRE(port >= f->t->control->nat_port_low && port <= f->t->control->nat_port_high);
	REQUIRE(htons(get16(out->b + out->l4 + 2)) == f->b->port);
	/* its answer will come back to this client */
	REQUIRE(e && is_address(in, 0, e->reply.client));
	REQUIRE(e->reply.client_port == htons(get16(in->b + in->l4)));
}

/* An ICMP error about what a client was sent, to the node that sent it. */
static void require_icmp_to_node(const struct view *in, const struct view *out,
				 const struct fate *f)
{
	struct view was = quote_of(in), is = quote_of(out);
	const struct native_nat_reply *e = reply_of(f->t, &is, 0);

	require_translated_icmp(in, out);
	REQUIRE(out->ip_len <= f->b->mtu);
	REQUIRE(is_address(out, 0, f->b->src) && is_address(out, 1, f->b->addr));
	REQUIRE(is_address(&is, 1, f->b->src) && is_address(&is, 0, f->b->addr));
	REQUIRE(htons(get16(is.b + is.l4)) == f->b->port);
	REQUIRE(e && is_address(&was, 1, e->reply.client));
	REQUIRE(e->reply.client_port == htons(get16(was.b + was.l4 + 2)));
}

/* An ICMP error about what a node was sent, to the client that sent it. */
static const struct native_nat_reply *
require_icmp_to_client(const struct view *in, const struct view *out, const struct fate *f)
{
	struct view was = quote_of(in), is = quote_of(out);
	const struct native_nat_reply *e = reply_of(f->t, &was, 1);
	const struct lb_vip *vip;

	require_translated_icmp(in, out);
	REQUIRE(e);
	vip = &f->t->vips[e->reply.vip];
	REQUIRE(is_address(&is, 1, vip->addr) && is_address(&is, 0, e->reply.client));
	REQUIRE(htons(get16(is.b + is.l4 + 2)) == vip->port);
	REQUIRE(htons(get16(is.b + is.l4)) == e->reply.client_port);
	return e;
}

static const struct native_nat_reply *
require_answer(const struct view *in, const struct view *out, const struct fate *f)
{
	const struct native_nat_reply *e = reply_of(f->t, in, 0);

	require_translated(in, out);
	REQUIRE(e && out->ip_len <= f->t->mtu);
	REQUIRE(htons(get16(out->b + out->l4)) == f->t->vips[e->reply.vip].port);
	REQUIRE(htons(get16(out->b + out->l4 + 2)) == e->reply.client_port);
	return e;
}

static void require_nat_reply(const struct view *in, const struct fate *f)
{
	struct view out = view_of(&f->o->frame);
	const struct native_nat_reply *e = in->proto == 6 ? require_answer(in, &out, f)
							  : require_icmp_to_client(in, &out, f);

	REQUIRE(is_address(&out, 0, f->t->vips[e->reply.vip].addr));
	REQUIRE(is_address(&out, 1, e->reply.client));
	REQUIRE(!memcmp(out.b, e->reply.dmac, 6) && !memcmp(out.b + 6, e->reply.smac, 6));
	REQUIRE(f->o->verdict == (e->reply.ifindex == IF_NEAR ? TX : REDIRECT));
	if (e->reply.vlan == LB_NAT_VLAN_KEEP)
		require_tags(in, &out, 0, f->o->verdict == TX);
	else
		require_tags(in, &out, e->reply.vlan, 0);
}

/* --- what was sent ------------------------------------------------------------------------------ */

static void require_link(const struct view *in, const struct view *out, const struct fate *f)
{
	int far = f->b->ifindex != IF_NEAR;

	REQUIRE(f->o->verdict == (far ? REDIRECT : TX));
	REQUIRE(!far || f->o->ifindex == (int)f->b->ifindex);
	REQUIRE(!memcmp(out->b, f->b->dmac, 6) && !memcmp(out->b + 6, f->b->smac, 6));
	require_tags(in, out, f->b->vlan, !far);
}

static void require_sent(const struct view *in, const struct fate *f)
{
	struct view out = view_of(&f->o->frame);

	REQUIRE(f->b && (f->b->flags & LB_BACKEND_F_NEXTHOP));
	REQUIRE(in->family && in->l3 + in->ip_len <= in->len);
	require_link(in, &out, f);
	if (f->mode == LB_MODE_IPIP || f->mode == LB_MODE_GUE) {
		require_tunnel(in, &out, f);
	} else if (f->mode == LB_MODE_NAT && in->proto == 6) {
		require_to_node(in, &out, f);
	} else if (f->mode == LB_MODE_NAT) {
		require_icmp_to_node(in, &out, f);
	} else {
		REQUIRE(out.family == in->family && out.ip_len <= f->b->mtu);
		require_inner(in, out.b + out.l3, out.len - out.l3);
	}
}

/* --- what was answered -------------------------------------------------------------------------- */

static void require_turned(const struct view *in, const struct view *out)
{
	uint32_t at = in->family == 4 ? 12 : 8, n = in->family == 4 ? 4 : 16;
	const uint8_t *from = in->b + in->l3 + at, *to = out->b + out->l3 + at;

	REQUIRE(out->family == in->family && out->tags == in->tags && out->ttl == 64);
	REQUIRE(!memcmp(in->b, out->b + 6, 6) && !memcmp(in->b + 6, out->b, 6));
	REQUIRE(!memcmp(in->b + 12, out->b + 12, in->tags));
	REQUIRE(!memcmp(from, to + n, n) && !memcmp(from + n, to, n));
}

/* Made anew: nothing behind it, no extension headers, sums that hold. */
static void require_own(const struct view *out)
{
	REQUIRE(out->l3 + out->ip_len == out->len && out->l4 == out->l3 + out->hlen);
	REQUIRE(out->hlen == (out->family == 4 ? 20 : 40));
	REQUIRE(view_ip_sum(out) == 0 && view_l4_sum(out) == 0);
}

/* RFC 9293 section 3.10.7.1. */
static void require_reset(const struct view *in, const struct outcome *o)
{
	struct view out = view_of(&o->frame);
	const uint8_t *p = in->b + in->l4, *q = out.b + out.l4;
	uint32_t flags = p[13], n;

	require_turned(in, &out);
	require_own(&out);
	REQUIRE(out.proto == 6 && out.len == out.l4 + 20 && q[12] == 0x50);
	REQUIRE(!(flags & TCP_RST));
	REQUIRE(get16(p) == get16(q + 2) && get16(p + 2) == get16(q));
	if (flags & TCP_ACK) {
		REQUIRE(q[13] == TCP_RST && get32(q + 4) == get32(p + 8) && !get32(q + 8));
		return;
	}
	n = in->l3 + in->ip_len - in->l4 - (p[12] >> 4) * 4;
	n += !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
	REQUIRE(q[13] == (TCP_RST | TCP_ACK) && !get32(q + 4) && get32(q + 8) == get32(p + 4) + n);
}

/* RFC 1191, RFC 8201. */
static void require_too_big(const struct view *in, const struct fate *f)
{
	const struct outcome *o = f->o;
	struct view out = view_of(&o->frame);
	uint32_t quote = out.len - out.l4 - 8, want = in->l4 - in->l3 + 8;
	const uint8_t *p = out.b + out.l4;

	require_turned(in, &out);
	require_own(&out);
	REQUIRE(in->proto == 6 && in->family + out.proto == (in->family == 4 ? 5 : 64));
	REQUIRE(in->family == 6 ? p[0] == 2 && p[1] == 0 : p[0] == 3 && p[1] == 4);
	REQUIRE(in->family == 6 || (in->b[in->l3 + 6] & 0x40)); /* it may not be fragmented */
	REQUIRE(get32(p + 4) < in->ip_len);
	REQUIRE(get32(p + 4) >= MTU - 48 || get32(p + 4) == f->t->mtu);
	REQUIRE(quote == (want < 128 ? want : 128));
	REQUIRE(!memcmp(p + 8, in->b + in->l3, quote));
}

static void require_ping(const struct view *in, const struct outcome *o)
{
	struct view out = view_of(&o->frame);
	const uint8_t *p = in->b + in->l4, *q = out.b + out.l4;

	require_turned(in, &out);
	REQUIRE(out.len == in->len && out.l4 == in->l4 && out.ip_len == in->ip_len);
	REQUIRE(in->family == 4 ? p[0] == 8 && q[0] == 0 : p[0] == 128 && q[0] == 129);
	REQUIRE(p[1] == q[1] && !memcmp(p + 4, q + 4, in->len - in->l4 - 4));
	REQUIRE(view_ip_sum(&out) == view_ip_sum(in) && view_l4_sum(&out) == view_l4_sum(in));
}

static void require_fate(const struct fate *f)
{
	struct view in = view_of(f->frame);
	const struct outcome *o = f->o;

	REQUIRE(o->verdict >= DROP && o->verdict <= REDIRECT);
	REQUIRE(o->reason < LB_R_N && !f->b == (o->reason != LB_R_OK));
	if (o->verdict == PASS)
		REQUIRE(o->frame.len == in.len && !memcmp(o->frame.b, in.b, in.len));
	if (o->verdict == PASS || o->verdict == DROP)
		return;
	switch (o->reason) {
	case LB_R_OK:
		return require_sent(&in, f);
	case LB_R_NAT_REPLY:
		return require_nat_reply(&in, f);
	default:
		REQUIRE(o->verdict == TX);
	}
	switch (o->reason) {
	case LB_R_RESET_SENT:
	case LB_R_NAT_UNKNOWN:
	case LB_R_NO_AGENT:
		return require_reset(&in, o);
	case LB_R_TOO_BIG_SENT:
		return require_too_big(&in, f);
	case LB_R_PING:
		return require_ping(&in, o);
	default:
		REQUIRE(!"nothing else is sent");
	}
}

#endif
