// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tools/bench_syn/syn.h" /* first: the skeleton needs its types */
#include "tests/bench_loop.skel.h"

struct syn_loop {
	struct bench_loop_bpf *skel;
	uint8_t first[SYN_FRAME_LEN];
};

static void pack(const uint8_t *frame, struct bench_frame *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(&ret->macs, frame, 8);
	memcpy(&ret->macs2, frame + 8, 4);
	memcpy(&ret->ethertype, frame + 12, 2);
	memcpy(ret->w, frame + 14, sizeof(ret->w));
}

static int fill_frames(const struct syn_loop *l)
{
	size_t size = SYN_FRAMES * sizeof(struct bench_frame); /* whole pages */
	struct bench_frame *frames;
	uint8_t frame[SYN_FRAME_LEN];

	frames = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(l->skel->maps.frames), 0);
	if (frames == MAP_FAILED)
		return -errno;
	for (uint32_t i = 0; i < SYN_FRAMES; i++) {
		syn_frame(i, frame);
		pack(frame, &frames[i]);
	}
	munmap(frames, size);
	return 0;
}

static int load(struct syn_loop *l)
{
	int r;

	l->skel = bench_loop_bpf__open();
	if (!l->skel)
		return -errno;
	r = bpf_map__set_max_entries(l->skel->maps.frames, SYN_FRAMES);
	return r ?: bench_loop_bpf__load(l->skel);
}

int syn_loop_open(int prog_fd, struct syn_loop **ret_loop)
{
	struct syn_loop *l = calloc(1, sizeof(*l));
	uint32_t zero = 0;
	int r;

	if (!l)
		return -ENOMEM;
	syn_frame(0, l->first);
	r = load(l);
	r = r ?: fill_frames(l);
	if (!r)
		r = bpf_map__update_elem(l->skel->maps.target, &zero, sizeof(zero), &prog_fd,
					 sizeof(prog_fd), 0);
	if (r < 0) {
		syn_loop_close(l);
		return r;
	}
	l->skel->bss->cfg.frame_len = SYN_FRAME_LEN;
	l->skel->bss->cfg.frame_mask = SYN_FRAMES - 1;
	*ret_loop = l;
	return 0;
}

void syn_loop_close(struct syn_loop *l)
{
	if (!l)
		return;
	bench_loop_bpf__destroy(l->skel);
	free(l);
}

int syn_loop_run(struct syn_loop *l, uint32_t chunk, uint32_t action, double *ret_ns)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = l->first, .data_size_in = SYN_FRAME_LEN,
		    .repeat = BENCH_CHUNK + 1);
	struct bench_config *cfg = &l->skel->bss->cfg;
	int r;

	assert(chunk < SYN_CHUNKS);
	cfg->n = 2 * chunk * BENCH_CHUNK;
	cfg->n_stamps = 0;
	r = bpf_prog_test_run_opts(bpf_program__fd(l->skel->progs.bench_loop), &o);
	if (r < 0)
		return r;
	if (o.retval != action || cfg->n_stamps != 2)
		return -EPROTO;
	*ret_ns = o.duration; /* a repetition, without the time it let others have the CPU */
	return 0;
}
