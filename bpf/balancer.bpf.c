// SPDX-License-Identifier: GPL-2.0-only
/* XDP entry on an ingress host: frame -> verdict of the core -> XDP action. */
#include "bpf/env_xdp.h"
#include "bpf/core/forward.h"
#include "maps/bpf_maps_dpdk.h"

SEC("xdp")
int sluice_balancer(struct xdp_md *ctx)
{
	struct lb_result r;
	struct lb_env env;

	lb_env_init(&env, ctx);
	r = lb_forward(&env);
	if (r.verdict == LB_VERDICT_REDIRECT)
		return bpf_redirect(r.ifindex, 0);
	return r.verdict;
}

_Static_assert((int)LB_VERDICT_DROP == XDP_DROP && (int)LB_VERDICT_PASS == XDP_PASS &&
		       (int)LB_VERDICT_TX == XDP_TX,
	       "a verdict is not its action");

char _license[] SEC("license") = "GPL";
