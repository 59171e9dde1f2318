// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/nat.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "userspace/agent/apply.h"
#include "userspace/lib/log.h"

static void cell_of(const struct address *addr, struct lb_vip_cell *ret_cell)
{
	*ret_cell = (struct lb_vip_cell){.proto = IPPROTO_TCP, .kind = LB_VIP_KIND_NAT};
	if (addr->family == AF_INET6) {
		memcpy(ret_cell->addr, addr->bytes, 16);
		return;
	}
	ret_cell->addr[2] = htonl(0xffff);
	memcpy(&ret_cell->addr[3], addr->bytes, 4);
}

static void announce(struct agent *agent, const struct address *addr)
{
	char text[ADDRESS_TEXT_MAX];
	struct lb_vip_cell cell;
	int r;

	cell_of(addr, &cell);
	if (publish_index_find(agent->publish, cell.addr, 0, IPPROTO_TCP))
		return;
	r = publish_index_insert(agent->publish, &cell);
	if (r < 0)
		log_error("nat: source %s: %s: answers of nodes do not come back",
			  address_format(addr, text), strerror(-r));
}

static const struct address *pick(const struct address *list, uint32_t n, const struct node *node)
{
	return n ? &list[node->id % n] : NULL;
}

struct address nat_source(struct agent *agent, const struct node *node)
{
	const struct config_nat *nat = &agent->cfg->nat;
	const struct address *own = node->endpoint.addr.family == AF_INET
					    ? pick(nat->ipv4, nat->n_ipv4, node)
					    : pick(nat->ipv6, nat->n_ipv6, node);
	struct address src = own ? *own : node->hop.src;

	if (address_is_set(&src))
		announce(agent, &src);
	return src;
}

static bool in_use(const struct agent *agent, const struct lb_vip_cell *cell)
{
	for (uint32_t i = 0; i < agent->n_pools; i++) {
		const struct pool *pool = agent->pools[i];

		if (pool->cfg->mode != CONFIG_MODE_NAT)
			continue;
		for (uint32_t k = 0; k < pool->n_nodes; k++) {
			const struct lb_backend *b =
				&agent->tables.backends[pool->nodes[k]->id];

			if (!memcmp(b->src, cell->addr, sizeof(cell->addr)))
				return true;
		}
	}
	return false;
}

void nat_apply(struct agent *agent, const struct config *cfg)
{
	bool wanted = false;

	for (uint32_t i = 0; i < cfg->n_pools; i++)
		wanted |= cfg->pools[i].mode == CONFIG_MODE_NAT;
	publish_nat_ports(agent->publish, wanted ? cfg->nat.port_low : 0,
			  wanted ? cfg->nat.port_high : 0);
	for (uint32_t i = 0; i < LB_VIP_BUCKETS; i++) {
		const struct lb_vip_cell *cell = &agent->tables.vip_index[i];
		__be32 addr[4];

		if (cell->kind != LB_VIP_KIND_NAT || in_use(agent, cell))
			continue;
		memcpy(addr, cell->addr, sizeof(addr));
		publish_index_remove(agent->publish, addr, 0, IPPROTO_TCP);
	}
	for (uint32_t i = 0; i < agent->n_pools; i++)
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++)
			agent_publish_nexthop(agent, agent->pools[i]->nodes[k]);
}
