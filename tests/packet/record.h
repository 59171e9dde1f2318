/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A packet case as bytes: what the fuzzer of the core (tests/fuzz/fuzz_core.c) reads, and what
 * `packet_cases --write-corpus` makes of the table. A head, then records until the bytes end; every
 * field is one byte but a frame's length. Any bytes are a valid record: readers reduce what is out
 * of range.
 */
#ifndef TESTS_PACKET_RECORD_H
#define TESTS_PACKET_RECORD_H

#include "tests/packet/cases.h"

enum record_head {
	RECORD_MODE = 0,
	RECORD_POLICY,
	RECORD_AFFINITY,
	RECORD_ON_DOWN,
	RECORD_VIP_FLAGS,
	RECORD_NAT, /* mode nat is in use */
	RECORD_SPREAD,
	RECORD_CUR,
	RECORD_ALT,
	RECORD_PREV,
	RECORD_EXC,
	RECORD_HEAD_N,
};

#define RECORD_LOCAL 255 /* "this host" as a backend id */

enum record_kind {
	RECORD_FRAME = 0, /* length low, length high, bytes */
	RECORD_SLOT,	  /* cur, alt, prev, exc */
	RECORD_NODE,	  /* id, flags, generation */
	RECORD_LOAD,	  /* id, base, weight / 100, flags */
	RECORD_CONTROL,	  /* epoch, may add entries, may reply */
	RECORD_TIME,	  /* seconds; 255: to a CPU whose clock is a second behind */
	RECORD_FILL,	  /* enum entry_table */
	RECORD_MEMBERS,	  /* bank, n, ids */
	RECORD_TURNS,	  /* bank, n, ids */
	RECORD_MTU,	  /* of the device towards clients: 1500 less 8 times this */
	RECORD_N,
};

#define RECORD_MAX 8192

/* Case -> bytes; returns how many. Steps that only check are left out. */
uint32_t record_case(const struct packet_case *c, uint8_t bytes[RECORD_MAX]);

#endif
