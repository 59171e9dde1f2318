// SPDX-License-Identifier: BSD-2-Clause
#include "tools/lib/bench_run.h" /* first: the skeleton needs its types */

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench_loop.skel.h"

struct bench_run {
	struct bench_loop_bpf *skel;
	uint8_t first[BENCH_FRAME_LEN];
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

static int fill_frames(struct bench_run *run, bench_frame_fn frame_of, const void *userdata)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = (run->n_frames * sizeof(struct bench_frame) + page - 1) / page * page;
	struct bench_frame *frames;
	uint8_t frame[BENCH_FRAME_LEN];

	frames = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(run->skel->maps.frames), 0);
	if (frames == MAP_FAILED)
		return -errno;
	for (uint32_t i = 0; i < run->n_frames; i++) {
		frame_of(userdata, i, frame);
		pack(frame, &frames[i]);
	}
	munmap(frames, size);
	return 0;
}

static int load(struct bench_run *run, const struct bench_run *share)
{
	int r;

	run->skel = bench_loop_bpf__open();
	if (!run->skel)
		return -errno;
	r = bpf_map__set_max_entries(run->skel->maps.frames, run->n_frames);
	if (!r && share)
		r = bpf_map__reuse_fd(run->skel->maps.frames,
				      bpf_map__fd(share->skel->maps.frames));
	return r ?: bench_loop_bpf__load(run->skel);
}

int bench_run_open(int prog_fd, bench_frame_fn frame_of, const void *userdata, uint32_t n_frames,
		   const struct bench_run *share, struct bench_run **ret_run)
{
	struct bench_run *run = calloc(1, sizeof(*run));
	uint32_t zero = 0;
	int r;

	if (!run)
		return -ENOMEM;
	run->n_frames = n_frames;
	frame_of(userdata, 0, run->first);
	r = load(run, share);
	if (!r && !share)
		r = fill_frames(run, frame_of, userdata);
	if (!r)
		r = bpf_map__update_elem(run->skel->maps.target, &zero, sizeof(zero), &prog_fd,
					 sizeof(prog_fd), 0);
	if (r < 0) {
		bench_run_close(run);
		return r;
	}
	run->skel->bss->cfg.frame_len = BENCH_FRAME_LEN;
	run->skel->bss->cfg.frame_mask = n_frames - 1;
	*ret_run = run;
	return 0;
}

void bench_run_close(struct bench_run *run)
{
	if (!run)
		return;
	bench_loop_bpf__destroy(run->skel);
	free(run);
}

void bench_run_renew(struct bench_run *run)
{
	run->skel->bss->cfg.seq_step = 1;
}

int bench_run_once(struct bench_run *run, uint32_t repeat, uint32_t *ret_action,
		   uint8_t ret_frame[BENCH_OUT_MAX], uint32_t *ret_len)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = run->first, .data_size_in = BENCH_FRAME_LEN,
		    .data_out = ret_frame, .data_size_out = BENCH_OUT_MAX, .repeat = repeat);
	int r;

	run->skel->bss->cfg.n = 0;
	run->skel->bss->cfg.n_stamps = 0;
	r = bpf_prog_test_run_opts(bpf_program__fd(run->skel->progs.bench_loop), &o);
	if (r < 0)
		return r;
	*ret_action = o.retval;
	*ret_len = o.data_size_out;
	return 0;
}

int bench_run_chunks(struct bench_run *run, uint32_t chunks, double *ret_ns)
{
	const struct bench_config *cfg = &run->skel->bss->cfg;
	uint8_t frame[BENCH_OUT_MAX];
	uint32_t action, len;
	int r;

	assert(chunks < BENCH_STAMPS_MAX);
	r = bench_run_once(run, chunks * BENCH_CHUNK + 1, &action, frame, &len);
	if (r < 0)
		return r;
	if (cfg->n_stamps != chunks + 1)
		return -EPROTO;
	for (uint32_t i = 0; i < chunks; i++)
		ret_ns[i] = (double)(cfg->stamps[i + 1] - cfg->stamps[i]) / BENCH_CHUNK;
	return 0;
}
