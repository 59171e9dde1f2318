/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes of a DNS answer -> addresses, or the servers of a service. Aliases (CNAME) are followed
 * inside the answer; records of other names are left out.
 * Source: RFC 1035, 3596 (AAAA), 2782 (SRV). Read with libresolv's ns_parserr().
 */
#ifndef SLUICE_AGENT_DNS_ANSWER_H
#define SLUICE_AGENT_DNS_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "userspace/agent/config.h"
#include "userspace/lib/address.h"

#define DNS_NAME_MAX	1025 /* with its NUL, escapes included: NS_MAXDNAME */
#define DNS_RECORDS_MAX 8192 /* in one answer; more do not fit 64 KiB in any useful form */

struct dns_record {
	struct address address; /* of A and AAAA; of SRV: of its target, if the answer has it */
	char name[DNS_NAME_MAX]; /* target of SRV, without a final dot; "" is "no service" */
	uint16_t priority;
	uint16_t weight;
	uint16_t port; /* host byte order */
};

struct dns_records {
	struct dns_record *items;
	uint32_t n;
	uint32_t ttl_s; /* the least of all records that were used */
};

/*
 * family: of the addresses that SRV targets get from the additional section; 0: IPv4 rather than
 * IPv6. Returns 0 and records that are the caller's (dns_records_free()); -ENODATA if there is
 * none of that type; -EBADMSG if it is no such answer; -E2BIG over max; -ENOMEM.
 */
int dns_answer_parse(const uint8_t *msg, size_t len, enum config_dns_type type,
		     sa_family_t family, uint32_t max, struct dns_records *ret);
void dns_records_free(struct dns_records *records);

#endif
