/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Next hops against a real kernel: this namespace is the ingress host, a second one (named) holds
 * the nodes. Needs root; nothing is left.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/nexthop.h"
#include "userspace/lib/cleanup.h"

#define PEER  "ip -n slnh_peer "
#define MAC_A "02:00:00:00:0a:01" /* of the peer on net a */
#define MAC_B "02:00:00:00:0b:01"
#define MAC_0 "02:00:00:00:0a:ff" /* our own on net a */

struct fixture {
	struct nexthop_table *t;
	uint32_t calls[16];
	uint32_t all_calls;
	struct nexthop_result last[16];
};

static void run(const char *command)
{
	int r = system(command);

	if (r)
		fail_msg("%s: %d", command, r);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static void changed(void *userdata, uint32_t id, const struct nexthop_result *res)
{
	struct fixture *f = userdata;

	f->all_calls++;
	if (id >= ARRAY_SIZE(f->last))
		return;
	f->calls[id]++;
	f->last[id] = *res;
}

static struct address addr(const char *text)
{
	struct address a;

	assert_int_equal(address_parse(text, &a), 0);
	return a;
}

static void want(struct fixture *f, uint32_t id, const char *text)
{
	struct address a = addr(text);

	assert_int_equal(nexthop_add(f->t, id, &a), 0);
}

/* One turn of a loop as the agent's; waits at most wait_ms. */
static void turn(struct fixture *f, int wait_ms)
{
	struct pollfd p = {.fd = nexthop_fd(f->t), .events = POLLIN};
	int due = nexthop_step(f->t, now_ms());

	assert_true(due >= 0);
	if (poll(&p, 1, due < wait_ms ? due : wait_ms) > 0)
		assert_int_equal(nexthop_dispatch(f->t, now_ms()), 0);
}

static void settle(struct fixture *f, int ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end)
		turn(f, end - now_ms());
}

/* Limits of waiting are those of a quiet machine. */
#define PATIENCE 10

static void await_state(struct fixture *f, uint32_t id, enum nexthop_state state, int ms)
{
	uint64_t end = now_ms() + ms * PATIENCE;
	struct nexthop_result res;

	do {
		turn(f, 20);
		assert_int_equal(nexthop_get(f->t, id, &res), 0);
	} while (res.state != state && now_ms() < end);
	if (res.state != state)
		fail_msg("id %u: %s, not %s", id, nexthop_state_name(res.state),
			 nexthop_state_name(state));
}

static void assert_mac(const uint8_t mac[6], const char *want_text)
{
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	assert_string_equal(text, want_text);
}

static void await_dmac(struct fixture *f, uint32_t id, const char *mac, int ms)
{
	uint64_t end = now_ms() + ms * PATIENCE;
	unsigned int m[6];
	struct nexthop_result res;

	sscanf(mac, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]);
	do {
		turn(f, 20);
		assert_int_equal(nexthop_get(f->t, id, &res), 0);
	} while ((res.dmac[4] != m[4] || res.dmac[5] != m[5]) && now_ms() < end);
	assert_mac(res.dmac, mac);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	run("ip netns add slnh_peer && ip link set lo up");
	run("ip link add a0 address " MAC_0 " type veth peer name a1 netns slnh_peer");
	run("ip link add b0 type veth peer name b1 netns slnh_peer");
	run("ip addr add 10.1.0.254/24 dev a0 && ip addr add 10.2.0.254/24 dev b0");
	run("ip -6 addr add 2001:db8:1::fe/64 dev a0 nodad");
	run(PEER "link set lo up && " PEER "link set a1 address " MAC_A " up && " PEER
		 "link set b1 address " MAC_B " up");
	run(PEER "addr add 10.1.0.1/24 dev a1 && " PEER "addr add 10.2.0.1/24 dev b1 && " PEER
		 "addr add 2001:db8:1::1/64 dev a1 nodad");
	run("ip link set a0 up && ip link set b0 up");
	assert_int_equal(nexthop_new(changed, f, &f->t), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nexthop_free(&f->t);
	free(f);
	run("ip netns del slnh_peer; ip link del a0 2>/dev/null; ip link del b0 2>/dev/null; true");
	run("(ip route flush table main; ip -6 route flush table main; ip nexthop flush) "
	    "2>/dev/null; true");
	usleep(100000); /* the peer's devices go a little later */
	run("ip link del a0 2>/dev/null; ip link del b0 2>/dev/null; true");
	return 0;
}

static void test_node_on_the_segment_is_resolved(void **state)
{
	struct fixture *f = *state;

	want(f, 1, "10.1.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	assert_mac(f->last[1].dmac, MAC_A);
	assert_mac(f->last[1].smac, MAC_0);
	assert_true(f->last[1].on_link);
	assert_int_equal(f->last[1].mtu, 1500);
	assert_int_equal(f->last[1].gateway.family, 0);
	assert_int_equal(f->last[1].src.bytes[3], 254);
	assert_true(f->last[1].ifindex > 0);
}

static void test_ipv6_node_is_resolved(void **state)
{
	struct address src = addr("2001:db8:1::fe");
	struct fixture *f = *state;

	want(f, 1, "2001:db8:1::1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	assert_mac(f->last[1].dmac, MAC_A);
	assert_true(address_equal(&f->last[1].src, &src));
}

static void test_nodes_behind_a_gateway_share_its_mac(void **state)
{
	struct address gw = addr("10.2.0.1");
	struct fixture *f = *state;

	run("ip route add 10.99.0.0/16 via 10.2.0.1 mtu 1400");
	want(f, 1, "10.99.0.1");
	want(f, 2, "10.99.7.7");
	want(f, 3, "10.99.7.7"); /* two ids, one address */
	await_state(f, 1, NEXTHOP_READY, 3000);
	await_state(f, 3, NEXTHOP_READY, 3000);
	assert_mac(f->last[1].dmac, MAC_B);
	assert_mac(f->last[2].dmac, MAC_B);
	assert_mac(f->last[3].dmac, MAC_B);
	assert_false(f->last[1].on_link);
	assert_true(address_equal(&f->last[1].gateway, &gw));
	assert_int_equal(f->last[1].mtu, 1400);
}

static void test_ipv4_route_through_an_ipv6_gateway(void **state)
{
	struct fixture *f = *state;

	run("ip route add 10.98.0.0/16 via inet6 2001:db8:1::1 dev a0");
	want(f, 1, "10.98.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	assert_mac(f->last[1].dmac, MAC_A);
	assert_int_equal(f->last[1].gateway.family, AF_INET6);
}

static void test_route_that_changes_is_followed(void **state)
{
	struct fixture *f = *state;

	run("ip route add 10.99.0.0/16 via 10.1.0.1");
	want(f, 1, "10.99.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	assert_mac(f->last[1].dmac, MAC_A);
	run("ip route replace 10.99.0.0/16 via 10.2.0.1");
	await_dmac(f, 1, MAC_B, 3000);
	run("ip route add 10.99.0.0/24 via 10.1.0.1"); /* more specific */
	await_dmac(f, 1, MAC_A, 3000);
	run("ip route del 10.99.0.0/24");
	await_dmac(f, 1, MAC_B, 3000);
	run("ip route del 10.99.0.0/16");
	await_state(f, 1, NEXTHOP_NO_ROUTE, 3000);
	run("ip route add default via 10.2.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	run("ip route add unreachable 10.99.0.1/32");
	await_state(f, 1, NEXTHOP_NO_ROUTE, 3000);
}

static void test_routing_rules_and_nexthop_objects_are_followed(void **state)
{
	struct fixture *f = *state;

	run("ip nexthop add id 7 via 10.1.0.1 dev a0");
	run("ip route add 10.99.0.0/16 nhid 7");
	want(f, 1, "10.99.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	assert_mac(f->last[1].dmac, MAC_A);
	run("ip nexthop replace id 7 via 10.2.0.1 dev b0");
	await_dmac(f, 1, MAC_B, 3000);
	run("ip route add 10.99.0.0/16 via 10.1.0.1 table 77");
	settle(f, 50);
	run("ip rule add to 10.99.0.0/16 table 77");
	await_dmac(f, 1, MAC_A, 3000);
	run("ip rule del to 10.99.0.0/16 table 77; ip route flush table 77");
	await_dmac(f, 1, MAC_B, 3000);
}

static void test_node_that_changes_its_mac_is_followed(void **state)
{
	struct fixture *f = *state;

	want(f, 1, "10.1.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	/* another machine takes the address over and says so */
	run("ip neigh replace 10.1.0.1 lladdr 02:00:00:00:0c:07 dev a0 nud reachable");
	await_dmac(f, 1, "02:00:00:00:0c:07", 3000);
}

static void test_missing_neighbour_is_asked_for_until_it_is_there(void **state)
{
	struct fixture *f = *state;

	want(f, 1, "10.1.0.77");
	await_state(f, 1, NEXTHOP_NO_MAC, 1000);
	settle(f, 1500);
	run(PEER "addr add 10.1.0.77/24 dev a1");
	await_state(f, 1, NEXTHOP_READY, 12000);
	assert_mac(f->last[1].dmac, MAC_A);
}

static void test_neighbour_that_fails_keeps_its_last_mac(void **state)
{
	struct fixture *f = *state;
	uint32_t calls;

	want(f, 1, "10.1.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	calls = f->calls[1];
	run(PEER "addr del 10.1.0.1/24 dev a1");
	run("ip neigh del 10.1.0.1 dev a0");
	settle(f, 4500); /* asked three times, then failed */
	assert_int_equal(f->calls[1], calls);
	await_state(f, 1, NEXTHOP_READY, 100);
	run(PEER "link set a1 address 02:00:00:00:0a:02");
	run(PEER "addr add 10.1.0.1/24 dev a1");
	await_dmac(f, 1, "02:00:00:00:0a:02", 12000);
}

static void test_device_changes_are_followed(void **state)
{
	struct fixture *f = *state;

	want(f, 1, "10.1.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	run("ip link set a0 mtu 1300");
	for (int i = 0; i < 500 && f->last[1].mtu != 1300; i++)
		turn(f, 20);
	assert_int_equal(f->last[1].mtu, 1300);
	run("ip link set a0 down"); /* IPv4 routes go without a word */
	await_state(f, 1, NEXTHOP_NO_ROUTE, 3000);
	run("ip link set a0 address 02:00:00:00:0a:fe && ip link set a0 up");
	await_state(f, 1, NEXTHOP_READY, 5000);
	assert_mac(f->last[1].smac, "02:00:00:00:0a:fe");
	run("ip link del a0");
	await_state(f, 1, NEXTHOP_NO_ROUTE, 3000);
}

static void test_vlan_device_is_its_parent_with_a_tag(void **state)
{
	struct fixture *f = *state;
	struct nexthop_result res;

	if (system("ip link add link a0 name a0.7 type vlan id 7 2>/dev/null")) {
		print_message("this kernel has no VLAN devices\n");
		skip();
	}
	run("ip addr add 10.7.0.254/24 dev a0.7");
	run(PEER "link add link a1 name a1.7 type vlan id 7");
	run(PEER "addr add 10.7.0.1/24 dev a1.7 && " PEER "link set a1.7 up");
	run("ip link set a0.7 mtu 1400 up");
	want(f, 1, "10.7.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	assert_int_equal(nexthop_get(f->t, 1, &res), 0);
	assert_int_equal(res.ifindex, if_nametoindex("a0"));
	assert_int_equal(res.vlan, 7);
	assert_int_equal(res.mtu, 1400);
	assert_mac(res.dmac, MAC_A);
	assert_mac(res.smac, MAC_0);
	/* a tag in a tag, and one of 802.1ad, are more than can be sent */
	run("ip link add link a0.7 name a0.7.8 type vlan id 8 && ip addr add 10.8.0.254/24 dev a0.7.8 "
	    "&& ip link set a0.7.8 up");
	run("ip link add link a0 name a0.9 type vlan proto 802.1ad id 9 && "
	    "ip addr add 10.9.0.254/24 dev a0.9 && ip link set a0.9 up");
	want(f, 2, "10.8.0.1");
	want(f, 3, "10.9.0.1");
	await_state(f, 2, NEXTHOP_NO_LINK, 3000);
	await_state(f, 3, NEXTHOP_NO_LINK, 3000);
	run("ip link set a0 down");
	settle(f, 100);
	run("ip link set a0 up && ip link set a0.7 up");
	await_state(f, 1, NEXTHOP_READY, 5000);
}

static void test_carrier_lost_is_told(void **state)
{
	struct fixture *f = *state;

	want(f, 1, "10.1.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	run(PEER "link set a1 down");
	await_state(f, 1, NEXTHOP_NO_LINK, 3000);
	run(PEER "link set a1 up");
	await_state(f, 1, NEXTHOP_READY, 5000);
}

static void test_own_addresses_are_told(void **state)
{
	struct fixture *f = *state;

	want(f, 1, "127.0.0.1");
	want(f, 2, "10.1.0.254");
	want(f, 3, "10.1.0.9");
	await_state(f, 1, NEXTHOP_LOCAL, 1000);
	await_state(f, 2, NEXTHOP_LOCAL, 1000);
	await_state(f, 3, NEXTHOP_NO_MAC, 1000);
	run("ip addr add 10.1.0.9/24 dev a0"); /* it becomes ours */
	await_state(f, 3, NEXTHOP_LOCAL, 2000);
	run("ip addr del 10.1.0.9/24 dev a0");
	await_state(f, 3, NEXTHOP_NO_MAC, 2000);
}

static void test_source_address_is_followed(void **state)
{
	struct fixture *f = *state;

	want(f, 1, "10.1.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	run("ip addr add 10.1.0.200/24 dev a0 && ip route replace 10.1.0.0/24 dev a0 src "
	    "10.1.0.200");
	settle(f, 100);
	assert_int_equal(f->last[1].src.bytes[3], 200);
}

static void test_lost_events_lead_to_a_new_look(void **state)
{
	_cleanup_fclose_ FILE *batch = NULL;
	struct fixture *f = *state;

	run("ip route add 10.99.0.0/16 via 10.1.0.1");
	want(f, 1, "10.99.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	/* more than the socket holds, then the change that matters */
	batch = popen("ip -batch -", "w");
	assert_non_null(batch);
	for (int i = 0; i < 12000; i++)
		fprintf(batch, "route add 172.%d.%d.0/30 via 10.1.0.1\n", 16 + i / 250, i % 250);
	assert_int_equal(pclose(TAKE_PTR(batch)), 0);
	run("ip route replace 10.99.0.0/16 via 10.2.0.1");
	await_dmac(f, 1, MAC_B, 3000);
}

static void test_thousands_of_nodes_are_cheap(void **state)
{
	struct fixture *f = *state;
	struct timespec from, to;
	double ms, slowest = 0;
	char text[32];
	int due;

	run("ip route add 10.99.0.0/16 via 10.1.0.1");
	want(f, 1, "10.1.0.1");
	await_state(f, 1, NEXTHOP_READY, 3000);
	for (int i = 0; i < 4000; i++) {
		snprintf(text, sizeof(text), "10.99.%d.%d", i / 250, i % 250 + 1);
		want(f, 100 + i, text);
	}
	f->all_calls = 0;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	do {
		struct timespec a, b;

		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
		due = nexthop_step(f->t, now_ms());
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
		ms = (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) / 1e6;
		slowest = ms > slowest ? ms : slowest;
	} while (due == 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	ms = (to.tv_sec - from.tv_sec) * 1e3 + (to.tv_nsec - from.tv_nsec) / 1e6;
	print_message("4000 nodes: %.1f ms of CPU, longest step %.2f ms\n", ms, slowest);
	assert_int_equal(f->all_calls, 4000);
	assert_true(ms < 400); /* with sanitizers, on a busy machine */
	assert_true(slowest < 20);
	for (int i = 0; i < 4000; i++)
		nexthop_remove(f->t, 100 + i);
	assert_int_equal(nexthop_get(f->t, 100, &f->last[2]), -ENOENT);
	settle(f, 50);
}

static void test_ids_come_and_go(void **state)
{
	struct fixture *f = *state;
	struct address a = addr("10.1.0.1");

	want(f, 1, "10.1.0.1");
	want(f, 2, "10.1.0.1");
	assert_int_equal(nexthop_add(f->t, 1, &a), -EEXIST);
	nexthop_remove(f->t, 1); /* while it is waiting to be looked up */
	nexthop_remove(f->t, 1);
	await_state(f, 2, NEXTHOP_READY, 3000);
	assert_int_equal(f->calls[1], 0);
	want(f, 1, "10.1.0.1"); /* the address is known: so is the answer */
	assert_int_equal(nexthop_get(f->t, 1, &f->last[1]), 0);
	assert_int_equal(f->last[1].state, NEXTHOP_READY);
	nexthop_remove(f->t, 1);
	nexthop_remove(f->t, 2);
	settle(f, 50);
	assert_string_equal(nexthop_state_name(NEXTHOP_NO_MAC), "no MAC");
	assert_string_equal(nexthop_state_name(99), "?");
}

static void own_namespaces(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0) {
		perror("namespaces");
		exit(1);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_node_on_the_segment_is_resolved),
		T(test_ipv6_node_is_resolved),
		T(test_nodes_behind_a_gateway_share_its_mac),
		T(test_ipv4_route_through_an_ipv6_gateway),
		T(test_route_that_changes_is_followed),
		T(test_routing_rules_and_nexthop_objects_are_followed),
		T(test_node_that_changes_its_mac_is_followed),
		T(test_missing_neighbour_is_asked_for_until_it_is_there),
		T(test_neighbour_that_fails_keeps_its_last_mac),
		T(test_device_changes_are_followed),
		T(test_vlan_device_is_its_parent_with_a_tag),
		T(test_carrier_lost_is_told),
		T(test_own_addresses_are_told),
		T(test_source_address_is_followed),
		T(test_lost_events_lead_to_a_new_look),
		T(test_thousands_of_nodes_are_cheap),
		T(test_ids_come_and_go),
	};

	if (geteuid() != 0) {
		printf("skip: needs root\n");
		return 77;
	}
	own_namespaces();
	return cmocka_run_group_tests_name("nexthop", tests, NULL, NULL);
}
