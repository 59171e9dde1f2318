// SPDX-License-Identifier: BSD-2-Clause
/* sluicectl top: what each node gets a second, again and again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/sluicectl/client.h"
#include "tools/sluicectl/commands.h"
#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/show.h"
#include "tools/sluicectl/table.h"
#include "tools/sluicectl/top_rates.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/duration.h"
#include "userspace/lib/number.h"

#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS (60 * 60 * 1000)
#define COUNT_MAX	1000000

struct top_options {
	const char *word; /* NULL: all nodes */
	int64_t interval_ms;
	long count; /* tables; 0: until somebody ends it */
};

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int wrong(const char *what, const char *word)
{
	fprintf(stderr, "sluicectl: top: %s%s%s%s. Usage: sluicectl top [POOL|NODE|STATE] "
			"[--interval 1s] [--count N]\n",
		what, word ? ", found '" : "", word ? word : "", word ? "'" : "");
	return CTL_USAGE;
}

static int parse_count(const char *word, long *ret_count)
{
	char *end = NULL;
	long n = word ? strtol(word, &end, 10) : 0;

	if (!word || !*word || *end || n < 1 || n > COUNT_MAX)
		return wrong("--count takes a whole number from 1 on", word);
	*ret_count = n;
	return CTL_OK;
}

static int parse_interval(const char *word, int64_t *ret_ms)
{
	int64_t ms;

	if (!word || duration_parse(word, &ms) < 0 || ms < INTERVAL_MIN_MS || ms > INTERVAL_MAX_MS)
		return wrong("--interval takes a duration from 100ms to 1h", word);
	*ret_ms = ms;
	return CTL_OK;
}

/* "--interval 2s", "--interval=2s": the value, of the next word if need be; NULL: another option. */
static bool option(int argc, char **argv, int *i, const char *name, const char **ret_value)
{
	size_t len = strlen(name);

	if (strncmp(argv[*i], name, len) || (argv[*i][len] && argv[*i][len] != '='))
		return false;
	if (argv[*i][len] == '=')
		*ret_value = argv[*i] + len + 1;
	else
		*ret_value = *i + 1 < argc ? argv[++*i] : NULL;
	return true;
}

static int parse(int argc, char **argv, struct top_options *opt)
{
	const char *value;
	int r = CTL_OK;

	*opt = (struct top_options){.interval_ms = 1000, .count = table_terminal_width() ? 0 : 1};
	for (int i = 0; i < argc && r == CTL_OK; i++) {
		if (option(argc, argv, &i, "--interval", &value))
			r = parse_interval(value, &opt->interval_ms);
		else if (option(argc, argv, &i, "--count", &value))
			r = parse_count(value, &opt->count);
		else if (argv[i][0] == '-' || opt->word)
			r = wrong("unexpected word", argv[i]);
		else
			opt->word = argv[i];
	}
	return r;
}

/* --- output ----------------------------------------------------------------------------------- */

#define CELL 32

/* Three digits, and a unit where it is much: 0, 7.5, 42, 1234, 56.7 k, 8.9 M. */
static const char *figure(char *buf, double n)
{
	static const char units[] = " kMGT";
	size_t unit = 0;

	if (n < 10000) {
		snprintf(buf, CELL, "%.*f", n > 0 && n < 9.95, n);
		return buf;
	}
	for (; n >= 1000 && unit + 2 < sizeof(units); unit++)
		n /= 1000;
	snprintf(buf, CELL, "%.*f %c", n < 99.95, n, units[unit]);
	return buf;
}

/* A value that may be absent: "-" then. */
static const char *cell(char *buf, const json_t *node, const char *key, const char *fmt,
			double factor)
{
	const json_t *value = json_object_get(node, key);

	if (json_is_number(value))
		snprintf(buf, CELL, fmt, json_number_value(value) * factor);
	else
		snprintf(buf, CELL, "-");
	return buf;
}

static void show(const json_t *rates)
{
	static const struct table_column columns[] = {
		{"NODE", 0, NULL},      {"STATE", 6, show_colour_of_state}, {"WEIGHT", 4, NULL},
		{"NEW/S", 0, NULL},     {"SHARE", 0, NULL},		    {"PACKETS/S", 3, NULL},
		{"BIT/S", 5, NULL},     {"QUEUE", 1, NULL},		    {"RUNNING", 0, NULL},
		{"KV", 2, NULL},
	};
	struct table t = {.columns = columns, .n_columns = ARRAY_SIZE(columns)};
	double flows = 0, packets = 0, bits = 0;
	char a[NUMBER_BRIEF_MAX], b[CELL], c[CELL], d[CELL], e[CELL], f[CELL], g[CELL], h[CELL], name[130];
	const json_t *n;
	size_t i;

	json_array_foreach(rates, i, n) {
		snprintf(name, sizeof(name), "%s/%s", str(n, "pool"), str(n, "name"));
		flows += real(n, "new_flows_per_s");
		packets += real(n, "packets_per_s");
		bits += real(n, "bits_per_s");
		table_row(&t, (const char *[]){
				      name, str(n, "state"),
				      number_brief(a, real(n, "effective_weight")),
				      figure(b, real(n, "new_flows_per_s")),
				      cell(c, n, "share", "%.1f %%", 100),
				      figure(d, real(n, "packets_per_s")),
				      figure(e, real(n, "bits_per_s")),
				      cell(f, n, "queue", "%.0f", 1),
				      cell(g, n, "running", "%.0f", 1),
				      cell(h, n, "kv", "%.0f %%", 100)});
	}
	table_print(&t);
	printf("%zu node%s: %s new connections, %s packets, %s%sbit a second towards %s\n",
	       json_array_size(rates), json_array_size(rates) == 1 ? "" : "s", figure(a, flows),
	       figure(b, packets), figure(c, bits), strchr(c, ' ') ? "" : " ",
	       json_array_size(rates) == 1 ? "it" : "them");
}

/* Returns CTL_OK or CTL_NO_NODE. */
static int put(const struct ctl *ctl, const json_t *before, const json_t *after, int64_t us,
	       const char *word)
{
	json_t *rates = top_rates(json_object_get(before, "backends"),
				  json_object_get(after, "backends"), (double)us / 1e6);
	int r = backends_keep(rates, word);

	if (r == CTL_OK && ctl->json) {
		json_t *json = json_pack("{sf sO}", "seconds", (double)us / 1e6, "backends", rates);

		show_json(json);
		json_decref(json);
	} else if (r == CTL_OK) {
		if (table_terminal_width())
			fputs("\033[H\033[J", stdout);
		show(rates);
	}
	json_decref(rates);
	return fflush(stdout) == 0 ? r : CTL_REFUSED; /* main says why */
}

static int get(const struct ctl *ctl, bool again, json_t **ret_json, int64_t *ret_us)
{
	static const char path[] = "/v1/backends";
	/* What somebody looks at goes on when the agent is started again; a script is told. */
	int r = again && table_terminal_width()
			? client_get_again(ctl, path, "", ret_json)
			: client_call(ctl, "GET", path, NULL, ret_json);

	*ret_us = now_us();
	return r;
}

int cmd_top(const struct ctl *ctl, int argc, char **argv)
{
	json_t *before = NULL, *after = NULL;
	struct top_options opt;
	int64_t began, ended;
	int r = parse(argc, argv, &opt);

	if (r == CTL_OK)
		r = get(ctl, false, &before, &began);
	for (long n = 0; r == CTL_OK && (!opt.count || n < opt.count); n++) {
		const struct timespec pause = {.tv_sec = opt.interval_ms / 1000,
					       .tv_nsec = opt.interval_ms % 1000 * 1000000};

		nanosleep(&pause, NULL);
		r = get(ctl, true, &after, &ended);
		if (r != CTL_OK)
			break;
		r = put(ctl, before, after, ended - began, opt.word);
		json_decref(before);
		before = after;
		began = ended;
	}
	json_decref(before);
	return r;
}
