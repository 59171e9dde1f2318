/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A name -> targets, by DNS, without blocking: one question to the system's resolvers or a given
 * server, with c-ares, in the agent's loop. A, AAAA; or SRV, whose targets are looked up too if the
 * answer does not bring their addresses.
 *
 * SRV: priorities become tiers, the lowest first (added to discovery.tier); weights count if they
 * differ, else all nodes have the pool's own. A target that has no address is left out; one whose
 * lookup fails makes all of it fail.
 *
 * /etc/resolv.conf is read for each question, so that a change of it is obeyed.
 */
#ifndef SLUICE_AGENT_DISCOVERY_DNS_H
#define SLUICE_AGENT_DISCOVERY_DNS_H

#include <systemd/sd-event.h>

#include "userspace/agent/config.h"
#include "userspace/agent/discovery_answer.h"

struct discovery_dns;

/* answer: taken over by the callee; NULL: it failed, and error says why. Called once, not from
 * discovery_dns_ask(); the callee may free the question. */
typedef void (*discovery_dns_fn)(void *userdata, struct discovery_answer *answer, int64_t ttl_ms,
				 const char *error);

/*
 * cfg is not needed after the call. tier: discovery.tier. family: of the nodes; 0: either, but
 * IPv4 where a target has both. Returns 0; -ENOMEM; -errno of sd-event.
 */
int discovery_dns_ask(sd_event *event, const struct config_discovery *cfg, sa_family_t family,
		      discovery_dns_fn done, void *userdata, struct discovery_dns **ret);

/* Accepts NULL inside; clears. */
void discovery_dns_free(struct discovery_dns **dns);

#endif
