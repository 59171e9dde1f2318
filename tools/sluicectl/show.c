// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/show.h"

#include <stdio.h>
#include <string.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/table.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/number.h"

#define CELL_MAX 160

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

/* Exact up to ten million, then "12.3 M", "4.5 G". */
static const char *count(char *buf, size_t size, long long n)
{
	static const char units[] = "MGTPE";
	double value = (double)n / 1e6;
	size_t unit = 0;

	if (n < 10000000) {
		snprintf(buf, size, "%lld", n);
		return buf;
	}
	for (; value >= 1000 && unit + 2 < sizeof(units); unit++)
		value /= 1000;
	snprintf(buf, size, "%.*f %c", value < 100, value, units[unit]);
	return buf;
}

enum table_colour show_colour_of_state(const char *state)
{
	if (!strcmp(state, "healthy"))
		return TABLE_GOOD;
	return !strcmp(state, "unhealthy") || !strcmp(state, "maintenance") ? TABLE_BAD
									    : TABLE_WATCH;
}

/* A node's cause, and before it what keeps packets from getting there. */
static void cause_of(char *buf, size_t size, const json_t *node)
{
	const char *hop = str(node, "next_hop");

	if (*hop && strcmp(hop, "ready"))
		snprintf(buf, size, "NEXT HOP: %s; %s", hop, str(node, "cause"));
	else
		snprintf(buf, size, "%s", str(node, "cause"));
}

static void backend_row(struct table *t, const json_t *b)
{
	const json_t *load = json_object_get(b, "load"), *counters = json_object_get(b, "counters");
	char weight[CELL_MAX], queue[CELL_MAX], running[CELL_MAX], kv[CELL_MAX], gpu[CELL_MAX];
	char since[32], flows[32], cause[2 * CELL_MAX], name[2 * 64 + 2];
	char effective[NUMBER_BRIEF_MAX];

	snprintf(name, sizeof(name), "%s/%s", str(b, "pool"), str(b, "name"));
	snprintf(weight, sizeof(weight), "%lld -> %s%s", num(b, "weight"),
		 number_brief(effective, real(b, "effective_weight")), flag(b, "weight_set") ? " (set)" : "");
	cell(queue, json_object_get(load, "queue"), "%.0f", 1);
	cell(running, json_object_get(load, "running"), "%.0f", 1);
	cell(kv, json_object_get(load, "kv"), "%.0f %%", 100);
	cell(gpu, json_object_get(load, "gpu_memory"), "%.0f %%", 100);
	show_ms(since, sizeof(since), num(b, "since_ms"));
	cause_of(cause, sizeof(cause), b);
	table_row(t,
		  (const char *[]){name, str(b, "address"), str(b, "state"), since, weight, queue,
				   running, kv, gpu,
				   count(flows, sizeof(flows), num(counters, "new_flows")), cause});
}

/* "60 nodes: 57 healthy, 2 degraded, 1 draining" */
static void show_sum(const json_t *nodes)
{
	json_t *states = json_object(), *n;
	const char *state, *comma = "";
	const json_t *b;
	size_t i;

	json_array_foreach(nodes, i, b)
		json_object_set_new(states, str(b, "state"),
				    json_integer(num(states, str(b, "state")) + 1));
	printf("%zu node%s%s", json_array_size(nodes), json_array_size(nodes) == 1 ? "" : "s",
	       json_array_size(nodes) ? ": " : "");
	json_object_foreach(states, state, n) {
		printf("%s%lld ", comma, (long long)json_integer_value(n));
		table_paint(show_colour_of_state(state), state);
		comma = ", ";
	}
	putchar('\n');
	json_decref(states);
}

void show_backends(const json_t *json)
{
	static const struct table_column columns[] = {
		{"NODE", 0, NULL},      {"ADDRESS", 1, NULL}, {"STATE", 0, show_colour_of_state},
		{"SINCE", 7, NULL},     {"WEIGHT", 8, NULL},  {"QUEUE", 6, NULL},
		{"RUNNING", 5, NULL},   {"KV", 4, NULL},      {"GPU MEM", 3, NULL},
		{"NEW FLOWS", 2, NULL}, {"CAUSE", 0, NULL},
	};
	struct table t = {.columns = columns, .n_columns = ARRAY_SIZE(columns)};
	const json_t *nodes = json_object_get(json, "backends"), *b;
	size_t i;

	json_array_foreach(nodes, i, b)
		backend_row(&t, b);
	if (json_array_size(nodes))
		table_print(&t);
	show_sum(nodes);
}

void show_not_healthy(const json_t *nodes, size_t most)
{
	static const struct table_column columns[] = {
		{"NODE", 0, NULL},
		{"STATE", 0, show_colour_of_state},
		{"SINCE", 1, NULL},
		{"CAUSE", 0, NULL},
	};
	struct table t = {.columns = columns, .n_columns = ARRAY_SIZE(columns)};
	const json_t *b;
	size_t i;

	json_array_foreach(nodes, i, b) {
		char name[2 * 64 + 2], since[32], cause[2 * CELL_MAX];

		if (i == most)
			break;
		snprintf(name, sizeof(name), "%s/%s", str(b, "pool"), str(b, "name"));
		show_ms(since, sizeof(since), num(b, "since_ms"));
		cause_of(cause, sizeof(cause), b);
		table_row(&t, (const char *[]){name, str(b, "state"), since, cause});
	}
	table_print(&t);
	if (json_array_size(nodes) > most)
		printf("… and %zu more: sluicectl backends\n", json_array_size(nodes) - most);
}

void show_vips(const json_t *json)
{
	static const struct table_column columns[] = {
		{"VIP", 0, NULL},     {"ADDRESS", 0, NULL}, {"POOL", 0, NULL},
		{"MODE", 2, NULL},    {"POLICY", 3, NULL},  {"ON DOWN", 1, NULL},
		{"PACKETS", 4, NULL}, {"BYTES", 5, NULL},   {"NEW FLOWS", 0, NULL},
	};
	struct table t = {.columns = columns, .n_columns = ARRAY_SIZE(columns)};
	const json_t *v;
	size_t i;

	json_array_foreach(json_object_get(json, "vips"), i, v) {
		const json_t *n = json_object_get(v, "counters");
		char packets[32], bytes[32], flows[32];

		count(packets, sizeof(packets), num(n, "packets"));
		count(bytes, sizeof(bytes), num(n, "bytes"));
		count(flows, sizeof(flows), num(n, "new_flows"));
		table_row(&t, (const char *[]){str(v, "name"), str(v, "address"), str(v, "pool"),
					       str(v, "mode"), str(v, "policy"), str(v, "on_down"),
					       packets, bytes, flows});
	}
	table_print(&t);
}
