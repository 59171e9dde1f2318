// SPDX-License-Identifier: BSD-2-Clause
#include <linux/bpf.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "tests/packet/decap_native.h"

/*
 * What <bpf/bpf_helpers.h> and <linux/bpf.h> give the program, for this host. Frames stand where
 * they do in a driver, the IP header aligned and the MAC addresses not, as BPF allows.
 */
#define __BPF_HELPERS__
#define UNCHECKED __attribute__((no_sanitize("alignment")))
#undef __always_inline
#define __always_inline	   inline __attribute__((always_inline)) UNCHECKED
#define __uint(name, val)  int(*name)[val]
#define __type(name, type) typeof(type) *name
#define SEC(name)
#define xdp_md decap_frame

struct decap_frame {
	unsigned long data, data_end;
	uint8_t *block; /* of which the frame is the end */
};

#define HEADROOM 130 /* as in env_native.h */

#define bpf_map_lookup_elem(map, key)	     lookup_count(*(key))
#define bpf_xdp_adjust_head(frame, distance) adjust_head(frame, distance)

static __u64 *lookup_count(__u32 what)
{
	static __u64 counts[4];

	return what < 4 ? &counts[what] : NULL;
}

/* The program takes headers off and adds none. */
static int adjust_head(struct decap_frame *frame, int distance)
{
	if (distance < 0 || frame->data + distance + 14 > frame->data_end)
		return -1;
	ASAN_POISON_MEMORY_REGION((void *)frame->data, distance);
	frame->data += distance;
	return 0;
}

int sluice_decap(struct decap_frame *ctx) UNCHECKED;
#define _license decap_license
extern char _license[];

#pragma GCC diagnostic ignored "-Wunknown-pragmas" /* unroll */
#include "bpf/decap.bpf.c"

_Static_assert((int)DROP == XDP_DROP && (int)PASS == XDP_PASS && (int)TX == XDP_TX,
	       "verdicts differ");

void decap_native(const struct frame *in, struct outcome *ret_outcome)
{
	struct decap_frame frame = {.block = malloc(HEADROOM + in->len)};

	if (!frame.block)
		abort();
	memcpy(frame.block + HEADROOM, in->b, in->len);
	ASAN_POISON_MEMORY_REGION(frame.block, HEADROOM);
	frame.data = (unsigned long)(frame.block + HEADROOM);
	frame.data_end = frame.data + in->len;
	*ret_outcome = (struct outcome){.reason = -1};
	ret_outcome->verdict = (enum want)sluice_decap(&frame);
	ret_outcome->frame.len = frame.data_end - frame.data;
	memcpy(ret_outcome->frame.b, (void *)frame.data, ret_outcome->frame.len);
	free(frame.block);
}
