// SPDX-License-Identifier: BSD-2-Clause
/* packet_cases: runs the table of packet cases natively, in the kernel, under DPDK. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/packet/check.h"
#include "tests/packet/record.h"

static const struct case_list *const cases_all[] = {
	&cases_parse, &cases_headers, &cases_vlan,	 &cases_ipip, &cases_l2dsr, &cases_gue,	 &cases_hash,
	&cases_policy, &cases_flow,  &cases_transition, &cases_reset, &cases_icmp, &cases_decap,
	&cases_pool, &cases_nat, &cases_nat_icmp,
};

#define N_LISTS (sizeof(cases_all) / sizeof(cases_all[0]))

struct totals {
	unsigned int passed, failed, skipped;
};

struct options {
	int native, kernel, dpdk, list, verbose;
	const char *only;
	const char *corpus;
};

static int selected(const struct options *o, const struct packet_case *c)
{
	return !o->only || strstr(c->name, o->only);
}

static void count(struct totals *t, enum verdict_of_case v, const struct runner *r,
		  const struct packet_case *c, int verbose)
{
	if (v == CASE_PASSED)
		t->passed++;
	else if (v == CASE_SKIPPED)
		t->skipped++;
	else
		t->failed++;
	if (v == CASE_PASSED && verbose)
		printf("ok   [%s] %s\n", r->name, c->name);
	if (v == CASE_SKIPPED && verbose)
		printf("skip [%s] %s\n", r->name, c->name);
}

/* Cases that the runner can never run (decap under DPDK) are not part of its table. */
static int belongs(const struct runner *r, const struct packet_case *c)
{
	return !(c->decap_only && !r->run_decap);
}

static void run_all(struct runner *r, const struct options *o, struct totals *t)
{
	int e = r->open(r);

	if (e < 0) {
		printf("FAIL [%s] cannot start: %s%s\n", r->name, strerror(-e),
		       e == -EPERM ? " (needs root)" : "");
		t->failed++;
		return;
	}
	for (uint32_t i = 0; i < N_LISTS; i++)
		for (uint32_t j = 0; j < cases_all[i]->n; j++) {
			const struct packet_case *c = &cases_all[i]->cases[j];

			if (selected(o, c) && belongs(r, c))
				count(t, check_case(r, c), r, c, o->verbose);
		}
	r->close(r);
}

static int write_seed(const char *dir, unsigned int number, const struct packet_case *c)
{
	uint8_t bytes[RECORD_MAX];
	uint32_t len = record_case(c, bytes);
	char path[4096];
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "%s/case-%04u", dir, number);
	file = fopen(path, "wb");
	if (!file)
		return -errno;
	n = fwrite(bytes, 1, len, file);
	if (fclose(file) || n != len)
		return -EIO;
	return 0;
}

/* Every case as a file: what the fuzzer of the core starts from. */
static int write_corpus(const char *dir)
{
	unsigned int number = 0;

	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	for (uint32_t i = 0; i < N_LISTS; i++)
		for (uint32_t j = 0; j < cases_all[i]->n; j++) {
			int r = write_seed(dir, number++, &cases_all[i]->cases[j]);

			if (r < 0)
				return r;
		}
	printf("%u cases written\n", number);
	return 0;
}

static void list_cases(const struct options *o)
{
	for (uint32_t i = 0; i < N_LISTS; i++)
		for (uint32_t j = 0; j < cases_all[i]->n; j++)
			if (selected(o, &cases_all[i]->cases[j]))
				puts(cases_all[i]->cases[j].name);
}

static void usage(FILE *to)
{
	fputs("usage: packet_cases [--native] [--kernel] [--dpdk] [--only TEXT] [--list]\n"
	      "                    [--verbose] [--write-corpus DIR]\n"
	      "Without --native, --kernel and --dpdk: natively, and in the kernel when run as root.\n",
	      to);
}

static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option longs[] = {
		{"native", no_argument, NULL, 'n'},
		{"kernel", no_argument, NULL, 'k'},
		{"dpdk", no_argument, NULL, 'd'},
		{"only", required_argument, NULL, 'o'},
		{"list", no_argument, NULL, 'l'},
		{"verbose", no_argument, NULL, 'v'},
		{"write-corpus", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
		if (opt == 'n')
			ret->native = 1;
		else if (opt == 'k')
			ret->kernel = 1;
		else if (opt == 'd')
			ret->dpdk = 1;
		else if (opt == 'o')
			ret->only = optarg;
		else if (opt == 'l')
			ret->list = 1;
		else if (opt == 'v')
			ret->verbose = 1;
		else if (opt == 'c')
			ret->corpus = optarg;
		else
			return opt == 'h' ? 1 : -EINVAL;
	}
	return optind == argc ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct totals t = {0};
	int r = parse_options(argc, argv, &o);

	if (r) {
		usage(r < 0 ? stderr : stdout);
		return r < 0 ? 2 : 0;
	}
	if (o.list) {
		list_cases(&o);
		return 0;
	}
	if (o.corpus) {
		r = write_corpus(o.corpus);
		if (r < 0)
			fprintf(stderr, "%s: %s\n", o.corpus, strerror(-r));
		return r < 0;
	}
	if (o.dpdk && !&runner_dpdk) {
		fputs("packet_cases: built without DPDK; packet_cases_dpdk has it\n", stderr);
		return 2;
	}
	if (!o.native && !o.kernel && !o.dpdk) {
		o.native = 1;
		o.kernel = geteuid() == 0;
	}
	if (o.native)
		run_all(&runner_native, &o, &t);
	if (o.kernel)
		run_all(&runner_kernel, &o, &t);
	if (o.dpdk)
		run_all(&runner_dpdk, &o, &t);
	if (!t.passed && !t.failed)
		printf("no case ran\n");
	printf("%u passed, %u failed, %u skipped\n", t.passed, t.failed, t.skipped);
	return t.failed || !t.passed;
}
