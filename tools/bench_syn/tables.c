// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "balancer.skel.h"
#include "bpf/core/hash.h"
#include "bpf/core/vip.h"
#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/stats.h"
#include "maps/table.h"
#include "tools/bench_syn/syn.h"
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

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static uint16_t header_check(const uint8_t *p)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* 10.0.0.0/8 in an order that is not that of memory: an odd factor, so no address comes twice. */
void syn_frame(uint32_t i, uint8_t ret_frame[SYN_FRAME_LEN])
{
	uint8_t *ip = ret_frame + 14, *tcp = ip + 20;
	uint32_t host = i * 0x9e3779b1u & 0xffffff;

	memset(ret_frame, 0, SYN_FRAME_LEN);
	memcpy(ret_frame, (uint8_t[14]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, 14);
	ip[0] = 0x45;
	put16(ip + 2, SYN_FRAME_LEN - 14);
	put16(ip + 6, 0x4000);
	ip[8] = 57;
	ip[9] = 6;
	memcpy(ip + 12, (uint8_t[4]){10, host >> 16, host >> 8, host}, 4);
	memcpy(ip + 16, vip_address + 12, 4);
	put16(ip + 10, header_check(ip));
	put16(tcp, 1024 + i % 60000);
	put16(tcp + 2, PORT);
	tcp[12] = 5 << 4;
	tcp[13] = 0x02;
}

/* The whole map as memory; NULL on failure. Left mapped until the process ends. */
static void *memory_of(const struct bpf_map *map)
{
	size_t page = sysconf(_SC_PAGESIZE), value = (bpf_map__value_size(map) + 7) & ~7u;
	size_t size = (value * bpf_map__max_entries(map) + page - 1) / page * page;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
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
	b->control = memory_of(b->skel->maps.data_control);
	b->index = memory_of(b->skel->maps.vip_index);
	b->vips = memory_of(b->skel->maps.vips);
	b->pools = memory_of(b->skel->maps.pools);
	b->slots = memory_of(b->skel->maps.slots);
	b->turns = memory_of(b->skel->maps.turns);
	b->members = memory_of(b->skel->maps.members);
	b->backends = memory_of(b->skel->maps.backends);
	b->loads = memory_of(b->skel->maps.loads);
	b->recent = memory_of(b->skel->maps.recent);
	return b->control && b->index && b->vips && b->pools && b->slots && b->turns &&
			       b->members && b->backends && b->loads && b->recent
		       ? 0
		       : -ENOMEM;
}

static void put_tables(struct syn_balancer *b)
{
	lb_hash_expand((__u64[2]){0x0123456789abcdefULL, 0xfedcba9876543210ULL}, &b->control->hash);
	b->control->epoch = EPOCH;
	b->control->new_entries_per_s = 4000000000;
	b->control->n_cpus = b->cpus;
	b->control->abi = LB_ABI_VERSION;
	for (uint32_t id = 1; id <= SYN_MEMBERS_MAX; id++)
		put_node(&b->backends[id], id);
	put_vip(b);
}

static int size_maps(struct syn_balancer *b)
{
	int r = 0;

	r = r ?: bpf_map__set_max_entries(b->skel->maps.vip_stats, b->cpus * LB_VIPS_MAX);
	r = r ?: bpf_map__set_max_entries(b->skel->maps.backend_stats, b->cpus * LB_BACKENDS_MAX);
	r = r ?: bpf_map__set_max_entries(b->skel->maps.reasons, b->cpus * LB_REASONS_MAX);
	r = r ?: bpf_map__set_max_entries(b->skel->maps.limits, b->cpus);
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
