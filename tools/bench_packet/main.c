// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_packet: measures the balancer beside an empty program and programs that only parse and
 * encapsulate, and writes build/bench/packet.json (all figures nanoseconds a packet).
 *
 * Every figure is taken inside the kernel, between two clock readings BENCH_CHUNK packets apart, in
 * rounds that visit all variants in turn. `least` is the least of all chunks (other tenants of the
 * machine only ever add), `median` the middle one. The empty program's time in the same loop is
 * subtracted from all but "empty_ns" itself.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <jansson.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "maps/vip.h"
#include "tests/bench_programs.skel.h"
#include "tests/lib/bpf_print.h"
#include "tools/bench_packet/bench.h"
#include "tools/lib/bench_run.h"
#include "tools/lib/figures.h"

enum program {
	PROGRAM_EMPTY,
	PROGRAM_ENCAP4,
	PROGRAM_ENCAP6,
	PROGRAM_BALANCER,
	PROGRAM_N,
};

/* Variants of many flows run longer and in fewer rounds: each round visits every flow. */
enum length {
	SHORT,
	LONG,
};

enum variant {
	V_EMPTY,
	V_ENCAP,
	V_ENCAP6,
	V_HOT_IPIP4,
	V_HOT_IPIP6,
	V_HOT_L2DSR4,
	V_HOT_L2DSR6,
	V_HOT_GUE4,
	V_NOT_VIP,
	V_SYN,
	V_SYN_P2C,
	V_EXCEPTION,
	V_EMPTY_MANY,
	V_ENCAP_MANY,
	V_HOT_MANY,
	V_SYN_MANY,
	V_EXCEPTIONS_MANY,
	V_N,
};

struct variant_spec {
	const char *name; /* in packet.json */
	enum program program;
	enum bench_vip vip;
	enum bench_packet_kind kind;
	enum length length;
	uint32_t grows; /* bytes the frame must have gained */
	uint32_t action;
};

static const struct variant_spec specs[V_N] = {
	[V_EMPTY] = {"empty_ns", PROGRAM_EMPTY, VIP_IPIP4, PACKET_ACK, SHORT, 0, XDP_PASS},
	[V_ENCAP] = {"encap_ns", PROGRAM_ENCAP4, VIP_IPIP4, PACKET_ACK, SHORT, 20, XDP_TX},
	[V_ENCAP6] = {"encap6_ns", PROGRAM_ENCAP6, VIP_IPIP6, PACKET_ACK, SHORT, 40, XDP_TX},
	[V_HOT_IPIP4] = {"hot_ipip4_ns", PROGRAM_BALANCER, VIP_IPIP4, PACKET_ACK, SHORT, 20,
			 XDP_TX},
	[V_HOT_IPIP6] = {"hot_ipip6_ns", PROGRAM_BALANCER, VIP_IPIP6, PACKET_ACK, SHORT, 40,
			 XDP_TX},
	[V_HOT_L2DSR4] = {"hot_l2dsr4_ns", PROGRAM_BALANCER, VIP_L2DSR4, PACKET_ACK, SHORT, 0,
			  XDP_TX},
	[V_HOT_L2DSR6] = {"hot_l2dsr6_ns", PROGRAM_BALANCER, VIP_L2DSR6, PACKET_ACK, SHORT, 0,
			  XDP_TX},
	[V_HOT_GUE4] = {"hot_gue4_ns", PROGRAM_BALANCER, VIP_GUE4, PACKET_ACK, SHORT, 28, XDP_TX},
	[V_NOT_VIP] = {"not_vip_ns", PROGRAM_BALANCER, VIP_NONE, PACKET_ACK, SHORT, 0, XDP_PASS},
	[V_SYN] = {"syn_ns", PROGRAM_BALANCER, VIP_IPIP4, PACKET_SYN, SHORT, 20, XDP_TX},
	[V_SYN_P2C] = {"syn_p2c_ns", PROGRAM_BALANCER, VIP_P2C, PACKET_SYN, SHORT, 20, XDP_TX},
	[V_EXCEPTION] = {"exception_ns", PROGRAM_BALANCER, VIP_ENTRY, PACKET_ACK, SHORT, 20,
			 XDP_TX},
	[V_EMPTY_MANY] = {"empty_1m_ns", PROGRAM_EMPTY, VIP_IPIP4, PACKET_ACK, LONG, 0, XDP_PASS},
	[V_ENCAP_MANY] = {"encap_1m_ns", PROGRAM_ENCAP4, VIP_IPIP4, PACKET_ACK, LONG, 20, XDP_TX},
	[V_HOT_MANY] = {"hot_ipip4_1m_raw_ns", PROGRAM_BALANCER, VIP_IPIP4, PACKET_ACK, LONG, 20,
			XDP_TX},
	[V_SYN_MANY] = {"syn_1m_raw_ns", PROGRAM_BALANCER, VIP_IPIP4, PACKET_SYN, LONG, 20, XDP_TX},
	[V_EXCEPTIONS_MANY] = {"exceptions_1m_raw_ns", PROGRAM_BALANCER, VIP_ENTRY, PACKET_ACK,
			       LONG, 20, XDP_TX},
};

/* SYNs of distinct flows, for each policy and size of pool; the tables are emptied in between. */
#define NEW_FLOWS      65536
#define NEW_ROUNDS     6
#define POLICY_OF(row) ((row) + 1) /* enum lb_policy */

static const char *const policies[BENCH_POLICIES] = {
	"hash", "p2c", "least-queue", "least-conn", "round-robin", "weighted-round-robin",
};

#define SHORT_CHUNKS 16
#define LONG_CHUNKS  (MANY_FLOWS / BENCH_CHUNK)

struct samples {
	double *ns;
	uint32_t n, room;
};

struct figure {
	double least, median;
};

struct bench {
	struct bench_programs_bpf *programs;
	struct bench_balancer *balancer;
	int fds[PROGRAM_N];
	struct bench_run *loops[V_N];
	struct samples samples[V_N];
	struct bench_run *new_loops[BENCH_POLICIES][BENCH_SIZES];
	struct samples new_samples[BENCH_POLICIES][BENCH_SIZES];
	uint32_t rounds, long_every; /* … rounds, variants of many flows take part */
};

static struct figure figure_of(struct samples *s)
{
	qsort(s->ns, s->n, sizeof(*s->ns), figures_by_value);
	return (struct figure){s->ns[0], s->ns[s->n / 2]};
}

static struct figure minus(struct figure a, struct figure b)
{
	return (struct figure){a.least - b.least, a.median - b.median};
}

static struct figure plus(struct figure a, struct figure b)
{
	return (struct figure){a.least + b.least, a.median + b.median};
}

/* Loops whose frames are the same 64 MB use one copy of them. */
static const struct bench_run *sharer(const struct bench *b, enum variant v)
{
	if (v == V_ENCAP_MANY || v == V_HOT_MANY)
		return b->loops[V_EMPTY_MANY];
	return NULL;
}

/* Whose frames a loop has. */
struct kind {
	enum bench_vip vip;
	enum bench_packet_kind kind;
};

static void frame_of(const void *userdata, uint32_t i, uint8_t frame[BENCH_FRAME_LEN])
{
	const struct kind *k = userdata;

	bench_frame_of(k->vip, k->kind, i, frame);
}

static int open_all(struct bench *b)
{
	int r;

	b->programs = bench_programs_bpf__open_and_load();
	if (!b->programs)
		return -errno;
	r = bench_balancer_open(&b->balancer);
	if (r < 0)
		return r;
	b->fds[PROGRAM_EMPTY] = bpf_program__fd(b->programs->progs.bench_empty);
	b->fds[PROGRAM_ENCAP4] = bpf_program__fd(b->programs->progs.bench_encap4);
	b->fds[PROGRAM_ENCAP6] = bpf_program__fd(b->programs->progs.bench_encap6);
	b->fds[PROGRAM_BALANCER] = bench_balancer_fd(b->balancer);
	for (enum variant v = 0; v < V_N; v++) {
		const struct variant_spec *s = &specs[v];

		r = bench_run_open(b->fds[s->program], frame_of, &(struct kind){s->vip, s->kind},
				   s->length == LONG ? MANY_FLOWS : 1, sharer(b, v), &b->loops[v]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int open_new(struct bench *b)
{
	int r = 0;

	for (uint32_t p = 0; p < BENCH_POLICIES; p++)
		for (uint32_t s = 0; s < BENCH_SIZES && !r; s++)
			r = bench_run_open(
				b->fds[PROGRAM_BALANCER], frame_of,
				&(struct kind){bench_vip_new(POLICY_OF(p), s), PACKET_SYN},
				NEW_FLOWS, NULL, &b->new_loops[p][s]);
	return r;
}

/* A SYN that is sent again is another case than one that begins a connection. */
static void renew_syns(struct bench *b)
{
	for (enum variant v = 0; v < V_N; v++)
		if (specs[v].kind == PACKET_SYN)
			bench_run_renew(b->loops[v]);
	for (uint32_t p = 0; p < BENCH_POLICIES; p++)
		for (uint32_t s = 0; s < BENCH_SIZES; s++)
			bench_run_renew(b->new_loops[p][s]);
}

static void close_all(struct bench *b)
{
	for (uint32_t p = 0; p < BENCH_POLICIES; p++)
		for (uint32_t s = 0; s < BENCH_SIZES; s++) {
			bench_run_close(b->new_loops[p][s]);
			free(b->new_samples[p][s].ns);
		}
	for (enum variant v = 0; v < V_N; v++) {
		bench_run_close(b->loops[v]);
		free(b->samples[v].ns);
	}
	bench_balancer_close(b->balancer);
	bench_programs_bpf__destroy(b->programs);
}

/* The frame's own bytes, as they must be inside what came out: hop count one less. */
static int inner_is_right(enum variant v, const uint8_t *out)
{
	const struct variant_spec *s = &specs[v];
	uint8_t want[BENCH_FRAME_LEN], *ip = want + 14;

	bench_frame_of(s->vip, s->kind, 0, want);
	if (s->program == PROGRAM_BALANCER && s->vip != VIP_NONE) {
		uint32_t check = (uint32_t)ip[10] << 8 | ip[11];

		ip[bench_vip_family(s->vip) == 4 ? 8 : 7]--;
		check += 0x100;
		check = (check & 0xffff) + (check >> 16);
		if (bench_vip_family(s->vip) == 4) {
			ip[10] = check >> 8;
			ip[11] = check;
		}
	}
	return !memcmp(out + 14 + s->grows, ip, BENCH_FRAME_LEN - 14);
}

/* A second packet must come out as the first did, or the loop measures something else. */
static int check_variant(struct bench *b, enum variant v)
{
	const struct variant_spec *s = &specs[v];
	uint8_t once[BENCH_OUT_MAX], twice[BENCH_OUT_MAX];
	uint32_t action, len;

	for (uint32_t repeat = 1; repeat <= 2; repeat++) {
		uint8_t *out = repeat == 1 ? once : twice;
		int r = bench_run_once(b->loops[v], repeat, &action, out, &len);

		if (r < 0)
			return r;
		if (action != s->action || len != BENCH_FRAME_LEN + s->grows) {
			fprintf(stderr, "%s: action %u and %u bytes, expected %u and %u\n", s->name,
				action, len, s->action, BENCH_FRAME_LEN + s->grows);
			return -EPROTO;
		}
	}
	if (s->length == SHORT && (memcmp(once, twice, len) || !inner_is_right(v, once))) {
		fprintf(stderr, "%s: the frame that came out is wrong\n", s->name);
		return -EPROTO;
	}
	return 0;
}

static int run_loop(struct bench_run *l, struct samples *s, uint32_t chunks)
{
	if (s->n + chunks > s->room) {
		s->room = 2 * s->room + chunks;
		s->ns = realloc(s->ns, s->room * sizeof(*s->ns));
		if (!s->ns)
			return -ENOMEM;
	}
	s->n += chunks;
	return bench_run_chunks(l, chunks, s->ns + s->n - chunks);
}

static int run_variant(struct bench *b, enum variant v)
{
	return run_loop(b->loops[v], &b->samples[v],
			specs[v].length == LONG ? LONG_CHUNKS : SHORT_CHUNKS);
}

/*
 * Every SYN must have been a new flow, with an entry where the policy makes one; the loop sends the
 * first one again at the end.
 */
static int check_new(enum lb_policy policy, const struct bench_counts *before,
		     const struct bench_counts *after)
{
	uint64_t flows = after->flows - before->flows, entries = after->entries - before->entries;
	uint64_t least = policy > LB_POLICY_P2C ? NEW_FLOWS : policy == LB_POLICY_P2C;
	uint64_t most = policy == LB_POLICY_HASH ? 0 : NEW_FLOWS;

	if (flows - NEW_FLOWS <= 1 && entries >= least && entries <= most &&
	    after->refused == before->refused)
		return 0;
	fprintf(stderr, "%s: of %u SYNs %llu were new flows and %llu made entries\n",
		policies[policy - 1], NEW_FLOWS, (unsigned long long)flows,
		(unsigned long long)entries);
	return -EPROTO;
}

static int run_new_one(struct bench *b, uint32_t p, uint32_t s)
{
	enum bench_vip vip = bench_vip_new(POLICY_OF(p), s);
	struct bench_counts before, after;
	int r = bench_balancer_renew(b->balancer, POLICY_OF(p));

	bench_balancer_counts(b->balancer, vip, &before);
	r = r ?: run_loop(b->new_loops[p][s], &b->new_samples[p][s], NEW_FLOWS / BENCH_CHUNK);
	bench_balancer_counts(b->balancer, vip, &after);
	return r ?: check_new(POLICY_OF(p), &before, &after);
}

static int run_new(struct bench *b)
{
	int r = 0;

	for (uint32_t round = 0; round < NEW_ROUNDS; round++)
		for (uint32_t p = 0; p < BENCH_POLICIES; p++)
			for (uint32_t s = 0; s < BENCH_SIZES && !r; s++)
				r = run_new_one(b, p, s);
	return r;
}

static int run_rounds(struct bench *b)
{
	int r;

	for (uint32_t round = 0; round < b->rounds; round++)
		for (enum variant v = 0; v < V_N; v++) {
			if (specs[v].length == LONG && round % b->long_every)
				continue;
			r = run_variant(b, v);
			if (r < 0)
				return r;
		}
	return 0;
}

/* The VIP's counter must have seen every packet: proof that the hot path is what was measured. */
static int check_counted(const struct bench *b)
{
	uint64_t expected = (3 + (uint64_t)b->rounds * (SHORT_CHUNKS * BENCH_CHUNK + 1));
	uint64_t counted = bench_balancer_packets(b->balancer, VIP_IPIP6);

	if (counted == expected)
		return 0;
	fprintf(stderr, "the VIP counted %llu packets of %llu\n", (unsigned long long)counted,
		(unsigned long long)expected);
	return -EPROTO;
}

static int put_figure(json_t *doc, const char *name, struct figure f)
{
	return json_object_set_new(doc, name,
				   json_pack("{s:f,s:f}", "least", f.least, "median", f.median));
}

/*
 * Many flows: what the balancer costs beyond the encapsulating program with as many frames, plus
 * what that one costs with one frame. The frames' own cache misses are none of the balancer's.
 */
static struct figure many(const struct figure *f, enum variant v)
{
	return plus(minus(f[v], f[V_ENCAP_MANY]), minus(f[V_ENCAP], f[V_EMPTY]));
}

static int put_new(struct bench *b, json_t *doc, struct figure empty)
{
	json_t *all = json_object();
	int r = 0;

	for (uint32_t p = 0; p < BENCH_POLICIES; p++) {
		json_t *row = json_object();

		for (uint32_t s = 0; s < BENCH_SIZES; s++) {
			struct figure f = minus(figure_of(&b->new_samples[p][s]), empty);
			char name[16];

			snprintf(name, sizeof(name), "%u", bench_sizes[s]);
			r |= json_object_set_new(row, name,
						 json_pack("{s:f,s:f,s:I}", "least", f.least,
							   "median", f.median, "per_s",
							   (json_int_t)(1e9 / f.least)));
		}
		r |= json_object_set_new(all, policies[p], row);
	}
	return json_object_set_new(doc, "new_flows_ns", all) | r;
}

static int put_memory(json_t *doc)
{
	struct bench_memory m;
	int r = bench_memory(&m);

	if (r < 0)
		return r;
	r = json_object_set_new(doc, "bytes_a_flow",
				json_pack("{s:f,s:f,s:f}", "flows", m.flow, "half_open",
					  m.half_open, "nat", m.nat));
	return json_object_set_new(doc, "memory_defaults_bytes", json_integer(m.defaults)) | r;
}

static int write_figures(struct bench *b, const char *path)
{
	json_t *doc = json_object();
	struct figure f[V_N];
	struct utsname host;
	int r = 0;

	uname(&host);
	for (enum variant v = 0; v < V_N; v++)
		f[v] = figure_of(&b->samples[v]);
	for (enum variant v = 0; v < V_N; v++) {
		struct figure base = f[specs[v].length == LONG ? V_EMPTY_MANY : V_EMPTY];

		r |= put_figure(doc, specs[v].name,
				v == V_EMPTY || v == V_EMPTY_MANY ? f[v] : minus(f[v], base));
	}
	r |= put_figure(doc, "hot_ipip4_1m_flows_ns", many(f, V_HOT_MANY));
	r |= put_figure(doc, "syn_1m_ns", many(f, V_SYN_MANY));
	r |= put_figure(doc, "exceptions_1m_ns", many(f, V_EXCEPTIONS_MANY));
	r |= put_new(b, doc, f[V_EMPTY_MANY]);
	r |= put_memory(doc);
	r |= json_object_set_new(doc, "kernel", json_string(host.release));
	r |= json_object_set_new(doc, "chunks_a_variant", json_integer(b->samples[0].n));
	r |= json_object_set_new(doc, "packets_a_chunk", json_integer(BENCH_CHUNK));
	if (!r)
		r = json_dump_file(doc, path, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
	json_decref(doc);
	return r ? -EIO : 0;
}

static int bench_all(struct bench *b, const char *path)
{
	int r = open_all(b);

	if (r < 0) {
		fprintf(stderr, "bench_packet: cannot load the programs: %s\n", strerror(-r));
		return r;
	}
	for (enum variant v = 0; v < V_N && !r; v++)
		r = check_variant(b, v);
	r = r ?: open_new(b);
	if (!r)
		renew_syns(b);
	r = r ?: run_rounds(b);
	r = r ?: run_new(b);
	r = r ?: check_counted(b);
	r = r ?: write_figures(b, path);
	if (r < 0)
		fprintf(stderr, "bench_packet: %s\n", strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	struct bench b = {.rounds = 60, .long_every = 6};
	const char *path = argc > 1 ? argv[1] : "build/bench/packet.json";
	int r;

	if (argc > 3 || (argc > 1 && argv[1][0] == '-')) {
		fprintf(stderr, "usage: bench_packet [FILE.json [ROUNDS]]\n");
		return 2;
	}
	if (argc > 2)
		b.rounds = strtoul(argv[2], NULL, 10);
	if (b.rounds < 1 || b.rounds > 10000) {
		fprintf(stderr, "bench_packet: rounds must be 1 … 10000\n");
		return 2;
	}
	if (figures_make_directory() < 0)
		return 1;
	libbpf_set_print(bpf_print_end);
	figures_stay_on_one_cpu();
	r = bench_all(&b, path);
	close_all(&b);
	return r < 0;
}
