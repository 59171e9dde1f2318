// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/bench_packet/bench.h" /* first: the skeleton needs its types */
#include "tests/bench_loop.skel.h"

struct bench_loop {
	struct bench_loop_bpf *skel;
	uint8_t first[FRAME_LEN];
	uint32_t n_frames;
};

static void pack(const uint8_t *frame, struct bench_frame *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(&ret->macs, frame, 8);
	memcpy(&ret->macs2, frame + 8, 4);
	memcpy(&ret->ethertype, frame + 12, 2);
	memcpy(ret->w, frame + 14, sizeof(ret->w));
}

static int fill_frames(struct bench_loop *l, enum bench_vip vip, enum bench_packet_kind kind)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = (l->n_frames * sizeof(struct bench_frame) + page - 1) / page * page;
	struct bench_frame *frames;
	uint8_t frame[FRAME_LEN];

	frames = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(l->skel->maps.frames), 0);
	if (frames == MAP_FAILED)
		return -errno;
	for (uint32_t i = 0; i < l->n_frames; i++) {
		bench_frame_of(vip, kind, i, frame);
		pack(frame, &frames[i]);
	}
	munmap(frames, size);
	return 0;
}

static int prepare(struct bench_loop *l, const struct bench_loop *share)
{
	int r;

	l->skel = bench_loop_bpf__open();
	if (!l->skel)
		return -errno;
	r = bpf_map__set_max_entries(l->skel->maps.frames, l->n_frames);
	if (!r && share)
		r = bpf_map__reuse_fd(l->skel->maps.frames, bpf_map__fd(share->skel->maps.frames));
	return r ?: bench_loop_bpf__load(l->skel);
}

int bench_loop_open(int prog_fd, enum bench_vip vip, enum bench_packet_kind kind,
		    uint32_t n_frames, const struct bench_loop *share,
		    struct bench_loop **ret_loop)
{
	struct bench_loop *l = calloc(1, sizeof(*l));
	uint32_t zero = 0;
	int r;

	if (!l)
		return -ENOMEM;
	l->n_frames = n_frames;
	bench_frame_of(vip, kind, 0, l->first);
	r = prepare(l, share);
	if (!r && !share)
		r = fill_frames(l, vip, kind);
	if (!r)
		r = bpf_map__update_elem(l->skel->maps.target, &zero, sizeof(zero), &prog_fd,
					 sizeof(prog_fd), 0);
	if (r < 0) {
		bench_loop_close(l);
		return r;
	}
	l->skel->bss->cfg.frame_len = FRAME_LEN;
	l->skel->bss->cfg.frame_mask = n_frames - 1;
	*ret_loop = l;
	return 0;
}

void bench_loop_close(struct bench_loop *l)
{
	if (!l)
		return;
	bench_loop_bpf__destroy(l->skel);
	free(l);
}

int bench_loop_once(struct bench_loop *l, uint32_t repeat, uint32_t *ret_action,
		    uint8_t *ret_frame, uint32_t *ret_len)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = l->first, .data_size_in = FRAME_LEN,
		    .data_out = ret_frame, .data_size_out = 256, .repeat = repeat);
	int r;

	l->skel->bss->cfg.n = 0;
	l->skel->bss->cfg.n_stamps = 0;
	r = bpf_prog_test_run_opts(bpf_program__fd(l->skel->progs.bench_loop), &o);
	if (r < 0)
		return r;
	*ret_action = o.retval;
	*ret_len = o.data_size_out;
	return 0;
}

int bench_loop_run(struct bench_loop *l, uint32_t chunks, double *ret_ns)
{
	const struct bench_config *cfg = &l->skel->bss->cfg;
	uint32_t action, len;
	uint8_t frame[256];
	int r;

	assert(chunks < BENCH_STAMPS_MAX);
	r = bench_loop_once(l, chunks * BENCH_CHUNK + 1, &action, frame, &len);
	if (r < 0)
		return r;
	if (cfg->n_stamps != chunks + 1)
		return -EPROTO;
	for (uint32_t i = 0; i < chunks; i++)
		ret_ns[i] = (double)(cfg->stamps[i + 1] - cfg->stamps[i]) / BENCH_CHUNK;
	return 0;
}
