// SPDX-License-Identifier: GPL-2.0-only
#include "tools/bench_dpdk/programs.h"

#include <rte_vect.h>

#include "userspace/dpdk/rte.h"
#include "userspace/dpdk/env_dpdk.h"
#include "bpf/core/encap.h"

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

/* The first 16 bytes of the frame at once, as dpdk-testpmd does it. */
static void swap_macs(void *at)
{
	const __m128i order = _mm_set_epi8(15, 14, 13, 12, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6);

	_mm_storeu_si128(at, _mm_shuffle_epi8(_mm_loadu_si128(at), order));
}

uint32_t program_macswap(struct worker *w)
{
	struct rte_mbuf *frames[WORKER_BURST];
	uint16_t n = receive(w, frames);

	for (uint16_t i = 0; i < n; i++) {
		prefetch_next(frames, i, n);
		swap_macs(rte_pktmbuf_mtod(frames[i], void *));
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
