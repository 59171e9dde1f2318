/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Times maglev_build() and measures its tables -> build/bench/maglev.json.
 *
 * Each round builds the tables of other nodes, so that neither branch predictor nor cache knows
 * the answer. Least and median of the rounds are told: other tenants of a machine slow it at times.
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "maps/table.h"
#include "tools/lib/figures.h"
#include "userspace/agent/maglev.h"
#include "userspace/lib/cleanup.h"

#define SLOTS       65537
#define ROUNDS      61
#define REMOVALS    20
#define MEMBERS_MAX 1000

struct figures {
	uint32_t members;
	double build_ms_least, build_ms_median;   /* both tables */
	double change_ms_least, change_ms_median; /* and the list of slots that changed */
	uint32_t changed;                         /* words of the slots, median */
	double share_error_max;                   /* fraction of the ideal share */
	double disruption_mean, disruption_max;   /* slots moved beyond the removed member's own */
};

struct round {
	struct maglev_member members[MEMBERS_MAX];
	uint16_t cur[SLOTS];
	uint16_t alt[SLOTS];
};

static struct round one, other;
static struct lb_slot in_force[SLOTS];
static uint32_t changed_slots[SLOTS];

static double clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void members_fill(struct maglev_member *members, uint32_t n, uint32_t round)
{
	for (uint32_t i = 0; i < n; i++) {
		uint8_t address[4] = {10, round, i >> 8, i};

		members[i].identity = maglev_identity(address, sizeof(address));
		members[i].weight = 1000;
		members[i].id = i + 1;
	}
}

static void build(struct round *r, uint32_t n)
{
	int error = maglev_build(r->members, n, SLOTS, r->cur, r->alt);

	if (error < 0) {
		fprintf(stderr, "bench_maglev: %u members: %s\n", n, strerror(-error));
		exit(1);
	}
}

/* Slots whose cur or alt is not the one in force; as the publisher has to find them. */
static uint32_t list_changed(const struct round *r)
{
	uint32_t n = 0;

	for (uint32_t s = 0; s < SLOTS; s++)
		if (in_force[s].cur != r->cur[s] || in_force[s].alt != r->alt[s])
			changed_slots[n++] = s;
	return n;
}

static void measure_time(uint32_t n, struct figures *ret)
{
	double build_ms[ROUNDS], change_ms[ROUNDS], changed[ROUNDS];

	for (uint32_t k = 0; k < ROUNDS; k++) {
		double start;

		members_fill(one.members, n, k);
		start = clock_ms();
		build(&one, n);
		build_ms[k] = clock_ms() - start;

		for (uint32_t s = 0; s < SLOTS; s++)
			in_force[s] = (struct lb_slot){.cur = one.cur[s], .alt = one.alt[s]};
		one.members[k % n].weight = 0;
		start = clock_ms();
		build(&one, n);
		changed[k] = list_changed(&one);
		change_ms[k] = clock_ms() - start;
	}
	qsort(build_ms, ROUNDS, sizeof(double), figures_by_value);
	qsort(change_ms, ROUNDS, sizeof(double), figures_by_value);
	qsort(changed, ROUNDS, sizeof(double), figures_by_value);
	ret->build_ms_least = build_ms[0];
	ret->build_ms_median = build_ms[ROUNDS / 2];
	ret->change_ms_least = change_ms[0];
	ret->change_ms_median = change_ms[ROUNDS / 2];
	ret->changed = changed[ROUNDS / 2];
}

static double share_error(const struct round *r, uint32_t n)
{
	uint32_t slots[MEMBERS_MAX + 1] = {0};
	const double ideal = (double)SLOTS / n;
	double worst = 0;

	for (uint32_t s = 0; s < SLOTS; s++)
		slots[r->cur[s]]++;
	for (uint32_t i = 1; i <= n; i++)
		worst = fmax(worst, fabs(slots[i] - ideal) / ideal);
	return worst;
}

static void measure_tables(uint32_t n, struct figures *ret)
{
	double sum = 0;

	for (uint32_t k = 0; k < REMOVALS; k++) {
		uint32_t gone = k * 7 % n, moved = 0;

		members_fill(one.members, n, k);
		build(&one, n);
		ret->share_error_max = fmax(ret->share_error_max, share_error(&one, n));
		memcpy(other.members, one.members, sizeof(other.members));
		other.members[gone].weight = 0;
		build(&other, n);
		for (uint32_t s = 0; s < SLOTS; s++)
			moved += one.cur[s] != other.cur[s] && one.cur[s] != gone + 1;
		sum += (double)moved / SLOTS;
		ret->disruption_max = fmax(ret->disruption_max, (double)moved / SLOTS);
	}
	ret->disruption_mean = sum / REMOVALS;
}

static void print_json(FILE *out, const struct figures *f, uint32_t n)
{
	fprintf(out, "{\n  \"slots\": %d,\n  \"rounds\": %d,\n  \"pools\": [\n", SLOTS, ROUNDS);
	for (uint32_t i = 0; i < n; i++)
		fprintf(out,
			"    {\"members\": %u, \"build_ms_least\": %.4f, \"build_ms_median\": "
			"%.4f,\n"
			"     \"change_one_ms_least\": %.4f, \"change_one_ms_median\": %.4f,"
			" \"slots_changed\": %u,\n"
			"     \"share_error_max\": %.5f, \"disruption_mean\": %.5f,"
			" \"disruption_max\": %.5f}%s\n",
			f[i].members, f[i].build_ms_least, f[i].build_ms_median,
			f[i].change_ms_least, f[i].change_ms_median, f[i].changed,
			f[i].share_error_max, f[i].disruption_mean, f[i].disruption_max,
			i + 1 < n ? "," : "");
	fprintf(out, "  ]\n}\n");
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "build/bench/maglev.json";
	const uint32_t n_members[] = {10, 100, 1000};
	struct figures figures[ARRAY_SIZE(n_members)] = {0};
	_cleanup_fclose_ FILE *out = NULL;

	if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
		fprintf(stderr, "usage: bench_maglev [FILE]   (default %s)\n",
			"build/bench/maglev.json");
		return 2;
	}
	printf("maglev_build, %d slots, both tables, %d rounds:\n", SLOTS, ROUNDS);
	for (uint32_t i = 0; i < ARRAY_SIZE(n_members); i++) {
		struct figures *f = &figures[i];

		f->members = n_members[i];
		measure_time(n_members[i], f);
		measure_tables(n_members[i], f);
		printf("  %4u members: %.2f ms (median %.2f), one change %.2f ms (median %.2f,"
		       " %u slots), share off by %.2f %%, removal moves %.2f %% beyond its own"
		       " (most %.2f)\n",
		       f->members, f->build_ms_least, f->build_ms_median, f->change_ms_least,
		       f->change_ms_median, f->changed, 100 * f->share_error_max,
		       100 * f->disruption_mean, 100 * f->disruption_max);
	}
	if (argc == 1)
		(void)figures_make_directory();
	out = fopen(path, "we");
	if (!out) {
		fprintf(stderr, "bench_maglev: %s: %s\n", path, strerror(errno));
		return 1;
	}
	print_json(out, figures, ARRAY_SIZE(n_members));
	if (fflush(out) != 0 || ferror(out)) {
		fprintf(stderr, "bench_maglev: %s: %s\n", path, strerror(errno));
		return 1;
	}
	return 0;
}
