/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any tables and any frames through the native core: parse, select, rewrite.
 *
 * Input: tests/packet/record.h. Beyond the sanitizers (a read outside the frame is one: each frame
 * ends its own heap block): what passes is untouched; what is sent has the length its mode makes,
 * outer lengths and checksums that hold, and the client's packet inside, one hop later; what answers
 * a packet goes back where it came from, with checksums that hold; exactly one counter moves.
 *
 * The tables and the native runner are those of the packet cases; the fuzzers' build knows one
 * source a fuzzer, so they are included.
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "tests/packet/frame.c"
#include "tests/packet/world.c"
#include "tests/packet/run_native.c"

#include "tests/packet/record.h"

#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond))                                                                       \
			abort();                                                                   \
	} while (0)

/* What a frame says of itself, read without the core. */
struct view {
	const uint8_t *b;
	uint32_t len;
	uint32_t l3;   /* offset of the IP header */
	uint32_t tags; /* bytes of VLAN tags */
	int family;    /* 0: not IP, or its header is not whole */
	uint32_t hlen; /* IP header, IPv4 options included */
	uint32_t ip_len;
	uint8_t proto; /* behind extension headers */
	uint32_t l4;
};

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static int is_extension(uint8_t proto)
{
	return proto == 0 || proto == 43 || proto == 44 || proto == 60;
}

static void view_ip6(struct view *v)
{
	const uint8_t *p = v->b + v->l3;

	v->family = 6;
	v->hlen = 40;
	v->ip_len = get16(p + 4) + 40;
	v->proto = p[6];
	v->l4 = v->l3 + 40;
	while (is_extension(v->proto) && v->l4 + 8 <= v->len) {
		uint32_t n = v->proto == 44 ? 8 : 8 + 8 * v->b[v->l4 + 1];

		v->proto = v->b[v->l4];
		v->l4 += n;
	}
}

static struct view view_at(const uint8_t *b, uint32_t len, uint32_t l3, uint32_t type)
{
	struct view v = {.b = b, .len = len, .l3 = l3};
	const uint8_t *p = b + l3;

	if (type == 0x0800 && l3 + 20 <= len && p[0] >> 4 == 4) {
		v.family = 4;
		v.hlen = (p[0] & 15) * 4;
		v.ip_len = get16(p + 2);
		v.proto = p[9];
		v.l4 = l3 + v.hlen;
	} else if (type == 0x86dd && l3 + 40 <= len && p[0] >> 4 == 6) {
		view_ip6(&v);
	}
	return v;
}

static struct view view_of(const struct frame *f)
{
	uint32_t l3 = 14, type = f->len >= 14 ? get16(f->b + 12) : 0;
	struct view v;

	while ((type == 0x8100 || type == 0x88a8) && l3 < 22 && l3 + 4 <= f->len) {
		type = get16(f->b + l3 + 2);
		l3 += 4;
	}
	v = view_at(f->b, f->len, l3, type);
	v.tags = l3 - 14;
	return v;
}

/* --- checksums ---------------------------------------------------------------------------------- */

static int ip_sum_holds(const struct view *v)
{
	return v->family == 6 || checksum_end(checksum_add(0, v->b + v->l3, v->hlen)) == 0;
}

static int l4_sum_holds(const struct view *v)
{
	uint32_t len = v->l3 + v->ip_len - v->l4, sum = 0;

	if (v->l4 > v->l3 + v->ip_len || v->l3 + v->ip_len > v->len)
		return 0;
	if (v->proto != 1) {
		uint32_t at = v->family == 4 ? 12 : 8, n = v->family == 4 ? 8 : 32;

		sum = checksum_add(v->proto + len, v->b + v->l3 + at, n);
	}
	return checksum_end(checksum_add(sum, v->b + v->l4, len)) == 0;
}

/* What held before holds after. */
static void require_sums_kept(const struct view *in, const struct view *out)
{
	REQUIRE(!ip_sum_holds(in) || ip_sum_holds(out));
	REQUIRE(!l4_sum_holds(in) || l4_sum_holds(out));
}

/* --- what was sent ------------------------------------------------------------------------------ */

/* The client's packet, one hop later; bytes behind it as they were. */
static void require_inner(const struct view *in, const uint8_t *out, uint32_t len)
{
	const uint8_t *p = in->b + in->l3;
	uint32_t ttl = in->family == 4 ? 8 : 7;
	struct view v = view_at(out, len, 0, in->family == 4 ? 0x0800 : 0x86dd);

	REQUIRE(len == in->len - in->l3);
	REQUIRE(out[ttl] == p[ttl] - 1);
	for (uint32_t i = 0; i < len; i++)
		REQUIRE(out[i] == p[i] || i == ttl || (in->family == 4 && (i == 10 || i == 11)));
	REQUIRE(!ip_sum_holds(in) || ip_sum_holds(&v));
}

static void require_outer(const struct view *in, const struct view *out, enum lb_mode mode)
{
	uint32_t extra = mode == LB_MODE_GUE ? 8 : 0;
	uint32_t inner_at = out->l3 + (out->family == 4 ? 20 : 40) + extra;

	REQUIRE(out->family == 4 || out->family == 6);
	REQUIRE(out->ip_len == in->ip_len + inner_at - out->l3);
	REQUIRE(ip_sum_holds(out));
	REQUIRE(out->b[out->l3 + (out->family == 4 ? 8 : 7)] == 64);
	if (mode == LB_MODE_GUE) {
		uint32_t port = get16(out->b + out->l4 + 2);

		REQUIRE(out->proto == 17 && (port == gue_port_of(NODE1) || port == gue_port_of(NODE2)));
		REQUIRE(get16(out->b + out->l4 + 4) == in->ip_len + 8);
	} else {
		REQUIRE(out->proto == (in->family == 4 ? 4 : 41));
	}
	require_inner(in, out->b + inner_at, out->len - inner_at);
}

static void require_sent(const struct view *in, const struct outcome *o, enum lb_mode mode)
{
	struct view out = view_of(&o->frame);

	REQUIRE(in->family && in->l3 + in->ip_len <= in->len);
	REQUIRE(out.tags == (o->verdict == REDIRECT ? 0 : in->tags));
	if (mode == LB_MODE_IPIP || mode == LB_MODE_GUE) {
		require_outer(in, &out, mode);
		return;
	}
	REQUIRE(out.family == in->family && out.len - out.l3 == in->len - in->l3);
	if (mode == LB_MODE_L2DSR)
		require_inner(in, out.b + out.l3, out.len - out.l3);
	else
		require_sums_kept(in, &out);
}

/* --- what was answered -------------------------------------------------------------------------- */

static void require_turned(const struct view *in, const struct view *out)
{
	uint32_t at = in->family == 4 ? 12 : 8, n = in->family == 4 ? 4 : 16;
	const uint8_t *from = in->b + in->l3 + at, *to = out->b + out->l3 + at;

	REQUIRE(out->family == in->family && out->tags == in->tags);
	REQUIRE(!memcmp(in->b, out->b + 6, 6) && !memcmp(in->b + 6, out->b, 6));
	REQUIRE(!memcmp(from, to + n, n) && !memcmp(from + n, to, n));
}

static void require_reset(const struct view *in, const struct outcome *o)
{
	struct view out = view_of(&o->frame);

	require_turned(in, &out);
	REQUIRE(out.proto == 6 && out.len == out.l4 + 20 && out.l3 + out.ip_len == out.len);
	REQUIRE(ip_sum_holds(&out) && l4_sum_holds(&out));
	REQUIRE(out.b[out.l4 + 13] & TCP_RST);
	REQUIRE(!(in->b[in->l4 + 13] & TCP_RST));
}

static void require_too_big(const struct view *in, const struct outcome *o)
{
	struct view out = view_of(&o->frame);
	uint32_t quote = out.len - out.l4 - 8;

	require_turned(in, &out);
	REQUIRE(out.l3 + out.ip_len == out.len && out.proto == (in->family == 4 ? 1 : 58));
	REQUIRE(ip_sum_holds(&out) && l4_sum_holds(&out));
	REQUIRE(!memcmp(out.b + out.l4 + 8, in->b + in->l3, quote));
}

static void require_ping(const struct view *in, const struct outcome *o)
{
	struct view out = view_of(&o->frame);

	require_turned(in, &out);
	REQUIRE(out.len == in->len);
	require_sums_kept(in, &out);
}

static void require_nat_reply(const struct view *in, const struct outcome *o)
{
	struct view out = view_of(&o->frame);

	REQUIRE(out.family == in->family && out.len - out.l3 == in->len - in->l3);
	require_sums_kept(in, &out);
}

static void require_outcome(const struct frame *frame, const struct outcome *o, enum lb_mode mode)
{
	struct view in = view_of(frame);

	REQUIRE(o->verdict >= DROP && o->verdict <= REDIRECT);
	REQUIRE(o->reason < LB_R_N);
	if (o->verdict == PASS)
		REQUIRE(o->frame.len == frame->len && !memcmp(o->frame.b, frame->b, frame->len));
	if (o->verdict == PASS || o->verdict == DROP) {
		REQUIRE(o->reason != LB_R_OK);
		return;
	}
	switch (o->reason) {
	case LB_R_OK:
		return require_sent(&in, o, mode);
	case LB_R_RESET_SENT:
	case LB_R_NAT_UNKNOWN:
	case LB_R_NO_AGENT:
		return require_reset(&in, o);
	case LB_R_TOO_BIG_SENT:
		return require_too_big(&in, o);
	case LB_R_PING:
		return require_ping(&in, o);
	case LB_R_NAT_REPLY:
		return require_nat_reply(&in, o);
	default:
		abort(); /* nothing else is sent */
	}
}

/* --- counters ----------------------------------------------------------------------------------- */

static uint64_t reasons_sum(const struct tables *t)
{
	uint64_t sum = 0;

	for (int i = 0; i < LB_R_N; i++)
		sum += t->counters[i];
	return sum;
}

static uint64_t sent_sum(const struct tables *t)
{
	uint64_t sum = 0;

	for (int i = 0; i < WATCHED_IDS; i++)
		sum += t->backend_counts[i].packets;
	return sum;
}

static void require_live_flows(const struct tables *t)
{
	for (int i = 0; i < WATCHED_IDS; i++)
		REQUIRE(t->loads[i].flows <= FLOWS_ROOM + HALF_OPEN_ROOM + NAT_ROOM);
}

/* --- input -------------------------------------------------------------------------------------- */

struct input {
	const uint8_t *p, *end;
};

static uint32_t take(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static uint16_t take_id(struct input *in)
{
	uint32_t id = take(in);

	return id == RECORD_LOCAL ? LB_BACKEND_LOCAL : id % NODES_N;
}

static struct lb_slot take_slot(struct input *in)
{
	struct lb_slot s = {.cur = take_id(in), .alt = take_id(in)};

	s.prev = take_id(in);
	s.exc = take(in);
	return s;
}

static struct packet_case take_case(struct input *in)
{
	struct packet_case c = {.name = "fuzz"};

	c.mode = take(in) % LB_MODE_NAT + 1;
	c.policy = take(in) % LB_POLICY_WEIGHTED_ROUND_ROBIN + 1;
	c.affinity = take(in) % LB_AFFINITY_SOURCE + 1;
	c.on_down = take(in) % LB_ON_DOWN_KEEP + 1;
	c.vip_flags = take(in) & (LB_VIP_F_TRACK | LB_VIP_F_PING);
	c.nat_low = take(in) & 1 ? 30000 : 0;
	c.nat_high = c.nat_low + 3;
	c.spread = take(in) & 1;
	c.slot = take_slot(in);
	return c;
}

static void take_frame(struct runner *r, struct input *in, enum lb_mode mode)
{
	uint32_t len = take(in), left, reasons = reasons_sum(&r->t), sent = sent_sum(&r->t);
	struct outcome o;
	struct frame f;

	len |= take(in) << 8;
	left = in->end - in->p;
	f.len = len < left ? len : left;
	if (f.len > FRAME_MAX - 64)
		f.len = FRAME_MAX - 64;
	memcpy(f.b, in->p, f.len);
	in->p += f.len;
	r->run(r, &f, 0, &o);
	require_outcome(&f, &o, mode);
	REQUIRE(reasons_sum(&r->t) - reasons == (o.reason != LB_R_OK));
	REQUIRE(sent_sum(&r->t) - sent == (o.reason == LB_R_OK));
	require_live_flows(&r->t);
}

static void take_node(struct runner *r, struct input *in)
{
	struct lb_backend *b = &r->t.backends[take(in) % NODES_N];

	b->flags = take(in) & (LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP);
	b->generation = take(in);
}

static void take_load(struct runner *r, struct input *in)
{
	struct lb_load *load = &r->t.loads[take(in) % NODES_N];

	load->base = take(in);
	load->weight = take(in) * 100;
	load->flags = take(in);
}

static void take_list(struct runner *r, struct input *in, enum record_kind kind)
{
	uint32_t bank = take(in) & 1, n = take(in) % LIST_MAX;
	uint16_t *to = kind == RECORD_MEMBERS ? r->t.members[2 * POOL + bank].backend
					      : r->t.turns[2 * POOL + bank].backend;
	struct lb_pool *pool = &r->t.pools[POOL];

	for (uint32_t i = 0; i < n; i++)
		to[i] = take_id(in);
	*(kind == RECORD_MEMBERS ? &pool->n_members : &pool->n_turns) =
		n | (bank ? LB_BANK_BIT : 0);
}

static void fill(struct runner *r, uint32_t table)
{
	enum entry_table which = table & 1 ? IN_FLOWS : IN_HALF_OPEN;
	struct lb_flow flow = {.backend = NODE9};

	for (int i = 0; i < FLOWS_ROOM; i++) {
		struct lb_flow_key key = world_key(STRANGER, 4, 20000 + i);

		(void)r->flow_put(r, which, &key, &flow); /* full is what it is for */
	}
}

/* Bit 0: answers are not limited. Bit 1: the agent was heard of long ago. */
static void take_replies(struct runner *r, uint8_t bits)
{
	uint32_t heard = r->ticks(r) - LB_TICKS_FROM_MS(2 * LB_AGENT_SILENT_MS);

	r->t.control->replies_per_s = bits & 1 ? 100000 : 0;
	r->t.control->heartbeat_ns = bits & 2 ? (uint64_t)heard << LB_TICK_SHIFT : 0;
}

static void take_record(struct runner *r, const struct packet_case *c, struct input *in)
{
	uint32_t kind = take(in) % RECORD_N;

	switch (kind) {
	case RECORD_FRAME:
		return take_frame(r, in, c->mode);
	case RECORD_SLOT:
		return world_set_slots(r, c, take_slot(in));
	case RECORD_NODE:
		return take_node(r, in);
	case RECORD_LOAD:
		return take_load(r, in);
	case RECORD_CONTROL:
		r->t.control->epoch = take(in);
		r->t.control->new_entries_per_s = take(in) & 1 ? 100000 : 0;
		return take_replies(r, take(in));
	case RECORD_TIME:
		return r->pass(r, take(in) * LB_TICKS_PER_S);
	case RECORD_FILL:
		return fill(r, take(in));
	default:
		return take_list(r, in, kind);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct runner *r;
	struct input in = {data, data + size};
	struct packet_case c;

	if (!r) {
		r = &runner_native;
		REQUIRE(r->open(r) == 0);
	}
	c = take_case(&in);
	world_build(r, &c);
	while (in.p < in.end)
		take_record(r, &c, &in);
	return 0;
}
