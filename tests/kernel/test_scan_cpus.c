// SPDX-License-Identifier: BSD-2-Clause
/*
 * The agent's scans over the maps of the balancer while two CPUs run its program: flows end, begin
 * anew, are promoted and learned while scans remove entries and slots change. Afterwards the maps
 * must tell one story, and every flow have stayed on its node. Needs root and two CPUs.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer.skel.h"
#include "bpf/core/vip.h"
#include "maps/nat.h"
#include "tests/lib/namespaces.h"
#include "tests/packet/frame.h"
#include "userspace/agent/scan.h"
#include "userspace/agent/scan_nat.h"

#define PINS	"/sys/fs/bpf/test_scan_cpus"
#define THREADS 2
#define ROOM	(1 << 14)
#define PORT	443
#define VIP_ID	3
#define N_SLOTS 31
#define OTHERS	100000 /* so that a count too low is not hidden by 0; a second pass repairs it */
#define HOUR_MS 3600000

static struct balancer_bpf *skel;
static uint32_t others; /* in lb_load.flows of both nodes: none of these flows has an entry */
static struct tables t;
static int cpus[THREADS];

/* --- the world -------------------------------------------------------------------------------- */

static void put_address(__be32 *dst, enum host host)
{
	dst[0] = dst[1] = 0;
	dst[2] = htonl(0xffff);
	memcpy(&dst[3], hosts[host].ip4, 4);
}

static void put_cell(enum host host, int port, int kind)
{
	struct lb_vip_cell cell = {
		.port = htons(port), .proto = IPPROTO_TCP, .kind = kind, .vip = VIP_ID};

	put_address(cell.addr, host);
	t.vip_index[lb_vip_bucket_a(cell.addr, cell.port, cell.proto)] = cell;
}

static void put_node(enum host node)
{
	struct lb_backend *b = &t.backends[node];

	put_address(b->addr, node);
	put_address(b->src, LB);
	memcpy(b->dmac, hosts[node].mac, 6);
	memcpy(b->smac, hosts[LB].mac, 6);
	b->mtu = 1500;
	b->ifindex = 1; /* where test runs come from */
	b->family = 4;
	b->flags = LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP;
	b->port = htons(8443);
	t.loads[node].weight = 1000;
	t.loads[node].flows = others;
}

static void build(enum lb_mode mode, enum lb_policy policy, uint32_t flags, uint32_t n_others)
{
	struct lb_vip *v = &t.vips[VIP_ID];

	others = n_others;
	put_node(NODE1);
	put_node(NODE2);
	put_cell(VIP, PORT, LB_VIP_KIND_SERVICE);
	if (mode == LB_MODE_NAT) {
		put_cell(LB, 0, LB_VIP_KIND_NAT);
		t.control->nat_port_low = 20000;
		t.control->nat_port_high = 40000;
	}
	*v = (struct lb_vip){.n_slots = N_SLOTS, .mode = mode, .policy = policy, .family = 4,
			     .affinity = LB_AFFINITY_FLOW, .on_down = LB_ON_DOWN_RESET,
			     .port = htons(PORT), .proto = IPPROTO_TCP};
	put_address(v->addr, VIP);
	v->flags = LB_VIP_F_ACTIVE | flags;
	t.pool_info[0] = (struct lb_pool_info){.n_slots = N_SLOTS, .in_use = 1};
	for (uint32_t i = 0; i < N_SLOTS; i++)
		t.slots[i] = (struct lb_slot){.cur = i % 2 ? NODE1 : NODE2,
					      .alt = i % 2 ? NODE2 : NODE1};
	t.pools[0].n_members = 2;
	t.members[0].backend[0] = NODE1;
	t.members[0].backend[1] = NODE2;
	t.control->epoch = 1;
	t.control->new_entries_per_s = t.control->replies_per_s = 1u << 30;
	for (uint32_t i = 0; i < 10; i++)
		t.control->hash.nh[i] = 0x9e3779b9u * (i + 3);
}

static void size_maps(uint32_t n_cpus)
{
	bpf_map__set_max_entries(skel->maps.vip_stats, n_cpus * LB_VIPS_MAX);
	bpf_map__set_max_entries(skel->maps.backend_stats, n_cpus * LB_BACKENDS_MAX);
	bpf_map__set_max_entries(skel->maps.reasons, n_cpus * LB_REASONS_MAX);
	bpf_map__set_max_entries(skel->maps.limits, n_cpus);
	bpf_map__set_max_entries(skel->maps.flows, ROOM);
	bpf_map__set_max_entries(skel->maps.half_open, ROOM);
	bpf_map__set_max_entries(skel->maps.nat_flows, ROOM);
	bpf_map__set_max_entries(skel->maps.nat_replies, ROOM);
}

static int setup(void **state)
{
	uint32_t zero = 0, n_cpus = libbpf_num_possible_cpus();
	struct lb_control control = {.abi = LB_ABI_VERSION, .n_cpus = n_cpus};
	struct bpf_map *map;
	char path[256];

	(void)state;
	skel = balancer_bpf__open();
	assert_non_null(skel);
	size_maps(n_cpus);
	assert_int_equal(balancer_bpf__load(skel), 0);
	assert_int_equal(bpf_map__update_elem(skel->maps.data_control, &zero, sizeof(zero),
					      &control, sizeof(control), 0), 0);
	assert_int_equal(mkdir(PINS, 0700), 0);
	bpf_object__for_each_map(map, skel->obj) {
		const char *name = bpf_map__name(map);

		snprintf(path, sizeof(path), "%s/%s", PINS,
			 map == skel->maps.data_control ? "control" : name);
		assert_int_equal(bpf_map__pin(map, path), 0);
	}
	assert_int_equal(tables_open(PINS, &t), 0);
	return 0;
}

static int teardown(void **state)
{
	struct bpf_map *map;

	(void)state;
	tables_close(&t);
	bpf_object__for_each_map(map, skel->obj)
		(void)bpf_map__unpin(map, NULL);
	balancer_bpf__destroy(skel);
	return rmdir(PINS);
}

/* --- frames ----------------------------------------------------------------------------------- */

/* Segment of client number n; the node that it goes to, or NOBODY. */
static enum host send_segment(uint32_t n, int flags)
{
	const struct layer layers[LAYERS_MAX] = {ETH(ROUTER, LB), IP4(CLIENT + n % 3, VIP),
						 TCP(1024 + n / 3, PORT, flags)};
	struct frame in, out;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = in.b, .data_out = out.b,
		    .data_size_out = FRAME_MAX, .repeat = 1);

	frame_build(layers, 0, &in);
	o.data_size_in = in.len;
	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.sluice_balancer), &o) < 0 ||
	    o.retval != XDP_TX)
		return NOBODY;
	for (enum host node = NODE1; node <= NODE2; node++)
		if (!memcmp(out.b, hosts[node].mac, 6))
			return node;
	return NOBODY;
}

static uint32_t number_of(const struct lb_flow_key *key)
{
	return (ntohs(key->sport) - 1024) * 3 + ((const uint8_t *)key->saddr)[15] -
	       hosts[CLIENT].ip4[3];
}

/* --- threads ---------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	int id;
	void (*work)(struct worker *);
	uint32_t wrong;
	const uint32_t *order; /* of the flows, as a scan reads them */
	uint32_t n;
	uint32_t rounds;
};

static unsigned int arrived;
static bool stop;

static void meet(void)
{
	unsigned int all = THREADS + 1;

	__atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < all)
		sched_yield();
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpus[w->id], &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		w->wrong++;
	meet();
	w->work(w);
	return NULL;
}

static void start(struct worker w[THREADS], void (*work)(struct worker *), const uint32_t *order,
		  uint32_t n)
{
	arrived = 0;
	stop = false;
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.id = i, .work = work, .order = order, .n = n};
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);
	}
	meet();
}

static void finish(struct worker w[THREADS])
{
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(w[i].wrong, 0);
}

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_ACQUIRE);
}

/* --- scans ------------------------------------------------------------------------------------ */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static struct scan_nat *new_nat(void)
{
	struct scan_nat *nat;

	assert_int_equal(scan_nat_new(&t, PINS, &nat), 0);
	scan_nat_set_idle(nat, HOUR_MS);
	return nat;
}

static void nat_pass(struct scan_nat *nat, uint64_t later_ms)
{
	uint64_t passes = scan_nat_stats(nat)->passes;

	later_ms += passes * SCAN_NAT_INTERVAL_MS;
	while (scan_nat_stats(nat)->passes == passes)
		scan_nat_step(nat, now_ms() + later_ms);
}

/* The first pass of a scan; its clock is so much ahead, and all entries so much older. */
static uint64_t first_nat_pass(uint64_t later_ms)
{
	struct scan_nat *nat = new_nat();
	uint64_t revived;

	nat_pass(nat, later_ms);
	revived = scan_nat_stats(nat)->revived;
	scan_nat_free(&nat);
	return revived;
}

static void scan_pass(struct scan *s, uint64_t later_ms)
{
	uint64_t passes = scan_stats(s)->passes;

	scan_request(s);
	while (scan_stats(s)->passes == passes)
		assert_true(scan_step(s, now_ms() + later_ms, 64) >= 0);
}

static void first_scan_pass(uint64_t later_ms)
{
	struct scan *s;

	assert_int_equal(scan_new(&t, HOUR_MS, &s), 0);
	scan_pass(s, later_ms);
	scan_free(&s);
}

/* --- what the maps say ------------------------------------------------------------------------ */

static uint32_t counted_in(const struct bpf_map *map, uint8_t mark, uint32_t *ret_n)
{
	struct lb_flow_key key, *at = NULL;
	uint32_t counted = 0;
	struct lb_flow flow;

	for (*ret_n = 0; !bpf_map__get_next_key(map, at, &key, sizeof(key)); ++*ret_n) {
		at = &key;
		assert_int_equal(bpf_map__lookup_elem(map, &key, sizeof(key), &flow, sizeof(flow),
						      0), 0);
		counted += !!(flow.flags & mark);
	}
	return counted;
}

/* lb_load.flows is what the entries say. Returns the number of entries. */
static uint32_t check_counts(void)
{
	uint32_t flows, half, nat, counted, load;

	counted = counted_in(skel->maps.flows, LB_FLOW_F_COUNTED, &flows);
	counted += counted_in(skel->maps.half_open, LB_FLOW_F_COUNTED, &half);
	counted += counted_in(skel->maps.nat_flows, LB_NAT_F_COUNTED, &nat);
	load = t.loads[NODE1].flows + t.loads[NODE2].flows - 2 * others;
	print_message("%u flows, %u half-open, %u nat; %u count, load %d\n", flows, half, nat,
		      counted, (int)load);
	assert_int_equal(load, counted);
	return flows + half + nat;
}

/* Flows in the order in which a batch has them. Returns their number. */
static uint32_t order_of(const struct bpf_map *map, uint32_t order[ROOM])
{
	struct lb_flow_key key, *at = NULL;
	uint32_t n = 0;

	for (; n < ROOM && !bpf_map__get_next_key(map, at, &key, sizeof(key)); n++) {
		at = &key;
		order[n] = number_of(&key);
	}
	return n;
}

/* --- mode nat --------------------------------------------------------------------------------- */

#define NAT_FLOWS 4000

/*
 * As a client does it, the SYN is sent again: it may have met a flow on its way out, or (one in
 * 100,000) a map of mode nat that has no memory at hand on this CPU.
 */
static bool opens(uint32_t n)
{
	for (int i = 0; i < 200; i++) {
		if (send_segment(n, TCP_SYN) != NOBODY)
			return true;
		usleep(1000);
	}
	return false;
}

static void open_flows(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_true(opens(i));
}

/* A scan that knows only exceptions would take all of these for counted too often. */
static void test_flows_of_nat_stay_counted_while_nothing_happens(void **state)
{
	struct scan_nat *nat;
	struct scan *s;

	(void)state;
	build(LB_MODE_NAT, LB_POLICY_LEAST_CONN, LB_VIP_F_TRACK, 0);
	open_flows(10);
	for (uint32_t i = 0; i < 10; i++)
		assert_true(send_segment(i, TCP_ACK) != NOBODY);
	assert_int_equal(t.loads[NODE1].flows + t.loads[NODE2].flows, 10);
	nat = new_nat();
	assert_int_equal(scan_new(&t, HOUR_MS, &s), 0);
	scan_set_nat(s, nat);
	for (int i = 0; i < 5; i++) {
		nat_pass(nat, 0);
		nat_pass(nat, 0);
		scan_pass(s, 0);
	}
	assert_int_equal(t.loads[NODE1].flows + t.loads[NODE2].flows, 10);
	assert_int_equal(scan_stats(s)->repaired, 0);
	t.loads[NODE1].flows += 7; /* an agent was killed at a bad moment */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(t.loads[NODE1].flows + t.loads[NODE2].flows, i < 2 ? 17 : 10);
		nat_pass(nat, 0);
		nat_pass(nat, 0);
		scan_pass(s, 0);
	}
	assert_int_equal(t.loads[NODE1].flows + t.loads[NODE2].flows, 10);
	scan_free(&s);
	scan_nat_free(&nat);
}

/* One thread from either end, so that the scan meets both. */
static void end_flows(struct worker *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		(void)send_segment(w->order[w->id ? w->n - 1 - i : i], TCP_FIN | TCP_ACK);
}

static void test_flows_of_nat_that_end_while_they_are_removed_count_once(void **state)
{
	static uint32_t order[ROOM];
	struct worker w[THREADS];
	uint32_t n;

	(void)state;
	build(LB_MODE_NAT, LB_POLICY_HASH, LB_VIP_F_TRACK, OTHERS);
	for (int round = 0; round < 10; round++) {
		open_flows(NAT_FLOWS);
		n = order_of(skel->maps.nat_flows, order);
		assert_int_equal(n, NAT_FLOWS);
		start(w, end_flows, order, n);
		(void)first_nat_pass(2 * HOUR_MS);
		finish(w);
		(void)first_nat_pass(2 * HOUR_MS);
		assert_int_equal(check_counts(), 0);
	}
}

/* Of ended flows, whose time is over. */
static void reopen_flows(struct worker *w)
{
	for (uint32_t i = w->id; i < w->n; i += THREADS)
		w->wrong += !opens(w->order[i]);
}

static void make_older(uint32_t ms)
{
	struct lb_flow_key key, *at = NULL;
	struct lb_nat_flow flow;
	static struct lb_flow_key keys[ROOM];
	uint32_t n = 0;

	for (; n < ROOM && !bpf_map__get_next_key(skel->maps.nat_flows, at, &key, sizeof(key)); n++)
		at = &keys[n], keys[n] = key;
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(bpf_map__lookup_elem(skel->maps.nat_flows, &keys[i],
						      sizeof(key), &flow, sizeof(flow), 0), 0);
		flow.seen -= LB_TICKS_FROM_MS(ms);
		assert_int_equal(bpf_map__update_elem(skel->maps.nat_flows, &keys[i],
						      sizeof(key), &flow, sizeof(flow), BPF_ANY), 0);
	}
}

static void check_pairs(void)
{
	struct lb_flow_key key, *at = NULL;
	struct lb_nat_reply reply;
	struct lb_nat_flow flow;
	uint32_t alone = 0;

	while (!bpf_map__get_next_key(skel->maps.nat_flows, at, &key, sizeof(key))) {
		struct lb_nat_key reply_key = {.node_port = htons(8443)};

		at = &key;
		assert_int_equal(bpf_map__lookup_elem(skel->maps.nat_flows, &key, sizeof(key),
						      &flow, sizeof(flow), 0), 0);
		reply_key.nat_port = flow.nat_port;
		put_address(reply_key.node, flow.backend);
		alone += bpf_map__lookup_elem(skel->maps.nat_replies, &reply_key,
					      sizeof(reply_key), &reply, sizeof(reply), 0) ||
			 reply.client_port != key.sport || memcmp(reply.client, key.saddr, 16);
	}
	assert_int_equal(alone, 0);
}

static void test_flows_of_nat_that_begin_anew_while_they_are_removed_stay(void **state)
{
	static uint32_t order[ROOM];
	struct worker w[THREADS];
	uint64_t revived = 0;

	(void)state;
	build(LB_MODE_NAT, LB_POLICY_HASH, LB_VIP_F_TRACK, OTHERS);
	for (int round = 0; round < 20; round++) {
		open_flows(NAT_FLOWS);
		for (uint32_t i = 0; i < NAT_FLOWS; i++)
			(void)send_segment(i, TCP_RST);
		make_older(SCAN_NAT_CLOSED_MS + 1000);
		assert_int_equal(order_of(skel->maps.nat_flows, order), NAT_FLOWS);
		start(w, reopen_flows, order, NAT_FLOWS);
		revived += first_nat_pass(0);
		finish(w);
		assert_int_equal(check_counts(), NAT_FLOWS); /* each has been opened */
		check_pairs();
		for (uint32_t i = 0; i < NAT_FLOWS; i++)
			(void)send_segment(i, TCP_RST);
	}
	print_message("stayed: %u\n", (unsigned int)revived);
	assert_true(revived > 0); /* else the race was not met */
}

/* --- exceptions ------------------------------------------------------------------------------- */

#define FLOWS 1000

static void test_flows_that_end_while_they_are_removed_count_once(void **state)
{
	static uint32_t order[ROOM];
	struct worker w[THREADS];
	uint32_t n;

	(void)state;
	build(LB_MODE_L2DSR, LB_POLICY_HASH, LB_VIP_F_TRACK, OTHERS);
	for (int round = 0; round < 10; round++) {
		open_flows(NAT_FLOWS);
		for (uint32_t i = 0; i < NAT_FLOWS; i += round % 2 + 1)
			assert_true(send_segment(i, TCP_ACK) != NOBODY);
		n = order_of(round % 2 ? skel->maps.half_open : skel->maps.flows, order);
		start(w, end_flows, order, n);
		first_scan_pass(2 * HOUR_MS);
		finish(w);
		first_scan_pass(2 * HOUR_MS);
		assert_int_equal(check_counts(), 0);
	}
}

/* Both threads open, use and end the same flows: the ways into and out of the tables meet. */
static void open_and_end(struct worker *w)
{
	static const int flags[] = {TCP_SYN, TCP_ACK, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST};
	uint32_t seed = w->id + 1;

	while (!stopped()) {
		seed = seed * 1664525 + 1013904223;
		w->wrong += send_segment((seed >> 16) % 24, flags[(seed >> 24) % 5]) == NOBODY;
	}
}

static void test_two_cpus_and_scans_agree_on_what_counts(void **state)
{
	uint64_t end_ms = now_ms() + 6000;
	struct worker w[THREADS];
	struct scan *s;

	(void)state;
	build(LB_MODE_L2DSR, LB_POLICY_ROUND_ROBIN, LB_VIP_F_TRACK, 0);
	t.pools[0].n_turns = 3;
	memcpy(t.turns[0].backend, (uint16_t[]){NODE1, NODE2, NODE2}, 6);
	assert_int_equal(scan_new(&t, HOUR_MS, &s), 0);
	start(w, open_and_end, NULL, 0);
	while (now_ms() < end_ms)
		scan_pass(s, now_ms() % 2 ? 2 * HOUR_MS : 0);
	finish(w);
	assert_in_range(check_counts(), 0, 48);
	print_message("%u passes, %u removed, %u revived, %u exceptions cleared\n",
		      (unsigned int)scan_stats(s)->passes,
		      (unsigned int)(scan_stats(s)->expired + scan_stats(s)->closed),
		      (unsigned int)scan_stats(s)->revived,
		      (unsigned int)scan_stats(s)->exc_cleared);
	scan_free(&s);
}

/* Streams of a thread's own: each must stay where its SYN went, whatever its slot says. */
static void stream(struct worker *w)
{
	static enum host node[THREADS][FLOWS];
	enum host *mine = node[w->id];
	uint32_t seed = w->id + 1;

	for (uint32_t i = 0; i < FLOWS; i++)
		mine[i] = send_segment(i * THREADS + w->id, TCP_SYN);
	while (!stopped()) {
		for (uint32_t i = 0; i < FLOWS; i++) {
			uint32_t n = i * THREADS + w->id;

			seed = seed * 1664525 + 1013904223;
			if (seed >> 24 < 8) { /* ends, and another takes its ports */
				(void)send_segment(n, TCP_RST);
				mine[i] = send_segment(n, TCP_SYN);
			}
			w->wrong += send_segment(n, TCP_ACK) != mine[i] || !mine[i];
		}
		__atomic_fetch_add(&w->rounds, 1, __ATOMIC_RELEASE);
	}
}

static void swap_slot(uint32_t i, struct lb_slot (*change)(struct lb_slot))
{
	typedef uint64_t __attribute__((may_alias)) word_t;
	union {
		struct lb_slot s;
		uint64_t word;
	} old, new;

	old.word = __atomic_load_n((word_t *)&t.slots[i], __ATOMIC_ACQUIRE);
	do
		new.s = change(old.s);
	while (!__atomic_compare_exchange_n((word_t *)&t.slots[i], &old.word, new.word, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

static struct lb_slot move(struct lb_slot s)
{
	return (struct lb_slot){.cur = s.alt, .alt = s.cur, .prev = s.cur, .exc = s.exc};
}

static struct lb_slot settle(struct lb_slot s)
{
	s.prev = 0;
	return s;
}

/* Every stream has sent something since. */
static void wait_round(const struct worker w[THREADS], struct scan *s)
{
	uint32_t was[THREADS];

	for (int i = 0; i < THREADS; i++)
		was[i] = __atomic_load_n(&w[i].rounds, __ATOMIC_ACQUIRE);
	for (int i = 0; i < THREADS; i++)
		while (__atomic_load_n(&w[i].rounds, __ATOMIC_ACQUIRE) < was[i] + 2)
			assert_true(scan_step(s, now_ms(), 64) >= 0);
}

static void run_streams(enum lb_policy policy, uint32_t flags)
{
	uint64_t end_ms = now_ms() + 5000;
	struct worker w[THREADS];
	uint32_t moved = 0;
	struct scan *s;

	build(LB_MODE_L2DSR, policy, flags, 0);
	assert_int_equal(scan_new(&t, HOUR_MS, &s), 0);
	start(w, stream, NULL, 0);
	wait_round(w, s);
	while (now_ms() < end_ms) {
		for (uint32_t i = 0; i < N_SLOTS; i++)
			swap_slot(i, move);
		wait_round(w, s);
		for (uint32_t i = 0; i < N_SLOTS; i++)
			swap_slot(i, settle);
		scan_request(s);
		t.loads[NODE1].base = moved++ % 2 ? 0 : 1000000; /* p2c: alt is chosen, too */
	}
	finish(w);
	scan_pass(s, 0);
	print_message("%u rounds, every slot moved %u times, %u entries, %u exceptions cleared\n",
		      w[0].rounds + w[1].rounds, moved, check_counts(),
		      (unsigned int)scan_stats(s)->exc_cleared);
	assert_true(moved > 2);
	scan_free(&s);
}

static void test_streams_stay_while_their_slots_move_and_scans_run(void **state)
{
	(void)state;
	run_streams(LB_POLICY_P2C, 0);
}

static void test_tracked_streams_stay_too(void **state)
{
	(void)state;
	run_streams(LB_POLICY_LEAST_CONN, LB_VIP_F_TRACK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_flows_of_nat_stay_counted_while_nothing_happens),
		T(test_flows_of_nat_that_end_while_they_are_removed_count_once),
		T(test_flows_of_nat_that_begin_anew_while_they_are_removed_stay),
		T(test_flows_that_end_while_they_are_removed_count_once),
		T(test_two_cpus_and_scans_agree_on_what_counts),
		T(test_streams_stay_while_their_slots_move_and_scans_run),
		T(test_tracked_streams_stay_too),
	};
	cpu_set_t set;
	int n = 0;

	begin_in_namespaces(argc, argv);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < THREADS; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	if (n < THREADS) {
		puts("[  SKIPPED ] test_scan_cpus: one CPU only");
		return 0;
	}
	return cmocka_run_group_tests_name("scan (CPUs)", tests, NULL, NULL);
}
