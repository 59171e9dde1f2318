// SPDX-License-Identifier: BSD-2-Clause
/*
 * The program as the kernel runs it: BPF_PROG_TEST_RUN on the loaded object, its maps mapped into
 * this process. Needs root. The process stays on one CPU, whose counters it compares.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "balancer.skel.h"
#include "decap.skel.h"
#include "maps/nat.h"
#include "tests/lib/bpf_print.h"
#include "tests/packet/run_kernel.h"
#include "tests/packet/world.h"

static struct balancer_bpf *balancer;
static struct decap_bpf *decap;

static uint64_t map_size(const struct bpf_map *map)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	uint64_t n = (uint64_t)bpf_map__max_entries(map) * ((bpf_map__value_size(map) + 7) & ~7u);

	return (n + page - 1) / page * page;
}

static int map_into(const struct bpf_map *map, uint64_t index, void *ret_pointer)
{
	uint8_t *p = mmap(NULL, map_size(map), PROT_READ | PROT_WRITE, MAP_SHARED,
			  bpf_map__fd(map), 0);

	if (p == MAP_FAILED)
		return -errno;
	p += index * ((bpf_map__value_size(map) + 7) & ~7u);
	memcpy(ret_pointer, &p, sizeof(p));
	return 0;
}

static int map_tables(struct tables *t, uint32_t cpu)
{
	int r = 0;

	r = r ?: map_into(balancer->maps.data_control, 0, &t->control);
	r = r ?: map_into(balancer->maps.vip_index, 0, &t->vip_index);
	r = r ?: map_into(balancer->maps.vips, 0, &t->vips);
	r = r ?: map_into(balancer->maps.pools, 0, &t->pools);
	r = r ?: map_into(balancer->maps.turns, 0, &t->turns);
	r = r ?: map_into(balancer->maps.members, 0, &t->members);
	r = r ?: map_into(balancer->maps.slots, 0, &t->slots);
	r = r ?: map_into(balancer->maps.backends, 0, &t->backends);
	r = r ?: map_into(balancer->maps.loads, 0, &t->loads);
	r = r ?: map_into(balancer->maps.limits, cpu, &t->limit);
	r = r ?: map_into(balancer->maps.recent, 0, &t->recent);
	r = r ?: map_into(balancer->maps.vip_stats, cpu * LB_VIPS_MAX, &t->vip_counts);
	r = r ?: map_into(balancer->maps.backend_stats, cpu * LB_BACKENDS_MAX, &t->backend_counts);
	return r ?: map_into(balancer->maps.reasons, cpu * LB_REASONS_MAX, &t->counters);
}

struct balancer_bpf *kernel_balancer(void)
{
	return balancer;
}

static int size_maps(uint32_t cpus, uint32_t nat_room)
{
	int r = 0;

	r = r ?: bpf_map__set_max_entries(balancer->maps.vip_stats, cpus * LB_VIPS_MAX);
	r = r ?: bpf_map__set_max_entries(balancer->maps.backend_stats, cpus * LB_BACKENDS_MAX);
	r = r ?: bpf_map__set_max_entries(balancer->maps.reasons, cpus * LB_REASONS_MAX);
	r = r ?: bpf_map__set_max_entries(balancer->maps.limits, cpus);
	r = r ?: bpf_map__set_max_entries(balancer->maps.slots, TEST_SLOTS);
	r = r ?: bpf_map__set_max_entries(balancer->maps.nat_flows, nat_room);
	r = r ?: bpf_map__set_max_entries(balancer->maps.nat_replies, nat_room);
	r = r ?: bpf_map__set_max_entries(balancer->maps.flows, FLOWS_ROOM);
	return r ?: bpf_map__set_max_entries(balancer->maps.half_open, HALF_OPEN_ROOM);
}

static int stay_on_cpu(uint32_t *ret_cpu)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	if (cpu < 0)
		return -errno;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	*ret_cpu = cpu;
	return 0;
}

static void kernel_close(struct runner *r)
{
	balancer_bpf__destroy(balancer);
	decap_bpf__destroy(decap);
	balancer = NULL;
	decap = NULL;
	memset(&r->t, 0, sizeof(r->t));
}

static int kernel_open(struct runner *r)
{
	uint32_t cpu;
	int e;

	libbpf_set_print(bpf_print_end);
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	e = stay_on_cpu(&cpu);
	if (e < 0)
		return e;
	balancer = balancer_bpf__open();
	decap = decap_bpf__open_and_load();
	if (!balancer || !decap)
		return -errno;
	e = size_maps(libbpf_num_possible_cpus(), r->nat_room ? r->nat_room : NAT_ROOM);
	e = e ?: balancer_bpf__load(balancer);
	return e ?: map_tables(&r->t, cpu);
}

static int run_program(const struct bpf_program *prog, const struct frame *in,
		       struct outcome *ret_outcome)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = in->b, .data_size_in = in->len,
		    .data_out = ret_outcome->frame.b, .data_size_out = FRAME_MAX, .repeat = 1);
	int r;

	memset(ret_outcome, 0, sizeof(*ret_outcome));
	r = bpf_prog_test_run_opts(bpf_program__fd(prog), &o);
	if (r < 0)
		return r;
	ret_outcome->reason = -1;
	ret_outcome->frame.len = o.data_size_out;
	switch (o.retval) {
	case XDP_PASS:
		ret_outcome->verdict = PASS;
		return 0;
	case XDP_DROP:
		ret_outcome->verdict = DROP;
		return 0;
	case XDP_TX:
		ret_outcome->verdict = TX;
		return 0;
	case XDP_REDIRECT:
		ret_outcome->verdict = REDIRECT;
		return 0;
	default:
		return -EPROTO;
	}
}

static int kernel_run(struct runner *r, const struct frame *in, uint32_t headroom,
		      struct outcome *ret_outcome)
{
	(void)r;
	(void)headroom;
	return run_program(balancer->progs.sluice_balancer, in, ret_outcome);
}

static int kernel_run_decap(struct runner *r, const struct frame *in, struct outcome *ret_outcome)
{
	(void)r;
	return run_program(decap->progs.sluice_decap, in, ret_outcome);
}

static struct bpf_map *map_of(enum entry_table table)
{
	return table == IN_FLOWS ? balancer->maps.flows : balancer->maps.half_open;
}

static int kernel_flow_get(struct runner *r, enum entry_table table,
			   const struct lb_flow_key *key, struct lb_flow *ret_flow)
{
	(void)r;
	return bpf_map__lookup_elem(map_of(table), key, sizeof(*key), ret_flow, sizeof(*ret_flow),
				    0);
}

static int kernel_flow_put(struct runner *r, enum entry_table table,
			   const struct lb_flow_key *key, const struct lb_flow *flow)
{
	(void)r;
	return bpf_map__update_elem(map_of(table), key, sizeof(*key), flow, sizeof(*flow), BPF_ANY);
}

static void clear_map(struct bpf_map *map)
{
	struct lb_flow_key key;

	while (!bpf_map__get_next_key(map, NULL, &key, sizeof(key)))
		if (bpf_map__delete_elem(map, &key, sizeof(key), 0) < 0)
			return;
}

static void kernel_flows_clear(struct runner *r)
{
	(void)r;
	clear_map(balancer->maps.flows);
	clear_map(balancer->maps.half_open);
	clear_map(balancer->maps.nat_flows);
	clear_map(balancer->maps.nat_replies);
}

/* The kernel's clock cannot be moved, so the entries grow older instead. */
static void age_map(struct bpf_map *map, uint32_t seen_at, uint32_t ticks)
{
	uint32_t key_size = bpf_map__key_size(map), value_size = bpf_map__value_size(map);
	uint8_t keys[FLOWS_ROOM][64], value[64], *at = NULL;
	uint32_t seen;
	int n = 0;

	while (n < FLOWS_ROOM && !bpf_map__get_next_key(map, at, keys[n], key_size))
		at = keys[n++];
	for (int i = 0; i < n; i++) {
		if (bpf_map__lookup_elem(map, keys[i], key_size, value, value_size, 0))
			continue;
		memcpy(&seen, value + seen_at, sizeof(seen));
		seen -= ticks;
		memcpy(value + seen_at, &seen, sizeof(seen));
		bpf_map__update_elem(map, keys[i], key_size, value, value_size, BPF_ANY);
	}
}

static uint32_t kernel_ticks(struct runner *r)
{
	struct timespec now;

	(void)r;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return ((uint64_t)now.tv_sec * 1000000000 + now.tv_nsec) >> LB_TICK_SHIFT;
}

static void kernel_pass(struct runner *r, uint32_t ticks)
{
	age_map(balancer->maps.flows, offsetof(struct lb_flow, seen), ticks);
	age_map(balancer->maps.half_open, offsetof(struct lb_flow, seen), ticks);
	age_map(balancer->maps.nat_flows, offsetof(struct lb_nat_flow, seen), ticks);
	age_map(balancer->maps.nat_replies, offsetof(struct lb_nat_reply, seen), ticks);
	world_refill(r);
}

/* Test runs come from the loopback device: that of a network of the test's own. */
static int kernel_set_mtu(struct runner *r, uint32_t mtu)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_mtu = (int)mtu};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), e = 0;

	(void)r;
	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCSIFMTU, &ifr) < 0)
		e = -errno;
	close(fd);
	return e;
}

struct runner runner_kernel = {
	.name = "kernel",
	.open = kernel_open,
	.close = kernel_close,
	.frame_min = 14,
	.run = kernel_run,
	.run_decap = kernel_run_decap,
	.flow_get = kernel_flow_get,
	.flow_put = kernel_flow_put,
	.flows_clear = kernel_flows_clear,
	.ticks = kernel_ticks,
	.pass = kernel_pass,
	.set_mtu = kernel_set_mtu,
	.settle = world_settle,
};
