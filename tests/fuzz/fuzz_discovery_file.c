// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any bytes as a file of nodes. Checked: whole or not at all; targets are sorted, no endpoint twice,
 * not more than allowed, their numbers in range; a refusal is one printable line.
 */
#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "userspace/agent/config.h"
#include "userspace/agent/discovery_file.h"

#define MAX 50

static void check_error(const char *error)
{
	CHECK(error[0] && strlen(error) < DISCOVERY_ERROR_MAX);
	for (const char *p = error; *p; p++)
		CHECK(isprint((unsigned char)*p));
}

static void check_answer(const struct discovery_answer *a)
{
	CHECK(a->n > 0 && a->n <= MAX);
	for (uint32_t i = 0; i < a->n; i++) {
		const struct discovery_target *t = &a->targets[i];

		CHECK(t->endpoint.addr.family == AF_INET || t->endpoint.addr.family == AF_INET6);
		CHECK(t->weight <= CONFIG_WEIGHT_MAX && t->tier <= CONFIG_TIER_MAX);
		CHECK(t->slots <= 1000000);
		CHECK(discovery_answer_find(a, &t->endpoint) == t);
		if (i)
			CHECK(endpoint_compare(&a->targets[i - 1].endpoint, &t->endpoint) < 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct discovery_answer a = {0};
	char error[DISCOVERY_ERROR_MAX] = "";

	if (discovery_file_parse((const char *)data, size, MAX, &a, error) < 0) {
		CHECK(!a.targets && !a.n);
		check_error(error);
		return 0;
	}
	check_answer(&a);
	discovery_answer_free(&a);
	return 0;
}
