// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any bytes as a DNS answer, the first one choosing what was asked. Checked: whole or not at all,
 * not more records than allowed, addresses of the family that was asked for, names that end.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "userspace/agent/dns_answer.h"

#define MAX 100

static void check_records(const struct dns_records *recs, enum config_dns_type type,
			  sa_family_t family)
{
	CHECK(recs->n > 0 && recs->n <= MAX && recs->ttl_s <= INT32_MAX);
	for (uint32_t i = 0; i < recs->n; i++) {
		const struct dns_record *rec = &recs->items[i];

		CHECK(memchr(rec->name, '\0', sizeof(rec->name)));
		if (type == CONFIG_DNS_SRV)
			CHECK(!rec->address.family || !family || rec->address.family == family);
		else
			CHECK(rec->address.family ==
			      (type == CONFIG_DNS_A ? AF_INET : AF_INET6));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const sa_family_t families[] = {0, AF_INET, AF_INET6};
	enum config_dns_type type;
	struct dns_records recs = {0};
	sa_family_t family;
	int r;

	if (!size)
		return 0;
	type = (enum config_dns_type)(CONFIG_DNS_A + data[0] % 3);
	family = families[data[0] / 3 % 3];
	r = dns_answer_parse(data + 1, size - 1, type, family, MAX, &recs);
	if (r < 0) {
		CHECK(r == -EBADMSG || r == -ENODATA || r == -E2BIG);
		CHECK(!recs.items);
		return 0;
	}
	check_records(&recs, type, family);
	dns_records_free(&recs);
	return 0;
}
