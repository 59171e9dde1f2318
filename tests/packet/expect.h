/* SPDX-License-Identifier: BSD-2-Clause */
/* Received layers -> the frame that must leave, worked out without the core. */
#ifndef TESTS_PACKET_EXPECT_H
#define TESTS_PACKET_EXPECT_H

#include "maps/stats.h"
#include "maps/vip.h"
#include "tests/packet/frame.h"

/* Flow hash of the first IP packet in the layers (NH and finish as bpf/core/hash.h documents). */
uint32_t expect_hash(const struct lb_hash_key *key, const struct layer *in,
		     enum lb_affinity affinity);

/* The frame on its way to node. */
void expect_forwarded(const struct layer *in, enum lb_mode mode, enum host node, uint32_t hash,
		      struct frame *ret_frame);

/* What the node's kernel must get of the same frame after decap. */
void expect_decapped(const struct layer *in, enum host node, struct frame *ret_frame);

/* The reset that answers a TCP segment. */
void expect_reset(const struct layer *in, struct frame *ret_frame);

#endif
