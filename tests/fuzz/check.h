/* SPDX-License-Identifier: BSD-2-Clause */
/* What a fuzzer holds a parser to: a claim that fails ends the process, with its place and text. */
#ifndef SLUICE_TESTS_FUZZ_CHECK_H
#define SLUICE_TESTS_FUZZ_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
