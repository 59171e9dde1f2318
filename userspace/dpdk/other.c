// SPDX-License-Identifier: GPL-2.0-only
#include "userspace/dpdk/other.h"

/*
 * What a device may do that the core must not meet: a tag taken out of the frame is put back, a
 * frame in several pieces is made one. 0: the core may have it; < 0: it is for the kernel as it
 * is, which also counts what the device found to be damaged.
 */
static int make_plain(struct rte_mbuf **m)
{
	if (((*m)->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) && rte_vlan_insert(m) < 0)
		return -1;
	if (((*m)->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD)
		return -1;
	return rte_pktmbuf_linearize(*m);
}

/* The frame is as it shall be. */
static void carry_out(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
		      const struct lb_result *result)
{
	if (result->verdict == LB_VERDICT_TX)
		worker_to_wire(w, p, m);
	else if (result->verdict == LB_VERDICT_REDIRECT)
		worker_redirect(w, result->ifindex, m);
	else if (result->verdict == LB_VERDICT_PASS)
		worker_to_kernel(w, p, m);
	else
		rte_pktmbuf_free(m);
}

void other_choose(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
		  struct plain *ret_plain)
{
	struct lb_env env;

	ret_plain->kind = 0;
	if (other_is_odd(m))
		return;
	lb_env_init(&env, m, &w->tables, p->ifindex);
	plain_choose(&env, ret_plain);
}

int other_send_plain(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
		     const struct plain *plain)
{
	struct lb_result result;
	struct lb_env env;

	lb_env_init(&env, m, &w->tables, p->ifindex);
	if (!plain_send(&env, plain, &result))
		return 0;
	lb_env_commit(&env);
	carry_out(w, p, m, &result);
	return 1;
}

void other_send(struct worker *w, struct worker_port *p, struct rte_mbuf *m)
{
	struct lb_result result;
	struct lb_env env;

	if (other_is_odd(m) && make_plain(&m) < 0)
		return worker_to_kernel(w, p, m);
	lb_env_init(&env, m, &w->tables, p->ifindex);
	result = lb_forward(&env);
	lb_env_commit(&env);
	carry_out(w, p, m, &result);
}
