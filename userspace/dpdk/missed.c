// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/dpdk/missed.h"

#include <dirent.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "userspace/dpdk/rte.h"

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

/* AF_PACKET or AF_XDP; 0: none of these. */
static int domain_of(int fd)
{
	socklen_t len = sizeof(int);
	int domain = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return 0;
	return domain == AF_PACKET || domain == AF_XDP ? domain : 0;
}

void missed_init(struct missed *m)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *e;

	memset(m, 0, sizeof(*m));
	while (dir && (e = readdir(dir)) && m->n_sockets < MISSED_SOCKETS_MAX) {
		int fd = atoi(e->d_name), domain = domain_of(fd);

		if (e->d_name[0] != '.' && domain)
			m->sockets[m->n_sockets++] = (struct missed_socket){fd, domain, 0};
	}
	if (dir)
		closedir(dir);
}

/* The kernel sets this one back whenever it is read. */
static uint64_t packet_drops(int fd)
{
	struct tpacket_stats st = {};
	socklen_t len = sizeof(st);

	return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len) < 0 ? 0 : st.tp_drops;
}

static uint64_t xdp_drops(struct missed_socket *s)
{
	struct xdp_statistics st = {};
	socklen_t len = sizeof(st);
	uint64_t now, new;

	if (getsockopt(s->fd, SOL_XDP, XDP_STATISTICS, &st, &len) < 0)
		return 0;
	now = st.rx_dropped + st.rx_ring_full;
	new = now - s->seen;
	s->seen = now;
	return new;
}

static bool has_socket(const struct port *p)
{
	return !strncmp(p->device, "net_af_", strlen("net_af_"));
}

static void count_devices(struct missed *m, const struct port *ports, uint16_t n_ports,
			  __u64 *missed, __u64 *no_buffers)
{
	uint64_t all_missed = 0, all_no_buffers = 0;
	struct rte_eth_stats st;

	for (uint16_t i = 0; i < n_ports; i++) {
		if (rte_eth_stats_get(ports[i].id, &st) < 0)
			continue;
		all_missed += has_socket(&ports[i]) ? 0 : st.imissed;
		all_no_buffers += st.rx_nombuf;
	}
	if (all_missed > m->device_missed)
		*missed += all_missed - m->device_missed;
	if (all_no_buffers > m->device_no_buffers)
		*no_buffers += all_no_buffers - m->device_no_buffers;
	m->device_missed = all_missed;
	m->device_no_buffers = all_no_buffers;
}

void missed_count(struct missed *m, const struct port *ports, uint16_t n_ports,
		  __u64 *missed, __u64 *no_buffers)
{
	count_devices(m, ports, n_ports, missed, no_buffers);
	for (uint32_t i = 0; i < m->n_sockets; i++)
		*missed += m->sockets[i].domain == AF_XDP ? xdp_drops(&m->sockets[i])
							  : packet_drops(m->sockets[i].fd);
}
