// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/agent_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "userspace/agent/apply.h"
#include "userspace/agent/file_watch.h"
#include "userspace/agent/hold.h"
#include "userspace/agent/interfaces.h"
#include "userspace/agent/privileges.h"
#include "userspace/agent/nat.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define LATE_MS		  5000	/* how long the latest start of a probe is remembered */
#define HELD_UP_MS	  2000	/* a tick this late: the host stopped the agent, or held it up */
#define TRANSITION_BUDGET 65536 /* slots looked at in one tick */
#define SCAN_STEPS_TICK	  8	/* steps of SCAN_BUDGET entries in one tick */
#define REPLIES_PER_S	  20000 /* crafted answers of one CPU */
#define REPAIR_AFTER_MS	  60000 /* since the start, a restart may put right what only root can */

int64_t agent_now_ms(const struct agent *agent)
{
	uint64_t us = 0;

	if (agent->event && sd_event_now(agent->event, CLOCK_MONOTONIC, &us) >= 0)
		return (int64_t)(us / 1000);
	return 0;
}

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t agent_clock_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t agent_cpu_us(void)
{
	return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

int64_t agent_clock_ms(void)
{
	return agent_clock_us() / 1000;
}

uint64_t agent_boottime_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int64_t agent_realtime_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void set_error(struct attach_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void set_error(struct attach_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
}

/* --- next hops -------------------------------------------------------------------------------- */

void agent_publish_nexthop(struct agent *agent, const struct node *node)
{
	struct address src = node->endpoint.addr.family == AF_INET ? agent->cfg->source_ipv4
								    : agent->cfg->source_ipv6;

	if (node->pool->cfg->mode == CONFIG_MODE_NAT)
		src = nat_source(agent, node);
	publish_backend_nexthop(agent->publish, node->id, &node->hop, &src, 0,
				node->pool->cfg->gue_port);
}

static void on_nexthop(void *userdata, uint32_t id, const struct nexthop_result *res)
{
	struct agent *agent = userdata;
	struct node *node = id < LB_BACKENDS_MAX ? agent->by_id[id] : NULL;
	char text[ADDRESS_TEXT_MAX];

	if (!node)
		return;
	if (node->hop.state != res->state && res->state != NEXTHOP_PENDING)
		log_debug("node %s/%s: next hop of %s: %s", node->pool->name, node->name,
			  address_format(&node->endpoint.addr, text),
			  nexthop_state_name(res->state));
	if ((res->state == NEXTHOP_NO_ROUTE || res->state == NEXTHOP_LOCAL) &&
	    node->hop.state != res->state)
		notice(&node->pool->notices, NOTICE_NO_ROUTE, agent_now_ms(agent), LOG_LEVEL_WARN,
		       "node %s/%s: %s is %s: packets for it are dropped", node->pool->name,
		       node->name, address_format(&node->endpoint.addr, text),
		       res->state == NEXTHOP_LOCAL ? "an address of this host"
						   : "not reachable by any route");
	node->hop = *res;
	agent_publish_nexthop(agent, node);
}

int agent_add_nexthop(struct agent *agent, struct node *node)
{
	struct nexthop_result known;
	int r = nexthop_add(agent->nexthop, node->id, &node->endpoint.addr);

	if (r < 0)
		return r;
	agent->nexthop_due_ms = 0;
	/* Of an address that another node has too, nothing new will be told. */
	if (nexthop_get(agent->nexthop, node->id, &known) == 0 && known.state != NEXTHOP_PENDING)
		on_nexthop(agent, node->id, &known);
	return 0;
}

static int on_nexthop_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct agent *agent = userdata;
	int r;

	(void)s;
	(void)fd;
	(void)revents;
	r = nexthop_dispatch(agent->nexthop, (uint64_t)agent_now_ms(agent));
	if (r < 0)
		log_error("next hops: %s", strerror(-r));
	agent->nexthop_due_ms = 0;
	agent_kick(agent);
	return 0;
}

static void step_nexthop(struct agent *agent, int64_t now_ms)
{
	int r;

	if (now_ms < agent->nexthop_due_ms)
		return;
	r = nexthop_step(agent->nexthop, (uint64_t)now_ms);
	if (r < 0)
		log_error("next hops: %s", strerror(-r));
	agent->nexthop_due_ms = now_ms + (r < 0 ? 1000 : r);
}

/* --- changes ---------------------------------------------------------------------------------- */

void agent_node_changed(struct node *node, const struct health_change *change)
{
	enum log_level level = LOG_LEVEL_INFO;
	int64_t now_ms = agent_now_ms(node->agent);

	if (change->from != change->to) {
		node->n_transitions++;
		node->pool->n_transitions[change->to]++;
		if (change->to == LB_STATE_UNHEALTHY) {
			level = LOG_LEVEL_WARN;
			score_forget(&node->score);
		}
		notice_change(&node->pool->notices, change->from, change->to, now_ms, level,
			      "node %s/%s: %s -> %s: %s", node->pool->name, node->name,
			      health_state_name(change->from), health_state_name(change->to),
			      change->cause);
	} else {
		notice_change(&node->pool->notices, change->under_from, change->under_to, now_ms,
			      level, "node %s/%s: stays %s; by itself %s -> %s: %s",
			      node->pool->name, node->name, health_state_name(change->to),
			      health_state_name(change->under_from),
			      health_state_name(change->under_to), change->cause);
	}
	node->pool->dirty = true;
	agent_kick(node->agent);
}

static void judge_dirty(struct agent *agent)
{
	int64_t now_ms = agent_now_ms(agent), later_us = INT64_MAX;

	for (uint32_t i = 0; i < agent->n_pools; i++) {
		struct pool *pool = agent->pools[i];

		if (!pool->dirty)
			continue;
		if (!pool_is_quiet(pool, agent_clock_us()))
			pool_judge(pool, now_ms);
		else if (pool->quiet_until_us < later_us)
			later_us = pool->quiet_until_us;
	}
	if (later_us == INT64_MAX)
		return;
	(void)sd_event_source_set_time(agent->later, (uint64_t)later_us);
	(void)sd_event_source_set_enabled(agent->later, SD_EVENT_ONESHOT);
}

static int on_later(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s;
	(void)usec;
	judge_dirty(userdata);
	return 0;
}

static int on_kick(sd_event_source *s, void *userdata)
{
	struct agent *agent = userdata;

	(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	judge_dirty(agent);
	step_nexthop(agent, agent_now_ms(agent));
	return 0;
}

void agent_kick(struct agent *agent)
{
	if (agent->kick)
		(void)sd_event_source_set_enabled(agent->kick, SD_EVENT_ONESHOT);
}

/* --- the clock -------------------------------------------------------------------------------- */

static void step_scan(struct agent *agent, int64_t now_ms)
{
	int r = 0;

	if (agent->scan_nat)
		scan_nat_step(agent->scan_nat, (uint64_t)now_ms);
	if (now_ms < agent->scan_due_ms)
		return;
	for (int i = 0; i < SCAN_STEPS_TICK && r == 0; i++)
		r = scan_step(agent->scan, (uint64_t)now_ms, SCAN_BUDGET);
	if (r < 0)
		log_warn("flow scan: %s; the next pass begins anew", strerror(-r));
	agent->scan_due_ms = now_ms + (r < 0 ? SCAN_INTERVAL_MS : r);
}

static void step_late(struct agent *agent, int64_t now_ms)
{
	struct probe_stats s;

	if (now_ms < agent->late_due_ms)
		return;
	probe_engine_stats(agent->probes, &s);
	probe_engine_stats_reset(agent->probes);
	agent->late_before_ms = s.late_max_ms;
	agent->late_due_ms = now_ms + LATE_MS;
}

/* Nothing was asked meanwhile, and nothing that nodes did not say is to be held against them. */
static void step_held_up(struct agent *agent, int64_t now_ms)
{
	int64_t late_ms = now_ms - agent->ticked_ms - AGENT_TICK_MS;

	if (agent->ticked_ms && late_ms >= HELD_UP_MS) {
		log_warn("the agent was held up for %.1f s: no node was asked meanwhile",
			 (double)late_ms / 1000);
		for (uint32_t i = 0; i < agent->n_pools; i++)
			for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++)
				health_slept(&agent->pools[i]->nodes[k]->health, late_ms);
	}
	agent->ticked_ms = now_ms;
}

/*
 * What it takes root for is done at the start. Not right after one: if that did not help, or somebody
 * undoes it each time, it happens once a minute and not all the time.
 */
static void step_repair(struct agent *agent, int64_t now_ms)
{
	if (!agent->started_again || now_ms - agent->started_ms < REPAIR_AFTER_MS ||
	    !interfaces_need_root(agent->interfaces))
		return;
	log_error("ending with a failure, to be started again as root, which can attach the packet "
		  "program");
	agent->started_again = false;
	(void)sd_event_exit(agent->event, -EPERM);
}

void agent_tick(struct agent *agent, int64_t now_ms)
{
	step_held_up(agent, now_ms);
	hold_step(agent, now_ms);
	for (uint32_t i = 0; i < agent->n_pools; i++)
		pool_tick(agent->pools[i], now_ms);
	step_nexthop(agent, now_ms);
	step_scan(agent, now_ms);
	synshare_step(&agent->synshare, (uint64_t)now_ms);
	retire_step(agent->retire, now_ms);
	fallback_tick(agent->fallback, now_ms);
	step_late(agent, now_ms);
	interfaces_tick(agent->interfaces, now_ms);
	step_repair(agent, now_ms);
	(void)publish_end_transitions(agent->publish, (uint64_t)agent->cfg->flow_idle_ms,
				      (uint64_t)agent_clock_ms(), TRANSITION_BUDGET);
	publish_heartbeat(agent->publish, (uint64_t)now_ms * 1000000);
}

/* --- finding ---------------------------------------------------------------------------------- */

struct node *agent_find_node(const struct agent *agent, const char *name, bool *ret_ambiguous)
{
	const char *slash = strchr(name, '/');
	struct node *found = NULL;

	*ret_ambiguous = false;
	for (uint32_t i = 0; i < agent->n_pools; i++) {
		const struct pool *pool = agent->pools[i];
		struct node *node;

		if (slash && (strncmp(pool->name, name, (size_t)(slash - name)) ||
			      pool->name[slash - name]))
			continue;
		node = pool_find(pool, slash ? slash + 1 : name);
		if (node && found) {
			*ret_ambiguous = true;
			return NULL;
		}
		if (node)
			found = node;
	}
	return found;
}

/* --- start and stop --------------------------------------------------------------------------- */

static int open_kernel(struct agent *agent, const struct config *cfg, struct attach_error *err)
{
	struct attach_settings settings = {
		.pin_dir = cfg->pin_dir,
		.n_pools = cfg->limits.pools,
		.flows = cfg->limits.flows,
		.half_open = cfg->limits.half_open,
		.dpdk = cfg->dataplane == CONFIG_DATAPLANE_DPDK,
		.nat_flows = cfg->limits.nat_flows,
	};
	int r;

	r = attach_open(&settings, &agent->attach, err);
	if (r < 0)
		return r;
	r = tables_open(cfg->pin_dir, &agent->tables);
	if (r < 0) {
		set_error(err, "cannot map the pinned maps in %s: %s", cfg->pin_dir, strerror(-r));
		return r;
	}
	return 0;
}

static uint32_t per_cpu(const struct agent *agent, uint32_t per_host)
{
	uint32_t n = per_host / agent->tables.n_cpus;

	return n ? n : 1;
}

static int open_modules(struct agent *agent, const struct config *cfg, int64_t now_ms,
			struct attach_error *err)
{
	char command[ATTACH_COMMAND_MAX];
	int r;

	r = publish_new(&agent->tables, hold_until_quiet, agent, (uint64_t)now_ms, &agent->publish);
	synshare_init(&agent->synshare, &agent->tables);
	if (r == 0)
		r = scan_new(&agent->tables, (uint64_t)cfg->flow_idle_ms, &agent->scan);
	if (r == 0)
		r = scan_nat_new(&agent->tables, cfg->pin_dir, &agent->scan_nat);
	if (r == 0)
		scan_set_nat(agent->scan, agent->scan_nat);
	if (r == 0)
		r = nexthop_new(on_nexthop, agent, &agent->nexthop);
	if (r == 0)
		r = probe_engine_new(agent->event, &agent->probes);
	if (r == 0)
		r = retire_new(agent, &agent->retire);
	if (r == 0)
		r = interfaces_new(agent->attach, &agent->interfaces);
	if (r == 0)
		r = sd_event_add_io(agent->event, NULL, nexthop_fd(agent->nexthop), EPOLLIN,
				    on_nexthop_io, agent);
	if (r >= 0)
		r = sd_event_add_defer(agent->event, &agent->kick, on_kick, agent);
	if (r >= 0)
		r = sd_event_add_time(agent->event, &agent->later, CLOCK_MONOTONIC, UINT64_MAX, 1,
				      on_later, agent);
	if (r < 0) {
		set_error(err, "cannot start: %s", strerror(-r));
		return r;
	}
	r = publish_control(agent->publish, cfg->hash_key,
			    per_cpu(agent, cfg->limits.new_entries_per_second), REPLIES_PER_S);
	if (r == -EBUSY)
		set_error(err, "hash_key differs from that of the running tables, and every flow "
			       "would move: keep the old key, or run '%s' first",
			  attach_detach_command(cfg->pin_dir, command));
	return r;
}

static void log_attached(const struct agent *agent)
{
	uint32_t n;
	const struct attach_status *st = attach_status(agent->attach, &n);

	for (uint32_t i = 0; i < n; i++)
		log_info("interface %s: %s mode, %s%s", st[i].name,
			 config_xdp_mode_name(st[i].mode),
			 st[i].how == ATTACH_HOW_DISPATCHER
				 ? "in libxdp's dispatcher"
				 : "alone (this kernel cannot run libxdp's dispatcher)",
			 st[i].change == ATTACH_CHANGE_NONE	 ? ", as it was"
			 : st[i].change == ATTACH_CHANGE_SWAPPED ? ", program replaced by this build"
								 : "");
}

int agent_attach(struct agent *agent, const struct config *cfg, struct attach_error *err)
{
	uint32_t n = cfg->dataplane == CONFIG_DATAPLANE_DPDK ? 0 : cfg->n_interfaces;

	return attach_interfaces(agent->attach, cfg->interfaces, n, err);
}

int agent_new(sd_event *event, struct config **cfg, struct agent **ret_agent,
	      struct attach_error *err)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	int64_t now_ms;
	int r;

	if (!agent) {
		set_error(err, "out of memory");
		return -ENOMEM;
	}
	agent->tables.flows_fd = agent->tables.half_open_fd = -1;
	agent->event = sd_event_ref(event);
	now_ms = agent->started_ms = agent_now_ms(agent);
	r = open_kernel(agent, *cfg, err);
	if (r == 0)
		r = open_modules(agent, *cfg, now_ms, err);
	if (r == 0) {
		hold_start(agent, *cfg, now_ms);
		r = agent_apply(agent, *cfg, true, now_ms, err);
	}
	if (r == 0)
		r = agent_attach(agent, *cfg, err);
	if (r < 0) {
		if (agent->attach)
			attach_abandon(agent->attach);
		agent->cfg = NULL;
		agent_free(&agent);
		return r;
	}
	log_attached(agent);
	interfaces_apply(agent->interfaces, (*cfg)->interfaces, (*cfg)->n_interfaces);
	*cfg = NULL;
	agent->ready = true;
	*ret_agent = agent;
	return 0;
}

void agent_free(struct agent **agent)
{
	struct agent *a = *agent;

	if (!a)
		return;
	for (uint32_t i = 0; i < a->n_vips; i++)
		free(a->vips[i]);
	free(a->vips);
	fallback_free(&a->fallback);
	for (uint32_t i = 0; i < a->n_pools; i++)
		pool_free(&a->pools[i]);
	free(a->pools);
	retire_free(&a->retire);
	file_watch_free(&a->watch);
	probe_engine_free(&a->probes);
	nexthop_free(&a->nexthop);
	scan_free(&a->scan);
	scan_nat_free(&a->scan_nat);
	publish_free(&a->publish);
	tables_close(&a->tables);
	interfaces_free(&a->interfaces);
	attach_close(&a->attach);
	sd_event_source_disable_unref(a->kick);
	sd_event_source_disable_unref(a->later);
	sd_event_unref(a->event);
	config_free(&a->cfg);
	free(a);
	*agent = NULL;
}

void agent_abandon(struct agent *agent)
{
	attach_abandon(agent->attach);
}

static void on_config_file(void *userdata)
{
	struct agent *agent = userdata;
	struct config_errors errs = {};

	log_info("%s has changed", agent->cfg->path);
	(void)agent_reload(agent, &errs, NULL);
	config_errors_free(&errs);
}

void agent_watch_config(struct agent *agent)
{
	int r = 0;

	if (!agent->cfg->watch)
		file_watch_free(&agent->watch);
	else if (!agent->watch)
		r = file_watch_new(agent->event, agent->cfg->path, on_config_file, agent,
				   &agent->watch);
	if (r < 0)
		log_error("%s cannot be watched: %s", agent->cfg->path, strerror(-r));
}

int agent_start(struct agent *agent, struct attach_error *err)
{
	int64_t now_ms = agent_now_ms(agent);
	int r;

	r = fallback_new(agent, agent->cfg->limits.fallback_connections, now_ms, &agent->fallback);
	if (r < 0) {
		set_error(err, "cannot start the fallback responder: %s", strerror(-r));
		return r;
	}
	fallback_apply(agent->fallback, now_ms);
	agent_watch_config(agent);
	return 0;
}

bool agent_is_locked(const struct agent *agent)
{
	uint32_t n;
	const struct attach_status *st = attach_status(agent->attach, &n);

	for (uint32_t i = 0; i < n; i++)
		if (st[i].how == ATTACH_HOW_DISPATCHER)
			return !privileges_admin();
	return false;
}

int agent_detach(struct agent *agent, struct attach_error *err)
{
	int r = 0;

	if (agent_is_locked(agent)) {
		set_error(err, "the program runs in libxdp's dispatcher, which takes root to change");
		r = -EPERM;
	} else {
		r = attach_detach(agent->attach, err);
	}
	if (r == 0 || r == -EPERM)
		fallback_detach(agent->fallback);
	return r;
}
