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
#define VIP	0x0a4d0064u /* 10.77.0.100 */
#define PORT	443
#define CLIENTS 0x0b000000u /* 11.0.0.0/8 */

static void put_ip4(__be32 *dst, uint32_t addr)
{
	dst[0] = dst[1] = 0;
	dst[2] = htonl(0xffff);
	dst[3] = htonl(addr);
}

static void put_node(struct tables *t, uint32_t id)
{
	struct lb_backend *b = &t->backends[id];

	put_ip4(b->addr, 0x0a4d0100u + id);
	put_ip4(b->src, 0x0a4d0101u);
	memcpy(b->dmac, (uint8_t[6]){2, 0, 0, 0, 1, id}, 6);
	memcpy(b->smac, (uint8_t[6]){2, 0, 0, 0, 0, 1}, 6);
	b->mtu = 1500;
	b->ifindex = BENCH_IFINDEX;
	b->family = 4;
	b->flags = LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP;
	t->loads[id].weight = 1000;
}

static void put_vip(struct tables *t)
{
	struct lb_vip_cell cell = {.port = htons(PORT), .proto = IPPROTO_TCP,
				   .kind = LB_VIP_KIND_SERVICE, .vip = VIP_ID};

	put_ip4(cell.addr, VIP);
	t->vip_index[lb_vip_bucket_a(cell.addr, cell.port, cell.proto)] = cell;
	t->vips[VIP_ID] = (struct lb_vip){
		.n_slots = LB_SLOTS_MAX, .flags = LB_VIP_F_ACTIVE, .mode = LB_MODE_IPIP,
		.policy = LB_POLICY_P2C, .affinity = LB_AFFINITY_FLOW,
		.on_down = LB_ON_DOWN_RESET, .port = htons(PORT), .proto = IPPROTO_TCP,
		.family = 4};
	put_ip4(t->vips[VIP_ID].addr, VIP);
}

int world_new(struct tables *t, uint32_t n_cpus)
{
	int r = tables_alloc(1, n_cpus, t);

	if (r < 0)
		return r;
	lb_hash_expand((const __u64[2]){0x0123456789abcdefULL, 0xfedcba9876543210ULL},
		       &t->control->hash);
	t->control->new_entries_per_s = 100000;
	t->control->replies_per_s = 1000;
	for (uint32_t id = 1; id <= BENCH_NODES; id++)
		put_node(t, id);
	put_vip(t);
	for (uint32_t i = 0; i < LB_SLOTS_MAX; i++)
		t->slots[i] = (struct lb_slot){.cur = 1 + i % BENCH_NODES,
					       .alt = 1 + (i + 1) % BENCH_NODES};
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

void world_frame_set(uint32_t n, uint8_t *frame)
{
	uint32_t addr = htonl(CLIENTS + n);
	uint16_t port = htons(1024 + n % 60000);

	memcpy(frame + 26, &addr, 4);
	memcpy(frame + 34, &port, 2);
}

/* The core does not look at checksums of what it only wraps: they are left out. */
void world_frame(uint32_t n, uint8_t ret_frame[WORLD_FRAME])
{
	static const uint8_t start[WORLD_FRAME] = {
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 9, 9, 0x08, 0x00,		   /* Ethernet */
		0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 10, 77, 0, 100, /* IPv4 */
		0, 0, PORT >> 8, PORT & 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0};

	memcpy(ret_frame, start, WORLD_FRAME);
	world_frame_set(n, ret_frame);
}
