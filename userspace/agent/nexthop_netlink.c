/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/nexthop_priv.h"
#include "userspace/lib/cleanup.h"

#define RCVBUF (4 << 20)

/* The neighbour's address can be used; from NUD_PROBE on it may have moved, and an event will say.
 */
#define NUD_USABLE (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)

static size_t addr_size(const struct address *addr)
{
	return addr->family == AF_INET6 ? 16 : 4;
}

/* --- requests --------------------------------------------------------------------------------- */

size_t nexthop_put_route(void *buf, uint32_t seq, const struct address *addr)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;

	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = seq;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = addr->family;
	rtm->rtm_dst_len = 8 * addr_size(addr);
	mnl_attr_put(nlh, RTA_DST, addr_size(addr), addr->bytes);
	return nlh->nlmsg_len;
}

static struct nlmsghdr *put_neigh(void *buf, uint32_t seq, uint32_t ifindex,
				  const struct address *addr, uint8_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ndmsg *ndm;

	nlh->nlmsg_seq = seq;
	ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));
	ndm->ndm_family = addr->family;
	ndm->ndm_ifindex = ifindex;
	ndm->ndm_flags = flags;
	mnl_attr_put(nlh, NDA_DST, addr_size(addr), addr->bytes);
	return nlh;
}

size_t nexthop_put_neigh(void *buf, uint32_t seq, uint32_t ifindex, const struct address *addr)
{
	struct nlmsghdr *nlh = put_neigh(buf, seq, ifindex, addr, 0);

	nlh->nlmsg_type = RTM_GETNEIGH;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	return nlh->nlmsg_len;
}

/* As if a packet were to be sent there: the kernel asks for the address, or checks what it has. */
size_t nexthop_put_kick(void *buf, uint32_t seq, uint32_t ifindex, const struct address *addr)
{
	struct nlmsghdr *nlh = put_neigh(buf, seq, ifindex, addr, NTF_USE);

	nlh->nlmsg_type = RTM_NEWNEIGH;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
	return nlh->nlmsg_len;
}

size_t nexthop_put_link_dump(void *buf, uint32_t seq)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = seq;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_family = AF_UNSPEC;
	return nlh->nlmsg_len;
}

/* --- answers and events ----------------------------------------------------------------------- */

struct attrs {
	const struct nlattr *tb[32];
};

static int take_attr(const struct nlattr *attr, void *data)
{
	struct attrs *a = data;
	uint16_t type = mnl_attr_get_type(attr);

	if (type < ARRAY_SIZE(a->tb))
		a->tb[type] = attr;
	return MNL_CB_OK;
}

/* Attributes after a header of header_size; -EPROTO if the message is too short for it. */
static int parse(const struct nlmsghdr *nlh, size_t header_size, struct attrs *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (nlh->nlmsg_len < MNL_NLMSG_HDRLEN + header_size)
		return -EPROTO;
	return mnl_attr_parse(nlh, header_size, take_attr, ret) < 0 ? -EPROTO : 0;
}

static bool take_addr(const struct nlattr *attr, sa_family_t family, struct address *ret)
{
	size_t size = family == AF_INET6 ? 16 : 4;

	if (!attr || (family != AF_INET && family != AF_INET6) ||
	    mnl_attr_get_payload_len(attr) < size)
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->family = family;
	memcpy(ret->bytes, mnl_attr_get_payload(attr), size);
	return true;
}

static bool take_u32(const struct nlattr *attr, uint32_t *ret)
{
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(*ret))
		return false;
	*ret = mnl_attr_get_u32(attr);
	return true;
}

static bool take_mac(const struct nlattr *attr, uint8_t ret[6])
{
	if (!attr || mnl_attr_get_payload_len(attr) != 6)
		return false;
	memcpy(ret, mnl_attr_get_payload(attr), 6);
	return true;
}

/* An IPv4 route may have an IPv6 gateway: family, then address. */
static void take_via(const struct nlattr *attr, struct address *ret)
{
	struct address a = {0};
	sa_family_t family;
	size_t size;

	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(family) + 4)
		return;
	memcpy(&family, mnl_attr_get_payload(attr), sizeof(family));
	size = family == AF_INET6 ? 16 : 4;
	if ((family != AF_INET && family != AF_INET6) ||
	    mnl_attr_get_payload_len(attr) < sizeof(family) + size)
		return;
	a.family = family;
	memcpy(a.bytes, (const char *)mnl_attr_get_payload(attr) + sizeof(family), size);
	*ret = a;
}

static int take_metric(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == RTAX_MTU)
		(void)take_u32(attr, data);
	return MNL_CB_OK;
}

static enum nexthop_state state_of_route(uint8_t type)
{
	switch (type) {
	case RTN_UNICAST:
		return NEXTHOP_NO_MAC;
	case RTN_LOCAL:
	case RTN_ANYCAST:
		return NEXTHOP_LOCAL;
	default:
		return NEXTHOP_NO_ROUTE;
	}
}

int nexthop_parse_route(const struct nlmsghdr *nlh, struct nexthop_route *ret)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct nexthop_route route = {0};
	struct attrs a;
	int r;

	if (nlh->nlmsg_type != RTM_NEWROUTE)
		return -EPROTO;
	r = parse(nlh, sizeof(*rtm), &a);
	if (r < 0)
		return r;
	route.state = state_of_route(rtm->rtm_type);
	if (!take_u32(a.tb[RTA_OIF], &route.ifindex) && route.state == NEXTHOP_NO_MAC)
		return -EPROTO;
	(void)take_addr(a.tb[RTA_GATEWAY], rtm->rtm_family, &route.gateway);
	take_via(a.tb[RTA_VIA], &route.gateway);
	(void)take_addr(a.tb[RTA_PREFSRC], rtm->rtm_family, &route.src);
	if (a.tb[RTA_METRICS])
		(void)mnl_attr_parse_nested(a.tb[RTA_METRICS], take_metric, &route.mtu);
	*ret = route;
	return 0;
}

/*
 * XDP cannot send by a VLAN device, but by its parent, with the tag. Of another protocol than 802.1Q
 * the device cannot be used.
 */
static void take_vlan(const struct attrs *a, struct nexthop_link *link)
{
	struct attrs info = {0}, vlan = {0};
	const struct nlattr *id, *proto;

	if (!a->tb[IFLA_LINKINFO])
		return;
	(void)mnl_attr_parse_nested(a->tb[IFLA_LINKINFO], take_attr, &info);
	if (!info.tb[IFLA_INFO_KIND] || !info.tb[IFLA_INFO_DATA] ||
	    mnl_attr_validate(info.tb[IFLA_INFO_KIND], MNL_TYPE_NUL_STRING) < 0 ||
	    strcmp(mnl_attr_get_str(info.tb[IFLA_INFO_KIND]), "vlan"))
		return;
	(void)mnl_attr_parse_nested(info.tb[IFLA_INFO_DATA], take_attr, &vlan);
	id = vlan.tb[IFLA_VLAN_ID];
	proto = vlan.tb[IFLA_VLAN_PROTOCOL];
	if (!id || mnl_attr_validate(id, MNL_TYPE_U16) < 0 || !mnl_attr_get_u16(id) ||
	    !take_u32(a->tb[IFLA_LINK], &link->parent) ||
	    (proto && (mnl_attr_validate(proto, MNL_TYPE_U16) < 0 ||
		       mnl_attr_get_u16(proto) != htons(ETH_P_8021Q)))) {
		link->usable = false;
		return;
	}
	link->vlan = mnl_attr_get_u16(id);
}

int nexthop_parse_link(const struct nlmsghdr *nlh, struct nexthop_link *ret)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct nexthop_link link = {.gone = nlh->nlmsg_type == RTM_DELLINK};
	struct attrs a;
	int r;

	if (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK)
		return -EPROTO;
	r = parse(nlh, sizeof(*ifi), &a);
	if (r < 0)
		return r;
	link.ifindex = ifi->ifi_index;
	link.usable = ifi->ifi_type == ARPHRD_ETHER && (ifi->ifi_flags & IFF_UP) &&
		      (ifi->ifi_flags & IFF_RUNNING);
	if (!take_mac(a.tb[IFLA_ADDRESS], link.mac))
		link.usable = false;
	(void)take_u32(a.tb[IFLA_MTU], &link.mtu);
	take_vlan(&a, &link);
	*ret = link;
	return 0;
}

int nexthop_parse_neigh(const struct nlmsghdr *nlh, struct nexthop_neigh *ret)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct nexthop_neigh n = {0};
	struct attrs a;
	int r;

	if (nlh->nlmsg_type != RTM_NEWNEIGH && nlh->nlmsg_type != RTM_DELNEIGH)
		return -EPROTO;
	r = parse(nlh, sizeof(*ndm), &a);
	if (r < 0)
		return r;
	if (!take_addr(a.tb[NDA_DST], ndm->ndm_family, &n.addr))
		return -EPROTO; /* of a bridge, say */
	n.ifindex = ndm->ndm_ifindex;
	n.valid = take_mac(a.tb[NDA_LLADDR], n.mac) && nlh->nlmsg_type == RTM_NEWNEIGH &&
		  (ndm->ndm_state & NUD_USABLE);
	*ret = n;
	return 0;
}

int nexthop_parse_route_change(const struct nlmsghdr *nlh, struct nexthop_prefix *ret)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct nexthop_prefix p = {0};
	struct attrs a;
	int r;

	r = parse(nlh, sizeof(*rtm), &a);
	if (r < 0)
		return r;
	p.addr.family = rtm->rtm_family;
	p.len = rtm->rtm_dst_len;
	if (p.len && !take_addr(a.tb[RTA_DST], rtm->rtm_family, &p.addr))
		return -EPROTO; /* of another family */
	if (p.len > 8 * addr_size(&p.addr))
		return -EPROTO;
	*ret = p;
	return 0;
}

int nexthop_parse_addr(const struct nlmsghdr *nlh, uint32_t *ret_ifindex, struct address *ret_addr)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct address addr = {0};
	struct attrs a;
	int r;

	r = parse(nlh, sizeof(*ifa), &a);
	if (r < 0)
		return r;
	if (!take_addr(a.tb[IFA_LOCAL], ifa->ifa_family, &addr))
		(void)take_addr(a.tb[IFA_ADDRESS], ifa->ifa_family, &addr);
	*ret_ifindex = ifa->ifa_index;
	*ret_addr = addr;
	return 0;
}

/* --- sockets ---------------------------------------------------------------------------------- */

int nexthop_open_socket(enum nexthop_socket kind, struct mnl_socket **ret)
{
	const int groups[] = {RTNLGRP_LINK,       RTNLGRP_NEIGH,       RTNLGRP_IPV4_ROUTE,
			      RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
			      RTNLGRP_IPV4_RULE,  RTNLGRP_IPV6_RULE,   RTNLGRP_NEXTHOP};
	struct mnl_socket *nl;
	int size = RCVBUF, r = 0;

	nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!nl)
		return -errno;
	/* without CAP_NET_ADMIN as much as net.core.rmem_max allows */
	if (setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		r = -errno;
	for (unsigned int i = 0; kind == NEXTHOP_SOCKET_EVENTS && r >= 0 && i < ARRAY_SIZE(groups);
	     i++) {
		if (mnl_socket_setsockopt(nl, NETLINK_ADD_MEMBERSHIP, (void *)(uintptr_t)&groups[i],
					  sizeof(groups[i])) < 0)
			r = -errno;
	}
	if (r < 0) {
		mnl_socket_close(nl);
		return r;
	}
	*ret = nl;
	return 0;
}
