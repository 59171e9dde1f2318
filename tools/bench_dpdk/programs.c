// SPDX-License-Identifier: GPL-2.0-only
#include "tools/bench_dpdk/programs.h"

#include "userspace/dpdk/rte.h"
#include "userspace/dpdk/env_dpdk.h"
#include "bpf/core/encap.h"
#include "bpf/core/reset.h"

#define PREFETCH_AHEAD 4

static uint16_t receive(struct worker *w, struct rte_mbuf **frames)
{
	uint16_t n = rte_eth_rx_burst(w->ports[0].wire.port, w->queue, frames, WORKER_BURST);

	for (uint16_t i = 0; i < n && i < PREFETCH_AHEAD; i++)
		rte_prefetch0(rte_pktmbuf_mtod(frames[i], void *));
	return n;
}

static void prefetch_next(struct rte_mbuf **frames, uint16_t i, uint16_t n)
{
	if (i + PREFETCH_AHEAD < n)
		rte_prefetch0(rte_pktmbuf_mtod(frames[i + PREFETCH_AHEAD], void *));
}

uint32_t program_macswap(struct worker *w)
{
	struct rte_mbuf *frames[WORKER_BURST];
	uint16_t n = receive(w, frames);

	for (uint16_t i = 0; i < n; i++) {
		prefetch_next(frames, i, n);
		lb_swap_macs(rte_pktmbuf_mtod(frames[i], void *));
	}
	if (n)
		rte_eth_tx_burst(w->ports[0].wire.port, w->queue, frames, n);
	return n;
}

static int encap(struct worker *w, struct rte_mbuf *m)
{
	const struct lb_backend *b = &w->tables.backends[1];
	struct lb_pkt pkt;
	struct lb_env env;

	lb_env_init(&env, m, &w->tables, w->ports[0].ifindex);
	if (!lb_parse_plain4(&env, &pkt) ||
	    lb_encap_as(&env, &pkt, LB_MODE_IPIP, 4, b, pkt.saddr[3]) != LB_R_OK)
		return -1;
	lb_env_commit(&env);
	return 0;
}

uint32_t program_encap(struct worker *w)
{
	struct rte_mbuf *frames[WORKER_BURST];
	uint16_t n = receive(w, frames), kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		prefetch_next(frames, i, n);
		if (likely(encap(w, frames[i]) == 0))
			frames[kept++] = frames[i];
		else
			rte_pktmbuf_free(frames[i]);
	}
	if (kept)
		rte_eth_tx_burst(w->ports[0].wire.port, w->queue, frames, kept);
	return n;
}

uint32_t program_sluice(struct worker *w)
{
	return worker_round(w, dpdk_ticks());
}
