// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_syn: SYNs of different sources through the balancer, for every policy at several numbers of
 * members -> build/bench/syn.json, a table on standard output.
 *
 * Each round sets the pool up anew for every (policy, members), feeds SYN_FLOWS SYNs in SYN_CHUNKS
 * runs (a scrape of the loads before each), and checks that the VIP counted all as new flows, that
 * its members got all of them, and that every entry counted is in the half-open table. Time is what
 * BPF_PROG_TEST_RUN reports, because it leaves out what the run let others have of the CPU: an
 * exact scan of many members outlasts a time slice. A run begins with cold caches. Of each chunk
 * least and median over the rounds are taken; a figure is their mean over the chunks, because the
 * table grows from one to the next, less that of an empty program in the same loop. One core.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <jansson.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench_syn/syn.h"
#include "tools/lib/figures.h"
#include "tests/bench_programs.skel.h"

#define ROUNDS     9
#define ROUNDS_MIN 3
#define TIME_MS    15000 /* no round begins later, after the first ROUNDS_MIN */

static const struct {
	const char *name;
	enum lb_policy policy;
} policies[] = {
	{"hash", LB_POLICY_HASH},
	{"p2c", LB_POLICY_P2C},
	{"least-queue", LB_POLICY_LEAST_QUEUE},
	{"least-conn", LB_POLICY_LEAST_CONN},
	{"round-robin", LB_POLICY_ROUND_ROBIN},
	{"weighted-round-robin", LB_POLICY_WEIGHTED_ROUND_ROBIN},
};
#define N_POLICIES (sizeof(policies) / sizeof(*policies))

static const uint32_t sizes[] = {8, 64, SYN_MEMBERS_MAX};
#define N_SIZES (sizeof(sizes) / sizeof(*sizes))

struct samples {
	double ns[SYN_CHUNKS][ROUNDS];
	double least, median; /* net of the empty program */
	double entries;       /* share of the flows that needed one, last round */
};

struct bench {
	struct bench_programs_bpf *programs;
	struct syn_balancer *balancer;
	struct bench_run *empty, *loop;
	struct samples samples[N_POLICIES][N_SIZES];
	struct samples of_empty;
	uint32_t rounds;
};

static int open_all(struct bench *b)
{
	int r;

	b->programs = bench_programs_bpf__open_and_load();
	if (!b->programs)
		return -errno;
	r = syn_balancer_open(&b->balancer);
	r = r
		    ?: bench_run_open(bpf_program__fd(b->programs->progs.bench_empty), syn_frame,
				      NULL, SYN_FRAMES, NULL, &b->empty);
	return r
		       ?: bench_run_open(syn_balancer_fd(b->balancer), syn_frame, NULL, SYN_FRAMES,
					 NULL, &b->loop);
}

static void close_all(struct bench *b)
{
	bench_run_close(b->loop);
	bench_run_close(b->empty);
	syn_balancer_close(b->balancer);
	bench_programs_bpf__destroy(b->programs);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The frame that a chunk begins with. A chunk takes one more than BENCH_CHUNK of them. */
static uint32_t first_of(uint32_t chunk)
{
	return 2 * chunk * BENCH_CHUNK;
}

static int run_empty(struct bench *b)
{
	int r = 0;

	for (uint32_t chunk = 0; chunk < SYN_CHUNKS && !r; chunk++)
		r = bench_run_from(b->empty, first_of(chunk), XDP_PASS,
				   &b->of_empty.ns[chunk][b->rounds]);
	return r;
}

static int run_chunks(struct bench *b, struct samples *s, uint32_t n_members)
{
	int r = 0;

	for (uint32_t chunk = 0; chunk < SYN_CHUNKS && !r; chunk++) {
		syn_balancer_scrape(b->balancer, n_members);
		r = bench_run_from(b->loop, first_of(chunk), XDP_TX, &s->ns[chunk][b->rounds]);
	}
	return r;
}

/* Entries that must be there: none, some, or one a flow. */
static int entries_are_right(enum lb_policy policy, uint64_t entries, uint32_t removed)
{
	if (entries != removed)
		return 0;
	if (policy == LB_POLICY_HASH)
		return entries == 0;
	if (policy == LB_POLICY_P2C)
		return entries > 0 && entries < SYN_FLOWS;
	return entries == SYN_FLOWS;
}

static int run_one(struct bench *b, uint32_t p, uint32_t s)
{
	struct samples *samples = &b->samples[p][s];
	struct syn_counts before, after;
	uint32_t removed;
	int r;

	r = syn_balancer_prepare(b->balancer, policies[p].policy, sizes[s]);
	if (r < 0)
		return r;
	syn_balancer_counts(b->balancer, sizes[s], &before);
	r = run_chunks(b, samples, sizes[s]);
	syn_balancer_counts(b->balancer, sizes[s], &after);
	r = r ?: syn_balancer_clear(b->balancer, &removed);
	if (r < 0)
		return r;
	after.sent -= before.sent;
	after.flows -= before.flows;
	after.entries -= before.entries;
	after.overflow -= before.overflow;
	samples->entries = (double)after.entries / SYN_FLOWS;
	if (after.sent == SYN_FLOWS && after.flows == SYN_FLOWS && !after.overflow &&
	    entries_are_right(policies[p].policy, after.entries, removed))
		return 0;
	fprintf(stderr,
		"%s, %u members: of %u SYNs %llu sent to members, %llu new flows, %llu entries (%u "
		"in the "
		"table), %llu refused\n",
		policies[p].name, sizes[s], SYN_FLOWS, (unsigned long long)after.sent,
		(unsigned long long)after.flows, (unsigned long long)after.entries, removed,
		(unsigned long long)after.overflow);
	return -EPROTO;
}

static int run_rounds(struct bench *b)
{
	int64_t until = now_ms() + TIME_MS;

	while (b->rounds < ROUNDS && (b->rounds < ROUNDS_MIN || now_ms() < until)) {
		int r = run_empty(b);

		for (uint32_t p = 0; p < N_POLICIES; p++)
			for (uint32_t s = 0; s < N_SIZES && !r; s++)
				r = run_one(b, p, s);
		if (r < 0)
			return r;
		b->rounds++;
	}
	return 0;
}

static void settle(struct samples *s, uint32_t rounds, double less_least, double less_median)
{
	double least = 0, median = 0;

	for (uint32_t chunk = 0; chunk < SYN_CHUNKS; chunk++) {
		qsort(s->ns[chunk], rounds, sizeof(double), figures_by_value);
		least += s->ns[chunk][0];
		median += s->ns[chunk][rounds / 2];
	}
	s->least = least / SYN_CHUNKS - less_least;
	s->median = median / SYN_CHUNKS - less_median;
}

static void settle_all(struct bench *b)
{
	settle(&b->of_empty, b->rounds, 0, 0);
	for (uint32_t p = 0; p < N_POLICIES; p++)
		for (uint32_t s = 0; s < N_SIZES; s++)
			settle(&b->samples[p][s], b->rounds, b->of_empty.least, b->of_empty.median);
}

static json_t *json_of(const struct samples *s)
{
	return json_pack("{s:f,s:f,s:f,s:f,s:f}", "ns", s->least, "ns_median", s->median,
			 "per_second", 1e9 / s->least, "per_second_median", 1e9 / s->median,
			 "entries_share", s->entries);
}

static int write_figures(const struct bench *b, const char *path)
{
	json_t *doc = json_object();
	char members[12];
	int r = 0;

	for (uint32_t p = 0; p < N_POLICIES; p++) {
		json_t *policy = json_object();

		for (uint32_t s = 0; s < N_SIZES; s++) {
			snprintf(members, sizeof(members), "%u", sizes[s]);
			r |= json_object_set_new(policy, members, json_of(&b->samples[p][s]));
		}
		r |= json_object_set_new(doc, policies[p].name, policy);
	}
	r |= json_object_set_new(doc, "rounds", json_integer(b->rounds));
	r |= json_object_set_new(doc, "flows_a_round", json_integer(SYN_FLOWS));
	if (!r)
		r = json_dump_file(doc, path, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
	json_decref(doc);
	return r ? -EIO : 0;
}

static void print_figures(const struct bench *b)
{
	printf("\nnew connections on one core: SYNs of different sources, IPv4 ipip, weights 1 to "
	       "4, "
	       "net of an\nempty program; least and median of %u rounds of %u flows\n\n",
	       b->rounds, SYN_FLOWS);
	printf("  %-22s%8s%10s%10s%14s%10s\n", "policy", "members", "least ns", "median",
	       "a second", "entries");
	for (uint32_t p = 0; p < N_POLICIES; p++)
		for (uint32_t s = 0; s < N_SIZES; s++) {
			const struct samples *f = &b->samples[p][s];

			printf("  %-22s%8u%10.0f%10.0f%14.0f%8.0f %%\n", s ? "" : policies[p].name,
			       sizes[s], f->least, f->median, 1e9 / f->least, 100 * f->entries);
		}
}

static int bench_all(struct bench *b, const char *path)
{
	int r = open_all(b);

	if (r < 0) {
		fprintf(stderr, "bench_syn: cannot load the programs: %s\n", strerror(-r));
		return r;
	}
	r = run_rounds(b);
	if (!r) {
		settle_all(b);
		print_figures(b);
		r = write_figures(b, path);
	}
	if (r < 0)
		fprintf(stderr, "bench_syn: %s\n", strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "build/bench/syn.json";
	struct bench b = {};
	int r;

	if (argc > 2 || (argc > 1 && argv[1][0] == '-')) {
		fprintf(stderr, "usage: bench_syn [FILE.json]\n");
		return 2;
	}
	if (figures_make_directory() < 0)
		return 1;
	figures_stay_on_one_cpu();
	r = bench_all(&b, path);
	close_all(&b);
	return r < 0;
}
