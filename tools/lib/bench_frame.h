/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames of clients for measurements inside the kernel: TCP, IPv4 or IPv6, all of one length.
 * Addresses are 16 bytes, IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2); ports in host order.
 */
#ifndef SLUICE_TOOLS_LIB_BENCH_FRAME_H
#define SLUICE_TOOLS_LIB_BENCH_FRAME_H

#include <stdint.h>

#define BENCH_FRAME_LEN 90 /* headers and some data */

#define BENCH_TCP_SYN 0x02
#define BENCH_TCP_ACK 0x10

/*
 * Client number i, 0 … 2^24 - 1: all distinct, in an order that is not that of memory.
 * family: 4 (10.0.0.0/8) or 6.
 */
void bench_client_address(uint32_t i, int family, uint8_t ret_address[16]);
uint16_t bench_client_port(uint32_t i);

/* From client number i to dst, of that family. flags: BENCH_TCP_*. */
void bench_client_frame(uint32_t i, int family, const uint8_t dst[16], uint16_t port, uint8_t flags,
			uint8_t ret_frame[BENCH_FRAME_LEN]);

#endif
