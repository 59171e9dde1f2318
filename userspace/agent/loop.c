// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "userspace/lib/log.h"

static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

int loop_new(sd_event **ret_event)
{
	sd_event *event = NULL;
	int r;

	r = block_signals();
	if (r == 0)
		r = sd_event_new(&event);
	if (r >= 0)
		r = sd_event_set_watchdog(event, true);
	/* The first round fixes the loop's time, which modules read before it runs. */
	if (r >= 0)
		r = sd_event_run(event, 0);
	if (r < 0) {
		sd_event_unref(event);
		return r;
	}
	*ret_event = event;
	return 0;
}

static int on_stop(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	(void)userdata;
	log_info("signal %u: stopping; forwarding goes on with the last table", si->ssi_signo);
	return sd_event_exit(sd_event_source_get_event(s), 0);
}

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	struct config_errors errs = {};

	(void)s;
	(void)si;
	(void)agent_reload(userdata, &errs, NULL);
	config_errors_free(&errs);
	return 0;
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;
	int64_t now_ms = agent_now_ms(agent);
	int r;

	agent_tick(agent, now_ms);
	/* From now, not from when it was due: a stopped agent does not tick the lost time after. */
	(void)usec;
	r = sd_event_source_set_time(s, ((uint64_t)now_ms + AGENT_TICK_MS) * 1000);
	return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int loop_run(sd_event *event, struct agent *agent)
{
	sd_event_source *tick = NULL;
	char status[64];
	int r;

	r = sd_event_add_signal(event, NULL, SIGTERM, on_stop, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_stop, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGHUP, on_reload, agent);
	if (r >= 0)
		r = sd_event_add_time(event, &tick, CLOCK_MONOTONIC, 0, 1000, on_tick, agent);
	/* It notices first when the agent was held up, before old answers are judged. */
	if (r >= 0)
		r = sd_event_source_set_priority(tick, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_source_set_floating(tick, true);
	sd_event_source_unref(tick);
	if (r < 0)
		return r;
	snprintf(status, sizeof(status), "%u pool%s, %u VIP%s", agent->n_pools,
		 agent->n_pools == 1 ? "" : "s", agent->n_vips, agent->n_vips == 1 ? "" : "s");
	(void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
	log_info("ready: %s", status);
	r = sd_event_loop(event);
	(void)sd_notify(0, "STOPPING=1");
	return r;
}

void loop_stop(sd_event *event)
{
	(void)sd_event_exit(event, 0);
}
