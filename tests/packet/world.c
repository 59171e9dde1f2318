// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf/core/vip.h"
#include "tests/packet/world.h"

int node_family(enum host node)
{
	return node == NODE3 || node == NODE4 || node == NODE6 || node == NODE8 ? 6 : 4;
}

int gue_port_of(enum host node)
{
	return node == NODE2 || node == NODE4 ? 7081 : 6080;
}

int node_is_far(enum host node)
{
	return node == NODE5 || node == NODE6;
}

static void put_address(__be32 *dst, enum host host, int family)
{
	if (family == 6) {
		memcpy(dst, hosts[host].ip6, 16);
		return;
	}
	dst[0] = 0;
	dst[1] = 0;
	dst[2] = htonl(0xffff);
	memcpy(&dst[3], hosts[host].ip4, 4);
}

static void put_node(struct tables *t, const struct packet_case *c, enum host node)
{
	struct lb_backend *b = &t->backends[node];
	int far = node_is_far(node);

	b->family = node_family(node);
	put_address(b->addr, node, b->family);
	put_address(b->src, c->nat_from_vip ? VIP : LB, b->family);
	memcpy(b->dmac, hosts[node].mac, 6);
	memcpy(b->smac, hosts[far ? LB_FAR : LB].mac, 6);
	b->mtu = MTU;
	b->src_vary = node == NODE7 || node == NODE8 ? htonl(0xffff) : 0;
	b->ifindex = far ? IF_FAR : IF_NEAR;
	b->flags = LB_BACKEND_F_ALIVE | (node == NODE9 ? 0 : LB_BACKEND_F_NEXTHOP);
	b->port = htons(NODE_PORT);
	b->gue_port = htons(gue_port_of(node));
	b->vlan = htons(c->vlan);
	b->flags |= c->vlan ? LB_BACKEND_F_TAGGED : 0;
	t->loads[node].weight = 1000;
}

/* Cells of the index in use. */
static uint32_t cells[8], n_cells;

static void put_cell(struct tables *t, const struct lb_vip_cell *cell, int second)
{
	uint32_t a = lb_vip_bucket_a(cell->addr, cell->port, cell->proto);
	uint32_t b = lb_vip_bucket_b(cell->addr, cell->port, cell->proto);
	struct lb_vip_cell *at = &t->vip_index[second ? b : a];

	assert(!second || a != b);
	assert(at->kind == LB_VIP_KIND_EMPTY);
	assert(n_cells < sizeof(cells) / sizeof(cells[0]));
	cells[n_cells++] = at - t->vip_index;
	*at = *cell;
}

const enum host spread_nodes[SPREAD_N] = {NODE1, NODE2, NODE5, NODE7, NODE3};

static uint32_t slots_of(const struct packet_case *c)
{
	if (c->spread)
		return SPREAD_N;
	return c->n_slots ? c->n_slots : 1;
}

static void put_vip(struct tables *t, const struct packet_case *c, uint32_t id, int family)
{
	struct lb_vip_cell service = {
		.port = htons(PORT), .proto = 6, .kind = LB_VIP_KIND_SERVICE, .vip = id};
	struct lb_vip_cell address = {.kind = LB_VIP_KIND_ADDRESS, .vip = id};
	struct lb_vip *v = &t->vips[id];

	put_address(service.addr, VIP, family);
	put_address(address.addr, VIP, family);
	put_cell(t, &service, c->cell_b);
	put_cell(t, &address, c->cell_b);
	*v = (struct lb_vip){
		.slot_base = SLOT_BASE,
		.n_slots = slots_of(c),
		.flags = LB_VIP_F_ACTIVE | c->vip_flags |
			 (c->mode == LB_MODE_NAT ? LB_VIP_F_TRACK : 0),
		.pool = POOL,
		.mode = c->mode ? c->mode : LB_MODE_IPIP,
		.policy = c->policy ? c->policy : LB_POLICY_HASH,
		.affinity = c->affinity ? c->affinity : LB_AFFINITY_FLOW,
		.on_down = c->on_down ? c->on_down : LB_ON_DOWN_RESET,
		.port = htons(PORT),
		.proto = 6,
		.family = family,
	};
	put_address(v->addr, VIP, family);
}

/* The balancer's own address, or the VIP's, as one that mode nat sends from. */
static void put_nat(struct tables *t, const struct packet_case *c)
{
	if (!c->nat_low)
		return;
	for (int family = 4; family <= 6; family += 2) {
		struct lb_vip_cell cell = {.proto = 6, .kind = LB_VIP_KIND_NAT};

		put_address(cell.addr, c->nat_from_vip ? VIP : LB, family);
		put_cell(t, &cell, 0);
	}
	t->control->nat_port_low = c->nat_low;
	t->control->nat_port_high = c->nat_high;
}

/* What a case before may have touched; a runner's tables begin as zeros. */
static void clear(struct runner *r)
{
	struct tables *t = &r->t;

	for (uint32_t i = 0; i < n_cells; i++)
		memset(&t->vip_index[cells[i]], 0, sizeof(*t->vip_index));
	n_cells = 0;
	memset(t->control, 0, sizeof(*t->control));
	memset(t->vips, 0, WATCHED_IDS * sizeof(*t->vips));
	memset(t->pools, 0, (POOL + 1) * sizeof(*t->pools));
	memset(t->slots, 0, TEST_SLOTS * sizeof(*t->slots));
	memset(t->backends, 0, WATCHED_IDS * sizeof(*t->backends));
	memset(t->loads, 0, WATCHED_IDS * sizeof(*t->loads));
	memset(t->limit, 0, sizeof(*t->limit));
	memset(t->vip_counts, 0, WATCHED_IDS * sizeof(*t->vip_counts));
	memset(t->backend_counts, 0, WATCHED_IDS * sizeof(*t->backend_counts));
	memset(t->counters, 0, LB_REASONS_MAX * sizeof(*t->counters));
	memset(t->recent, 0, (t->n_recent ? t->n_recent : LB_RECENT_CELLS) * sizeof(*t->recent));
	r->flows_clear(r);
	if (r->set_mtu(r, MTU) < 0)
		abort();
}

/* Any odd constants; tests/packet/expect.c computes the hash from them in its own way. */
static void put_control(struct lb_control *control)
{
	for (uint32_t i = 0; i < 10; i++)
		control->hash.nh[i] = 0x9e3779b9u * (i + 3) ^ 0x5bd1e995u;
	control->hash.finish = 0xd6e8feb86659fd93ULL;
	control->epoch = EPOCH;
	control->new_entries_per_s = 100000;
	control->replies_per_s = 100000;
	control->n_cpus = 1;
	control->abi = LB_ABI_VERSION;
}

void world_set_slots(struct runner *r, const struct packet_case *c, struct lb_slot slot)
{
	for (uint32_t i = 0; i < slots_of(c); i++) {
		if (c->spread)
			slot.cur = spread_nodes[i];
		r->t.slots[SLOT_BASE + i] = slot;
	}
}

void world_set_vip_flags(struct runner *r, uint32_t flags)
{
	r->t.vips[VIP_ID4].flags = flags;
	r->t.vips[VIP_ID6].flags = flags;
}

void world_build(struct runner *r, const struct packet_case *c)
{
	struct lb_slot slot = c->slot, none = {0};

	if (!memcmp(&slot, &none, sizeof(slot)))
		slot.cur = NODE1;
	clear(r);
	put_control(r->t.control);
	for (enum host node = NODE1; node < NODES_N; node++)
		put_node(&r->t, c, node);
	put_vip(&r->t, c, VIP_ID4, 4);
	put_vip(&r->t, c, VIP_ID6, 6);
	put_nat(&r->t, c);
	world_set_slots(r, c, slot);
}

void world_refill(struct runner *r)
{
	r->t.limit->entries_tick = ~0u;
	r->t.limit->learn_tick = ~0u;
	r->t.limit->replies_tick = ~0u;
}

void world_settle(struct runner *r)
{
	const uint64_t period = 1ull << 27;
	struct timespec now, wait = {0};
	uint64_t into;

	(void)r;
	clock_gettime(CLOCK_MONOTONIC, &now);
	into = ((uint64_t)now.tv_sec * 1000000000 + now.tv_nsec) % period;
	if (into < period / 2 && into > period / 16)
		return;
	wait.tv_nsec = (period - into + period / 16) % period;
	nanosleep(&wait, NULL);
}

struct lb_flow_key world_key(enum host who, int family, int sport)
{
	struct lb_flow_key key = {.sport = htons(sport), .vip = family == 4 ? VIP_ID4 : VIP_ID6};

	put_address(key.saddr, who, family);
	return key;
}

void world_fill(struct runner *r, enum entry_table table)
{
	struct lb_flow flow = {.backend = NODE9};

	for (int i = 0; i < 4 * FLOWS_ROOM; i++) {
		struct lb_flow_key key = world_key(STRANGER, 4, 20000 + i);

		if (r->flow_put(r, table, &key, &flow) < 0)
			return;
	}
	assert(!"the table took more than it has room for");
}
