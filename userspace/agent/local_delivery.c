// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/local_delivery.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

struct rule {
	struct endpoint ep;
	int64_t until_ms;
	bool in_kernel;
};

struct local_delivery {
	struct mnl_socket *nl;
	uint32_t seq;
	struct rule *rules;
	uint32_t n;
	int64_t assert_ms; /* when all were last put back */
};

static size_t addr_size(sa_family_t family)
{
	return family == AF_INET6 ? 16 : 4;
}

/* --- netlink ---------------------------------------------------------------------------------- */

/* Send, and read what comes until the acknowledgement or the end of the dump. */
static int talk(struct local_delivery *ld, struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	char buf[16384];
	ssize_t n;
	int r = 1;

	nlh->nlmsg_seq = ++ld->seq;
	if (mnl_socket_sendto(ld->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (r > 0) {
		n = mnl_socket_recvfrom(ld->nl, buf, sizeof(buf));
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buf, (size_t)n, ld->seq, mnl_socket_get_portid(ld->nl), cb, data);
	}
	return r < 0 ? -errno : 0;
}

static struct nlmsghdr *put_rule(void *buf, uint16_t type, uint16_t flags,
				 const struct endpoint *ep)
{
	struct fib_rule_port_range port = {.start = ep->port, .end = ep->port};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct fib_rule_hdr *frh;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	frh = mnl_nlmsg_put_extra_header(nlh, sizeof(*frh));
	frh->family = (uint8_t)ep->addr.family;
	frh->dst_len = (uint8_t)(8 * addr_size(ep->addr.family));
	frh->table = RT_TABLE_UNSPEC;
	frh->action = FR_ACT_TO_TBL;
	mnl_attr_put(nlh, FRA_DST, addr_size(ep->addr.family), ep->addr.bytes);
	mnl_attr_put_u32(nlh, FRA_PRIORITY, LOCAL_DELIVERY_PRIORITY);
	mnl_attr_put_u32(nlh, FRA_TABLE, LOCAL_DELIVERY_TABLE);
	mnl_attr_put_u8(nlh, FRA_IP_PROTO, IPPROTO_TCP);
	mnl_attr_put(nlh, FRA_DPORT_RANGE, sizeof(port), &port);
	mnl_attr_put_u8(nlh, FRA_PROTOCOL, LOCAL_DELIVERY_PROTOCOL);
	return nlh;
}

/* "local default dev lo" in our table. */
static int change_route(struct local_delivery *ld, uint16_t type, uint16_t flags,
			sa_family_t family)
{
	char buf[256] __attribute__((aligned(8)));
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = (uint8_t)family;
	rtm->rtm_table = RT_TABLE_UNSPEC;
	rtm->rtm_protocol = LOCAL_DELIVERY_PROTOCOL;
	rtm->rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	rtm->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(nlh, RTA_TABLE, LOCAL_DELIVERY_TABLE);
	mnl_attr_put_u32(nlh, RTA_OIF, if_nametoindex("lo"));
	return talk(ld, nlh, NULL, NULL);
}

/* Returns 0 also if it is there already. */
static int add_rule(struct local_delivery *ld, const struct endpoint *ep)
{
	char buf[256] __attribute__((aligned(8)));
	int r;

	r = change_route(ld, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, ep->addr.family);
	if (r < 0)
		return r;
	r = talk(ld, put_rule(buf, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, ep), NULL, NULL);
	return r == -EEXIST ? 0 : r;
}

/* Returns 0 also if it is not there. */
static int delete_rule(struct local_delivery *ld, const struct endpoint *ep)
{
	char buf[256] __attribute__((aligned(8)));
	int r = talk(ld, put_rule(buf, RTM_DELRULE, 0, ep), NULL, NULL);

	return r == -ENOENT ? 0 : r;
}

/* --- the list --------------------------------------------------------------------------------- */

static struct rule *find(const struct local_delivery *ld, const struct endpoint *ep)
{
	for (uint32_t i = 0; i < ld->n; i++)
		if (endpoint_equal(&ld->rules[i].ep, ep))
			return &ld->rules[i];
	return NULL;
}

static struct rule *add(struct local_delivery *ld, const struct endpoint *ep)
{
	struct rule *rules = reallocarray(ld->rules, ld->n + 1, sizeof(*rules));

	if (!rules)
		return NULL;
	ld->rules = rules;
	rules[ld->n] = (struct rule){.ep = *ep};
	return &rules[ld->n++];
}

bool local_delivery_has(const struct local_delivery *ld, const struct endpoint *ep)
{
	const struct rule *rule = find(ld, ep);

	return rule && rule->in_kernel;
}

int local_delivery_keep(struct local_delivery *ld, const struct endpoint *ep, int64_t until_ms)
{
	struct rule *rule = find(ld, ep);
	int r;

	if (!rule)
		rule = add(ld, ep);
	if (!rule)
		return -ENOMEM;
	if (until_ms > rule->until_ms)
		rule->until_ms = until_ms;
	if (rule->in_kernel)
		return 0;
	r = add_rule(ld, ep);
	rule->in_kernel = r == 0;
	return r;
}

int local_delivery_tick(struct local_delivery *ld, int64_t now_ms)
{
	bool assert_all = now_ms - ld->assert_ms >= LOCAL_DELIVERY_ASSERT_MS;
	int r, first = 0;

	if (assert_all)
		ld->assert_ms = now_ms;
	for (uint32_t i = ld->n; i-- > 0;) {
		struct rule *rule = &ld->rules[i];

		if (now_ms > rule->until_ms) {
			r = delete_rule(ld, &rule->ep);
			if (r == 0)
				*rule = ld->rules[--ld->n];
		} else if (assert_all) {
			r = add_rule(ld, &rule->ep);
			rule->in_kernel = r == 0;
		} else {
			r = 0;
		}
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

int local_delivery_clear(struct local_delivery *ld)
{
	static const sa_family_t families[] = {AF_INET, AF_INET6};
	int r;

	for (uint32_t i = 0; i < ld->n; i++)
		ld->rules[i].until_ms = -1; /* over, at any time */
	r = local_delivery_tick(ld, 0);
	for (int i = 0; i < 2; i++) {
		int r2 = change_route(ld, RTM_DELROUTE, 0, families[i]);

		if (r2 < 0 && r2 != -ESRCH && r2 != -ENOENT && r2 != -EAFNOSUPPORT && r == 0)
			r = r2;
	}
	return r;
}

/* --- adoption --------------------------------------------------------------------------------- */

struct adoption {
	struct local_delivery *ld;
	int64_t until_ms;
};

static int take_attr(const struct nlattr *attr, void *data)
{
	const struct nlattr **tb = data;

	if (mnl_attr_type_valid(attr, FRA_MAX) > 0)
		tb[mnl_attr_get_type(attr)] = attr;
	return MNL_CB_OK;
}

static bool is_ours(const struct nlattr **tb)
{
	return tb[FRA_PROTOCOL] && mnl_attr_validate(tb[FRA_PROTOCOL], MNL_TYPE_U8) == 0 &&
	       mnl_attr_get_u8(tb[FRA_PROTOCOL]) == LOCAL_DELIVERY_PROTOCOL && tb[FRA_TABLE] &&
	       mnl_attr_validate(tb[FRA_TABLE], MNL_TYPE_U32) == 0 &&
	       mnl_attr_get_u32(tb[FRA_TABLE]) == LOCAL_DELIVERY_TABLE;
}

static int on_rule(const struct nlmsghdr *nlh, void *data)
{
	const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[FRA_MAX + 1] = {};
	struct adoption *adoption = data;
	struct fib_rule_port_range port;
	struct endpoint ep = {};
	struct rule *rule;

	if (nlh->nlmsg_type != RTM_NEWRULE ||
	    mnl_attr_parse(nlh, sizeof(*frh), take_attr, tb) < 0 || !is_ours(tb) || !tb[FRA_DST] ||
	    mnl_attr_get_payload_len(tb[FRA_DST]) != addr_size(frh->family) ||
	    !tb[FRA_DPORT_RANGE] || mnl_attr_get_payload_len(tb[FRA_DPORT_RANGE]) != sizeof(port))
		return MNL_CB_OK;
	memcpy(&port, mnl_attr_get_payload(tb[FRA_DPORT_RANGE]), sizeof(port));
	ep.addr.family = frh->family;
	memcpy(ep.addr.bytes, mnl_attr_get_payload(tb[FRA_DST]), addr_size(frh->family));
	ep.port = port.start;
	rule = find(adoption->ld, &ep);
	if (!rule)
		rule = add(adoption->ld, &ep);
	if (!rule) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	rule->in_kernel = true;
	rule->until_ms = adoption->until_ms;
	return MNL_CB_OK;
}

static int adopt(struct local_delivery *ld, int64_t until_ms)
{
	struct adoption adoption = {.ld = ld, .until_ms = until_ms};
	static const sa_family_t families[] = {AF_INET, AF_INET6};

	for (int i = 0; i < 2; i++) {
		char buf[64] __attribute__((aligned(8)));
		struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
		struct fib_rule_hdr *frh;
		int r;

		nlh->nlmsg_type = RTM_GETRULE;
		nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		frh = mnl_nlmsg_put_extra_header(nlh, sizeof(*frh));
		frh->family = (uint8_t)families[i];
		r = talk(ld, nlh, on_rule, &adoption);
		if (r < 0 && r != -EAFNOSUPPORT && r != -EOPNOTSUPP)
			return r;
	}
	return 0;
}

int local_delivery_new(int64_t adopted_until_ms, struct local_delivery **ret)
{
	struct local_delivery *ld = calloc(1, sizeof(*ld));
	int r = 0;

	if (!ld)
		return -ENOMEM;
	ld->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!ld->nl || mnl_socket_bind(ld->nl, 0, MNL_SOCKET_AUTOPID) < 0)
		r = -errno;
	if (r == 0)
		r = adopt(ld, adopted_until_ms);
	if (r < 0) {
		local_delivery_free(&ld);
		return r;
	}
	*ret = ld;
	return 0;
}

void local_delivery_free(struct local_delivery **ld)
{
	if (!*ld)
		return;
	if ((*ld)->nl)
		mnl_socket_close((*ld)->nl);
	free((*ld)->rules);
	free(*ld);
	*ld = NULL;
}
