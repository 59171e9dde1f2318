/* SPDX-License-Identifier: BSD-2-Clause */
/* agent.h: another configuration in place of the one in force, whole or not at all. */
#include "userspace/agent/agent_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/file_watch.h"
#include "userspace/agent/interfaces.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define CHANGES_LOGGED 50 /* lines of a reload; the rest is counted */

static int refuse(struct agent *agent, int r, const char *text)
{
	agent->n_reloads_refused++;
	snprintf(agent->reload_error, sizeof(agent->reload_error), "%s", text);
	log_error("reload refused, the old configuration stays: %s", text);
	return r;
}

/* Refuse what cannot change while maps and sockets are in use; the first such change is named. */
static int check_effect(struct agent *agent, const struct config *cfg,
			const struct config_diff *diff)
{
	const struct config_change *change;
	char line[256], text[AGENT_ERROR_MAX], command[ATTACH_COMMAND_MAX];

	if (diff->effect == CONFIG_EFFECT_LIVE)
		return 0;
	change = config_diff_find(diff, diff->effect);
	config_change_format(change, line, sizeof(line));
	if (diff->effect == CONFIG_EFFECT_DETACH)
		snprintf(text, sizeof(text), "%s: %s: '%s', then start the agent again", cfg->path,
			 line, attach_detach_command(diff->pin_dir, command));
	else
		snprintf(text, sizeof(text), "%s: %s: needs a restart of the agent (forwarding goes on "
			 "meanwhile)", cfg->path, line);
	return refuse(agent, -EBUSY, text);
}

static bool runs_as_configured(const struct agent *agent, const struct config *cfg)
{
	uint32_t n;
	const struct attach_status *st = attach_status(agent->attach, &n);

	if (n != cfg->n_interfaces)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(st[i].name, cfg->interfaces[i].name) ||
		    st[i].mode != cfg->interfaces[i].mode ||
		    st[i].priority != cfg->interfaces[i].priority)
			return false;
	return true;
}

static int attach_again(struct agent *agent, const struct config *cfg, struct attach_error *err)
{
	/* Loading a program takes the verifier a second and more, in which nothing is checked. */
	if (runs_as_configured(agent, cfg))
		return 0;
	if (!agent_is_locked(agent))
		return agent_attach(agent, cfg, err);
	snprintf(err->text, sizeof(err->text),
		 "interfaces: the program runs in libxdp's dispatcher, which takes root to "
		 "change: restart the agent (forwarding goes on meanwhile)");
	return -EPERM;
}

/* Take over cfg, or put everything back as old has it. */
static int replace_config(struct agent *agent, struct config *old, struct config *cfg,
			  struct attach_error *err)
{
	struct attach_error ignored = {};
	int64_t now_ms = agent_now_ms(agent);
	int r;

	r = attach_again(agent, cfg, err);
	if (r == 0)
		r = agent_apply(agent, cfg, false, now_ms, err);
	if (r == 0)
		return 0;
	(void)attach_again(agent, old, &ignored);
	if (agent_apply(agent, old, false, now_ms, &ignored) < 0)
		log_error("the old configuration could not be put back whole: %s", ignored.text);
	return r;
}

static void log_changes(const struct config_diff *diff)
{
	char line[512];

	for (uint32_t i = 0; i < diff->n && i < CHANGES_LOGGED; i++)
		log_info("reload: %s", config_change_format(&diff->changes[i], line, sizeof(line)));
	if (diff->n > CHANGES_LOGGED)
		log_info("reload: and %u changes more", diff->n - CHANGES_LOGGED);
	if (!diff->n)
		log_info("reload: nothing changes");
}

/* cfg is in force. */
static void finish_reload(struct agent *agent, struct config *cfg)
{
	agent->n_reloads++;
	agent->reload_error[0] = '\0';
	interfaces_apply(agent->interfaces, cfg->interfaces, cfg->n_interfaces);
	if (!agent->debug)
		log_set_level((enum log_level)cfg->log_level);
	log_changes(agent->diff);
	log_info("configuration reloaded from %s", cfg->path);
	agent_watch_config(agent);
}

int agent_reload(struct agent *agent, struct config_errors *errs, struct config_diff **ret_diff)
{
	struct config *cfg = NULL, *old = agent->cfg;
	struct attach_error err = {};
	int r;

	if (agent->watch)
		file_watch_seen(agent->watch);
	r = config_load(old->path, &cfg, errs);
	if (r < 0)
		return refuse(agent, r, errs->n ? errs->items[0].text : strerror(-r));
	r = config_diff(old, cfg, &agent->diff);
	if (r < 0)
		refuse(agent, r, strerror(-r));
	else
		r = check_effect(agent, cfg, agent->diff);
	if (r == 0) {
		r = replace_config(agent, old, cfg, &err);
		if (r < 0)
			refuse(agent, r, err.text);
	}
	if (r == 0) {
		finish_reload(agent, cfg);
		if (ret_diff)
			*ret_diff = TAKE_PTR(agent->diff);
	}
	config_diff_free(&agent->diff);
	config_free(r < 0 ? &cfg : &old);
	return r;
}
