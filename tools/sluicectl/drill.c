// SPDX-License-Identifier: BSD-2-Clause
/* sluicectl drill: drain and restore one node after the other, and see that the service holds. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/sluicectl/client.h"
#include "tools/sluicectl/clock.h"
#include "tools/sluicectl/drill_plan.h"
#include "tools/sluicectl/drill_probe.h"
#include "tools/sluicectl/show.h"
#include "userspace/lib/number.h"

#define POLL_MS	      200
#define RESTORE_TRIES 30 /* a second apart: the agent may be starting anew */
#define NAME_MAX_TEXT 160

static volatile sig_atomic_t interrupted;

struct drill {
	const struct ctl *ctl;
	struct drill_plan plan;
	struct drill_probe *probe;
	char (*names)[NAME_MAX_TEXT]; /* "pool/node" */
	size_t n_names;
	bool tty;
	char error[DRILL_ERROR_MAX]; /* "" as long as all is well */
	json_t *results;
};

static void on_signal(int signum)
{
	(void)signum;
	interrupted = 1;
}

/* The first reason counts. Returns false, for the caller to return. */
__attribute__((format(printf, 2, 3))) static bool give_up(struct drill *d, const char *fmt, ...)
{
	va_list ap;

	if (d->error[0])
		return false;
	va_start(ap, fmt);
	vsnprintf(d->error, sizeof(d->error), fmt, ap);
	va_end(ap);
	return false;
}

__attribute__((format(printf, 2, 3))) static void progress(const struct drill *d, const char *fmt,
							   ...)
{
	va_list ap;

	if (d->tty)
		fputs("\r\033[K", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (!d->tty)
		fputc('\n', stderr);
}

static const char *str(const json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key)) ?: "";
}

static double real(const json_t *json, const char *key)
{
	return json_number_value(json_object_get(json, key));
}

/* --- asking and ordering ---------------------------------------------------------------------- */

static bool get(struct drill *d, const char *path, json_t **ret)
{
	if (client_call(d->ctl, "GET", path, NULL, ret) == CTL_OK)
		return true;
	return give_up(d, "the agent did not answer %s", path);
}

static bool get_node(struct drill *d, const char *name, json_t **ret)
{
	char path[400];

	client_node_path(path, sizeof(path), name, "");
	return get(d, path, ret);
}

static bool order(struct drill *d, const char *name, const char *verb)
{
	char path[400];
	json_t *json = NULL;

	client_node_path(path, sizeof(path), name, verb);
	if (client_call(d->ctl, "POST", path, NULL, &json) != CTL_OK)
		return give_up(d, "%s: %s was refused", name, verb + 1);
	json_decref(json);
	return true;
}

/* Nothing may fail while a node is out; nor may the operator have had enough. */
static bool holds(struct drill *d)
{
	struct drill_probe_stats s;

	if (interrupted)
		return give_up(d, "interrupted");
	drill_probe_stats(d->probe, &s);
	if (s.failed > d->plan.allow)
		return give_up(d, "the service does not hold: %s", s.first_error);
	return true;
}

/* --- may it go? ------------------------------------------------------------------------------- */

static const json_t *find_pool(const json_t *status, const char *name)
{
	const json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(status, "pools"), i, pool)
		if (!strcmp(str(pool, "name"), name))
			return pool;
	return NULL;
}

static bool pool_can_spare(struct drill *d, const json_t *pool, const json_t *node)
{
	double capacity = real(pool, "capacity"), left = real(pool, "healthy");
	char part[NUMBER_BRIEF_MAX], whole[NUMBER_BRIEF_MAX];

	if (real(node, "effective_weight") > 0)
		left -= real(node, "weight");
	if (json_is_true(json_object_get(pool, "empty")) ||
	    json_is_true(json_object_get(pool, "panic")))
		return give_up(d, "pool %s is in trouble already", str(pool, "name"));
	if (capacity <= 0 || left < d->plan.min_capacity * capacity || left <= 0)
		return give_up(d,
			       "without %s, %s of %s (%.0f %%) of pool %s would be left, less "
			       "than %.0f %%",
			       str(node, "name"), number_brief(part, left),
			       number_brief(whole, capacity),
			       capacity > 0 ? 100 * left / capacity : 0, str(pool, "name"),
			       100 * d->plan.min_capacity);
	return true;
}

static bool may_go(struct drill *d, const char *name)
{
	json_t *node = NULL, *status = NULL;
	const json_t *pool = NULL;
	bool ok = get_node(d, name, &node) && get(d, "/v1/status", &status);

	if (ok)
		pool = find_pool(status, str(node, "pool"));
	if (ok && !pool)
		ok = give_up(d, "no pool %s", str(node, "pool"));
	if (ok && strcmp(str(node, "state"), "healthy"))
		ok = give_up(d, "%s is %s (%.100s): only a healthy node is drained", name,
			     str(node, "state"), str(node, "cause"));
	if (ok && !json_is_null(json_object_get(node, "drain")))
		ok = give_up(d, "%s has an order already", name);
	ok = ok && pool_can_spare(d, pool, node);
	json_decref(node);
	json_decref(status);
	return ok;
}

/* --- one node --------------------------------------------------------------------------------- */

static void show_draining(const struct drill *d, const char *name, const json_t *drain)
{
	struct drill_probe_stats s;

	drill_probe_stats(d->probe, &s);
	progress(d, "%s: draining: %lld live flows, %.0f requests; %llu answers, %llu failed", name,
		 (long long)json_integer_value(json_object_get(drain, "live_flows")),
		 real(drain, "requests"), (unsigned long long)(s.sent - s.failed),
		 (unsigned long long)s.failed);
}

/* Returns whether to go on waiting; *ret_done when it is drained. */
static bool look_draining(struct drill *d, const char *name, bool *ret_done)
{
	json_t *node = NULL;
	const json_t *drain;
	bool ok = get_node(d, name, &node);

	drain = json_object_get(node, "drain");
	if (ok && !json_is_object(drain))
		ok = give_up(d, "%s: somebody put it back", name);
	if (ok && !strcmp(str(node, "state"), "unhealthy"))
		ok = give_up(d, "%s went down: %.150s", name, str(node, "cause"));
	if (ok)
		show_draining(d, name, drain);
	*ret_done = ok && json_is_true(json_object_get(drain, "done"));
	json_decref(node);
	return ok && !*ret_done;
}

static bool wait_drained(struct drill *d, const char *name, int64_t *ret_took_ms)
{
	int64_t began_ms = clock_ms();
	bool done = false;

	while (holds(d) && look_draining(d, name, &done)) {
		if (clock_ms() - began_ms > d->plan.deadline_ms)
			return give_up(d, "%s: connections or requests are left after the deadline",
				       name);
		clock_sleep_ms(POLL_MS);
	}
	*ret_took_ms = clock_ms() - began_ms;
	return done;
}

/* Back in service, whatever happened before; the agent may have to come back first. */
static bool put_back(struct drill *d, const char *name)
{
	char path[400];

	client_node_path(path, sizeof(path), name, "/undrain");
	for (int i = 0; i < RESTORE_TRIES; i++) {
		json_t *json = NULL;

		if (client_call(d->ctl, "POST", path, NULL, &json) == CTL_OK) {
			json_decref(json);
			return true;
		}
		clock_sleep_ms(1000);
	}
	progress(d, "%s IS STILL DRAINED: run 'sluicectl undrain %s'", name, name);
	if (d->tty)
		fputc('\n', stderr);
	return give_up(d, "%s could not be put back: run 'sluicectl undrain %s'", name, name);
}

static bool is_back(struct drill *d, const char *name, bool *ret_ok)
{
	json_t *node = NULL;
	bool back;

	*ret_ok = get_node(d, name, &node);
	back = *ret_ok && !strcmp(str(node, "state"), "healthy") &&
	       real(node, "effective_weight") >= real(node, "weight");
	json_decref(node);
	return back;
}

static bool wait_back(struct drill *d, const char *name, int64_t *ret_took_ms)
{
	int64_t began_ms = clock_ms();
	bool ok = true;

	while (!is_back(d, name, &ok)) {
		if (!ok || !holds(d))
			return false;
		if (clock_ms() - began_ms > d->plan.settle_ms)
			return give_up(d, "%s did not come back to full weight in time", name);
		progress(d, "%s: coming back", name);
		clock_sleep_ms(POLL_MS);
	}
	*ret_took_ms = clock_ms() - began_ms;
	return true;
}

static bool pause_between(struct drill *d)
{
	int64_t until_ms = clock_ms() + d->plan.pause_ms;

	while (holds(d) && clock_ms() < until_ms)
		clock_sleep_ms(until_ms - clock_ms() < POLL_MS ? until_ms - clock_ms() : POLL_MS);
	return holds(d);
}

/* Drain, restore, look again. Whatever happens, the node is put back. */
static bool drill_node(struct drill *d, const char *name)
{
	int64_t drained_ms = -1, back_ms = -1;
	char drained[32], back[32];
	bool ok = may_go(d, name) && holds(d);

	if (ok && !d->plan.dry_run) {
		ok = order(d, name, "/drain") && wait_drained(d, name, &drained_ms);
		ok = put_back(d, name) && ok;
		ok = ok && wait_back(d, name, &back_ms) && pause_between(d);
	}
	json_array_append_new(
		d->results, json_pack("{ss sb sI sI ss}", "node", name, "passed", ok, "drained_ms",
				      (json_int_t)drained_ms, "restored_ms", (json_int_t)back_ms,
				      "error", ok ? "" : d->error));
	if (!ok)
		progress(d, "%s: FAILED: %s", name, d->error);
	else if (d->plan.dry_run)
		progress(d, "%s: could be drained", name);
	else
		progress(d, "%s: drained in %s, back in %s", name,
			 show_ms(drained, sizeof(drained), drained_ms),
			 show_ms(back, sizeof(back), back_ms));
	if (d->tty)
		fputc('\n', stderr);
	return ok;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* Whether the plan means this node, by its name or with its pool's. */
static bool is_meant(const json_t *node, const char *name)
{
	const char *slash = strchr(name, '/');
	size_t len = slash ? (size_t)(slash - name) : 0;

	if (slash && (strncmp(str(node, "pool"), name, len) || str(node, "pool")[len]))
		return false;
	return !strcmp(str(node, "name"), slash ? slash + 1 : name);
}

static void add_name(struct drill *d, const json_t *node)
{
	snprintf(d->names[d->n_names++], NAME_MAX_TEXT, "%.70s/%.70s", str(node, "pool"),
		 str(node, "name"));
}

static bool find_named(struct drill *d, const json_t *list, const char *name)
{
	const json_t *node, *found = NULL;
	size_t i;

	json_array_foreach(list, i, node) {
		if (!is_meant(node, name))
			continue;
		if (found)
			return give_up(d, "%s is in more than one pool: say POOL/%s", name, name);
		found = node;
	}
	if (!found)
		return give_up(d, "no node is called %s", name);
	add_name(d, found);
	return true;
}

static bool find_nodes(struct drill *d)
{
	json_t *json = NULL;
	const json_t *list, *node;
	bool ok = get(d, "/v1/backends", &json);
	size_t i;

	list = json_object_get(json, "backends");
	d->names = calloc(json_array_size(list) + d->plan.n_nodes + 1, sizeof(*d->names));
	if (!d->names)
		ok = give_up(d, "out of memory");
	if (ok && d->plan.pool) {
		json_array_foreach(list, i, node)
			if (!strcmp(str(node, "pool"), d->plan.pool))
				add_name(d, node);
		if (!d->n_names)
			ok = give_up(d, "no pool %s, or no node in it", d->plan.pool);
	}
	for (i = 0; ok && i < d->plan.n_nodes; i++)
		ok = find_named(d, list, d->plan.nodes[i]);
	json_decref(json);
	return ok;
}

/* The service must hold before the first node goes: each URL is asked once or more. */
static bool hold_at_start(struct drill *d)
{
	struct drill_probe_stats s;

	if (d->plan.no_probe)
		return true;
	if (drill_probe_start(&d->plan, &d->probe) < 0)
		return give_up(d, "out of memory");
	do {
		clock_sleep_ms(POLL_MS);
		drill_probe_stats(d->probe, &s);
	} while (holds(d) && s.sent < d->plan.n_urls);
	return holds(d);
}

static void say_result(struct drill *d, int64_t took_ms)
{
	struct drill_probe_stats s;
	char took[32];
	json_t *json;

	drill_probe_stats(d->probe, &s);
	if (d->ctl->json) {
		json = json_pack("{sb ss sb sO sI s{sI sI sI ss}}", "passed", !d->error[0], "error",
				 d->error, "dry_run", d->plan.dry_run, "nodes", d->results,
				 "took_ms", (json_int_t)took_ms, "probes", "sent",
				 (json_int_t)s.sent, "failed", (json_int_t)s.failed, "worst_ms",
				 (json_int_t)s.worst_ms, "first_error", s.first_error);
		show_json(json);
		json_decref(json);
		return;
	}
	printf("%zu of %zu nodes %s in %s; %llu requests, %llu failed, slowest %lld ms\n",
	       json_array_size(d->results) - (d->error[0] && json_array_size(d->results)),
	       d->n_names, d->plan.dry_run ? "could be drained" : "drained and restored",
	       show_ms(took, sizeof(took), took_ms), (unsigned long long)s.sent,
	       (unsigned long long)s.failed, (long long)s.worst_ms);
	if (d->error[0])
		printf("FAILED: %s\n", d->error);
}

static void run(struct drill *d)
{
	bool ok = find_nodes(d) && hold_at_start(d);

	for (size_t i = 0; i < d->n_names && ok; i++)
		ok = drill_node(d, d->names[i]);
}

int cmd_drill(const struct ctl *ctl, int argc, char **argv)
{
	const struct sigaction action = {.sa_handler = on_signal};
	struct drill d = {.ctl = ctl, .tty = isatty(STDERR_FILENO), .results = json_array()};
	char err[DRILL_ERROR_MAX] = "";
	int64_t began_ms = clock_ms();

	if (drill_plan_read(argc, argv, &d.plan, err) < 0) {
		fprintf(stderr, "sluicectl: drill: %s\n", err);
		json_decref(d.results);
		return CTL_USAGE;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	run(&d);
	say_result(&d, clock_ms() - began_ms);
	drill_probe_stop(&d.probe);
	drill_plan_free(&d.plan);
	json_decref(d.results);
	free(d.names);
	return d.error[0] ? CTL_DRILL_FAILED : CTL_OK;
}
