// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/hold.h"

#include <time.h>

#include "userspace/agent/grace.h"
#include "userspace/lib/log.h"
#include "userspace/lib/rounds.h"

void hold_start(struct agent *agent, const struct config *cfg, int64_t now_ms)
{
	struct dataplane *d = &agent->dataplane;

	if (cfg->dataplane != CONFIG_DATAPLANE_DPDK)
		return;
	dataplane_init(d, agent->tables.dpdk_workers, rounds_now(), now_ms);
	if (d->stopped)
		log_warn("sluice-dpdk does not run, nothing is forwarded: until it does, nodes "
			 "behind it that do not answer stay as they are");
}

static void look(struct agent *agent, int64_t now_ms)
{
	struct dataplane *d = &agent->dataplane;
	enum dataplane_change change = dataplane_step(d, rounds_now(), now_ms);

	if (change == DATAPLANE_AS_IT_WAS)
		return;
	dataplane_serve(d, agent->cfg);
	if (change == DATAPLANE_STOPPED)
		log_warn("sluice-dpdk has stopped, nothing is forwarded: until it is back, nodes "
			 "behind it that do not answer stay as they are");
	else
		log_info("sluice-dpdk forwards again, after %.1f s on %u core%s",
			 (double)(now_ms - d->stopped_ms) / 1000, d->n_running,
			 d->n_running == 1 ? "" : "s");
}

/* What was heard of a node before a stop is as old afterwards as it was then. */
static void stand_still(struct agent *agent, int64_t ms)
{
	for (uint32_t i = 0; i < agent->n_pools; i++)
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++) {
			struct node *node = agent->pools[i]->nodes[k];

			if (dataplane_serves(&agent->dataplane, node->hop.ifindex))
				health_slept(&node->health, ms);
		}
}

void hold_step(struct agent *agent, int64_t now_ms)
{
	struct dataplane *d = &agent->dataplane;

	look(agent, now_ms);
	/* When the agent itself was held up, agent_tick() has done the rest. */
	if (d->stopped && d->ticked_ms)
		stand_still(agent, now_ms - d->ticked_ms < 2 * AGENT_TICK_MS
					   ? now_ms - d->ticked_ms
					   : AGENT_TICK_MS);
	d->ticked_ms = d->stopped ? now_ms : 0;
}

void hold_until_quiet(void *userdata)
{
	static const struct timespec step = {.tv_nsec = 1000000};
	struct agent *agent = userdata;
	const struct lb_worker *workers = agent->tables.dpdk_workers;
	uint32_t asked;

	if (!tables_are_dpdk(&agent->tables)) {
		grace_wait();
		return;
	}
	asked = rounds_now();
	while (!rounds_passed(workers, asked, rounds_now())) {
		(void)nanosleep(&step, NULL);
		publish_heartbeat(agent->publish, (uint64_t)agent_clock_ms() * 1000000);
	}
}

static bool is_silence(enum probe_outcome outcome)
{
	return outcome == PROBE_UNREACHABLE || outcome == PROBE_CONNECT_TIMEOUT ||
	       outcome == PROBE_TIMEOUT;
}

bool hold_excuses(const struct node *node, const struct probe_result *res)
{
	struct agent *agent = node->agent;

	if (!agent->dataplane.workers || !dataplane_serves(&agent->dataplane, node->hop.ifindex))
		return false;
	if (!is_silence(res->outcome)) {
		if (res->outcome != PROBE_LOCAL)
			dataplane_heard(&agent->dataplane, res->now_ms);
		return false;
	}
	look(agent, res->now_ms);
	return dataplane_excuses(&agent->dataplane, res->started_ms, res->now_ms);
}

/* --- silence ---------------------------------------------------------------------------------- */

static void hear(struct node *node, const struct probe_result *res)
{
	struct agent *agent = node->agent;

	if (is_silence(res->outcome)) {
		silence_nothing(&node->silence);
		return;
	}
	silence_word(&node->silence, res->started_ms, res->now_ms);
	if (node->silence.asked_ms > agent->asked_ms)
		agent->asked_ms = node->silence.asked_ms;
}

void hold_hear_page(struct node *node, const struct probe_result *res)
{
	if (res->outcome != PROBE_LOCAL && !hold_excuses(node, res))
		hear(node, res);
}

/* It has live flows, and should answer as `node` does, by the same device. */
static bool is_peer(const struct node *node, const struct node *other)
{
	return other != node && other->hop.ifindex == node->hop.ifindex && other->health.seen &&
	       health_alive(&other->health);
}

/* Some are enough; and when nobody was heard at all, that there are any is all there is to know. */
static void look_at_peers(const struct node *node, struct silence_case *c)
{
	const struct agent *agent = node->agent;
	const int64_t since_ms = node->silence.since_ms;

	for (uint32_t i = 0; i < agent->n_pools; i++)
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++) {
			const struct node *other = agent->pools[i]->nodes[k];

			if (!is_peer(node, other))
				continue;
			c->n_peers++;
			if (other->silence.asked_ms >= since_ms)
				c->peers[c->n_heard++] = other->silence.loss;
			if (c->n_heard == SILENCE_PEERS || agent->asked_ms < since_ms)
				return;
		}
}

bool hold_doubts(struct node *node, const struct probe_result *res)
{
	const struct dataplane *d = &node->agent->dataplane;
	struct silence_case c = {};

	hear(node, res);
	if (!is_silence(res->outcome)) {
		silence_row_ends(&node->silence);
		return false;
	}
	silence_row_grows(&node->silence, res->started_ms, res->now_ms);
	if (!node->health.seen || !health_alive(&node->health))
		return false; /* it has nothing to lose */
	c.n = node->silence.n;
	c.for_ms = res->now_ms - node->silence.since_ms;
	c.lossy = dataplane_serves(d, node->hop.ifindex) ? dataplane_lossy(d) : 0;
	look_at_peers(node, &c);
	return silence_is_doubtful(&c);
}

uint32_t hold_doubted(const struct agent *agent)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < agent->n_pools; i++)
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++)
			n += agent->pools[i]->nodes[k]->health.doubted;
	return n;
}
