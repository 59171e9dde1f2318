/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs one case on one runner and prints what differs from what it says. */
#ifndef TESTS_PACKET_CHECK_H
#define TESTS_PACKET_CHECK_H

#include "tests/packet/runner.h"

enum verdict_of_case {
	CASE_PASSED = 1,
	CASE_FAILED,
	CASE_SKIPPED, /* this runner cannot run it: not a failure, but said */
};

enum verdict_of_case check_case(struct runner *r, const struct packet_case *c);

#endif
