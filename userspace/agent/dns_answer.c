// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/dns_answer.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ALIASES_MAX 16
#define TTL_MAX_S   INT32_MAX /* RFC 2181, section 8: larger ones are 0 */
#define SRV_HEAD    6	      /* priority, weight, port */

_Static_assert(DNS_NAME_MAX >= NS_MAXDNAME, "names of libresolv must fit");

struct parse {
	ns_msg msg;
	ns_type type;
	sa_family_t family;
	uint32_t max;
	char owner[DNS_NAME_MAX]; /* of the records wanted */
	struct dns_records out;
};

static ns_type type_of(enum config_dns_type type)
{
	switch (type) {
	case CONFIG_DNS_AAAA:
		return ns_t_aaaa;
	case CONFIG_DNS_SRV:
		return ns_t_srv;
	case CONFIG_DNS_A:
		break;
	}
	return ns_t_a;
}

static void note_ttl(struct parse *p, const ns_rr *rr)
{
	uint32_t ttl_s = ns_rr_ttl(*rr) > TTL_MAX_S ? 0 : ns_rr_ttl(*rr);

	if (ttl_s < p->out.ttl_s)
		p->out.ttl_s = ttl_s;
}

static int read_name(const struct parse *p, const uint8_t *at, char ret_name[DNS_NAME_MAX])
{
	if (ns_name_uncompress(ns_msg_base(p->msg), ns_msg_end(p->msg), at, ret_name,
			       DNS_NAME_MAX) < 0)
		return -EBADMSG;
	if (!strcmp(ret_name, "."))
		ret_name[0] = '\0';
	return 0;
}

/* Returns 0, or -EBADMSG if it is neither. */
static int read_address(const ns_rr *rr, struct address *ret_address)
{
	struct address a = {0};

	if (ns_rr_type(*rr) == ns_t_a && ns_rr_rdlen(*rr) == 4)
		a.family = AF_INET;
	else if (ns_rr_type(*rr) == ns_t_aaaa && ns_rr_rdlen(*rr) == 16)
		a.family = AF_INET6;
	else
		return -EBADMSG;
	memcpy(a.bytes, ns_rr_rdata(*rr), ns_rr_rdlen(*rr));
	*ret_address = a;
	return 0;
}

static bool is_wanted(const struct parse *p, const ns_rr *rr, ns_type type)
{
	return ns_rr_class(*rr) == ns_c_in && ns_rr_type(*rr) == type &&
	       !strcasecmp(ns_rr_name(*rr), p->owner);
}

/* Follow one alias of the owner. Returns 1 if there was one, 0, -EBADMSG. */
static int follow(struct parse *p)
{
	for (int i = 0; i < ns_msg_count(p->msg, ns_s_an); i++) {
		char name[DNS_NAME_MAX];
		ns_rr rr;

		if (ns_parserr(&p->msg, ns_s_an, i, &rr) < 0)
			return -EBADMSG;
		if (!is_wanted(p, &rr, ns_t_cname))
			continue;
		if (read_name(p, ns_rr_rdata(rr), name) < 0)
			return -EBADMSG;
		note_ttl(p, &rr);
		memcpy(p->owner, name, sizeof(name));
		return 1;
	}
	return 0;
}

static int find_owner(struct parse *p)
{
	ns_rr question;
	int r;

	if (ns_msg_count(p->msg, ns_s_qd) != 1 ||
	    ns_parserr(&p->msg, ns_s_qd, 0, &question) < 0)
		return -EBADMSG;
	snprintf(p->owner, sizeof(p->owner), "%s", ns_rr_name(question));
	for (int i = 0; i < ALIASES_MAX; i++) {
		r = follow(p);
		if (r <= 0)
			return r;
	}
	return -EBADMSG;
}

static int read_record(const struct parse *p, const ns_rr *rr, struct dns_record *ret)
{
	const uint8_t *data = ns_rr_rdata(*rr);

	memset(ret, 0, sizeof(*ret));
	if (p->type != ns_t_srv)
		return read_address(rr, &ret->address);
	if (ns_rr_rdlen(*rr) <= SRV_HEAD)
		return -EBADMSG;
	ret->priority = ns_get16(data);
	ret->weight = ns_get16(data + 2);
	ret->port = ns_get16(data + 4);
	return read_name(p, data + SRV_HEAD, ret->name);
}

static int read_records(struct parse *p)
{
	int r = 0;

	for (int i = 0; i < ns_msg_count(p->msg, ns_s_an) && r == 0; i++) {
		ns_rr rr;

		if (ns_parserr(&p->msg, ns_s_an, i, &rr) < 0)
			return -EBADMSG;
		if (!is_wanted(p, &rr, p->type))
			continue;
		if (p->out.n == p->max)
			return -E2BIG;
		r = read_record(p, &rr, &p->out.items[p->out.n]);
		note_ttl(p, &rr);
		p->out.n++;
	}
	return r;
}

/* An address that came along: for the SRV records that name its owner and have no better one. */
static void give_address(struct parse *p, const ns_rr *rr)
{
	struct address a;
	bool used = false;

	if (ns_rr_class(*rr) != ns_c_in || read_address(rr, &a) < 0)
		return;
	if (p->family && a.family != p->family)
		return;
	for (uint32_t i = 0; i < p->out.n; i++) {
		struct dns_record *srv = &p->out.items[i];

		if (!srv->name[0] || strcasecmp(srv->name, ns_rr_name(*rr)))
			continue;
		if (srv->address.family == 0 || srv->address.family > a.family)
			srv->address = a;
		used = true;
	}
	if (used)
		note_ttl(p, rr);
}

/* What cannot be read there is asked for: it is an offer only. */
static void read_additional(struct parse *p)
{
	for (int i = 0; i < ns_msg_count(p->msg, ns_s_ar); i++) {
		ns_rr rr;

		if (ns_parserr(&p->msg, ns_s_ar, i, &rr) < 0)
			return;
		give_address(p, &rr);
	}
}

static int parse(struct parse *p)
{
	uint32_t room = ns_msg_count(p->msg, ns_s_an);
	int r;

	if (ns_msg_getflag(p->msg, ns_f_qr) == 0 ||
	    ns_msg_getflag(p->msg, ns_f_rcode) != ns_r_noerror)
		return -EBADMSG;
	if (room > DNS_RECORDS_MAX)
		return -E2BIG;
	r = find_owner(p);
	if (r < 0)
		return r;
	p->out.items = calloc(room + 1, sizeof(*p->out.items));
	if (!p->out.items)
		return -ENOMEM;
	r = read_records(p);
	if (r == 0 && p->out.n == 0)
		r = -ENODATA;
	if (r == 0 && p->type == ns_t_srv)
		read_additional(p);
	return r;
}

int dns_answer_parse(const uint8_t *msg, size_t len, enum config_dns_type type,
		     sa_family_t family, uint32_t max, struct dns_records *ret)
{
	struct parse p = {.type = type_of(type), .family = family, .max = max};
	int r;

	if (len > NS_MAXMSG || ns_initparse(msg, (int)len, &p.msg) < 0)
		return -EBADMSG;
	p.out.ttl_s = TTL_MAX_S;
	r = parse(&p);
	if (r < 0) {
		dns_records_free(&p.out);
		return r;
	}
	*ret = p.out;
	return 0;
}

void dns_records_free(struct dns_records *records)
{
	free(records->items);
	*records = (struct dns_records){0};
}
