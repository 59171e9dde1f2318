// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_dpdk: frames a second that one core forwards, beside a program that only swaps MAC
 * addresses and one that only encapsulates -> JSON.
 *
 * Two ways, each the same for all programs:
 *   ring   net_ring: CHUNK frames lie ready in a ring, and the time is taken until all are in the
 *          other one. Making them ready is not counted: it is what a NIC does.
 *   null   net_null: every frame is allocated and freed, as with a NIC; a frame's header is written
 *          before the program gets it (by the same core, counted), as a NIC does.
 * Rounds of all programs take turns; the least time of all chunks is quoted, and the median.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_ring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench_dpdk/programs.h"
#include "tools/bench_dpdk/world.h"
#include "userspace/dpdk/burst_ways.h"
#include "userspace/dpdk/rte.h"

#define CHUNK	  1024
#define RING_SIZE (2 * CHUNK)
#define CHUNKS	  400
#define WORKERS	  2
#define MEMORY_MB "256"

enum way { WAY_RING = 1, WAY_NULL };

/* What a worker runs on. */
struct bench {
	struct worker w;
	struct rte_ring *in, *out;
	uint16_t ring_id, null_id, empty_id; /* ethdevs; empty_id: the mirror */
	struct rte_mbuf *frames[CHUNK];
	enum world_kind kind; /* of the frames: */
	uint32_t len;
	uint8_t start[WORLD_FRAME_MAX];
	uint32_t next, flows; /* the flow of the next frame, of so many */
	double ns[CHUNKS];    /* a frame, in each chunk */
};

static struct tables tables;
static struct rte_mempool *pool;
static struct bench *benches[WORKERS];

/* --- devices ---------------------------------------------------------------------------------- */

static int start_port(uint16_t id)
{
	struct rte_eth_conf conf = {};
	int r = rte_eth_dev_configure(id, 1, 1, &conf);

	r = r ?: rte_eth_rx_queue_setup(id, 0, RING_SIZE, 0, NULL, pool);
	r = r ?: rte_eth_tx_queue_setup(id, 0, RING_SIZE, 0, NULL);
	return r ?: rte_eth_dev_start(id);
}

static struct rte_ring *make_ring(const char *what, uint32_t n)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "%s%u", what, n);
	return rte_ring_create(name, RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

static int make_ring_port(const char *what, uint32_t n, struct rte_ring *in, struct rte_ring *out,
			  uint16_t *ret_id)
{
	char name[RTE_RING_NAMESIZE];
	int id;

	if (!in || !out)
		return -ENOMEM;
	snprintf(name, sizeof(name), "%s%u", what, n);
	id = rte_eth_from_rings(name, &in, 1, &out, 1, 0);
	if (id < 0)
		return -rte_errno;
	*ret_id = id;
	return start_port(id);
}

/* What a NIC does to a frame that arrives. */
static uint16_t write_headers(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t n,
			      uint16_t max, void *arg)
{
	struct bench *b = arg;

	(void)port;
	(void)queue;
	(void)max;
	for (uint16_t i = 0; i < n; i++) {
		uint8_t *at = rte_pktmbuf_mtod(frames[i], uint8_t *);

		if (b->len != WORLD_FRAME) {
			frames[i]->data_len = frames[i]->pkt_len = b->len;
			memcpy(at + WORLD_FRAME, b->start + WORLD_FRAME, WORLD_FRAME_MAX - WORLD_FRAME);
		}
		memcpy(at, b->start, WORLD_FRAME);
		world_frame_set(b->kind, b->next, at);
		b->next = b->next + 1 < b->flows ? b->next + 1 : 0;
	}
	return n;
}

static int make_null_port(struct bench *b, uint32_t n)
{
	char device[64], name[32];
	int r;

	snprintf(name, sizeof(name), "net_null%u", n);
	snprintf(device, sizeof(device), "%s,size=%u", name, WORLD_FRAME);
	r = rte_dev_probe(device);
	r = r ?: rte_eth_dev_get_port_by_name(name, &b->null_id);
	r = r ?: start_port(b->null_id);
	if (r < 0)
		return r;
	return rte_eth_add_rx_callback(b->null_id, 0, write_headers, b) ? 0 : -rte_errno;
}

static int bench_new(uint32_t n)
{
	struct bench *b = aligned_alloc(64, (sizeof(*b) + 63) / 64 * 64);
	int r;

	if (!b)
		return -ENOMEM;
	memset(b, 0, sizeof(*b));
	benches[n] = b;
	b->in = make_ring("in", n);
	b->out = make_ring("out", n);
	b->flows = 1;
	b->len = world_frame(WORLD_IPIP, 0, b->start);
	dpdk_tables_view(&tables, n, &b->w.tables);
	b->w.shared = &tables.dpdk_workers[n];
	b->w.n_ports = 1;
	b->w.burst = burst_ways()->fn;
	b->w.ports[0].ifindex = BENCH_IFINDEX;
	r = make_ring_port("ring", n, b->in, b->out, &b->ring_id);
	r = r ?: make_ring_port("mirror", n, make_ring("from", n), make_ring("to", n), &b->empty_id);
	r = r ?: make_null_port(b, n);
	b->w.ports[0].kernel.port = b->empty_id;
	return r ?: rte_pktmbuf_alloc_bulk(pool, b->frames, CHUNK);
}

/* --- measuring -------------------------------------------------------------------------------- */

static void make_ready(struct bench *b)
{
	for (uint32_t i = 0; i < CHUNK; i++) {
		struct rte_mbuf *m = b->frames[i];

		m->data_off = RTE_PKTMBUF_HEADROOM;
		m->data_len = m->pkt_len = b->len;
		write_headers(0, 0, &m, 1, 1, b);
	}
	rte_ring_enqueue_bulk(b->in, (void **)b->frames, CHUNK, NULL);
}

/* Nanoseconds a frame; < 0: frames were lost. */
static double time_chunk(struct bench *b, program_fn program, enum way way)
{
	uint32_t n = 0, idle = 0;
	uint64_t began;

	b->w.ports[0].wire.port = way == WAY_RING ? b->ring_id : b->null_id;
	if (way == WAY_RING)
		make_ready(b);
	began = rte_rdtsc_precise();
	while (n < CHUNK && idle < CHUNK) {
		uint32_t got = program(&b->w);

		n += got;
		idle += !got;
	}
	began = rte_rdtsc_precise() - began;
	if (way == WAY_RING && rte_ring_dequeue_bulk(b->out, (void **)b->frames, CHUNK, NULL) != CHUNK)
		return -1;
	return n >= CHUNK ? (double)began * 1e9 / rte_get_tsc_hz() / n : -1;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct result {
	double least_ns, median_ns;
};

static struct result result_of(double *ns)
{
	qsort(ns, CHUNKS, sizeof(*ns), compare);
	return (struct result){.least_ns = ns[0], .median_ns = ns[CHUNKS / 2]};
}

struct line {
	const char *name;
	program_fn program;
	uint32_t flows;
	enum world_kind kind;
	int entries; /* all flows have one */
	struct result ring, null;
};

static int measure_way(struct bench *b, const struct line *l, enum way way, struct result *ret)
{
	b->flows = l->flows;
	b->kind = l->kind;
	b->len = world_frame(l->kind, 0, b->start);
	b->next = 0;
	for (int i = -20; i < CHUNKS; i++) { /* the first warm caches up */
		double ns = time_chunk(b, l->program, way);

		if (ns < 0)
			return -EIO;
		if (i >= 0)
			b->ns[i] = ns;
		if (i % 16 == 0)
			sched_yield();
	}
	*ret = result_of(b->ns);
	return 0;
}

static struct result least_of(struct result a, struct result b)
{
	if (!a.least_ns)
		return b;
	return (struct result){.least_ns = a.least_ns < b.least_ns ? a.least_ns : b.least_ns,
			       .median_ns = a.median_ns < b.median_ns ? a.median_ns : b.median_ns};
}

static int measure(struct line *l)
{
	struct result r;
	int e;

	e = measure_way(benches[0], l, WAY_RING, &r);
	if (e < 0)
		return e;
	l->ring = least_of(l->ring, r);
	e = measure_way(benches[0], l, WAY_NULL, &r);
	l->null = least_of(l->null, r);
	return e;
}

/* --- two workers ------------------------------------------------------------------------------ */

static volatile int started;
static struct result together[WORKERS];

/* Both run at once; each tells its own time. */
static int run_together(void *arg)
{
	const struct line *l = arg;
	int n = rte_lcore_index(-1);
	uint64_t patience = rte_rdtsc() + 2 * rte_get_tsc_hz();

	__atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
	while (started < WORKERS && rte_rdtsc() < patience)
		rte_pause();
	return measure_way(benches[n], l, WAY_RING, &together[n]);
}

static int measure_together(struct line *l, double *ret_pps)
{
	unsigned int lcore;
	int r = 0;

	started = 0;
	rte_eal_mp_remote_launch(run_together, l, CALL_MAIN);
	RTE_LCORE_FOREACH_WORKER(lcore)
		r = r ?: rte_eal_wait_lcore(lcore);
	*ret_pps = 1e9 / together[0].least_ns + 1e9 / together[1].least_ns;
	return r;
}

/* --- output ----------------------------------------------------------------------------------- */

static void put(json_t *to, const char *name, const char *suffix, double value)
{
	char key[64];

	snprintf(key, sizeof(key), "%s%s", name, suffix);
	json_object_set_new(to, key, json_real((double)(long long)(value * 100) / 100));
}

static void put_line(json_t *to, const struct line *l)
{
	printf("%-22s %7.1f Mpps (median %5.1f)   %6.1f ns a frame        %7.1f Mpps (median %5.1f)\n",
	       l->name, 1e3 / l->ring.least_ns, 1e3 / l->ring.median_ns, l->ring.least_ns,
	       1e3 / l->null.least_ns, 1e3 / l->null.median_ns);
	put(to, l->name, "_ring_pps", 1e9 / l->ring.least_ns);
	put(to, l->name, "_ring_pps_median", 1e9 / l->ring.median_ns);
	put(to, l->name, "_pps", 1e9 / l->null.least_ns);
	put(to, l->name, "_pps_median", 1e9 / l->null.median_ns);
}

/* huge: memory in huge pages, of which MEMORY_MB must be free; else in small ones. */
static int start_eal(int huge)
{
	char *argv[] = {"bench_dpdk", huge ? "--in-memory" : "--no-huge", "-m", MEMORY_MB,
			"--no-pci", "--no-telemetry", "-l", "0,1", "--log-level=error",
			"--no-shconf"};
	int argc = sizeof(argv) / sizeof(argv[0]) - !!huge; /* --in-memory implies the last */

	if (sysconf(_SC_NPROCESSORS_ONLN) < WORKERS)
		argv[7] = "0";
	if (rte_eal_init(argc, argv) < 0)
		return -rte_errno;
	pool = rte_pktmbuf_pool_create("frames", 8191, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
				       SOCKET_ID_ANY);
	return pool ? 0 : -rte_errno;
}

static int open_all(int huge)
{
	int r = start_eal(huge);

	r = r ?: world_new(&tables, WORKERS);
	r = r ?: bench_new(0);
	return r ?: rte_lcore_count() >= WORKERS ? bench_new(1) : 0;
}

/* Entries need tables of their own, so they come last. */
static int use_entries(void)
{
	int r = world_add_entries(&tables);

	for (uint32_t i = 0; i < rte_lcore_count() && i < WORKERS; i++)
		dpdk_tables_view(&tables, i, &benches[i]->w.tables);
	return r;
}

static int run_all(struct line *lines, uint32_t n, uint32_t rounds)
{
	int r = 0;

	for (uint32_t round = 0; round < rounds && r == 0; round++)
		for (uint32_t i = 0; i < n && r == 0; i++)
			if (!lines[i].entries)
				r = measure(&lines[i]);
	r = r ?: use_entries();
	for (uint32_t i = 0; i < n && r == 0; i++)
		if (lines[i].entries)
			r = measure(&lines[i]);
	world_forget_entries(&tables);
	return r;
}

static void report(struct line *lines, uint32_t n, double two, json_t *json)
{
	const struct line *macswap = &lines[0], *sluice = &lines[2], *many = &lines[3];

	printf("one core               net_ring, frames lie ready                            "
	       "net_null, frames allocated\n");
	for (uint32_t i = 0; i < n; i++)
		put_line(json, &lines[i]);
	put(json, "sluice_of_macswap", "", macswap->null.least_ns / sluice->null.least_ns);
	put(json, "sluice_of_macswap", "_ring", macswap->ring.least_ns / sluice->ring.least_ns);
	put(json, "sluice_1m_of_one_flow", "", sluice->null.least_ns / many->null.least_ns);
	put(json, "two_workers", "_ring_pps", two);
	put(json, "two_workers", "_of_one", two * sluice->ring.least_ns / 1e9);
	printf("sluice: %.0f %% of macswap (net_ring: %.0f %%); with 1 M flows %.0f %% of one flow; "
	       "two workers %.2f times one\n", 100 * macswap->null.least_ns / sluice->null.least_ns,
	       100 * macswap->ring.least_ns / sluice->ring.least_ns,
	       100 * sluice->null.least_ns / many->null.least_ns,
	       two * sluice->ring.least_ns / 1e9);
}

int main(int argc, char **argv)
{
	struct line lines[] = {
		{.name = "macswap", .program = program_macswap, .flows = 1},
		{.name = "encap", .program = program_encap, .flows = 1},
		{.name = "sluice", .program = program_sluice, .flows = 1},
		{.name = "sluice_1m_flows", .program = program_sluice, .flows = BENCH_FLOWS},
		{.name = "encap_1m_flows", .program = program_encap, .flows = BENCH_FLOWS},
		{.name = "sluice_l2dsr", .program = program_sluice, .flows = 1,
		 .kind = WORLD_L2DSR},
		{.name = "sluice_gue", .program = program_sluice, .flows = 1, .kind = WORLD_GUE},
		{.name = "sluice_ip6", .program = program_sluice, .flows = 1, .kind = WORLD_IPIP6},
		{.name = "exceptions_1m", .program = program_sluice, .flows = BENCH_FLOWS,
		 .entries = 1},
	};
	const uint32_t n = sizeof(lines) / sizeof(lines[0]);
	json_t *json = json_object();
	double two = 0;
	int huge = argc > 1 && !strcmp(argv[1], "--huge");
	int r;

	if (argc != 2 + huge || argv[1 + huge][0] == '-') {
		fprintf(stderr, "usage: bench_dpdk [--huge] FILE.json\n");
		return 2;
	}
	r = open_all(huge);
	r = r ?: run_all(lines, n, 5);
	if (rte_lcore_count() >= WORKERS)
		r = r ?: measure_together(&lines[2], &two);
	if (r < 0) {
		fprintf(stderr, "bench_dpdk: %s\n", strerror(-r));
		return 1;
	}
	report(lines, n, two, json);
	r = json_dump_file(json, argv[1 + huge], JSON_INDENT(2) | JSON_SORT_KEYS);
	if (r < 0)
		fprintf(stderr, "bench_dpdk: cannot write %s\n", argv[1 + huge]);
	json_decref(json);
	return r < 0;
}
