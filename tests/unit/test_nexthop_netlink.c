// SPDX-License-Identifier: BSD-2-Clause
/* rtnetlink messages about links -> what matters of them; VLAN devices above all. */
#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/nexthop_priv.h"

static char buf[1024] __attribute__((aligned(8)));

/* A device of Ethernet, number 5, up; its parent is number 3. */
static struct nlmsghdr *new_link(void)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 5};
	struct nlmsghdr *nlh;
	struct ifinfomsg *ifi;

	memset(buf, 0, sizeof(buf));
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = RTM_NEWLINK;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = 5;
	ifi->ifi_type = ARPHRD_ETHER;
	ifi->ifi_flags = IFF_UP | IFF_RUNNING;
	mnl_attr_put(nlh, IFLA_ADDRESS, sizeof(mac), mac);
	mnl_attr_put_u32(nlh, IFLA_MTU, 1400);
	mnl_attr_put_u32(nlh, IFLA_LINK, 3);
	return nlh;
}

static struct nexthop_link parsed(const struct nlmsghdr *nlh)
{
	struct nexthop_link link;

	assert_int_equal(nexthop_parse_link(nlh, &link), 0);
	assert_int_equal(link.ifindex, 5);
	assert_int_equal(link.mtu, 1400);
	return link;
}

static struct nexthop_link vlan_link(const char *kind, uint16_t id, uint16_t proto)
{
	struct nlmsghdr *nlh = new_link();
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO), *data;

	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, kind);
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put_u16(nlh, IFLA_VLAN_ID, id);
	if (proto)
		mnl_attr_put_u16(nlh, IFLA_VLAN_PROTOCOL, htons(proto));
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return parsed(nlh);
}

static void test_plain_device_has_no_tag(void **state)
{
	struct nexthop_link link = parsed(new_link());

	(void)state;
	assert_true(link.usable);
	assert_int_equal(link.vlan, 0);
	link = vlan_link("macvlan", 7, 0);
	assert_true(link.usable);
	assert_int_equal(link.vlan, 0);
}

static void test_vlan_device_has_a_tag_and_a_parent(void **state)
{
	struct nexthop_link link = vlan_link("vlan", 7, ETH_P_8021Q);

	(void)state;
	assert_true(link.usable);
	assert_int_equal(link.vlan, 7);
	assert_int_equal(link.parent, 3);
	assert_int_equal(vlan_link("vlan", 4094, 0).vlan, 4094);
}

static void test_other_tags_cannot_be_used(void **state)
{
	struct nexthop_link link = vlan_link("vlan", 7, ETH_P_8021AD);

	(void)state;
	assert_false(link.usable);
	assert_int_equal(link.vlan, 0);
	assert_false(vlan_link("vlan", 0, ETH_P_8021Q).usable);
}

static void test_link_info_that_says_nothing(void **state)
{
	struct nlmsghdr *nlh = new_link();
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);

	(void)state;
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "vlan");
	mnl_attr_nest_end(nlh, info);
	assert_int_equal(parsed(nlh).vlan, 0);
	nlh = new_link();
	mnl_attr_put(nlh, IFLA_LINKINFO, 3, "abc");
	assert_int_equal(parsed(nlh).vlan, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_device_has_no_tag),
		cmocka_unit_test(test_vlan_device_has_a_tag_and_a_parent),
		cmocka_unit_test(test_other_tags_cannot_be_used),
		cmocka_unit_test(test_link_info_that_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
