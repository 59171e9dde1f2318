// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/packet/check.h"
#include "tests/packet/expect.h"
#include "tests/packet/world.h"

/* What is being checked, for messages, and whether anything differed. */
struct check {
	struct runner *r;
	const struct packet_case *c;
	int step;
	uint32_t len; /* of the frame that went in */
	int failed;
};

struct counts {
	uint64_t counters[LB_REASONS_MAX];
	struct lb_count vips[WATCHED_IDS], backends[WATCHED_IDS];
};

static const char *const want_names[] = {
	[PASS] = "pass", [DROP] = "drop", [TX] = "tx", [REDIRECT] = "redirect"};

static const char *counter_name(uint32_t n)
{
	switch (n) {
#define X(e, name, text)                                                                           \
	case LB_R_##e:                                                                             \
		return name;
		LB_REASONS(X)
#undef X
#define X(e, name, text)                                                                           \
	case LB_EV_##e:                                                                            \
		return name;
		LB_EVENTS(X)
#undef X
	default:
		return "unknown";
	}
}

__attribute__((format(printf, 2, 3))) static void differ(struct check *k, const char *fmt, ...)
{
	va_list ap;

	if (!k->failed)
		printf("FAIL [%s] %s\n", k->r->name, k->c->name);
	k->failed = 1;
	printf("     step %d, %u bytes in: ", k->step + 1, k->len);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void print_row(const char *label, const struct frame *f, const struct frame *other,
		      uint32_t off)
{
	printf("       %s %04x ", label, off);
	for (uint32_t i = off; i < off + 16; i++) {
		int same = i < f->len && i < other->len && f->b[i] == other->b[i];

		if (i < f->len)
			printf(" %s%02x", same ? "" : "*", f->b[i]);
	}
	putchar('\n');
}

/* Rows that differ, the differing bytes starred. */
static void print_diff(const struct frame *want, const struct frame *got)
{
	uint32_t len = want->len > got->len ? want->len : got->len;

	for (uint32_t off = 0; off < len; off += 16) {
		int same = off + 16 <= want->len && off + 16 <= got->len &&
			   !memcmp(want->b + off, got->b + off, 16);

		if (same)
			continue;
		print_row("want", want, got, off);
		print_row("got ", got, want, off);
	}
}

static void check_frame(struct check *k, const struct frame *want, const struct frame *got,
			const char *what)
{
	if (want->len == got->len && !memcmp(want->b, got->b, want->len))
		return;
	differ(k, "%s differs: %u bytes expected, %u bytes came", what, want->len, got->len);
	print_diff(want, got);
}

static void read_counts(const struct runner *r, struct counts *ret)
{
	memcpy(ret->counters, r->t.counters, sizeof(ret->counters));
	memcpy(ret->vips, r->t.vip_counts, sizeof(ret->vips));
	memcpy(ret->backends, r->t.backend_counts, sizeof(ret->backends));
}

static void check_count(struct check *k, const char *what, int id, const struct lb_count *want,
			const struct lb_count *got)
{
	if (!memcmp(want, got, sizeof(*want)))
		return;
	differ(k, "%s %d counts packets %lu bytes %lu flows %lu entries %u promoted %u, expected "
	       "%lu %lu %lu %u %u", what, id, (unsigned long)got->packets,
	       (unsigned long)got->bytes, (unsigned long)got->flows, got->entries, got->promoted,
	       (unsigned long)want->packets, (unsigned long)want->bytes,
	       (unsigned long)want->flows, want->entries, want->promoted);
}

static void check_counts(struct check *k, const struct counts *want)
{
	struct counts got;

	read_counts(k->r, &got);
	for (uint32_t i = 0; i < LB_REASONS_MAX; i++)
		if (got.counters[i] != want->counters[i])
			differ(k, "counter %s is %lu, expected %lu", counter_name(i),
			       (unsigned long)got.counters[i], (unsigned long)want->counters[i]);
	for (int i = 0; i < WATCHED_IDS; i++) {
		check_count(k, "VIP", i, &want->vips[i], &got.vips[i]);
		check_count(k, "backend", i, &want->backends[i], &got.backends[i]);
	}
}

static const struct layer *ip_layer(const struct layer *l)
{
	while (l->kind != LAYER_END && l->kind != LAYER_IP4 && l->kind != LAYER_IP6)
		l++;
	return l;
}

static void count_one(struct lb_count *n, const struct step *s)
{
	n->packets++;
	n->bytes += layers_ip_len(s->in);
	n->flows += s->opens;
}

static int is_reset(const struct layer *l)
{
	while (l->kind != LAYER_END && l->kind != LAYER_TCP)
		l++;
	return l->kind == LAYER_TCP && l->flags & TCP_RST;
}

/* Mode nat has entries of another kind. */
static void expect_entries(const struct packet_case *c, const struct step *s, enum lb_event event,
			   struct lb_count *n)
{
	if (c->mode == LB_MODE_NAT)
		return;
	n->entries += event == LB_EV_FLOW_ADDED;
	n->promoted += event == LB_EV_FLOW_PROMOTED && !is_reset(s->in);
}

/* `before` becomes what the counters must be after the step. */
static void expect_counts(const struct packet_case *c, const struct step *s, enum host to,
			  enum lb_reason reason, struct counts *before)
{
	int vip = ip_layer(s->in)->kind == LAYER_IP6 ? VIP_ID6 : VIP_ID4;

	if (reason != LB_R_OK)
		before->counters[reason]++;
	if (reason == LB_R_OK || (reason == LB_R_LOCAL && !s->uncounted))
		count_one(&before->vips[vip], s);
	if (reason == LB_R_OK)
		count_one(&before->backends[to], s);
	for (int i = 0; i < EVENTS_MAX && s->events[i]; i++) {
		before->counters[s->events[i]]++;
		expect_entries(c, s, s->events[i], &before->vips[vip]);
	}
}

static enum lb_mode case_mode(const struct packet_case *c)
{
	return c->mode ? c->mode : LB_MODE_IPIP;
}

static uint32_t step_hash(const struct check *k, const struct step *s)
{
	const struct layer *l = s->like[0].kind != LAYER_END ? s->like : s->in;

	return expect_hash(&k->r->t.control->hash, l,
			   k->c->affinity ? k->c->affinity : LB_AFFINITY_FLOW);
}

/* The node the step's frame must reach, or NOBODY. */
static enum host expected_node(const struct check *k, const struct step *s)
{
	if (s->to != BY_HASH)
		return s->to;
	return spread_nodes[(uint64_t)step_hash(k, s) * SPREAD_N >> 32];
}

static enum want expected_verdict(const struct step *s, enum host to)
{
	if (to)
		return node_is_far(to) ? REDIRECT : TX;
	return s->resets ? TX : s->want;
}

static enum lb_reason expected_reason(const struct step *s)
{
	if (s->to)
		return LB_R_OK;
	return s->resets && !s->reason ? LB_R_RESET_SENT : s->reason;
}

static void expected_frame(const struct check *k, const struct step *s, enum host to,
			   const struct frame *in, struct frame *ret)
{
	if (s->out[0].kind != LAYER_END)
		frame_build(s->out, to ? step_hash(k, s) : 0, ret);
	else if (to)
		expect_forwarded(s->in, case_mode(k->c), to, step_hash(k, s), ret);
	else if (s->resets)
		expect_reset(s->in, ret);
	else
		*ret = *in;
}

static void check_verdict(struct check *k, enum want want, enum lb_reason reason,
			  const struct outcome *o)
{
	if (o->verdict != want)
		differ(k, "verdict %s, expected %s", want_names[o->verdict], want_names[want]);
	if (o->reason >= 0 && o->reason != (int)reason)
		differ(k, "reason %s, expected %s", counter_name(o->reason), counter_name(reason));
}

static void check_decap(struct check *k, const struct step *s, enum host to,
			const struct frame *forwarded)
{
	struct frame want;
	struct outcome o;
	int r;

	if (!k->r->run_decap || !to)
		return;
	r = k->r->run_decap(k->r, forwarded, &o);
	if (r < 0) {
		differ(k, "the decap program did not run: %s", strerror(-r));
		return;
	}
	check_verdict(k, PASS, LB_R_OK, &o);
	expect_decapped(s->in, to, &want);
	check_frame(k, &want, &o.frame, "frame after decap");
}

static void step_frame(struct check *k, const struct step *s)
{
	enum host to = expected_node(k, s);
	enum lb_reason reason = expected_reason(s);
	enum want verdict = expected_verdict(s, to);
	struct frame in, want;
	struct counts counts;
	struct outcome o;
	int r;

	frame_build(s->in, 0, &in);
	k->len = in.len;
	read_counts(k->r, &counts);
	r = k->c->decap_only ? k->r->run_decap(k->r, &in, &o)
			     : k->r->run(k->r, &in, s->headroom, &o);
	if (r < 0) {
		differ(k, "did not run: %s", strerror(-r));
		return;
	}
	check_verdict(k, verdict, reason, &o);
	if (o.verdict == REDIRECT && o.ifindex && o.ifindex != IF_FAR)
		differ(k, "redirected to device %d, expected %d", o.ifindex, IF_FAR);
	if (verdict != DROP && !s->any_port) {
		expected_frame(k, s, to, &in, &want);
		check_frame(k, &want, &o.frame, "frame");
	}
	if (k->c->decap)
		check_decap(k, s, to, &o.frame);
	if (k->c->decap_only)
		return;
	expect_counts(k->c, s, to, reason, &counts);
	check_counts(k, &counts);
}

static const struct cut *cut_of(const struct step *s, uint32_t len)
{
	for (int i = 0; i < CUTS_MAX && s->cuts[i].want; i++)
		if (len >= s->cuts[i].from && len <= s->cuts[i].to)
			return &s->cuts[i];
	return NULL;
}

static void sweep_layers(struct layer *layers, enum sweep sweep, uint32_t value)
{
	for (struct layer *l = layers; l->kind != LAYER_END; l++) {
		if (sweep == SWEEP_PORTS && l->kind == LAYER_TCP)
			l->sport = value;
		if (sweep == SWEEP_SUMS && l->kind == LAYER_TCP)
			l->seq = value;
		if (sweep == SWEEP_SUMS && l->kind == LAYER_IP4 && l->id != AUTO)
			l->id = value;
		if (sweep == SWEEP_NEAR && (l->kind == LAYER_IP4 || l->kind == LAYER_IP6))
			l->near = value;
	}
}

static void step_sweep(struct check *k, const struct step *s)
{
	struct step one = *s;

	uint32_t first = s->sweep == SWEEP_NEAR;

	for (uint32_t value = first; value <= 0xffff && !k->failed; value++) {
		sweep_layers(one.in, s->sweep, value);
		sweep_layers(one.out, s->sweep, value);
		step_frame(k, &one);
		if (k->failed)
			printf("     value %u of the sweep\n", value);
	}
}

static void step_cut(struct check *k, const struct step *s, const struct frame *whole,
		     uint32_t len)
{
	const struct cut *cut = cut_of(s, len);
	struct frame in = *whole;
	struct counts counts;
	struct outcome o;
	int r;

	k->len = in.len = len;
	if (!cut) {
		differ(k, "the case does not say what is expected of this length");
		return;
	}
	read_counts(k->r, &counts);
	r = k->r->run(k->r, &in, 0, &o);
	if (r < 0) {
		differ(k, "did not run: %s", strerror(-r));
		return;
	}
	check_verdict(k, cut->want, cut->reason, &o);
	if (cut->want == PASS)
		check_frame(k, &in, &o.frame, "frame");
	counts.counters[cut->reason]++;
	check_counts(k, &counts);
}

static void step_cuts(struct check *k, const struct step *s)
{
	struct frame whole;

	frame_build(s->in, 0, &whole);
	for (uint32_t len = k->r->frame_min; len < whole.len; len++)
		step_cut(k, s, &whole, len);
}

static void step_entry(struct check *k, const struct step *s)
{
	struct lb_flow_key key = world_key(s->who, s->family, s->sport);
	struct lb_flow flow;
	int r = k->r->flow_get(k->r, s->table, &key, &flow);

	if (s->none) {
		if (r != -ENOENT)
			differ(k, "an entry exists that must not");
		return;
	}
	if (r < 0) {
		differ(k, "no entry: %s", strerror(-r));
		return;
	}
	if (flow.backend != (s->node ? (int)s->node : LB_BACKEND_LOCAL))
		differ(k, "the entry names backend %u, expected %u", flow.backend, s->node);
	if (s->entry_flags != AUTO && flow.flags != s->entry_flags)
		differ(k, "the entry's flags are %#x, expected %#x", flow.flags, s->entry_flags);
	if (flow.slot != SLOT_BASE && !k->c->n_slots)
		differ(k, "the entry names slot %u, expected %u", flow.slot, SLOT_BASE);
}

static void expect_value(struct check *k, const char *what, uint32_t got, uint32_t want)
{
	if (got != want)
		differ(k, "%s is %u, expected %u", what, got, want);
}

static void step_node(struct check *k, const struct step *s)
{
	struct lb_backend *b = &k->r->t.backends[s->node];

	b->flags = s->flags;
	b->generation = s->value;
}

static void step_load(struct check *k, const struct step *s)
{
	struct lb_load *load = &k->r->t.loads[s->node];

	load->base = s->value;
	load->weight = s->value2;
	load->flags = s->flags;
	load->inc = s->value3;
}

static void step_control(struct check *k, const struct step *s)
{
	k->r->t.control->epoch = s->value;
	k->r->t.control->new_entries_per_s = s->value2;
	k->r->t.control->replies_per_s = s->value3;
}

static uint32_t list_into(uint16_t *to, const enum host *list)
{
	uint32_t n = 0;

	for (; n < LIST_MAX && list[n]; n++)
		to[n] = list[n];
	return n;
}

/* The agent fills the idle bank, then turns to it. */
static void step_pool(struct check *k, const struct step *s)
{
	struct tables *t = &k->r->t;
	uint32_t bank = s->value ? LB_BANK_BIT : 0;

	if (s->kind == STEP_MEMBERS)
		t->pools[POOL].n_members =
			list_into(t->members[2 * POOL + s->value].backend, s->list) | bank;
	else
		t->pools[POOL].n_turns =
			list_into(t->turns[2 * POOL + s->value].backend, s->list) | bank;
}

static void do_step(struct check *k, const struct step *s)
{
	struct tables *t = &k->r->t;

	k->len = 0;
	switch (s->kind) {
	case STEP_FRAME:
		return step_frame(k, s);
	case STEP_SWEEP:
		return step_sweep(k, s);
	case STEP_CUTS:
		return step_cuts(k, s);
	case STEP_SLOT:
		return world_set_slots(k->r, k->c, s->slot);
	case STEP_NODE:
		return step_node(k, s);
	case STEP_LOAD:
		return step_load(k, s);
	case STEP_CONTROL:
		return step_control(k, s);
	case STEP_VIP:
		return world_set_vip_flags(k->r, s->flags);
	case STEP_MEMBERS:
	case STEP_TURNS:
		return step_pool(k, s);
	case STEP_COUNTED:
		t->loads[s->node].flows = s->value;
		return;
	case STEP_TIME:
		t->control->heartbeat_ns += (uint64_t)s->value * LB_TICKS_PER_S << LB_TICK_SHIFT;
		return k->r->pass(k->r, s->value * LB_TICKS_PER_S);
	case STEP_HEARD:
		t->control->heartbeat_ns =
			(uint64_t)(k->r->ticks(k->r) - LB_TICKS_FROM_MS(s->value)) << LB_TICK_SHIFT;
		return;
	case STEP_MTU:
		return expect_value(k, "error", k->r->set_mtu(k->r, s->value), 0);
	case STEP_FILL:
		return world_fill(k->r, s->table);
	case STEP_ENTRY:
		return step_entry(k, s);
	case STEP_EXC:
		return expect_value(k, "exc", t->slots[SLOT_BASE].exc, s->value);
	case STEP_FLOWS:
		return expect_value(k, "live flows", t->loads[s->node].flows, s->value);
	case STEP_INC:
		return expect_value(k, "inc", t->loads[s->node].inc, s->value);
	case STEP_END:
		break;
	}
	assert(!"a step without a kind");
}

enum verdict_of_case check_case(struct runner *r, const struct packet_case *c)
{
	struct check k = {.r = r, .c = c};

	if (c->native_only && r != &runner_native)
		return CASE_SKIPPED;
	if (c->room_at_once && r->room_later)
		return CASE_SKIPPED;
	if (c->decap_only && !r->run_decap)
		return CASE_SKIPPED;
	world_build(r, c);
	if (c->clock)
		r->settle(r);
	for (const struct step *s = c->steps; s->kind != STEP_END; s++, k.step++)
		do_step(&k, s);
	return k.failed ? CASE_FAILED : CASE_PASSED;
}
