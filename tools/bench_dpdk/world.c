// SPDX-License-Identifier: BSD-2-Clause
#include "tools/bench_dpdk/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bpf/core/hash.h"
#include "bpf/core/vip.h"
#include "userspace/lib/flow_table.h"

#define VIP_ID	1
#define VIP	0x0a4d0064u /* 10.77.0.100; those of other kinds follow, as their ids do */
#define PORT	443
#define CLIENTS 0x0b000000u /* 11.0.0.0/8 */

static void put_ip4(__be32 *dst, uint32_t addr)
{
	dst[0] = dst[1] = 0;
	dst[2] = htonl(0xffff);
	dst[3] = htonl(addr);
}

/* 2001:db8::addr */
static void put_ip6(__be32 *dst, uint32_t addr)
{
	dst[0] = htonl(0x20010db8);
	dst[1] = dst[2] = 0;
	dst[3] = htonl(addr);
}

static void put_ip(__be32 *dst, uint32_t addr, int family)
{
	(family == 4 ? put_ip4 : put_ip6)(dst, addr);
}

static void put_node(struct tables *t, uint32_t id, int family)
{
	struct lb_backend *b = &t->backends[id];

	put_ip(b->addr, 0x0a4d0100u + id, family);
	put_ip(b->src, 0x0a4d0101u, family);
	memcpy(b->dmac, (uint8_t[6]){2, 0, 0, 0, 1, id}, 6);
	memcpy(b->smac, (uint8_t[6]){2, 0, 0, 0, 0, 1}, 6);
	b->mtu = 1500;
	b->ifindex = BENCH_IFINDEX;
	b->family = family;
	b->gue_port = htons(6080);
	b->flags = LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP;
	t->loads[id].weight = 1000;
}

static const struct {
	uint8_t mode, family;
} kinds[WORLD_KINDS] = {
	[WORLD_IPIP] = {LB_MODE_IPIP, 4},
	[WORLD_L2DSR] = {LB_MODE_L2DSR, 4},
	[WORLD_GUE] = {LB_MODE_GUE, 4},
	[WORLD_IPIP6] = {LB_MODE_IPIP, 6},
};

static void put_vip(struct tables *t, enum world_kind kind)
{
	const uint8_t family = kinds[kind].family;
	struct lb_vip_cell cell = {.port = htons(PORT), .proto = IPPROTO_TCP,
				   .kind = LB_VIP_KIND_SERVICE, .vip = VIP_ID + kind};
	struct lb_vip *vip = &t->vips[VIP_ID + kind];

	put_ip(cell.addr, VIP + kind, family);
	t->vip_index[lb_vip_bucket_a(cell.addr, cell.port, cell.proto)] = cell;
	*vip = (struct lb_vip){
		.slot_base = family == 4 ? 0 : LB_SLOTS_MAX,
		.n_slots = LB_SLOTS_MAX, .flags = LB_VIP_F_ACTIVE, .mode = kinds[kind].mode,
		.policy = LB_POLICY_P2C, .affinity = LB_AFFINITY_FLOW,
		.on_down = LB_ON_DOWN_RESET, .port = htons(PORT), .proto = IPPROTO_TCP,
		.family = family};
	put_ip(vip->addr, VIP + kind, family);
}

/* The pool of nodes [first, first + BENCH_NODES). */
static void put_slots(struct lb_slot *slots, uint32_t first)
{
	for (uint32_t i = 0; i < LB_SLOTS_MAX; i++)
		slots[i] = (struct lb_slot){.cur = first + i % BENCH_NODES,
					    .alt = first + (i + 1) % BENCH_NODES};
}

int world_new(struct tables *t, uint32_t n_cpus)
{
	int r = tables_alloc(2, n_cpus, t);

	if (r < 0)
		return r;
	lb_hash_expand((const __u64[2]){0x0123456789abcdefULL, 0xfedcba9876543210ULL},
		       &t->control->hash);
	t->control->new_entries_per_s = 100000;
	t->control->replies_per_s = 1000;
	for (uint32_t i = 0; i < BENCH_NODES; i++) {
		put_node(t, 1 + i, 4);
		put_node(t, 1 + BENCH_NODES + i, 6);
	}
	for (enum world_kind kind = 0; kind < WORLD_KINDS; kind++)
		put_vip(t, kind);
	put_slots(t->slots, 1);
	put_slots(t->slots + LB_SLOTS_MAX, 1 + BENCH_NODES);
	return 0;
}

static struct lb_flow_key key_of(uint32_t n)
{
	struct lb_flow_key key = {.sport = htons(1024 + n % 60000), .vip = VIP_ID};

	put_ip4(key.saddr, CLIENTS + n);
	return key;
}

static uint32_t slot_of(const struct tables *t, uint32_t n)
{
	struct lb_flow_key key = key_of(n);
	uint32_t ports = (uint32_t)htons(PORT) << 16 | key.sport;

	return lb_hash_to_slot(lb_hash_ip4(&t->control->hash, key.saddr[3], htonl(VIP), ports),
			       LB_SLOTS_MAX);
}

int world_add_entries(struct tables *t)
{
	struct flow_table flows;
	uint32_t n_buckets = flow_table_buckets(BENCH_FLOWS);
	void *p = mmap(NULL, (size_t)n_buckets * sizeof(struct lb_flow_bucket),
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	t->dpdk_flows = p;
	t->buckets.flows = n_buckets;
	tables_view(t, TABLES_FLOWS, &flows);
	for (uint32_t n = 0; n < BENCH_FLOWS; n++) {
		struct lb_flow_key key = key_of(n);
		struct lb_flow flow = {.backend = 1 + n % BENCH_NODES, .slot = slot_of(t, n)};
		int r = flow_table_put(&flows, &key, &flow, FLOW_TABLE_NOEXIST, 0);

		if (r < 0)
			return r;
		t->slots[flow.slot].exc = 1;
	}
	return 0;
}

void world_forget_entries(struct tables *t)
{
	for (uint32_t i = 0; i < LB_SLOTS_MAX; i++)
		t->slots[i].exc = 0;
}

void world_frame_set(enum world_kind kind, uint32_t n, uint8_t *frame)
{
	uint32_t addr = htonl(CLIENTS + n);
	uint16_t port = htons(1024 + n % 60000);

	if (kinds[kind].family == 4) {
		memcpy(frame + 26, &addr, 4);
		memcpy(frame + 34, &port, 2);
	} else {
		memcpy(frame + 34, &addr, 4); /* the last word of the source */
		memcpy(frame + 54, &port, 2);
	}
}

/* The core does not look at checksums of what it only wraps: they are left out. */
uint32_t world_frame(enum world_kind kind, uint32_t n, uint8_t ret_frame[WORLD_FRAME_MAX])
{
	static const uint8_t eth[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 9, 9};
	static const uint8_t ip4[] = {0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, IPPROTO_TCP};
	static const uint8_t ip6[] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, 30, IPPROTO_TCP, 64};
	static const uint8_t tcp[] = {0, 0, PORT >> 8, PORT & 0xff, 0, 0, 0, 1,
				      0, 0, 0, 1, 0x50, 0x10, 1, 0};
	const int is_ip4 = kinds[kind].family == 4;
	uint8_t *at = ret_frame + sizeof(eth);
	__be32 vip[4];

	memset(ret_frame, 0, WORLD_FRAME_MAX);
	memcpy(ret_frame, eth, sizeof(eth));
	memcpy(at, is_ip4 ? ip4 : ip6, is_ip4 ? sizeof(ip4) : sizeof(ip6));
	put_ip(vip, VIP + kind, kinds[kind].family);
	if (is_ip4)
		memcpy(at + 18, &vip[3], 4);
	else
		memcpy(at + 26, vip, 16);
	memcpy(ret_frame + (is_ip4 ? 34 : 54), tcp, sizeof(tcp));
	world_frame_set(kind, n, ret_frame);
	return is_ip4 ? WORLD_FRAME : WORLD_FRAME_MAX;
}
