// SPDX-License-Identifier: BSD-2-Clause
#include "tests/packet/dpdk/host.h"

#include <errno.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/packet/cases.h"
#include "userspace/dpdk/burst_ways.h"
#include "userspace/dpdk/other.h"

#define RING_SIZE 64

/* A device made of two rings. */
struct ring_port {
	struct rte_ring *in, *out;
	uint16_t id;
};

static struct ring_port near, far, near_mirror, far_mirror;
static struct rte_mempool *pool;
static struct tables tables;
static struct worker worker;

static int start_eal(void)
{
	static char *argv[] = {"packet_cases", "--no-huge",	 "-m",		   "32",
			       "--no-pci",     "--no-shconf",	 "--no-telemetry", "-l",
			       "0",	       "--log-level=error"};

	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv) < 0)
		return -rte_errno;
	pool = rte_pktmbuf_pool_create("frames", 255, 0, 0, 4096, SOCKET_ID_ANY);
	return pool ? 0 : -rte_errno;
}

static struct rte_ring *make_ring(const char *name, const char *way)
{
	char full[RTE_RING_NAMESIZE];

	snprintf(full, sizeof(full), "%s_%s", name, way);
	return rte_ring_create(full, RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

static int make_port(struct ring_port *p, const char *name)
{
	struct rte_eth_conf conf = {};
	int id, r;

	p->in = make_ring(name, "in");
	p->out = make_ring(name, "out");
	if (!p->in || !p->out)
		return -ENOMEM;
	id = rte_eth_from_rings(name, &p->in, 1, &p->out, 1, 0);
	if (id < 0)
		return -rte_errno;
	p->id = id;
	r = rte_eth_dev_configure(id, 1, 1, &conf);
	if (r == 0)
		r = rte_eth_rx_queue_setup(id, 0, RING_SIZE, 0, NULL, pool);
	if (r == 0)
		r = rte_eth_tx_queue_setup(id, 0, RING_SIZE, 0, NULL);
	return r < 0 ? r : rte_eth_dev_start(id);
}

static void join(struct worker_port *p, uint32_t ifindex, const struct ring_port *wire,
		 const struct ring_port *mirror)
{
	p->ifindex = ifindex;
	p->wire.port = wire->id;
	p->kernel.port = mirror->id;
	worker.tables.devices[p - worker.ports].ifindex = ifindex;
}

void host_set_mtu(uint32_t mtu)
{
	worker.tables.devices[0].mtu = mtu;
}

int host_open(uint32_t near_ifindex, uint32_t far_ifindex)
{
	int r = start_eal();

	r = r ?: make_port(&near, "near");
	r = r ?: make_port(&far, "far");
	r = r ?: make_port(&near_mirror, "near_mirror");
	r = r ?: make_port(&far_mirror, "far_mirror");
	r = r ?: tables_alloc(1, 1, &tables);
	if (r < 0)
		return r;
	dpdk_tables_view(&tables, 0, &worker.tables);
	worker.shared = &tables.dpdk_workers[0];
	worker.n_ports = 2;
	worker.burst = burst_ways()->fn;
	join(&worker.ports[0], near_ifindex, &near, &near_mirror);
	join(&worker.ports[1], far_ifindex, &far, &far_mirror);
	return 0;
}

#define MEMORY(name)                                                                               \
	void *host_##name(void)                                                                    \
	{                                                                                          \
		return worker.tables.name;                                                         \
	}

MEMORY(control)
MEMORY(vip_index)
MEMORY(vips)
MEMORY(pools)
MEMORY(turns)
MEMORY(members)
MEMORY(slots)
MEMORY(backends)
MEMORY(loads)
MEMORY(limit)
MEMORY(vip_counts)
MEMORY(backend_counts)
MEMORY(counters)
MEMORY(recent)

static struct rte_mbuf *take(const struct ring_port *p)
{
	void *m = NULL;

	return rte_ring_dequeue(p->out, &m) == 0 ? m : NULL;
}

/* The one frame that came out, or NULL. -EIO: there are several. */
static int collect(enum came_out *ret_out, struct rte_mbuf **ret_frame)
{
	const struct {
		const struct ring_port *port;
		enum came_out out;
	} places[] = {{&near, OUT_NEAR}, {&far, OUT_FAR}, {&near_mirror, OUT_KERNEL}};
	int n = 0;

	*ret_out = OUT_NOWHERE;
	*ret_frame = NULL;
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct rte_mbuf *m;

		while ((m = take(places[i].port))) {
			rte_pktmbuf_free(*ret_frame);
			*ret_frame = m;
			*ret_out = places[i].out;
			n++;
		}
	}
	return n > 1 || take(&far_mirror) ? -EIO : 0;
}

int host_run(const uint8_t *bytes, uint32_t len, enum came_out *ret_out, uint8_t *ret_bytes,
	     uint32_t ret_max, uint32_t *ret_len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	int r;

	if (!m || len > rte_pktmbuf_tailroom(m))
		return -ENOMEM;
	memcpy(rte_pktmbuf_append(m, len), bytes, len);
	if (rte_ring_enqueue(near.in, m) < 0)
		return -ENOSPC;
	if (worker_round(&worker, dpdk_ticks()) != 1)
		return -EIO;
	r = collect(ret_out, &m);
	*ret_len = 0;
	if (m && rte_pktmbuf_pkt_len(m) <= ret_max) {
		*ret_len = rte_pktmbuf_pkt_len(m);
		memcpy(ret_bytes, rte_pktmbuf_mtod(m, void *), *ret_len);
	}
	rte_pktmbuf_free(m);
	return r ?: rte_mempool_in_use_count(pool) ? -ENOBUFS : 0; /* a frame that nobody freed */
}

static uint32_t room = RTE_PKTMBUF_HEADROOM;

void host_set_room(uint32_t bytes)
{
	room = bytes;
}

static uint32_t damaged = UINT32_MAX;

void host_set_damaged(uint32_t frame)
{
	damaged = frame;
}

static int send_all(const uint8_t *const *frames, const uint32_t *lens, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		if (!m)
			return -ENOMEM;
		m->data_off = i % 3 ? RTE_PKTMBUF_HEADROOM : room;
		memcpy(rte_pktmbuf_append(m, lens[i]), frames[i], lens[i]);
		if (i == damaged)
			m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_BAD;
		if (rte_ring_enqueue(near.in, m) < 0)
			return -ENOSPC;
	}
	return worker_round(&worker, dpdk_ticks()) == n ? 0 : -EIO;
}

int host_run_burst(const uint8_t *const *frames, const uint32_t *lens, uint32_t n,
		   uint8_t (*ret_macs)[6])
{
	int out = 0, r = send_all(frames, lens, n);
	struct rte_mbuf *m;

	if (r < 0)
		return r;
	while ((m = take(&near))) {
		memcpy(ret_macs[out++], rte_pktmbuf_mtod(m, void *), 6);
		rte_pktmbuf_free(m);
	}
	return rte_mempool_in_use_count(pool) ? -ENOBUFS : out;
}

int host_run_frames(const uint8_t *const *frames, const uint32_t *lens, uint32_t n,
		    struct host_frame *ret_frames)
{
	const struct ring_port *ports[] = {
		[OUT_NEAR] = &near, [OUT_FAR] = &far, [OUT_KERNEL] = &near_mirror};
	int out = 0, r = send_all(frames, lens, n);
	struct rte_mbuf *m;

	for (enum came_out at = OUT_NEAR; at <= OUT_KERNEL && r == 0; at++)
		while ((m = take(ports[at]))) {
			struct host_frame *f = &ret_frames[out++];

			memset(f, 0, sizeof(*f));
			f->out = at;
			f->len = m->pkt_len == m->data_len ? m->pkt_len : 0;
			memcpy(f->bytes, rte_pktmbuf_mtod(m, void *),
			       f->len < sizeof(f->bytes) ? f->len : sizeof(f->bytes));
			rte_pktmbuf_free(m);
		}
	return r ?: rte_mempool_in_use_count(pool) ? -ENOBUFS : out;
}

static void one_by_one(struct worker *w, struct worker_port *p, struct rte_mbuf **frames,
		       uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		other_send(w, p, frames[i]);
}

const char *host_take_way(int way)
{
	static const struct burst_way alone = {"one by one", one_by_one};
	const struct burst_way *chosen = way == HOST_ONE_BY_ONE ? &alone : &burst_ways()[way];

	if (chosen->name)
		worker.burst = chosen->fn;
	return chosen->name;
}

static struct flow_table *table_of(int half_open)
{
	return half_open ? &worker.tables.half_open : &worker.tables.flows;
}

struct lb_flow *host_flow(int half_open, const struct lb_flow_key *key)
{
	return flow_table_find(table_of(half_open), key);
}

int host_flow_put(int half_open, const struct lb_flow_key *key, const struct lb_flow *flow)
{
	return flow_table_put(table_of(half_open), key, flow, FLOW_TABLE_ANY, dpdk_ticks());
}

/* A bucket has more cells than NAT_ROOM: strangers who never speak are in the others. */
static void occupy(struct flow_table *t, const void *value)
{
	for (uint32_t i = NAT_ROOM; i < LB_BUCKET_CELLS; i++) {
		struct lb_nat_key key = {.node = {i}};

		if (flow_table_put(t, &key, value, FLOW_TABLE_NOEXIST, dpdk_ticks()) < 0)
			abort();
	}
}

void host_clear(void)
{
	static const struct lb_nat_flow flow;
	static const struct lb_nat_reply reply;

	memset(tables.dpdk_flows, 0, sizeof(*tables.dpdk_flows));
	memset(tables.dpdk_half_open, 0, sizeof(*tables.dpdk_half_open));
	memset(tables.dpdk_nat_flows, 0, sizeof(*tables.dpdk_nat_flows));
	memset(tables.dpdk_nat_reply, 0, sizeof(*tables.dpdk_nat_reply));
	occupy(&worker.tables.nat_flows, &flow);
	occupy(&worker.tables.nat_replies, &reply);
}

void host_age(uint32_t ticks)
{
	for (int i = 0; i < LB_BUCKET_CELLS; i++) {
		tables.dpdk_flows->cell[i].flow.seen -= ticks;
		tables.dpdk_half_open->cell[i].flow.seen -= ticks;
		tables.dpdk_nat_flows->cell[i].flow.seen -= ticks;
		tables.dpdk_nat_reply->cell[i].reply.seen -= ticks;
	}
}
