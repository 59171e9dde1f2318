/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DPDK's headers beside the kernel's, which the core includes: <netinet/ip.h>, which rte_ip.h
 * includes, has a struct iphdr of its own.
 */
#ifndef SLUICE_DPDK_RTE_H
#define SLUICE_DPDK_RTE_H

#define iphdr netinet_iphdr
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#undef iphdr

#endif
