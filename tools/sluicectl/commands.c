// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/sluicectl/client.h"
#include "tools/sluicectl/clock.h"
#include "tools/sluicectl/show.h"
#include "userspace/agent/config.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/duration.h"

#define WAIT_POLL_MS 200
#define READY_MS     60000

static int parse_duration(const char *option, const char *word, int64_t *ret_ms)
{
	if (word && duration_parse(word, ret_ms) == 0)
		return CTL_OK;
	fprintf(stderr, "sluicectl: %s%s%s%s: %s such as 90s, 5m, 1h\n", option, word ? " '" : "",
		word ? word : "", word ? "'" : "", word ? "not a duration" : "takes a duration");
	return CTL_USAGE;
}

static int get_and_show(const struct ctl *ctl, const char *path, void (*show)(const json_t *))
{
	json_t *json = NULL;
	int r = client_call(ctl, "GET", path, NULL, &json);

	if (r != CTL_OK)
		return r;
	(ctl->json ? show_json : show)(json);
	json_decref(json);
	return CTL_OK;
}

/* --- status ----------------------------------------------------------------------------------- */

struct status_options {
	bool wait;
	int64_t timeout_ms;
};

static int parse_status(int argc, char **argv, struct status_options *opt)
{
	bool timeout = false;

	*opt = (struct status_options){.timeout_ms = READY_MS};
	for (int i = 0; i < argc; i++) {
		int r = CTL_OK;

		if (!strcmp(argv[i], "--wait")) {
			opt->wait = true;
		} else if (!strcmp(argv[i], "--timeout")) {
			timeout = true;
			i++;
			r = parse_duration("--timeout", i < argc ? argv[i] : NULL, &opt->timeout_ms);
		} else if (!strncmp(argv[i], "--timeout=", 10)) {
			timeout = true;
			r = parse_duration("--timeout", argv[i] + 10, &opt->timeout_ms);
		} else {
			fprintf(stderr, "sluicectl: unexpected '%s'. Usage: sluicectl status [--wait] "
					"[--timeout 1m]\n", argv[i]);
			return CTL_USAGE;
		}
		if (r != CTL_OK)
			return r;
	}
	if (timeout && !opt->wait) {
		fprintf(stderr, "sluicectl: --timeout is for --wait\n");
		return CTL_USAGE;
	}
	return CTL_OK;
}

/* The first pool whose nodes have not all been judged yet, NULL if there is none. */
static const char *undecided_pool(const json_t *status)
{
	const json_t *pools = json_object_get(status, "pools"), *pool;
	size_t i;

	json_array_foreach(pools, i, pool)
		if (json_is_false(json_object_get(pool, "settled")))
			return json_string_value(json_object_get(pool, "name"));
	return NULL;
}

/* Until the agent answers and every node was judged; for so long at most. */
static int wait_ready(const struct ctl *ctl, int64_t timeout_ms)
{
	int64_t until_ms = clock_ms() + timeout_ms;
	struct ctl quiet = *ctl;

	quiet.silent = true;
	for (;;) {
		bool last = clock_ms() >= until_ms, ready;
		json_t *status = NULL;
		int r = client_call(last ? ctl : &quiet, "GET", "/v1/status", NULL, &status);
		const char *pool = undecided_pool(status);

		if (last && pool)
			fprintf(stderr, "sluicectl: pool %s still waits for its first checks\n", pool);
		ready = r == CTL_OK && !pool;
		json_decref(status);
		if (ready || (r != CTL_OK && r != CTL_NO_AGENT) || last)
			return r == CTL_OK && !ready ? CTL_REFUSED : r;
		clock_sleep_ms(WAIT_POLL_MS);
	}
}

int cmd_status(const struct ctl *ctl, int argc, char **argv)
{
	struct status_options opt;
	int r = parse_status(argc, argv, &opt);

	if (r == CTL_OK && opt.wait)
		r = wait_ready(ctl, opt.timeout_ms);
	return r == CTL_OK ? get_and_show(ctl, "/v1/status", show_status) : r;
}

/* --- nodes and VIPs ----------------------------------------------------------------------------- */

static bool is_state(const char *word)
{
	static const char *const states[] = {"unknown",	  "loading",   "warming",  "healthy",
					     "degraded",  "unhealthy", "draining", "maintenance"};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		if (!strcmp(states[i], word))
			return true;
	return false;
}

/* Whether the word names this node, its pool, or the state it is in. */
static bool is_meant(const json_t *node, const char *word)
{
	const char *pool = json_string_value(json_object_get(node, "pool"));
	const char *name = json_string_value(json_object_get(node, "name"));
	const char *state = json_string_value(json_object_get(node, "state"));
	size_t len = pool ? strlen(pool) : 0;

	if (!pool || !name || !state)
		return false;
	return !strcmp(word, pool) || !strcmp(word, name) || !strcmp(word, state) ||
	       (!strncmp(word, pool, len) && word[len] == '/' && !strcmp(word + len + 1, name));
}

int backends_keep(json_t *nodes, const char *word)
{
	for (size_t i = json_array_size(nodes); word && i-- > 0;)
		if (!is_meant(json_array_get(nodes, i), word))
			json_array_remove(nodes, i);
	if (!word || json_array_size(nodes) || is_state(word))
		return CTL_OK;
	fprintf(stderr, "sluicectl: no node, pool or state '%s'\n", word);
	return CTL_NO_NODE;
}

int cmd_backends(const struct ctl *ctl, int argc, char **argv)
{
	json_t *json = NULL;
	int r = client_call(ctl, "GET", "/v1/backends", NULL, &json);

	if (r != CTL_OK)
		return r;
	r = backends_keep(json_object_get(json, "backends"), argc ? argv[0] : NULL);
	if (r == CTL_OK)
		(ctl->json ? show_json : show_backends)(json);
	json_decref(json);
	return r;
}

int cmd_vips(const struct ctl *ctl, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return get_and_show(ctl, "/v1/vips", show_vips);
}

/* --- orders about a node ---------------------------------------------------------------------- */

static void say_node(const struct ctl *ctl, const json_t *node, const char *done)
{
	if (ctl->json)
		show_json(node);
	else
		printf("%s/%s: %s\n", json_string_value(json_object_get(node, "pool")),
		       json_string_value(json_object_get(node, "name")), done);
}

static int post_node(const struct ctl *ctl, const char *node, const char *verb, json_t *body,
		     json_t **ret_json)
{
	char path[300];
	int r;

	client_node_path(path, sizeof(path), node, verb);
	r = client_call(ctl, "POST", path, body, ret_json);
	json_decref(body);
	if (r == CTL_OK && json_is_true(json_object_get(*ret_json, "pool_empty")))
		fprintf(stderr, "sluicectl: pool %s has no node left for new connections: this host "
			"answers them\n", json_string_value(json_object_get(*ret_json, "pool")));
	return r;
}

struct drain_options {
	const char *node;
	bool wait;
	bool now;
	int64_t deadline_ms; /* -1: none */
};

static int parse_drain(int argc, char **argv, struct drain_options *opt)
{
	*opt = (struct drain_options){.deadline_ms = -1};
	for (int i = 0; i < argc; i++) {
		int r = CTL_OK;

		if (!strcmp(argv[i], "--wait")) {
			opt->wait = true;
		} else if (!strcmp(argv[i], "--now")) {
			opt->now = true;
		} else if (!strcmp(argv[i], "--deadline")) {
			i++;
			r = parse_duration("--deadline", i < argc ? argv[i] : NULL,
					   &opt->deadline_ms);
		} else if (!strncmp(argv[i], "--deadline=", 11)) {
			r = parse_duration("--deadline", argv[i] + 11, &opt->deadline_ms);
		} else if (argv[i][0] == '-' || opt->node) {
			fprintf(stderr, "sluicectl: unexpected '%s'. Usage: sluicectl drain NODE "
					"[--wait] [--deadline 5m] [--now]\n", argv[i]);
			return CTL_USAGE;
		} else {
			opt->node = argv[i];
		}
		if (r != CTL_OK)
			return r;
	}
	if (!opt->node) {
		fprintf(stderr, "sluicectl: drain which node?\n");
		return CTL_USAGE;
	}
	if (opt->now && opt->deadline_ms >= 0) {
		fprintf(stderr, "sluicectl: --now waits for no --deadline: give one of them\n");
		return CTL_USAGE;
	}
	return CTL_OK;
}

/* Before and behind a time that is there; "" without. */
static const char *around_time(char *buf, size_t size, const json_t *value, const char *before,
			       const char *behind)
{
	char ms[24];

	*buf = '\0';
	if (json_is_integer(value))
		snprintf(buf, size, "%s%s%s", before,
			 show_ms(ms, sizeof(ms), json_integer_value(value)), behind);
	return buf;
}

static void show_progress(const json_t *drain, bool tty)
{
	const json_t *requests = json_object_get(drain, "requests");
	char deadline[48], silence[96], req[48] = "";

	if (json_is_number(requests))
		snprintf(req, sizeof(req), ", %.0f requests running or waiting",
			 json_number_value(requests));
	around_time(silence, sizeof(silence), json_object_get(drain, "silence_left_ms"),
		    ", what runs is not known: done after ", " more without a packet");
	around_time(deadline, sizeof(deadline), json_object_get(drain, "deadline_in_ms"),
		    ", deadline in ", "");
	fprintf(stderr, "%sdraining: %lld live flows%s%s%s%s", tty ? "\r\033[K" : "",
		(long long)json_integer_value(json_object_get(drain, "live_flows")), req, silence,
		deadline, tty ? "" : "\n");
}

/* How it ended: CTL_OK, CTL_DEADLINE, or CTL_REFUSED after a line. */
static int how_ended(const json_t *node)
{
	const json_t *drain = json_object_get(node, "drain");
	const char *state = json_string_value(json_object_get(node, "state")) ?: "";
	const char *left = json_string_value(json_object_get(drain, "deadline_left")) ?: "";

	if (!json_is_object(drain)) {
		fprintf(stderr, "sluicectl: somebody put the node back\n");
		return CTL_REFUSED;
	}
	return strcmp(state, "maintenance") || !strcmp(left, "nothing") ? CTL_OK : CTL_DEADLINE;
}

/* Returns how it ended, with the node as it is then in *json, or what the agent said. */
static int wait_drained(const struct ctl *ctl, const char *node, json_t **json)
{
	bool tty = isatty(STDERR_FILENO), done = false;
	char path[300];

	client_node_path(path, sizeof(path), node, "");
	for (unsigned int n = 0; !done; n++) {
		const json_t *drain;
		json_t *now = NULL;
		int r = client_get_again(ctl, path, "the drain stays, and ", &now);

		if (r != CTL_OK)
			return r;
		json_decref(*json);
		*json = now;
		drain = json_object_get(now, "drain");
		done = !json_is_object(drain) || json_is_true(json_object_get(drain, "done"));
		if (!done && (tty || n % (5000 / WAIT_POLL_MS) == 0))
			show_progress(drain, tty);
		if (!done)
			clock_sleep_ms(WAIT_POLL_MS);
	}
	if (tty)
		fprintf(stderr, "\r\033[K");
	return how_ended(*json);
}

static const char *late_said(const json_t *node)
{
	const json_t *drain = json_object_get(node, "drain");
	const char *left = json_string_value(json_object_get(drain, "deadline_left"));

	if (!left)
		return "taken out of service, or its deadline passed: what was left was reset";
	return !strcmp(left, "unknown") ? "deadline passed: what was left, if anything, was reset "
					  "(its server does not say what runs)"
					: "deadline passed: what was left was reset";
}

static const char *drain_said(const struct drain_options *opt, char *buf, size_t size)
{
	char ms[24];

	if (opt->now)
		return "out of service; its flows are reset";
	if (opt->wait)
		return "drained: nothing runs there any more";
	if (opt->deadline_ms < 0)
		return "draining; live flows run to their end";
	snprintf(buf, size, "draining; live flows that are left in %s are reset",
		 show_ms(ms, sizeof(ms), opt->deadline_ms));
	return buf;
}

int cmd_drain(const struct ctl *ctl, int argc, char **argv)
{
	struct drain_options opt;
	char said[128];
	json_t *body, *json = NULL;
	int r;

	r = parse_drain(argc, argv, &opt);
	if (r != CTL_OK)
		return r;
	body = json_pack("{sb}", "now", opt.now);
	if (opt.deadline_ms >= 0)
		json_object_set_new(body, "deadline_ms", json_integer(opt.deadline_ms));
	r = post_node(ctl, opt.node, "/drain", body, &json);
	if (r != CTL_OK)
		return r;
	if (opt.wait && !opt.now)
		r = wait_drained(ctl, opt.node, &json);
	if (r == CTL_OK)
		say_node(ctl, json, drain_said(&opt, said, sizeof(said)));
	else if (r == CTL_DEADLINE)
		say_node(ctl, json, late_said(json));
	json_decref(json);
	return r;
}

int cmd_undrain(const struct ctl *ctl, int argc, char **argv)
{
	json_t *json = NULL;
	int r = post_node(ctl, argv[0], "/undrain", NULL, &json);

	(void)argc;
	if (r != CTL_OK)
		return r;
	say_node(ctl, json, "back in service");
	json_decref(json);
	return CTL_OK;
}

int cmd_weight(const struct ctl *ctl, int argc, char **argv)
{
	json_t *body, *json = NULL;
	char *end = NULL, said[64];
	long n;
	int r;

	(void)argc;
	n = strtol(argv[1], &end, 10);
	if (!strcmp(argv[1], "file")) {
		body = json_pack("{sn}", "weight");
	} else if (end == argv[1] || *end || n < 0 || n > CONFIG_WEIGHT_MAX) {
		fprintf(stderr, "sluicectl: weight '%s': a whole number, 0 to %d, or 'file'\n",
			argv[1], CONFIG_WEIGHT_MAX);
		return CTL_USAGE;
	} else {
		body = json_pack("{sI}", "weight", (json_int_t)n);
	}
	r = post_node(ctl, argv[0], "/weight", body, &json);
	if (r != CTL_OK)
		return r;
	snprintf(said, sizeof(said), "weight %lld%s",
		 (long long)json_integer_value(json_object_get(json, "weight")),
		 json_is_true(json_object_get(json, "weight_set")) ? "" : ", as in the file");
	say_node(ctl, json, said);
	json_decref(json);
	return CTL_OK;
}

/* --- the agent -------------------------------------------------------------------------------- */

static json_t *texts_of(const struct config_errors *errs)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < errs->n; i++)
		json_array_append_new(list, json_string(errs->items[i].text));
	return list;
}

int cmd_check_config(const struct ctl *ctl, int argc, char **argv)
{
	struct config_errors errs = {}, warnings = {};
	struct config *cfg = NULL;
	int r;

	(void)argc;
	r = config_load(argv[0], &cfg, &errs);
	if (r == 0)
		(void)config_check_files(cfg, &errs);
	if (r == 0)
		config_warnings(cfg, &warnings);
	if (ctl->json) {
		json_t *json = json_pack("{sb so so}", "good", errs.n == 0, "errors", texts_of(&errs),
					 "warnings", texts_of(&warnings));

		show_json(json);
		json_decref(json);
	} else {
		config_errors_print(&errs, stderr);
		for (uint32_t i = 0; i < warnings.n; i++)
			fprintf(stderr, "%s: warning: %s\n", argv[0], warnings.items[i].text);
		if (!errs.n)
			printf("%s: %u VIP%s, %u pool%s: good\n", argv[0], cfg->n_vips,
			       cfg->n_vips == 1 ? "" : "s", cfg->n_pools,
			       cfg->n_pools == 1 ? "" : "s");
	}
	r = errs.n ? CTL_REFUSED : CTL_OK;
	config_errors_free(&warnings);
	config_errors_free(&errs);
	config_free(&cfg);
	return r;
}
