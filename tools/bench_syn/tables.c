// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "balancer.skel.h"
#include "bpf/core/vip.h"
#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/stats.h"
#include "maps/table.h"
#include "tools/bench_syn/syn.h"
#include "tools/lib/bench_maps.h"
#include "userspace/agent/maglev.h"
#include "userspace/agent/turns.h"
#include "userspace/lib/cleanup.h"

#define VIP       0
#define POOL      0
#define EPOCH     1
#define LOOPBACK  1
#define PORT      443
#define HALF_OPEN (2 * SYN_FRAMES)

struct syn_balancer {
	struct balancer_bpf *skel;
	uint32_t cpus;
	struct lb_control *control;
	struct lb_vip_cell *index;
	struct lb_vip *vips;
	struct lb_pool *pools;
	struct lb_slot *slots;
	struct lb_turns *turns;
	struct lb_members *members;
	struct lb_backend *backends;
	struct lb_load *loads;
	struct lb_recent *recent;
};

static const uint8_t vip_address[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 100};

void syn_frame(const void *unused, uint32_t i, uint8_t ret_frame[BENCH_FRAME_LEN])
{
	(void)unused;
	bench_client_frame(i, 4, vip_address, PORT, BENCH_TCP_SYN, ret_frame);
}

/* Weights 1, 2, 3, 4 in turn. */
static uint32_t weight_of(uint32_t id)
{
	return 1000 * (1 + id % 4);
}

static void put_node(struct lb_backend *b, uint32_t id)
{
	memcpy(b->addr, (uint8_t[16]){[10] = 0xff, [11] = 0xff, 198, 18, id >> 8, id}, 16);
	memcpy(b->src, (uint8_t[16]){[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}, 16);
	b->dmac[0] = b->smac[0] = 2;
	b->dmac[4] = id >> 8;
	b->dmac[5] = id;
	b->smac[5] = 0xfe;
	b->mtu = 1500;
	b->ifindex = LOOPBACK;
	b->family = 4;
	b->flags = LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP;
}

static void put_vip(struct syn_balancer *b)
{
	struct lb_vip_cell cell = {
		.port = htons(PORT), .proto = 6, .kind = LB_VIP_KIND_SERVICE, .vip = VIP};

	memcpy(cell.addr, vip_address, 16);
	b->index[lb_vip_bucket_a(cell.addr, cell.port, cell.proto)] = cell;
	b->vips[VIP] = (struct lb_vip){
		.slot_base = POOL * LB_SLOTS_MAX,
		.n_slots = LB_SLOTS_MAX,
		.pool = POOL,
		.mode = LB_MODE_IPIP,
		.affinity = LB_AFFINITY_FLOW,
		.on_down = LB_ON_DOWN_RESET,
		.port = htons(PORT),
		.proto = 6,
		.family = 4,
	};
	memcpy(b->vips[VIP].addr, vip_address, 16);
}

static int map_tables(struct syn_balancer *b)
{
	b->control = bench_maps_memory(b->skel->maps.data_control);
	b->index = bench_maps_memory(b->skel->maps.vip_index);
	b->vips = bench_maps_memory(b->skel->maps.vips);
	b->pools = bench_maps_memory(b->skel->maps.pools);
	b->slots = bench_maps_memory(b->skel->maps.slots);
	b->turns = bench_maps_memory(b->skel->maps.turns);
	b->members = bench_maps_memory(b->skel->maps.members);
	b->backends = bench_maps_memory(b->skel->maps.backends);
	b->loads = bench_maps_memory(b->skel->maps.loads);
	b->recent = bench_maps_memory(b->skel->maps.recent);
	return b->control && b->index && b->vips && b->pools && b->slots && b->turns &&
			       b->members && b->backends && b->loads && b->recent
		       ? 0
		       : -ENOMEM;
}

static void put_tables(struct syn_balancer *b)
{
	bench_maps_control(b->control, EPOCH, b->cpus);
	for (uint32_t id = 1; id <= SYN_MEMBERS_MAX; id++)
		put_node(&b->backends[id], id);
	put_vip(b);
}

static int size_maps(struct syn_balancer *b)
{
	int r = bench_maps_size(b->skel, b->cpus);

	return r ?: bpf_map__set_max_entries(b->skel->maps.half_open, HALF_OPEN);
}

int syn_balancer_open(struct syn_balancer **ret_balancer)
{
	struct syn_balancer *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->cpus = libbpf_num_possible_cpus();
	b->skel = balancer_bpf__open();
	r = b->skel ? size_maps(b) : -errno;
	r = r ?: balancer_bpf__load(b->skel);
	r = r ?: map_tables(b);
	if (r < 0) {
		syn_balancer_close(b);
		return r;
	}
	put_tables(b);
	*ret_balancer = b;
	return 0;
}

void syn_balancer_close(struct syn_balancer *b)
{
	if (!b)
		return;
	balancer_bpf__destroy(b->skel);
	free(b);
}

int syn_balancer_fd(const struct syn_balancer *b)
{
	return bpf_program__fd(b->skel->progs.sluice_balancer);
}

static int put_slots(struct syn_balancer *b, enum lb_policy policy, uint32_t n_members)
{
	struct maglev_member members[SYN_MEMBERS_MAX];
	_cleanup_free_ uint16_t *cur = calloc(LB_SLOTS_MAX, sizeof(*cur));
	_cleanup_free_ uint16_t *alt = calloc(LB_SLOTS_MAX, sizeof(*alt));
	int r;

	if (!cur || !alt)
		return -ENOMEM;
	for (uint32_t id = 1; id <= n_members; id++)
		members[id - 1] = (struct maglev_member){maglev_identity(b->backends[id].addr, 16),
							 weight_of(id), id};
	r = maglev_build(members, n_members, LB_SLOTS_MAX, cur, alt);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < LB_SLOTS_MAX; i++)
		b->slots[i] = (struct lb_slot){
			.cur = cur[i], .alt = alt[i], .exc = policy == LB_POLICY_HASH ? 0 : EPOCH};
	return 0;
}

static int put_lists(struct syn_balancer *b, enum lb_policy policy, uint32_t n_members)
{
	enum turns_kind kind = TURNS_WEIGHTED;
	struct turns_member members[SYN_MEMBERS_MAX];
	int n;

	if (policy == LB_POLICY_ROUND_ROBIN)
		kind = TURNS_PLAIN;
	for (uint32_t i = 0; i < n_members; i++) {
		members[i] = (struct turns_member){i + 1, weight_of(i + 1)};
		b->members[2 * POOL].backend[i] = i + 1;
	}
	n = turns_build(members, n_members, kind, b->turns[2 * POOL].backend);
	if (n < 0)
		return n;
	b->pools[POOL] = (struct lb_pool){.n_turns = n, .n_members = n_members};
	return 0;
}

int syn_balancer_prepare(struct syn_balancer *b, enum lb_policy policy, uint32_t n_members)
{
	int track = policy != LB_POLICY_HASH && policy != LB_POLICY_P2C;
	struct lb_vip *vip = &b->vips[VIP];
	int r;

	r = put_slots(b, policy, n_members);
	r = r ?: put_lists(b, policy, n_members);
	if (r < 0)
		return r;
	for (uint32_t id = 1; id <= n_members; id++)
		b->loads[id].flows = 0;
	syn_balancer_scrape(b, n_members);
	vip->policy = policy;
	vip->flags = LB_VIP_F_ACTIVE | (track ? LB_VIP_F_TRACK : 0);
	return 0;
}

/* 0 … 255 requests at a node, in no order. */
void syn_balancer_scrape(struct syn_balancer *b, uint32_t n_members)
{
	for (uint32_t id = 1; id <= n_members; id++) {
		b->loads[id].weight = weight_of(id);
		b->loads[id].base = id * 2654435761u >> 24;
		b->loads[id].inc = 0;
	}
}

static uint64_t counter(const struct syn_balancer *b, uint32_t n)
{
	uint64_t value, sum = 0;

	for (uint32_t cpu = 0; cpu < b->cpus; cpu++) {
		uint32_t index = cpu * LB_REASONS_MAX + n;

		if (!bpf_map__lookup_elem(b->skel->maps.reasons, &index, sizeof(index), &value,
					  sizeof(value), 0))
			sum += value;
	}
	return sum;
}

/* Flows of ids first … last in a map with a region of `ids` a CPU. */
static uint64_t flows_of(const struct syn_balancer *b, const struct bpf_map *map, uint32_t ids,
			 uint32_t first, uint32_t last)
{
	struct lb_count count;
	uint64_t sum = 0;

	for (uint32_t cpu = 0; cpu < b->cpus; cpu++)
		for (uint32_t id = first; id <= last; id++) {
			uint32_t index = cpu * ids + id;

			if (!bpf_map__lookup_elem(map, &index, sizeof(index), &count, sizeof(count),
						  0))
				sum += count.flows;
		}
	return sum;
}

void syn_balancer_counts(const struct syn_balancer *b, uint32_t n_members,
			 struct syn_counts *ret_counts)
{
	*ret_counts = (struct syn_counts){
		.sent = flows_of(b, b->skel->maps.backend_stats, LB_BACKENDS_MAX, 1, n_members),
		.flows = flows_of(b, b->skel->maps.vip_stats, LB_VIPS_MAX, VIP, VIP),
		.entries = counter(b, LB_EV_FLOW_ADDED),
		.overflow = counter(b, LB_EV_OVERFLOW_HALF_OPEN) + counter(b, LB_EV_OVERFLOW_RATE),
	};
}

int syn_balancer_clear(struct syn_balancer *b, uint32_t *ret_removed)
{
	enum { BATCH = 8192 };
	_cleanup_free_ struct lb_flow_key *keys = calloc(BATCH, sizeof(*keys));
	_cleanup_free_ struct lb_flow *flows = calloc(BATCH, sizeof(*flows));
	int fd = bpf_map__fd(b->skel->maps.half_open), r = 0;
	uint32_t position, n, removed = 0;
	void *from = NULL;

	memset(b->recent, 0, LB_RECENT_CELLS * sizeof(*b->recent));
	if (!keys || !flows)
		return -ENOMEM;
	for (uint32_t i = 0; !r && i <= HALF_OPEN; i++) {
		n = BATCH;
		r = bpf_map_lookup_and_delete_batch(fd, from, &position, keys, flows, &n, NULL);
		if (!r || r == -ENOENT)
			removed += n;
		from = &position;
	}
	if (r != -ENOENT) /* the end of the table */
		return r ?: -ELOOP;
	*ret_removed = removed;
	return 0;
}
