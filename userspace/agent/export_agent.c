// SPDX-License-Identifier: BSD-2-Clause
/* Families about the agent as a whole, and about the host it runs on. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "userspace/agent/export_priv.h"
#include "userspace/agent/fallback.h"
#include "userspace/agent/fallback_server.h"
#include "userspace/agent/hold.h"
#include "userspace/agent/interfaces.h"
#include "userspace/agent/retire.h"
#include "userspace/agent/scan_nat.h"
#include "userspace/agent/version.h"

#define VALUE(fn, expression)                                                                      \
	static double fn(const struct export_now *now)                                             \
	{                                                                                          \
		return (double)(expression);                                                       \
	}

/* --- the agent -------------------------------------------------------------------------------- */

static void build_info(const struct export_now *now, struct export_text *t)
{
	char abi[16];

	snprintf(abi, sizeof(abi), "%u", now->agent->tables.control->abi);
	export_text_sample(t, 1, "version", SLUICE_VERSION, "abi", abi, "dataplane",
			   config_dataplane_name(now->agent->cfg->dataplane), NULL);
}

VALUE(uptime, export_age_s(now, now->agent->started_ms))

static double heartbeat_age(const struct export_now *now)
{
	return export_age_s(now, (int64_t)(now->agent->tables.control->heartbeat_ns / 1000000));
}

VALUE(reload_good, now->agent->reload_error[0] == '\0')

static void reloads(const struct export_now *now, struct export_text *t)
{
	export_text_sample(t, (double)now->agent->n_reloads, "result", "taken_over", NULL);
	export_text_sample(t, (double)now->agent->n_reloads_refused, "result", "refused", NULL);
}

static void interfaces(const struct export_now *now, struct export_text *t)
{
	uint32_t n = 0;
	const struct attach_status *st =
		now->agent->attach ? attach_status(now->agent->attach, &n) : NULL;

	for (uint32_t i = 0; i < n; i++)
		export_text_sample(t, 1, "interface", st[i].name, "mode",
				   config_xdp_mode_name(st[i].mode), "chain",
				   st[i].how == ATTACH_HOW_DISPATCHER ? "dispatcher" : "alone",
				   NULL);
}

static void attached(const struct export_now *now, struct export_text *t)
{
	uint32_t n = 0;
	const struct attach_status *st =
		now->agent->attach ? attach_status(now->agent->attach, &n) : NULL;

	for (uint32_t i = 0; i < n; i++)
		export_text_sample(t, !*interfaces_state(now->agent->interfaces, i).error,
				   "interface", st[i].name, NULL);
}

static void losses(const struct export_now *now, struct export_text *t)
{
	uint32_t n = 0;
	const struct attach_status *st =
		now->agent->attach ? attach_status(now->agent->attach, &n) : NULL;

	for (uint32_t i = 0; i < n; i++)
		export_text_sample(t, (double)interfaces_state(now->agent->interfaces, i).n_losses,
				   "interface", st[i].name, NULL);
}

/* --- probes ----------------------------------------------------------------------------------- */

static struct probe_stats probe_stats(const struct export_now *now)
{
	struct probe_stats s;

	probe_engine_stats(now->agent->probes, &s);
	return s;
}

/* "connect timeout" -> "connect_timeout" */
static void outcome_label(enum probe_outcome outcome, char *buf, size_t size)
{
	snprintf(buf, size, "%s", probe_outcome_name(outcome));
	for (; *buf; buf++)
		if (*buf == ' ')
			*buf = '_';
}

static void probe_results(const struct export_now *now, struct export_text *t)
{
	const struct probe_stats s = probe_stats(now);
	char name[32];

	for (int i = PROBE_PASS; i < PROBE_OUTCOME_N; i++) {
		outcome_label(i, name, sizeof(name));
		export_text_sample(t, (double)s.outcomes[i], "outcome", name, NULL);
	}
}

VALUE(probe_targets, probe_stats(now).probes)
VALUE(probes_in_flight, probe_stats(now).in_flight)
VALUE(probe_connections, probe_stats(now).connections)

static double probe_late(const struct export_now *now)
{
	int64_t late_ms = probe_stats(now).late_max_ms;

	if (late_ms < now->agent->late_before_ms)
		late_ms = now->agent->late_before_ms;
	return (double)late_ms / 1000;
}

/* --- packets and flows ------------------------------------------------------------------------ */

static void reasons_between(const struct export_now *now, struct export_text *t, const char *label,
			    uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++)
		if (tables_reason_name(i))
			export_text_sample(t, (double)tables_reason(&now->agent->tables, i), label,
					   tables_reason_name(i), NULL);
}

/* Forwarded packets are counted by VIP alone: the hot path writes no counter twice. Their sum would
 * fall when a VIP goes, which no counter may. */
static void packets(const struct export_now *now, struct export_text *t)
{
	reasons_between(now, t, "reason", LB_R_OK + 1, LB_R_N);
}

static void flow_events(const struct export_now *now, struct export_text *t)
{
	reasons_between(now, t, "event", LB_EV_FIRST + 1, LB_EV_N);
}

static const struct scan_stats *scans(const struct export_now *now)
{
	return scan_stats(now->agent->scan);
}

VALUE(flow_entries, scans(now)->flows)
VALUE(flow_entries_max, now->agent->tables.flows_max)
VALUE(half_open, scans(now)->half_open)
VALUE(half_open_max, now->agent->tables.half_open_max)
VALUE(slots_exc, scans(now)->slots_exc)
VALUE(scan_passes, scans(now)->passes)
VALUE(scan_age, scans(now)->passes ? export_age_s(now, (int64_t)scans(now)->finished_ms) : NAN)
VALUE(scan_duration, scans(now)->passes
			     ? (double)(scans(now)->finished_ms - scans(now)->started_ms) / 1000
			     : NAN)
VALUE(scan_revived, scans(now)->revived)
VALUE(scan_lost, scans(now)->lost)
VALUE(scan_cleared, scans(now)->exc_cleared)

static void removed(const struct export_now *now, struct export_text *t)
{
	export_text_sample(t, (double)scans(now)->expired, "why", "idle", NULL);
	export_text_sample(t, (double)scans(now)->closed, "why", "closed", NULL);
	export_text_sample(t, (double)scans(now)->voided, "why", "void", NULL);
}

VALUE(retired, now->agent->retire ? retire_count(now->agent->retire) : NAN)

/* NULL: there is no such scan. */
static const struct scan_nat_stats *nat_scans(const struct export_now *now)
{
	return now->agent->scan_nat ? scan_nat_stats(now->agent->scan_nat) : NULL;
}

VALUE(nat_flows, nat_scans(now) ? nat_scans(now)->flows : NAN)
VALUE(nat_removed, nat_scans(now) ? nat_scans(now)->removed : NAN)

static const struct dataplane *dataplane(const struct export_now *now)
{
	return &now->agent->dataplane;
}

/* Only where workers forward. */
#define OF_WORKERS(value) (dataplane(now)->workers ? (double)(value) : NAN)

VALUE(dpdk_stopped, OF_WORKERS(dataplane(now)->stopped))
VALUE(dpdk_stopped_s, OF_WORKERS(dataplane(now)->stopped
					 ? export_age_s(now, dataplane(now)->stopped_ms) : 0))
VALUE(dpdk_stops, OF_WORKERS(dataplane(now)->n_stops))
VALUE(dpdk_loss, OF_WORKERS(dataplane(now)->loss))
VALUE(doubted, hold_doubted(now->agent))
VALUE(dpdk_ignored, OF_WORKERS(dataplane(now)->n_ignored))

static void dpdk_workers(const struct export_now *now, struct export_text *t)
{
	export_text_sample(t, OF_WORKERS(dataplane(now)->n_running), "state", "running", NULL);
	export_text_sample(t, OF_WORKERS(dataplane(now)->n_stuck), "state", "stuck", NULL);
}

static void dpdk_frames(const struct export_now *now, struct export_text *t)
{
	for (uint32_t i = 0; i < LB_WORKERS_MAX; i++) {
		const struct lb_worker *w = &now->agent->tables.dpdk_workers[i];
		char name[16];

		if (!w->pid && !w->tick)
			continue; /* there never was such a worker */
		snprintf(name, sizeof(name), "%u", i);
		export_text_sample(t, (double)w->received, "worker", name, "what", "received",
				   NULL);
		export_text_sample(t, (double)w->sent, "worker", name, "what", "sent", NULL);
		export_text_sample(t, (double)w->unsent, "worker", name, "what", "unsent", NULL);
		export_text_sample(t, (double)w->to_kernel, "worker", name, "what", "to_kernel",
				   NULL);
		export_text_sample(t, (double)w->kernel_full, "worker", name, "what",
				   "kernel_full", NULL);
		export_text_sample(t, (double)w->from_kernel, "worker", name, "what",
				   "from_kernel", NULL);
		export_text_sample(t, (double)w->no_port, "worker", name, "what", "no_port", NULL);
	}
}

static void dpdk_missed(const struct export_now *now, struct export_text *t)
{
	const struct lb_worker *w = now->agent->tables.dpdk_workers;

	export_text_sample(t, OF_WORKERS(w[0].missed), "why", "queue_full", NULL);
	export_text_sample(t, OF_WORKERS(w[0].no_buffers), "why", "no_buffers", NULL);
}

/* --- fallback --------------------------------------------------------------------------------- */

static bool fallback_of(const struct export_now *now, struct fallback_server_stats *ret,
			uint32_t *ret_max)
{
	if (!now->agent->fallback)
		return false;
	fallback_stats(now->agent->fallback, ret, ret_max);
	return true;
}

static double fallback_open(const struct export_now *now)
{
	struct fallback_server_stats s;
	uint32_t max;

	return fallback_of(now, &s, &max) ? s.open : NAN;
}

static double fallback_max(const struct export_now *now)
{
	struct fallback_server_stats s;
	uint32_t max;

	return fallback_of(now, &s, &max) ? max : NAN;
}

static void fallback_connections(const struct export_now *now, struct export_text *t)
{
	struct fallback_server_stats s;
	uint32_t max;

	if (!fallback_of(now, &s, &max))
		return;
	export_text_sample(t, (double)s.accepted, "result", "accepted", NULL);
	export_text_sample(t, (double)s.refused, "result", "refused", NULL);
	export_text_sample(t, (double)s.expired, "result", "expired", NULL);
}

/* --- the process ------------------------------------------------------------------------------ */

static double cpu(const struct export_now *now)
{
	struct rusage u;

	(void)now;
	if (getrusage(RUSAGE_SELF, &u) < 0)
		return NAN;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double resident(const struct export_now *now)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages;

	(void)now;
	if (!f || fscanf(f, "%*u %lu", &pages) != 1)
		return NAN;
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* The size of the directory is their number since Linux 6.2; before it is 0. */
static double open_fds(const struct export_now *now)
{
	struct stat st;

	(void)now;
	if (stat("/proc/self/fd", &st) < 0 || st.st_size == 0)
		return NAN;
	return (double)st.st_size;
}

static double max_fds(const struct export_now *now)
{
	struct rlimit lim;

	(void)now;
	return getrlimit(RLIMIT_NOFILE, &lim) < 0 ? NAN : (double)lim.rlim_cur;
}

static double start_time(const struct export_now *now)
{
	return (double)(agent_realtime_ms() - (now->now_ms - now->agent->started_ms)) / 1000;
}

/* --- the table -------------------------------------------------------------------------------- */

#define COUNT(n, fn, text) {.name = n, .type = EXPORT_COUNTER, .help = text, .value.agent = fn}
#define GAUGE(n, fn, text) {.name = n, .type = EXPORT_GAUGE, .help = text, .value.agent = fn}
#define COUNTS(n, fn, text) {.name = n, .type = EXPORT_COUNTER, .help = text, .samples.agent = fn}
#define GAUGES(n, fn, text) {.name = n, .type = EXPORT_GAUGE, .help = text, .samples.agent = fn}

static const struct export_family families[] = {
	GAUGES("sluice_build_info", build_info, "Always 1; version, map layout, dataplane."),
	GAUGE("sluice_agent_uptime_seconds", uptime, "Since the agent started."),
	GAUGE("sluice_agent_heartbeat_age_seconds", heartbeat_age,
	      "Since the agent last wrote its heartbeat into the shared maps (every 0.1 s)."),
	GAUGE("sluice_config_last_reload_successful", reload_good,
	      "1 unless the last reload was refused; the old configuration stays then."),
	COUNTS("sluice_config_reloads_total", reloads, "Reloads, by result."),
	GAUGES("sluice_interface_info", interfaces,
	       "Always 1; interfaces the packet program is attached to."),
	GAUGES("sluice_interface_attached", attached,
	       "0: the packet program does not run there any more; sluicectl status says why."),
	COUNTS("sluice_interface_losses_total", losses,
	       "Times the packet program was found to be off the interface, or the interface gone."),
	COUNTS("sluice_probes_total", probe_results,
	       "Health checks and scrapes of nodes that ended, by outcome on the wire."),
	GAUGE("sluice_probe_targets", probe_targets, "Pages that are asked again and again."),
	GAUGE("sluice_probes_in_flight", probes_in_flight, "Checks and scrapes under way."),
	GAUGE("sluice_nodes_doubted", doubted,
	      "Nodes that do not answer and stay as they are: all on their way are silent, or more "
	      "is lost on it than they can be blamed for."),
	COUNT("sluice_probe_connections_total", probe_connections, "Connections opened to nodes."),
	GAUGE("sluice_probe_late_seconds", probe_late,
	      "How far the worst start of a check was behind its time in the last 10 to 20 s."),
	COUNTS("sluice_packets_total", packets,
	       "Packets that were not forwarded to a node, by how they ended."),
	COUNTS("sluice_flow_events_total", flow_events,
	       "What happened to flow entries; overflow_*: a flow had to do without its entry."),
	GAUGE("sluice_flow_entries", flow_entries, "Flow entries, as of the last scan."),
	GAUGE("sluice_flow_entries_max", flow_entries_max, "Room for flow entries."),
	GAUGE("sluice_half_open_entries", half_open, "Entries of half-open flows, last scan."),
	GAUGE("sluice_half_open_entries_max", half_open_max, "Room for half-open flows."),
	GAUGE("sluice_slots_with_exceptions", slots_exc,
	      "Slots of all pools whose packets are looked up, as of the last scan."),
	COUNT("sluice_flow_scans_total", scan_passes, "Complete scans of the flow table."),
	GAUGE("sluice_flow_scan_age_seconds", scan_age, "Since the last complete scan."),
	GAUGE("sluice_flow_scan_duration_seconds", scan_duration, "Of the last complete scan."),
	COUNTS("sluice_flow_entries_removed_total", removed, "Entries removed by scans."),
	COUNT("sluice_flow_entries_revived_total", scan_revived,
	      "Entries put back because a packet came while they were removed."),
	COUNT("sluice_flow_entries_lost_total", scan_lost, "Entries that could not be put back."),
	COUNT("sluice_slots_cleared_total", scan_cleared, "Slots that need no look-ups any more."),
	GAUGE("sluice_retired_nodes", retired,
	      "Nodes that left the configuration and have connections still."),
	GAUGE("sluice_nat_flows", nat_flows, "Flows of mode nat, as of the last scan."),
	COUNT("sluice_nat_flows_removed_total", nat_removed, "Flows of mode nat removed by scans."),
	GAUGE("sluice_dpdk_stopped", dpdk_stopped,
	      "1 while no poll-mode worker runs, so nothing is forwarded."),
	GAUGE("sluice_dpdk_stopped_seconds", dpdk_stopped_s,
	      "How long nothing has been forwarded; 0 while something is."),
	COUNT("sluice_dpdk_stops_total", dpdk_stops, "How often poll-mode workers stopped."),
	GAUGES("sluice_dpdk_workers", dpdk_workers,
	       "Poll-mode workers; stuck: there, and without a round for 0.5 s."),
	COUNTS("sluice_dpdk_missed_frames_total", dpdk_missed,
	       "Frames that were lost before a worker had them, since workers were too slow."),
	GAUGE("sluice_dpdk_loss_ratio", dpdk_loss,
	      "Share of frames lost by devices and workers: the worst second of late, forgotten "
	      "within some ten."),
	COUNT("sluice_dpdk_checks_ignored_total", dpdk_ignored,
	      "Checks without an answer that did not count, as no worker ran."),
	COUNTS("sluice_dpdk_frames_total", dpdk_frames, "Frames of poll-mode workers."),
	GAUGE("sluice_fallback_connections", fallback_open,
	      "Connections to this host's own responder."),
	GAUGE("sluice_fallback_connections_max", fallback_max, "How many it accepts at once."),
	COUNTS("sluice_fallback_connections_total", fallback_connections,
	       "Connections to this host's own responder, by result."),
	COUNT("process_cpu_seconds_total", cpu, "User and system time."),
	GAUGE("process_resident_memory_bytes", resident, "Resident memory."),
	GAUGE("process_open_fds", open_fds, "Open file descriptors."),
	GAUGE("process_max_fds", max_fds, "Limit of open file descriptors."),
	GAUGE("process_start_time_seconds", start_time, "Unix time of the agent's start."),
};

const struct export_table *export_agent_table(void)
{
	static const struct export_table table = {families, ARRAY_SIZE(families)};

	return &table;
}
