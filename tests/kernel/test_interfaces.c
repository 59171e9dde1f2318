/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program stays on its interfaces: taken off, replaced, devices that go and come back. Needs
 * root; runs in a network and mount namespace of its own. Time is passed in.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/namespaces.h"
#include "userspace/agent/interfaces.h"

#define PIN_DIR "/sys/fs/bpf/test/sluice"
#define SECOND	1000

static const struct config_interface interfaces[] = {
	{.name = "sl0", .mode = CONFIG_XDP_NATIVE, .priority = 20, .reattach = true},
	{.name = "sl2", .mode = CONFIG_XDP_GENERIC, .priority = 20, .reattach = true},
};

static struct attach *attach;
static struct interfaces *watch;

static void run(const char *command)
{
	int r = system(command);

	if (r)
		fail_msg("%s: %d", command, r);
}

static uint32_t attached(const char *name)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	assert_int_equal(bpf_xdp_query(if_nametoindex(name), 0, &opts), 0);
	return opts.drv_prog_id ? opts.drv_prog_id : opts.skb_prog_id;
}

static int pass_program(void)
{
	struct bpf_insn insns[2] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", insns, 2, NULL);

	assert_true(fd >= 0);
	return fd;
}

static const struct attach_settings settings = {
	.pin_dir = PIN_DIR, .n_pools = 2, .flows = 4096, .half_open = 1024};

static int setup(void **state)
{
	struct attach_error err;

	(void)state;
	run("ip link add sl0 type veth peer name sl1 && ip link set sl0 up && ip link set sl1 up");
	run("ip link add sl2 type bridge && ip link set sl2 up");
	if (attach_open(&settings, &attach, &err) < 0 ||
	    attach_interfaces(attach, interfaces, 2, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(interfaces_new(attach, &watch), 0);
	return 0;
}

static int teardown(void **state)
{
	struct attach_error err;

	(void)state;
	interfaces_free(&watch);
	attach_close(&attach);
	(void)attach_detach_pinned(PIN_DIR, &err);
	(void)system("ip link del sl0 2>/dev/null; ip link del sl2 2>/dev/null");
	run("rm -rf " PIN_DIR);
	return 0;
}

static bool is_alone(void)
{
	uint32_t n;

	return attach_status(attach, &n)[0].how == ATTACH_HOW_ALONE;
}

static void expect(uint32_t i, const char *error, uint64_t losses, uint64_t repairs)
{
	struct interfaces_state s = interfaces_state(watch, i);

	if (*error ? !strstr(s.error, error) : *s.error)
		fail_msg("interface %u: expected '%s', is '%s'", i, error, s.error);
	assert_int_equal(s.n_losses, losses);
	assert_int_equal(s.n_repairs, repairs);
}

static void test_nothing_happens_to_what_runs(void **state)
{
	uint32_t id = attached("sl0");

	(void)state;
	for (int64_t ms = 0; ms < 10 * SECOND; ms += 100)
		interfaces_tick(watch, ms);
	expect(0, "", 0, 0);
	expect(1, "", 0, 0);
	assert_int_equal(attached("sl0"), id);
}

static void test_taken_off_it_is_put_back_in_its_mode(void **state)
{
	uint32_t id = attached("sl0");

	(void)state;
	if (!is_alone())
		skip();
	interfaces_tick(watch, 0);
	run("ip link set sl0 xdp off && ip link set sl2 xdpgeneric off");
	interfaces_tick(watch, 900); /* not its time */
	assert_int_equal(attached("sl0"), 0);
	interfaces_tick(watch, 1000);
	assert_int_equal(attached("sl0"), id);
	assert_int_equal(attached("sl2"), id);
	expect(0, "", 1, 1);
	expect(1, "", 1, 1);
	run("ip -d link show sl0 | grep -q 'prog/xdp '");
	run("ip -d link show sl2 | grep -q 'prog/xdp '");
	run("ip -d link show sl2 | grep -q xdpgeneric");
}

static void test_who_takes_it_off_each_time_means_it_until_a_reload(void **state)
{
	(void)state;
	if (!is_alone())
		skip();
	for (int64_t ms = SECOND; ms < 120 * SECOND; ms += SECOND) {
		run("ip link set sl0 xdp off");
		interfaces_tick(watch, ms);
	}
	expect(0, "sl0: the packet program was taken off, and stays off, for it was taken off again", 4,
	       3); /* at 1, 2, 4 s */
	assert_int_equal(attached("sl0"), 0);
	expect(1, "", 0, 0);
	interfaces_apply(watch, interfaces, 2); /* a reload */
	interfaces_tick(watch, 120 * SECOND);
	expect(0, "", 4, 4);
	assert_int_not_equal(attached("sl0"), 0);
}

static void test_taken_off_now_and_then_it_is_put_back_each_time(void **state)
{
	(void)state;
	if (!is_alone())
		skip();
	for (uint64_t i = 1; i <= 6; i++) {
		int64_t ms = (int64_t)i * (INTERFACES_CALM_MS + 5 * SECOND);

		run("ip link set sl0 xdp off");
		interfaces_tick(watch, ms);
		expect(0, "", i, i);
		interfaces_tick(watch, ms + 2 * SECOND);
	}
}

static void test_what_is_not_to_be_put_back_is_reported(void **state)
{
	struct config_interface wanted[] = {interfaces[0], interfaces[1]};

	(void)state;
	if (!is_alone())
		skip();
	wanted[0].reattach = false;
	interfaces_apply(watch, wanted, 2);
	run("ip link set sl0 xdp off && ip link set sl2 xdpgeneric off");
	for (int64_t ms = SECOND; ms < 5 * SECOND; ms += SECOND)
		interfaces_tick(watch, ms);
	expect(0, "sl0: the packet program was taken off, and stays off (reattach: false", 1, 0);
	expect(1, "", 1, 1);
	assert_int_equal(attached("sl0"), 0);
	wanted[0].reattach = true;
	interfaces_apply(watch, wanted, 2);
	interfaces_tick(watch, 5 * SECOND);
	expect(0, "", 1, 1);
}

static void test_a_device_that_comes_and_goes_is_no_quarrel(void **state)
{
	(void)state;
	if (!is_alone())
		skip();
	for (int64_t ms = SECOND; ms < 120 * SECOND; ms += 2 * SECOND) {
		run("ip link del sl2");
		interfaces_tick(watch, ms);
		run("ip link add sl2 type bridge && ip link set sl2 up");
		interfaces_tick(watch, ms + SECOND);
	}
	interfaces_tick(watch, 160 * SECOND);
	assert_string_equal(interfaces_state(watch, 1).error, "");
	assert_int_not_equal(attached("sl2"), 0);
}

static void test_another_program_is_reported_and_stays(void **state)
{
	int fd = pass_program();
	uint32_t id;

	(void)state;
	if (!is_alone())
		skip();
	interfaces_tick(watch, 0);
	assert_int_equal(bpf_xdp_attach(if_nametoindex("sl0"), fd, XDP_FLAGS_DRV_MODE, NULL), 0);
	id = attached("sl0");
	for (int64_t ms = SECOND; ms < 5 * SECOND; ms += SECOND)
		interfaces_tick(watch, ms);
	expect(0, "another XDP program", 1, 0);
	assert_int_equal(attached("sl0"), id);
	run("ip link set sl0 xdp off");
	interfaces_tick(watch, 6 * SECOND);
	expect(0, "", 1, 1);
	close(fd);
}

static void test_a_device_that_comes_back_gets_it_again(void **state)
{
	int before = (int)if_nametoindex("sl2");
	uint32_t n;

	(void)state;
	if (!is_alone())
		skip();
	interfaces_tick(watch, 0);
	run("ip link del sl2");
	interfaces_tick(watch, SECOND);
	expect(1, "sl2: the interface is gone", 1, 0);
	expect(0, "", 0, 0);
	run("ip link add sl9 type bridge && ip link add sl2 type bridge && ip link set sl2 up");
	interfaces_tick(watch, 2 * SECOND);
	expect(1, "", 1, 1);
	assert_int_not_equal(attached("sl2"), 0);
	assert_int_not_equal(attach_status(attach, &n)[1].ifindex, before);
	run("ip link del sl9");
}

static void test_what_cannot_be_put_back_is_said_and_tried_ever_more_rarely(void **state)
{
	(void)state;
	if (!is_alone())
		skip();
	interfaces_tick(watch, 0);
	run("ip link del sl0 && ip link add sl0 type bridge && ip link set sl0 up"); /* no native XDP */
	for (int64_t ms = SECOND; ms < 20 * SECOND; ms += SECOND)
		interfaces_tick(watch, ms);
	expect(0, "sl0: the packet program is off and cannot be put back", 1, 0);
	expect(1, "", 0, 0);
	run("ip link del sl0 && ip link add sl0 type veth peer name sl1 && ip link set sl0 up");
	interfaces_tick(watch, 20 * SECOND);
	assert_int_equal(attached("sl0"), 0); /* waits: 1, 3, 7, 15, 31 s */
	interfaces_tick(watch, 32 * SECOND);
	assert_int_not_equal(attached("sl0"), 0);
	expect(0, "", 1, 1);
}

static void test_a_list_that_changes_keeps_what_is_known(void **state)
{
	struct attach_error err;

	(void)state;
	if (!is_alone())
		skip();
	interfaces_tick(watch, 0);
	run("ip link set sl2 xdpgeneric off");
	interfaces_tick(watch, SECOND);
	expect(1, "", 1, 1);
	if (attach_interfaces(attach, &interfaces[1], 1, &err) < 0)
		fail_msg("%s", err.text);
	interfaces_tick(watch, 2 * SECOND);
	expect(0, "", 1, 1);
	assert_int_equal(attached("sl0"), 0); /* not listed any more: left alone */
	interfaces_tick(watch, 4 * SECOND);
	assert_int_equal(attached("sl0"), 0);
}

static void test_a_start_that_fails_takes_off_what_it_brought(void **state)
{
	const struct config_interface both[] = {
		interfaces[0], {.name = "sl3", .mode = CONFIG_XDP_GENERIC, .priority = 20}};
	struct attach_error err;

	(void)state;
	if (!is_alone())
		skip();
	interfaces_free(&watch);
	attach_close(&attach);
	run("ip link add sl3 type bridge && ip link set sl3 up");
	if (attach_open(&settings, &attach, &err) < 0 ||
	    attach_interfaces(attach, both, 2, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(attach_start(attach), ATTACH_START_ADOPTED);
	assert_int_not_equal(attached("sl3"), 0);
	attach_abandon(attach);
	assert_int_equal(attached("sl3"), 0);
	assert_int_not_equal(attached("sl0"), 0); /* it ran before */
	assert_int_equal(access(PIN_DIR "/control", F_OK), 0);
	run("ip link del sl3");
}

static void test_a_first_start_that_fails_leaves_nothing(void **state)
{
	(void)state;
	assert_int_equal(attach_start(attach), ATTACH_START_NEW);
	attach_abandon(attach);
	assert_int_equal(attached("sl0"), 0);
	assert_int_equal(attached("sl2"), 0);
	assert_int_equal(access(PIN_DIR, F_OK), -1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_nothing_happens_to_what_runs),
		T(test_taken_off_it_is_put_back_in_its_mode),
		T(test_who_takes_it_off_each_time_means_it_until_a_reload),
		T(test_taken_off_now_and_then_it_is_put_back_each_time),
		T(test_what_is_not_to_be_put_back_is_reported),
		T(test_a_device_that_comes_and_goes_is_no_quarrel),
		T(test_another_program_is_reported_and_stays),
		T(test_a_device_that_comes_back_gets_it_again),
		T(test_what_cannot_be_put_back_is_said_and_tried_ever_more_rarely),
		T(test_a_list_that_changes_keeps_what_is_known),
		T(test_a_start_that_fails_takes_off_what_it_brought),
		T(test_a_first_start_that_fails_leaves_nothing),
	};

	begin_in_namespaces(argc, argv);
	return cmocka_run_group_tests_name("interfaces", tests, NULL, NULL);
}
