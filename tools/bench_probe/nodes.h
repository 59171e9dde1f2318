/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thousands of mock nodes from one port: a thread that listens on all addresses of the host (all of
 * 127.0.0.0/8, say) and answers GET /metrics with a page, and anything else with an empty 200.
 * Connections are kept.
 */
#ifndef SLUICE_BENCH_PROBE_NODES_H
#define SLUICE_BENCH_PROBE_NODES_H

#include <stddef.h>
#include <stdint.h>

struct nodes;

/* port: 0 for any. page is borrowed. Returns 0 or -errno. */
int nodes_start(uint16_t port, const char *page, size_t page_len, struct nodes **ret);
void nodes_stop(struct nodes **nodes);

uint16_t nodes_port(const struct nodes *nodes);

/* The i-th node's address, host byte order; 250 of 256 are used. */
uint32_t nodes_address(uint32_t i);

#endif
