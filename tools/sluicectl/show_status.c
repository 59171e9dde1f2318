// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/show.h"

#include <stdio.h>
#include <string.h>

#include "maps/stats.h"
#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/table.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/number.h"

#define NOT_HEALTHY_MOST 20
#define LOSS_SHOWN	 0.001

static enum table_colour colour_of_pool(const char *state)
{
	if (strstr(state, "NOTHING LEFT") || strstr(state, "PANIC"))
		return TABLE_BAD;
	return strchr(state, ',') || !strstr(state, "healthy") || strstr(state, "unhealthy")
		       ? TABLE_WATCH
		       : TABLE_GOOD;
}

/* "57 healthy, 3 degraded; PANIC: degraded nodes stay in" */
static void pool_state(const json_t *pool, char *buf, size_t size)
{
	size_t len = 0;
	const char *name;
	json_t *n;

	buf[0] = '\0';
	if (flag(pool, "empty")) {
		snprintf(buf, size, "NOTHING LEFT: this host answers");
		return;
	}
	json_object_foreach(json_object_get(pool, "states"), name, n) {
		snprintf(buf + len, size - len, "%s%lld %s", len ? ", " : "",
			 (long long)json_integer_value(n), name);
		len = strlen(buf);
	}
	if (flag(pool, "standby"))
		snprintf(buf + len, size - len, "; standby nodes are in");
	len = strlen(buf);
	if (flag(pool, "panic"))
		snprintf(buf + len, size - len, "; PANIC: degraded nodes stay in");
}

static void show_pools(const json_t *json)
{
	static const struct table_column columns[] = {
		{"POOL", 0, NULL},          {"NODES", 0, NULL},           {"HEALTHY", 2, NULL},
		{"IN TRANSITION", 1, NULL}, {"STATE", 0, colour_of_pool},
	};
	struct table t = {.columns = columns, .n_columns = ARRAY_SIZE(columns)};
	const json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(json, "pools"), i, pool) {
		char part[NUMBER_BRIEF_MAX], whole[NUMBER_BRIEF_MAX];
		char nodes[32], healthy[2 * NUMBER_BRIEF_MAX + 8], moving[32], state[256];

		snprintf(nodes, sizeof(nodes), "%lld", num(pool, "nodes"));
		snprintf(healthy, sizeof(healthy), "%s of %s",
			 number_brief(part, real(pool, "healthy")),
			 number_brief(whole, real(pool, "capacity")));
		snprintf(moving, sizeof(moving), "%lld slots", num(pool, "slots_in_transition"));
		pool_state(pool, state, sizeof(state));
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
			printf("%lld named %s ago", num(d, "named"),
			       show_ms(age, sizeof(age), num(d, "age_ms")));
		if (num(d, "leaving"))
			printf(", %lld leaving", num(d, "leaving"));
		if (num(d, "next_ms") >= 0)
			printf("; asked again in %s",
			       show_ms(next, sizeof(next), num(d, "next_ms")));
		printf("%s%s\n", *str(d, "error") ? "; FAILED: " : "", str(d, "error"));
	}
}

static const struct counter {
	const char *name;
	const char *text;
} counters[] = {
#define X(e, name_, text_) {name_, text_},
	LB_REASONS(X) LB_EVENTS(X)
#undef X
};

/* Something was lost, or a limit was met. */
static const char *const alarms[] = {
	"no_backend",         "no_nexthop",    "too_big",        "headroom", "reply_limit",
	"nat_full",           "nat_ports",     "internal",       "no_agent", "overflow_flows",
	"overflow_half_open", "overflow_rate", "overflow_learn", "syn_later",
};

static bool is_alarm(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(alarms); i++)
		if (!strcmp(alarms[i], name))
			return true;
	return false;
}

static const char *text_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		if (!strcmp(counters[i].name, name))
			return counters[i].text;
	return "";
}

/* The counters that are not zero, without the two that every host has. */
static void show_counters(const json_t *packets, bool alarm, const char *title)
{
	const char *name;
	bool any = false;
	json_t *n;

	json_object_foreach((json_t *)packets, name, n) {
		if (!json_integer_value(n) || !strcmp(name, "ok") || !strcmp(name, "not_vip") ||
		    is_alarm(name) != alarm)
			continue;
		if (!any)
			table_paint(alarm ? TABLE_BAD : TABLE_PLAIN, title);
		any = true;
		printf("  %12lld  %-18s  %s\n", (long long)json_integer_value(n), name,
		       text_of(name));
	}
	if (alarm && !any)
		puts("Nothing was lost, and no limit was met.");
}

static void show_packets(const json_t *packets)
{
	printf("Packets: %lld forwarded, %lld not for a VIP\n", num(packets, "ok"),
	       num(packets, "not_vip"));
	show_counters(packets, true, "LOST, OR OVER A LIMIT:\n");
	show_counters(packets, false, "Other counters:\n");
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
	       num(all, "connections"), num(all, "accepted"), num(all, "refused"),
	       *str(all, "delivery_error") ? "; " : "", str(all, "delivery_error"));
	json_array_foreach(json_object_get(json, "vips"), i, vip) {
		const json_t *f = json_object_get(vip, "fallback");

		if (num(f, "degraded_answers") || num(f, "cached_answers") || *str(f, "error"))
			printf("  %s: %lld degraded, %lld cached%s%s\n", str(vip, "name"),
			       num(f, "degraded_answers"), num(f, "cached_answers"),
			       *str(f, "error") ? "; " : "", str(f, "error"));
		show_kept_answers(vip, json_object_get(f, "cache"));
	}
}

static void show_dataplane(const json_t *d)
{
	char since[32];

	if (flag(d, "stopped"))
		printf("NOTHING IS FORWARDED: sluice-dpdk has not run for %s; nodes behind it that "
		       "do not answer stay as they are\n",
		       show_ms(since, sizeof(since), num(d, "stopped_ms")));
	else if (!strcmp(str(d, "kind"), "dpdk"))
		printf("Poll-mode workers: %lld\n", num(d, "workers"));
	if (num(d, "workers_stuck") && !flag(d, "stopped"))
		printf("WORKERS THAT STAND STILL: %lld, and with them what comes to their queues\n",
		       num(d, "workers_stuck"));
	if (json_number_value(json_object_get(d, "loss")) >= LOSS_SHOWN)
		printf("OVERLOADED: %.1f %% of frames are lost, since workers are too slow for them\n",
		       100 * json_number_value(json_object_get(d, "loss")));
}

static void show_doubted(const json_t *checks)
{
	if (num(checks, "doubted"))
		printf("NODES THAT DO NOT ANSWER, AND STAY AS THEY ARE: %lld. All on their way are "
		       "silent, or more is lost there than they can be blamed for\n",
		       num(checks, "doubted"));
}

static void show_attention(const json_t *nodes)
{
	if (!json_array_size(nodes))
		return;
	printf("\nNot healthy, or not to be reached: %zu\n", json_array_size(nodes));
	show_not_healthy(nodes, NOT_HEALTHY_MOST);
}

static void show_interfaces(const json_t *list)
{
	const json_t *ifc;
	size_t i;

	json_array_foreach(list, i, ifc) {
		if (*str(ifc, "error")) {
			table_paint(TABLE_BAD, "INTERFACE LOST: ");
			puts(str(ifc, "error"));
			continue;
		}
		printf("Interface %s: %s, %s", str(ifc, "name"), str(ifc, "mode"),
		       *str(ifc, "device")                  ? str(ifc, "device")
		       : strcmp(str(ifc, "chain"), "alone") ? "in libxdp's dispatcher"
							    : "the only XDP program there");
		if (num(ifc, "losses"))
			printf(" (was off %lld times)", num(ifc, "losses"));
		printf("\n");
	}
}

void show_status(const json_t *json)
{
	const json_t *flows = json_object_get(json, "flows"), *warning;
	char uptime[32];
	size_t i;

	printf("sluiced %s (map layout %lld), pid %lld, up %s, configuration %s\n",
	       str(json, "version"), num(json, "map_layout"), num(json, "pid"),
	       show_ms(uptime, sizeof(uptime), num(json, "uptime_ms")), str(json, "config"));
	if (*str(json, "reload_error")) {
		table_paint(TABLE_BAD, "LAST RELOAD REFUSED: ");
		puts(str(json, "reload_error"));
	}
	json_array_foreach(json_object_get(json, "warnings"), i, warning) {
		table_paint(TABLE_WATCH, "Warning: ");
		puts(json_string_value(warning));
	}
	show_interfaces(json_object_get(json, "interfaces"));
	show_dataplane(json_object_get(json, "dataplane"));
	show_doubted(json_object_get(json, "checks"));
	printf("\n");
	show_vips(json);
	printf("\n");
	show_pools(json);
	show_discovery(json);
	show_attention(json_object_get(json, "attention"));
	printf("\nFlow entries: %lld of %lld, half-open %lld of %lld; slots with exceptions: "
	       "%lld\n",
	       num(flows, "flows"), num(flows, "flows_max"), num(flows, "half_open"),
	       num(flows, "half_open_max"), num(flows, "slots_with_exceptions"));
	show_packets(json_object_get(json, "packets"));
	show_fallback(json);
}
