// SPDX-License-Identifier: BSD-2-Clause
/* A piece of wire: what arrives at one DPDK device leaves by the other. Arguments: the EAL's. */
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BURST  32
#define RING   512
#define FRAMES 8191

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static int start(uint16_t port, struct rte_mempool *pool)
{
	struct rte_eth_conf conf;
	uint16_t n_rx = RING, n_tx = RING;
	int r;

	memset(&conf, 0, sizeof(conf));
	r = rte_eth_dev_configure(port, 1, 1, &conf);
	if (r == 0)
		r = rte_eth_dev_adjust_nb_rx_tx_desc(port, &n_rx, &n_tx);
	if (r == 0)
		r = rte_eth_rx_queue_setup(port, 0, n_rx, SOCKET_ID_ANY, NULL, pool);
	if (r == 0)
		r = rte_eth_tx_queue_setup(port, 0, n_tx, SOCKET_ID_ANY, NULL);
	return r == 0 ? rte_eth_dev_start(port) : r;
}

static uint16_t carry(uint16_t from, uint16_t to)
{
	struct rte_mbuf *frames[BURST];
	uint16_t n = rte_eth_rx_burst(from, 0, frames, BURST);
	uint16_t sent = rte_eth_tx_burst(to, 0, frames, n);

	if (sent < n)
		rte_pktmbuf_free_bulk(&frames[sent], n - sent);
	return n;
}

int main(int argc, char **argv)
{
	struct rte_mempool *pool;

	signal(SIGTERM, on_signal);
	if (rte_eal_init(argc, argv) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create("wire", FRAMES, 128, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
				       SOCKET_ID_ANY);
	if (!pool || rte_eth_dev_count_avail() != 2 || start(0, pool) < 0 || start(1, pool) < 0) {
		fprintf(stderr, "dpdk_wire: two devices are needed\n");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (!stop)
		if (carry(0, 1) + carry(1, 0) == 0)
			usleep(50);
	return 0;
}
