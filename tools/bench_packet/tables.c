// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer.skel.h"
#include "bpf/core/vip.h"
#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/stats.h"
#include "maps/table.h"
#include "maps/vip.h"
#include "tools/bench_packet/bench.h"
#include "tools/lib/bench_maps.h"

#define NODES      100  /* of each family; IPv4 are 1 … 100, IPv6 101 … 200 */
#define SIZED_BASE 1000 /* nodes 1001 … of the pools whose size is measured */
#define EPOCH      1
#define POOLS      (POOL_SIZED + BENCH_SIZES)
#define LOOPBACK   1
#define PORT       443
#define ENTRY_ROOM (2 * MANY_FLOWS)

enum pool {
	POOL_V4 = 0,
	POOL_V6 = 1,
	POOL_ENTRY = 2,
	POOL_SIZED = 3, /* the first of a pool for each of bench_sizes */
};

const uint32_t bench_sizes[BENCH_SIZES] = {8, 64, 512};

struct vip_kind {
	enum lb_mode mode;
	enum lb_policy policy;
	enum pool pool;
	int family;
};

static const struct vip_kind fixed[VIP_NEW] = {
	[VIP_IPIP4] = {LB_MODE_IPIP, LB_POLICY_HASH, POOL_V4, 4},
	[VIP_IPIP6] = {LB_MODE_IPIP, LB_POLICY_HASH, POOL_V6, 6},
	[VIP_L2DSR4] = {LB_MODE_L2DSR, LB_POLICY_HASH, POOL_V4, 4},
	[VIP_L2DSR6] = {LB_MODE_L2DSR, LB_POLICY_HASH, POOL_V6, 6},
	[VIP_GUE4] = {LB_MODE_GUE, LB_POLICY_HASH, POOL_V4, 4},
	[VIP_P2C] = {LB_MODE_IPIP, LB_POLICY_P2C, POOL_V4, 4},
	[VIP_ENTRY] = {LB_MODE_IPIP, LB_POLICY_HASH, POOL_ENTRY, 4},
};

struct bench_balancer {
	struct balancer_bpf *skel;
	struct lb_load *loads;
	struct lb_slot *slots;
	struct lb_recent *recent;
	uint32_t cpus;
};

int bench_vip_family(enum bench_vip vip)
{
	return vip >= VIP_NEW ? 4 : fixed[vip].family;
}

enum bench_vip bench_vip_new(uint32_t policy, uint32_t size)
{
	return VIP_NEW + (policy - LB_POLICY_HASH) * BENCH_SIZES + size;
}

static struct vip_kind kind_of(enum bench_vip vip)
{
	if (vip < VIP_NEW)
		return fixed[vip];
	return (struct vip_kind){LB_MODE_IPIP, LB_POLICY_HASH + (vip - VIP_NEW) / BENCH_SIZES,
				 POOL_SIZED + (vip - VIP_NEW) % BENCH_SIZES, 4};
}

/* 192.0.2.(100 + vip), 2001:db8:2::(100 + vip). */
static void vip_address(enum bench_vip vip, int family, uint8_t a[16])
{
	static const uint8_t six[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 2};

	memcpy(a, six, 16);
	a[15] = 100 + vip;
	if (family == 4)
		memcpy(a, (uint8_t[16]){[10] = 0xff, [11] = 0xff, 192, 0, 2, 100 + vip}, 16);
}

void bench_frame_of(enum bench_vip vip, enum bench_packet_kind kind, uint32_t i,
		    uint8_t frame[BENCH_FRAME_LEN])
{
	int family = bench_vip_family(vip);
	uint8_t dst[16];

	vip_address(vip, family, dst);
	bench_client_frame(i, family, dst, PORT, kind == PACKET_SYN ? BENCH_TCP_SYN : BENCH_TCP_ACK,
			   frame);
}

static void put_node(struct lb_backend *b, struct lb_load *load, uint32_t id)
{
	int family = id <= NODES || id > SIZED_BASE ? 4 : 6;

	bench_client_address(0xe00000 + id, family, (uint8_t *)b->addr);
	vip_address(VIP_NONE, family, (uint8_t *)b->src);
	b->dmac[0] = b->smac[0] = 2;
	b->dmac[5] = id;
	b->smac[5] = 0xfe;
	b->mtu = 1500;
	b->ifindex = LOOPBACK;
	b->family = family;
	b->flags = LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP;
	load->weight = 1000;
	/* Second choices are the even ones; where they must not be chosen they are busy. */
	load->base = id % 2 || id > SIZED_BASE ? 0 : 0x40000000;
}

static void put_vip(struct lb_vip_cell *index, struct lb_vip *vips, enum bench_vip id)
{
	const struct vip_kind kind = kind_of(id), *k = &kind;
	int track = k->policy > LB_POLICY_P2C ? LB_VIP_F_TRACK : 0;
	struct lb_vip_cell cell = {
		.port = htons(PORT), .proto = 6, .kind = LB_VIP_KIND_SERVICE, .vip = id};
	uint32_t at;

	vip_address(id, k->family, (uint8_t *)cell.addr);
	at = lb_vip_bucket_a(cell.addr, cell.port, cell.proto);
	if (index[at].kind != LB_VIP_KIND_EMPTY)
		at = lb_vip_bucket_b(cell.addr, cell.port, cell.proto);
	index[at] = cell;
	vips[id] = (struct lb_vip){
		.slot_base = k->pool * LB_SLOTS_MAX,
		.n_slots = LB_SLOTS_MAX,
		.flags = LB_VIP_F_ACTIVE | track,
		.pool = k->pool,
		.mode = k->mode,
		.policy = k->policy,
		.affinity = LB_AFFINITY_FLOW,
		.on_down = LB_ON_DOWN_RESET,
		.port = htons(PORT),
		.proto = 6,
		.family = k->family,
	};
	memcpy(vips[id].addr, cell.addr, 16);
}

/* Odd nodes are first choices, even ones second: neighbours in the table are unrelated. */
static struct lb_slot slot_of(enum pool pool, uint32_t i)
{
	uint32_t n = i * 2654435761u >> 8, base = pool == POOL_V6 ? NODES : 0, half = NODES / 2;
	struct lb_slot s;

	if (pool >= POOL_SIZED) {
		base = SIZED_BASE;
		half = bench_sizes[pool - POOL_SIZED] / 2;
	}
	s = (struct lb_slot){.cur = base + 1 + n % half * 2, .alt = base + 2 + n / 64 % half * 2};
	if (pool == POOL_ENTRY)
		s.exc = EPOCH;
	return s;
}

/* Members and turns of a pool whose size is measured. */
static int put_pool(struct bench_balancer *b, uint32_t pool, uint32_t n)
{
	struct lb_members *members = bench_maps_memory(b->skel->maps.members);
	struct lb_turns *turns = bench_maps_memory(b->skel->maps.turns);
	struct lb_pool *pools = bench_maps_memory(b->skel->maps.pools);

	if (!members || !turns || !pools)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		members[2 * pool].backend[i] = turns[2 * pool].backend[i] = SIZED_BASE + i + 1;
	pools[pool].n_members = n;
	pools[pool].n_turns = n;
	return 0;
}

static int put_tables(struct bench_balancer *b)
{
	struct lb_control *control = bench_maps_memory(b->skel->maps.data_control);
	struct lb_vip_cell *index = bench_maps_memory(b->skel->maps.vip_index);
	struct lb_vip *vips = bench_maps_memory(b->skel->maps.vips);
	struct lb_slot *slots = bench_maps_memory(b->skel->maps.slots);
	struct lb_backend *backends = bench_maps_memory(b->skel->maps.backends);
	struct lb_load *loads = bench_maps_memory(b->skel->maps.loads);
	struct lb_recent *recent = bench_maps_memory(b->skel->maps.recent);

	if (!control || !index || !vips || !slots || !backends || !loads || !recent)
		return -ENOMEM;
	b->loads = loads;
	b->slots = slots;
	b->recent = recent;
	bench_maps_control(control, EPOCH, b->cpus);
	for (uint32_t id = 1; id <= 2 * NODES; id++)
		put_node(&backends[id], &loads[id], id);
	for (uint32_t id = SIZED_BASE + 1; id <= SIZED_BASE + bench_sizes[BENCH_SIZES - 1]; id++)
		put_node(&backends[id], &loads[id], id);
	for (uint32_t i = 0; i < BENCH_SIZES; i++)
		if (put_pool(b, POOL_SIZED + i, bench_sizes[i]) < 0)
			return -ENOMEM;
	for (uint32_t id = 0; id < VIP_N; id++)
		put_vip(index, vips, id);
	for (uint32_t i = 0; i < POOLS * LB_SLOTS_MAX; i++)
		slots[i] = slot_of(i / LB_SLOTS_MAX, i % LB_SLOTS_MAX);
	return 0;
}

/* An entry for every flow of VIP_ENTRY, in batches. */
static int put_entries(struct bench_balancer *b)
{
	enum { BATCH = 4096 };
	struct lb_flow_key *keys = calloc(BATCH, sizeof(*keys));
	struct lb_flow *flows = calloc(BATCH, sizeof(*flows));
	int r = keys && flows ? 0 : -ENOMEM;

	for (uint32_t i = 0; !r && i < MANY_FLOWS; i += BATCH) {
		uint32_t n = BATCH;

		for (uint32_t j = 0; j < BATCH; j++) {
			bench_client_address(i + j, 4, (uint8_t *)keys[j].saddr);
			keys[j].sport = htons(bench_client_port(i + j));
			keys[j].vip = VIP_ENTRY;
			flows[j].backend = 1 + (i + j) % NODES;
		}
		r = bpf_map_update_batch(bpf_map__fd(b->skel->maps.flows), keys, flows, &n, NULL);
	}
	free(keys);
	free(flows);
	return r;
}

static int size_maps(struct bench_balancer *b)
{
	int r = bench_maps_size(b->skel, b->cpus);

	r = r ?: bpf_map__set_max_entries(b->skel->maps.slots, POOLS * LB_SLOTS_MAX);
	return r ?: bpf_map__set_max_entries(b->skel->maps.flows, ENTRY_ROOM);
}

int bench_balancer_open(struct bench_balancer **ret_balancer)
{
	struct bench_balancer *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->cpus = libbpf_num_possible_cpus();
	b->skel = balancer_bpf__open();
	r = b->skel ? size_maps(b) : -errno;
	r = r ?: balancer_bpf__load(b->skel);
	r = r ?: put_tables(b);
	r = r ?: put_entries(b);
	if (r < 0) {
		bench_balancer_close(b);
		return r;
	}
	*ret_balancer = b;
	return 0;
}

void bench_balancer_close(struct bench_balancer *b)
{
	if (!b)
		return;
	balancer_bpf__destroy(b->skel);
	free(b);
}

int bench_balancer_fd(const struct bench_balancer *b)
{
	return bpf_program__fd(b->skel->progs.sluice_balancer);
}

int bench_balancer_renew(struct bench_balancer *b, uint32_t policy)
{
	enum { BATCH = 1 << 18 }; /* all there can be: the map's buckets are walked once */
	struct lb_flow_key *keys = calloc(BATCH, sizeof(*keys));
	struct lb_flow *flows = calloc(BATCH, sizeof(*flows));
	int fd = bpf_map__fd(b->skel->maps.half_open), r = keys && flows ? 0 : -ENOMEM;
	uint32_t n = BATCH, at;

	if (!r)
		r = bpf_map_lookup_and_delete_batch(fd, NULL, &at, keys, flows, &n, NULL);
	if (r == -ENOENT)
		r = 0; /* fewer than asked for: they were all */
	free(keys);
	free(flows);
	for (uint32_t id = SIZED_BASE + 1; id <= SIZED_BASE + bench_sizes[BENCH_SIZES - 1]; id++)
		b->loads[id].inc = b->loads[id].flows = 0;
	for (uint32_t i = POOL_SIZED * LB_SLOTS_MAX; i < POOLS * LB_SLOTS_MAX; i++)
		b->slots[i].exc = policy == LB_POLICY_HASH ? 0 : EPOCH;
	memset(b->recent, 0, LB_RECENT_CELLS * sizeof(*b->recent));
	return r;
}

/* What the kernel accounts to a map. */
static uint64_t memory_used(int fd)
{
	unsigned long long bytes = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	if (file)
		fclose(file);
	return bytes;
}

static double per_entry(const struct bpf_map *map)
{
	return (double)memory_used(bpf_map__fd(map)) / bpf_map__max_entries(map);
}

static int load_nat_tables(struct balancer_bpf *skel)
{
	int r = bpf_map__set_max_entries(skel->maps.nat_flows, 1 << 16);

	r = r ?: bpf_map__set_map_flags(skel->maps.nat_flows, 0);
	r = r ?: bpf_map__set_max_entries(skel->maps.nat_replies, 1 << 16);
	r = r ?: bpf_map__set_map_flags(skel->maps.nat_replies, 0);
	return r ?: balancer_bpf__load(skel);
}

int bench_memory(struct bench_memory *ret_memory)
{
	struct balancer_bpf *skel = balancer_bpf__open();
	struct bench_memory m = {0};
	struct bpf_map *map;
	int r;

	if (!skel)
		return -errno;
	r = load_nat_tables(skel);
	if (!r) {
		bpf_object__for_each_map(map, skel->obj) if (map != skel->maps.nat_flows &&
							     map != skel->maps.nat_replies)
			m.defaults += memory_used(bpf_map__fd(map));
		m.flow = per_entry(skel->maps.flows);
		m.half_open = per_entry(skel->maps.half_open);
		m.nat = per_entry(skel->maps.nat_flows) + per_entry(skel->maps.nat_replies);
		*ret_memory = m;
	}
	balancer_bpf__destroy(skel);
	return r;
}

static struct lb_count counted(const struct bench_balancer *b, enum bench_vip vip)
{
	struct lb_count count, sum = {0};

	for (uint32_t cpu = 0; cpu < b->cpus; cpu++) {
		uint32_t index = cpu * LB_VIPS_MAX + vip;

		if (bpf_map__lookup_elem(b->skel->maps.vip_stats, &index, sizeof(index), &count,
					 sizeof(count), 0))
			continue;
		sum.packets += count.packets;
		sum.flows += count.flows;
		sum.entries += count.entries;
	}
	return sum;
}

uint64_t bench_balancer_packets(const struct bench_balancer *b, enum bench_vip vip)
{
	return counted(b, vip).packets;
}

static uint64_t events(const struct bench_balancer *b, uint32_t event)
{
	uint64_t value, sum = 0;

	for (uint32_t cpu = 0; cpu < b->cpus; cpu++) {
		uint32_t index = cpu * LB_REASONS_MAX + event;

		if (!bpf_map__lookup_elem(b->skel->maps.reasons, &index, sizeof(index), &value,
					  sizeof(value), 0))
			sum += value;
	}
	return sum;
}

void bench_balancer_counts(const struct bench_balancer *b, enum bench_vip vip,
			   struct bench_counts *ret_counts)
{
	struct lb_count count = counted(b, vip);

	*ret_counts = (struct bench_counts){
		.flows = count.flows,
		.entries = count.entries,
		.refused = events(b, LB_EV_OVERFLOW_HALF_OPEN) + events(b, LB_EV_OVERFLOW_RATE),
	};
}
