// SPDX-License-Identifier: BSD-2-Clause
#include "tools/lib/bench_frame.h"

#include <string.h>

void bench_client_address(uint32_t i, int family, uint8_t ret_address[16])
{
	static const uint8_t six[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 1};
	uint32_t host = i * 0x9e3779b1u & 0xffffff; /* an odd factor: none comes twice */
	uint8_t low[4] = {10, host >> 16, host >> 8, host};

	memcpy(ret_address, six, 16);
	if (family == 4)
		memcpy(ret_address, (uint8_t[16]){[10] = 0xff, [11] = 0xff}, 16);
	memcpy(ret_address + 12, low, 4);
}

uint16_t bench_client_port(uint32_t i)
{
	return 1024 + i % 60000;
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static uint16_t header_check(const uint8_t *p)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

void bench_client_frame(uint32_t i, int family, const uint8_t dst[16], uint16_t port, uint8_t flags,
			uint8_t ret_frame[BENCH_FRAME_LEN])
{
	uint8_t src[16], *ip = ret_frame + 14, *tcp = ip + (family == 4 ? 20 : 40);

	bench_client_address(i, family, src);
	memset(ret_frame, 0, BENCH_FRAME_LEN);
	memcpy(ret_frame, (uint8_t[14]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, 14);
	put16(ret_frame + 12, family == 4 ? 0x0800 : 0x86dd);
	ip[0] = family == 4 ? 0x45 : 0x60;
	if (family == 4) {
		put16(ip + 2, BENCH_FRAME_LEN - 14);
		put16(ip + 6, 0x4000);
		ip[8] = 57;
		ip[9] = 6;
		memcpy(ip + 12, src + 12, 4);
		memcpy(ip + 16, dst + 12, 4);
		put16(ip + 10, header_check(ip));
	} else {
		put16(ip + 4, BENCH_FRAME_LEN - 14 - 40);
		ip[6] = 6;
		ip[7] = 57;
		memcpy(ip + 8, src, 16);
		memcpy(ip + 24, dst, 16);
	}
	put16(tcp, bench_client_port(i));
	put16(tcp + 2, port);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
}
