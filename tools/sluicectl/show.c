// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/show.h"

#include <stdio.h>
#include <string.h>

#include "userspace/lib/cleanup.h"

#define COLUMNS_MAX 12
#define CELL_MAX    160

/* Text in columns as wide as they must be; the last one is not padded. */
struct table {
	char (*rows)[COLUMNS_MAX][CELL_MAX];
	size_t n_rows;
	int n_columns;
};

static void table_row(struct table *t, const char *const *cells)
{
	void *rows = reallocarray(t->rows, t->n_rows + 1, sizeof(*t->rows));

	if (!rows)
		return;
	t->rows = rows;
	for (int i = 0; i < t->n_columns; i++)
		snprintf(t->rows[t->n_rows][i], CELL_MAX, "%s", cells[i]);
	t->n_rows++;
}

static void table_print(struct table *t)
{
	int widths[COLUMNS_MAX] = {};

	for (size_t r = 0; r < t->n_rows; r++)
		for (int i = 0; i < t->n_columns; i++)
			if ((int)strlen(t->rows[r][i]) > widths[i])
				widths[i] = (int)strlen(t->rows[r][i]);
	for (size_t r = 0; r < t->n_rows; r++) {
		for (int i = 0; i < t->n_columns - 1; i++)
			printf("%-*s  ", widths[i], t->rows[r][i]);
		printf("%s\n", t->rows[r][t->n_columns - 1]);
	}
	free(t->rows);
	t->rows = NULL;
}

static const char *str(const json_t *json, const char *key)
{
	const char *s = json_string_value(json_object_get(json, key));

	return s ? s : "";
}

static json_int_t num(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

static double real(const json_t *json, const char *key)
{
	return json_number_value(json_object_get(json, key));
}

const char *show_ms(char *buf, size_t size, json_int_t ms)
{
	if (ms < 1000)
		snprintf(buf, size, "%lld ms", (long long)ms);
	else if (ms < 120000)
		snprintf(buf, size, "%.1f s", (double)ms / 1000);
	else if (ms < 2 * 3600000LL)
		snprintf(buf, size, "%.1f min", (double)ms / 60000);
	else
		snprintf(buf, size, "%.1f h", (double)ms / 3600000);
	return buf;
}

void show_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
	putchar('\n');
}

/* A value that may be absent: "-" then. */
static void cell(char *buf, const json_t *value, const char *fmt, double factor)
{
	if (json_is_number(value))
		snprintf(buf, CELL_MAX, fmt, json_number_value(value) * factor);
	else
		snprintf(buf, CELL_MAX, "-");
}

static void backend_row(struct table *t, const json_t *b)
{
	const json_t *load = json_object_get(b, "load"), *counters = json_object_get(b, "counters");
	char weight[CELL_MAX], queue[CELL_MAX], running[CELL_MAX], kv[CELL_MAX], gpu[CELL_MAX];
	char since[32], flows[32], cause[CELL_MAX], name[2 * 64 + 2];

	snprintf(name, sizeof(name), "%s/%s", str(b, "pool"), str(b, "name"));
	snprintf(weight, sizeof(weight), "%lld -> %.3g%s", (long long)num(b, "weight"),
		 real(b, "effective_weight"),
		 json_is_true(json_object_get(b, "weight_set")) ? " (set)" : "");
	cell(queue, json_object_get(load, "queue"), "%.0f", 1);
	cell(running, json_object_get(load, "running"), "%.0f", 1);
	cell(kv, json_object_get(load, "kv"), "%.0f %%", 100);
	cell(gpu, json_object_get(load, "gpu_memory"), "%.0f %%", 100);
	snprintf(flows, sizeof(flows), "%lld", (long long)num(counters, "new_flows"));
	show_ms(since, sizeof(since), num(b, "since_ms"));
	snprintf(cause, sizeof(cause), "%s", str(b, "cause"));
	table_row(t, (const char *[]){name, str(b, "address"), str(b, "state"), since, weight, queue,
				      running, kv, gpu, flows, cause});
}

void show_backends(const json_t *json)
{
	struct table t = {.n_columns = 11};
	const json_t *b;
	size_t i;

	table_row(&t, (const char *[]){"NODE", "ADDRESS", "STATE", "SINCE", "WEIGHT", "QUEUE",
				       "RUNNING", "KV", "GPU MEM", "NEW FLOWS", "CAUSE"});
	json_array_foreach(json_object_get(json, "backends"), i, b)
		backend_row(&t, b);
	table_print(&t);
}

void show_vips(const json_t *json)
{
	struct table t = {.n_columns = 9};
	const json_t *v;
	size_t i;

	table_row(&t, (const char *[]){"VIP", "ADDRESS", "POOL", "MODE", "POLICY", "ON DOWN",
				       "PACKETS", "BYTES", "NEW FLOWS"});
	json_array_foreach(json_object_get(json, "vips"), i, v) {
		const json_t *n = json_object_get(v, "counters");
		char packets[32], bytes[32], flows[32];

		snprintf(packets, sizeof(packets), "%lld", (long long)num(n, "packets"));
		snprintf(bytes, sizeof(bytes), "%lld", (long long)num(n, "bytes"));
		snprintf(flows, sizeof(flows), "%lld", (long long)num(n, "new_flows"));
		table_row(&t, (const char *[]){str(v, "name"), str(v, "address"), str(v, "pool"),
					       str(v, "mode"), str(v, "policy"), str(v, "on_down"),
					       packets, bytes, flows});
	}
	table_print(&t);
}

static void show_pools(const json_t *json)
{
	struct table t = {.n_columns = 5};
	const json_t *pool;
	size_t i;

	table_row(&t, (const char *[]){"POOL", "NODES", "HEALTHY", "IN TRANSITION", "STATE"});
	json_array_foreach(json_object_get(json, "pools"), i, pool) {
		char nodes[32], healthy[64], moving[32], state[CELL_MAX] = "";
		const char *name;
		json_t *n;

		snprintf(nodes, sizeof(nodes), "%lld", (long long)num(pool, "nodes"));
		snprintf(healthy, sizeof(healthy), "%.3g of %.3g", real(pool, "healthy"),
			 real(pool, "capacity"));
		snprintf(moving, sizeof(moving), "%lld slots",
			 (long long)num(pool, "slots_in_transition"));
		json_object_foreach(json_object_get(pool, "states"), name, n) {
			size_t len = strlen(state);

			snprintf(state + len, sizeof(state) - len, "%s%lld %s", len ? ", " : "",
				 (long long)json_integer_value(n), name);
		}
		if (json_is_true(json_object_get(pool, "empty")))
			snprintf(state, sizeof(state), "NOTHING LEFT: this host answers");
		else if (json_is_true(json_object_get(pool, "panic")))
			strncat(state, "; PANIC: degraded nodes stay in",
				sizeof(state) - strlen(state) - 1);
		table_row(&t, (const char *[]){str(pool, "name"), nodes, healthy, moving, state});
	}
	table_print(&t);
}

static void show_discovery(const json_t *json)
{
	const json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(json, "pools"), i, pool) {
		const json_t *d = json_object_get(pool, "discovery");
		char age[32] = "", next[32];

		if (!d)
			continue;
		printf("Pool %s: nodes by %s%s%s %s: ", str(pool, "name"), str(d, "type"),
		       *str(d, "record") ? " " : "", str(d, "record"), str(d, "source"));
		if (num(d, "age_ms") < 0)
			printf("no answer yet");
		else
			printf("%lld named %s ago", (long long)num(d, "named"),
			       show_ms(age, sizeof(age), num(d, "age_ms")));
		if (num(d, "leaving"))
			printf(", %lld leaving", (long long)num(d, "leaving"));
		if (num(d, "next_ms") >= 0)
			printf("; asked again in %s",
			       show_ms(next, sizeof(next), num(d, "next_ms")));
		printf("%s%s\n", *str(d, "error") ? "; FAILED: " : "", str(d, "error"));
	}
}

/* Counters that are not zero, but for the ordinary ones. */
static void show_packets(const json_t *packets)
{
	const char *name;
	json_t *n;

	printf("Packets: %lld forwarded, %lld not for a VIP\n", (long long)num(packets, "ok"),
	       (long long)num(packets, "not_vip"));
	json_object_foreach((json_t *)packets, name, n)
		if (json_integer_value(n) && strcmp(name, "ok") && strcmp(name, "not_vip"))
			printf("  %-20s %lld\n", name, (long long)json_integer_value(n));
}

static void show_kept_answers(const json_t *vip, const json_t *cache)
{
	char age[32], most[32];
	const json_t *kept;
	size_t i;

	json_array_foreach(cache, i, kept) {
		const json_t *ms = json_object_get(kept, "age_ms");

		printf("  %s: GET %s: ", str(vip, "name"), str(kept, "path"));
		if (json_is_integer(ms))
			printf("%s old (given up to %s)",
			       show_ms(age, sizeof(age), json_integer_value(ms)),
			       show_ms(most, sizeof(most), num(kept, "max_age_ms")));
		else
			printf("no answer yet");
		printf("%s%s\n", *str(kept, "error") ? "; " : "", str(kept, "error"));
	}
}

/* What this host answered by itself, and what it has ready. */
static void show_fallback(const json_t *json)
{
	const json_t *all = json_object_get(json, "fallback"), *vip;
	size_t i;

	printf("Answers of this host: %lld connections now, %lld so far, %lld refused%s%s\n",
	       (long long)num(all, "connections"), (long long)num(all, "accepted"),
	       (long long)num(all, "refused"), *str(all, "delivery_error") ? "; " : "",
	       str(all, "delivery_error"));
	json_array_foreach(json_object_get(json, "vips"), i, vip) {
		const json_t *f = json_object_get(vip, "fallback");

		if (num(f, "degraded_answers") || num(f, "cached_answers") || *str(f, "error"))
			printf("  %s: %lld degraded, %lld cached%s%s\n", str(vip, "name"),
			       (long long)num(f, "degraded_answers"),
			       (long long)num(f, "cached_answers"), *str(f, "error") ? "; " : "",
			       str(f, "error"));
		show_kept_answers(vip, json_object_get(f, "cache"));
	}
}

static void show_dataplane(const json_t *d)
{
	char since[32];

	if (json_is_true(json_object_get(d, "stopped")))
		printf("NOTHING IS FORWARDED: sluice-dpdk has not run for %s; nodes behind it that "
		       "do not answer stay as they are\n",
		       show_ms(since, sizeof(since), num(d, "stopped_ms")));
	else if (!strcmp(str(d, "kind"), "dpdk"))
		printf("Poll-mode workers: %lld\n", (long long)num(d, "workers"));
	if (num(d, "workers_stuck") && !json_is_true(json_object_get(d, "stopped")))
		printf("WORKERS THAT STAND STILL: %lld, and with them what comes to their queues\n",
		       (long long)num(d, "workers_stuck"));
}

void show_status(const json_t *json)
{
	const json_t *flows = json_object_get(json, "flows"), *ifc;
	char uptime[32];
	size_t i;

	printf("sluiced %s, pid %lld, up %s, configuration %s\n", str(json, "version"),
	       (long long)num(json, "pid"), show_ms(uptime, sizeof(uptime), num(json, "uptime_ms")),
	       str(json, "config"));
	if (*str(json, "reload_error"))
		printf("LAST RELOAD REFUSED: %s\n", str(json, "reload_error"));
	json_array_foreach(json_object_get(json, "interfaces"), i, ifc)
		printf("Interface %s: %s, %s\n", str(ifc, "name"), str(ifc, "mode"),
		       *str(ifc, "device") ? str(ifc, "device")
		       : strcmp(str(ifc, "chain"), "alone") ? "in libxdp's dispatcher"
							     : "the only XDP program there");
	show_dataplane(json_object_get(json, "dataplane"));
	printf("\n");
	show_vips(json);
	printf("\n");
	show_pools(json);
	show_discovery(json);
	printf("\nFlow entries: %lld of %lld, half-open %lld of %lld; slots with exceptions: %lld\n",
	       (long long)num(flows, "flows"), (long long)num(flows, "flows_max"),
	       (long long)num(flows, "half_open"), (long long)num(flows, "half_open_max"),
	       (long long)num(flows, "slots_with_exceptions"));
	show_packets(json_object_get(json, "packets"));
	show_fallback(json);
}
