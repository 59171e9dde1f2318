/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attach, adopt, swap, alone and in a chain, on a real kernel. Needs root; runs in a network and
 * mount namespace of its own, so nothing of it is left.
 */
#include "tests/kernel/attach_bed.h"

static void test_first_start_pins_and_attaches(void **state)
{
	const struct attach_status *status;
	enum config_xdp_mode mode;
	struct tables t;
	struct attach *a;
	uint32_t n;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	assert_int_equal(tables_open(PIN_DIR, &t), 0);
	assert_int_equal(t.control->abi, LB_ABI_VERSION);
	assert_int_equal(t.control->epoch, 1);
	assert_int_equal(t.n_pools, 2);
	assert_int_equal(t.flows_max, 4096);
	assert_int_equal(t.half_open_max, 1024);
	t.slots[2 * LB_SLOTS_MAX - 1].cur = 7; /* the end of the largest map is there */
	t.backend_stats[t.n_cpus * LB_BACKENDS_MAX - 1].packets = 1;
	tables_close(&t);
	assert_int_equal(attached("sl0", NULL), 0); /* nothing before it is asked for */
	interfaces_ok(a, veths, 2);
	assert_int_not_equal(attached("sl0", &mode), 0);
	assert_int_equal(mode, CONFIG_XDP_NATIVE);
	assert_int_not_equal(attached("sl1", NULL), 0);
	status = attach_status(a, &n);
	assert_int_equal(n, 2);
	assert_string_equal(status[1].name, "sl1");
	assert_int_equal(status[1].ifindex, if_nametoindex("sl1"));
	assert_int_equal(status[1].change, ATTACH_CHANGE_ATTACHED);
	assert_in_range(status[1].how, ATTACH_HOW_ALONE, ATTACH_HOW_DISPATCHER);
	print_message("attached %s\n",
		      status[0].how == ATTACH_HOW_ALONE ? "alone" : "in libxdp's dispatcher");
	assert_int_equal(strlen(attach_program_tag(a)), 16);
	assert_int_equal(access(PIN_DIR "/" ATTACH_PROGRAM_PIN, F_OK), 0);
	attach_close(&a);
	assert_int_not_equal(attached("sl0", NULL), 0); /* closing leaves it running */
}

static void test_second_agent_is_refused_with_the_pid(void **state)
{
	struct attach_error err;
	struct attach *a, *b = NULL;
	char pid[32];

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	assert_int_equal(attach_open(&settings, &b, &err), -EBUSY);
	snprintf(pid, sizeof(pid), "pid %d", getpid());
	if (!strstr(err.text, pid))
		fail_msg("no %s in: %s", pid, err.text);
	assert_null(b);
	assert_int_equal(attach_detach_pinned(PIN_DIR, &err), -EBUSY);
	attach_close(&a);
	a = open_ok(ATTACH_START_ADOPTED);
	attach_close(&a);
}

static void test_restart_adopts_and_changes_nothing(void **state)
{
	uint32_t id0, id1;
	struct tables t;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 2);
	id0 = attached("sl0", NULL);
	id1 = attached("sl1", NULL);
	assert_int_equal(tables_open(PIN_DIR, &t), 0);
	t.slots[5].cur = 77;
	tables_close(&t);
	attach_close(&a);
	a = open_ok(ATTACH_START_ADOPTED);
	interfaces_ok(a, veths, 2);
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	assert_change(a, 1, ATTACH_CHANGE_NONE);
	assert_int_equal(attached("sl0", NULL), id0);
	assert_int_equal(attached("sl1", NULL), id1);
	assert_int_equal(tables_open(PIN_DIR, &t), 0);
	assert_int_equal(t.slots[5].cur, 77);
	tables_close(&t);
	interfaces_ok(a, veths, 2); /* and again, as a reload does */
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	attach_close(&a);
}

static void test_killed_agent_leaves_no_lock(void **state)
{
	struct attach *a;
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		a = open_ok(ATTACH_START_NEW);
		interfaces_ok(a, veths, 1);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_not_equal(attached("sl0", NULL), 0);
	a = open_ok(ATTACH_START_ADOPTED);
	interfaces_ok(a, veths, 1);
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	attach_close(&a);
}

static void test_program_of_another_build_is_swapped(void **state)
{
	_cleanup_close_ int control = -1, old = -1;
	struct attach *a;
	uint32_t id;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	control = bpf_obj_get(PIN_DIR "/control");
	old = pass_program(control);
	attach_by_hand("sl0", old, XDP_FLAGS_DRV_MODE);
	id = attached("sl0", NULL);
	interfaces_ok(a, veths, 2);
	assert_change(a, 0, ATTACH_CHANGE_SWAPPED);
	assert_change(a, 1, ATTACH_CHANGE_ATTACHED);
	assert_int_not_equal(attached("sl0", NULL), id);
	attach_close(&a);
	a = open_ok(ATTACH_START_ADOPTED);
	interfaces_ok(a, veths, 2);
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	assert_change(a, 1, ATTACH_CHANGE_NONE);
	attach_close(&a);
}

static void test_failure_on_one_interface_undoes_the_others(void **state)
{
	const struct config_interface three[3] = {
		veths[0], veths[1], {.name = "none0", .mode = CONFIG_XDP_NATIVE}};
	_cleanup_close_ int control = -1, old = -1;
	struct attach_error err;
	struct attach *a;
	uint32_t id;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	control = bpf_obj_get(PIN_DIR "/control");
	old = pass_program(control);
	attach_by_hand("sl0", old, XDP_FLAGS_DRV_MODE);
	id = attached("sl0", NULL);
	assert_int_equal(attach_interfaces(a, three, 3, &err), -ENODEV);
	assert_string_equal(err.text, "none0: no such interface");
	assert_int_equal(attached("sl0", NULL), id);
	assert_int_equal(attached("sl1", NULL), 0);
	attach_close(&a);
}

static void test_foreign_program_is_not_replaced(void **state)
{
	_cleanup_close_ int foreign = pass_program(-1);
	struct attach_error err;
	struct attach *a;
	uint32_t id;

	(void)state;
	attach_by_hand("sl1", foreign, XDP_FLAGS_DRV_MODE);
	id = attached("sl1", NULL);
	a = open_ok(ATTACH_START_NEW);
	assert_int_equal(attach_interfaces(a, veths, 2, &err), -EEXIST);
	if (!strstr(err.text, "sl1: another XDP program is attached (pass, id "))
		fail_msg("%s", err.text);
	assert_int_equal(attached("sl1", NULL), id);
	assert_int_equal(attached("sl0", NULL), 0);
	assert_int_equal(attach_detach(a, &err), 0);
	attach_close(&a);
	assert_int_equal(attached("sl1", NULL), id);
}

static void test_another_sluice_is_named_as_such(void **state)
{
	struct attach_settings second = settings;
	struct attach_error err;
	struct attach *a, *b;
	uint32_t n;

	(void)state;
	second.pin_dir = PIN_DIR "-second";
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 1);
	if (attach_status(a, &n)[0].how == ATTACH_HOW_ALONE) {
		if (attach_open(&second, &b, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(attach_interfaces(b, veths, 1, &err), -EEXIST);
		if (!strstr(err.text, "sl0: another Sluice forwards there"))
			fail_msg("%s", err.text);
		assert_int_equal(attach_detach(b, &err), 0);
		attach_close(&b);
		assert_int_not_equal(attached("sl0", NULL), 0);
	}
	attach_close(&a);
}

static void test_native_never_becomes_generic(void **state)
{
	struct config_interface dummy = {.name = "sl9", .mode = CONFIG_XDP_NATIVE};
	enum config_xdp_mode mode;
	struct attach_error err;
	struct attach *a;

	(void)state;
	run("ip link add sl9 type bridge && ip link set sl9 up"); /* no native XDP there */
	a = open_ok(ATTACH_START_NEW);
	assert_int_equal(attach_interfaces(a, &dummy, 1, &err), -EOPNOTSUPP);
	if (!strstr(err.text, "sl9: its driver cannot run XDP in native mode") ||
	    !strstr(err.text, "mode: generic"))
		fail_msg("%s", err.text);
	print_message("%s\n", err.text);
	assert_int_equal(attached("sl9", NULL), 0);
	dummy.mode = CONFIG_XDP_GENERIC;
	interfaces_ok(a, &dummy, 1);
	assert_int_not_equal(attached("sl9", &mode), 0);
	assert_int_equal(mode, CONFIG_XDP_GENERIC);
	attach_close(&a);
	run("ip link del sl9");
}

static void test_what_the_kernel_says_reaches_the_operator(void **state)
{
	struct attach_error err;
	struct attach *a;

	(void)state;
	run("ip link set sl0 mtu 9000 && ip link set sl1 mtu 9000"); /* too large for veth's XDP */
	a = open_ok(ATTACH_START_NEW);
	assert_true(attach_interfaces(a, veths, 1, &err) < 0);
	print_message("%s\n", err.text);
	assert_non_null(strstr(err.text, "the kernel says: "));
	assert_null(strchr(err.text, '\n'));
	attach_close(&a);
}

static void test_mode_of_a_running_program_is_not_changed(void **state)
{
	struct config_interface generic = veths[0];
	struct attach_error err;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 1);
	generic.mode = CONFIG_XDP_GENERIC;
	assert_int_equal(attach_interfaces(a, &generic, 1, &err), -EBUSY);
	assert_non_null(strstr(err.text, "sluicectl detach --pin-dir " PIN_DIR "'"));
	assert_int_not_equal(attached("sl0", NULL), 0);
	attach_close(&a);
}

static void test_interface_that_is_not_listed_any_more_is_left(void **state)
{
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 2);
	interfaces_ok(a, &veths[1], 1);
	assert_int_equal(attached("sl0", NULL), 0);
	assert_int_not_equal(attached("sl1", NULL), 0);
	interfaces_ok(a, veths, 2);
	assert_change(a, 0, ATTACH_CHANGE_ATTACHED);
	assert_change(a, 1, ATTACH_CHANGE_NONE);
	interfaces_ok(a, NULL, 0);
	assert_int_equal(attached("sl0", NULL), 0);
	assert_int_equal(attached("sl1", NULL), 0);
	attach_close(&a);
}

static void test_interface_that_comes_back_is_attached_again(void **state)
{
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 2);
	run("ip link del sl0");
	setup(NULL);
	interfaces_ok(a, veths, 2);
	assert_change(a, 0, ATTACH_CHANGE_ATTACHED);
	assert_int_not_equal(attached("sl0", NULL), 0);
	attach_close(&a);
}

/* Keep what the agent keeps once it runs. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	data[0].effective = data[0].permitted = 1u << CAP_NET_ADMIN;
	data[1].effective = data[1].permitted = 1u << (CAP_PERFMON - 32) | 1u << (CAP_BPF - 32);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static void test_reload_works_without_cap_sys_admin(void **state)
{
	struct attach *a;
	int status;
	pid_t pid;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 1);
	if (first_status(a)->how == ATTACH_HOW_DISPATCHER) {
		attach_close(&a);
		print_message("skip: libxdp's dispatcher needs CAP_SYS_ADMIN\n");
		skip();
	}
	pid = fork();
	if (pid == 0) {
		drop_capabilities();
		interfaces_ok(a, veths, 2);
		interfaces_ok(a, &veths[1], 1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(attached("sl0", NULL), 0);
	assert_int_not_equal(attached("sl1", NULL), 0);
	attach_close(&a);
	pid = fork();
	if (pid == 0) { /* a new agent finds the program by its pin */
		a = open_ok(ATTACH_START_ADOPTED);
		drop_capabilities();
		interfaces_ok(a, &veths[1], 1);
		assert_change(a, 0, ATTACH_CHANGE_NONE);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- in libxdp's dispatcher, where the kernel has it ------------------------------------------ */

static void skip_without_dispatcher(struct attach **a)
{
	if (first_status(*a)->how == ATTACH_HOW_DISPATCHER)
		return;
	attach_close(a);
	print_message("skip: this kernel cannot run libxdp's dispatcher\n");
	skip();
}

static int programs_in_chain(const char *name)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex(if_nametoindex(name));
	int n;

	assert_int_equal(libxdp_get_error(mp), 0);
	n = xdp_multiprog__is_legacy(mp) ? -1 : xdp_multiprog__program_count(mp);
	xdp_multiprog__close(mp);
	return n;
}

/* Another tool's program, which libxdp itself brings. */
static struct xdp_program *join_chain(const char *name)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts, .find_filename = "xdp-dispatcher.o",
			    .prog_name = "xdp_pass");
	struct xdp_program *other = xdp_program__create(&opts);

	assert_int_equal(libxdp_get_error(other), 0);
	assert_int_equal(xdp_program__attach(other, if_nametoindex(name), XDP_MODE_NATIVE, 0), 0);
	return other;
}

static void test_stands_in_a_chain_with_others(void **state)
{
	struct xdp_program *other;
	struct attach_error err;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 1);
	skip_without_dispatcher(&a);
	assert_int_equal(programs_in_chain("sl0"), 1);
	other = join_chain("sl0");
	assert_int_equal(programs_in_chain("sl0"), 2);
	interfaces_ok(a, veths, 1);
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	attach_close(&a);
	a = open_ok(ATTACH_START_ADOPTED);
	interfaces_ok(a, veths, 1);
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	assert_int_equal(attach_detach(a, &err), 0);
	assert_int_equal(programs_in_chain("sl0"), 1); /* theirs stays */
	attach_close(&a);
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 1); /* joins theirs */
	assert_int_equal(first_status(a)->how, ATTACH_HOW_DISPATCHER);
	assert_int_equal(programs_in_chain("sl0"), 2);
	attach_close(&a);
	xdp_program__close(other);
}

static void test_exchange_within_a_chain(void **state)
{
	struct config_interface earlier[2] = {veths[0], veths[1]};
	struct xdp_program *other;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 2);
	skip_without_dispatcher(&a);
	other = join_chain("sl0");
	earlier[0].priority = 5; /* the way a program of another build takes, too */
	interfaces_ok(a, earlier, 2);
	assert_change(a, 0, ATTACH_CHANGE_SWAPPED);
	assert_change(a, 1, ATTACH_CHANGE_NONE);
	assert_int_equal(programs_in_chain("sl0"), 2);
	assert_int_equal(programs_in_chain("sl1"), 1);
	interfaces_ok(a, earlier, 2);
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	attach_close(&a);
	xdp_program__close(other);
}

static void test_failure_leaves_a_chain_as_it_was(void **state)
{
	struct config_interface two[2] = {veths[0], {.name = "none0", .mode = CONFIG_XDP_NATIVE}};
	struct xdp_program *other;
	struct attach_error err;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 1);
	skip_without_dispatcher(&a);
	other = join_chain("sl1");
	two[0].priority = 5;
	assert_int_equal(attach_interfaces(a, two, 2, &err), -ENODEV);
	assert_int_equal(programs_in_chain("sl0"), 1);
	two[0] = veths[1];
	assert_int_equal(attach_interfaces(a, two, 2, &err), -ENODEV);
	assert_int_equal(programs_in_chain("sl1"), 1);
	attach_close(&a);
	a = open_ok(ATTACH_START_ADOPTED);
	interfaces_ok(a, veths, 1);
	assert_change(a, 0, ATTACH_CHANGE_NONE);
	attach_close(&a);
	xdp_program__close(other);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_first_start_pins_and_attaches),
		T(test_second_agent_is_refused_with_the_pid),
		T(test_restart_adopts_and_changes_nothing),
		T(test_killed_agent_leaves_no_lock),
		T(test_program_of_another_build_is_swapped),
		T(test_failure_on_one_interface_undoes_the_others),
		T(test_foreign_program_is_not_replaced),
		T(test_another_sluice_is_named_as_such),
		T(test_native_never_becomes_generic),
		T(test_what_the_kernel_says_reaches_the_operator),
		T(test_mode_of_a_running_program_is_not_changed),
		T(test_interface_that_is_not_listed_any_more_is_left),
		T(test_interface_that_comes_back_is_attached_again),
		T(test_reload_works_without_cap_sys_admin),
		T(test_stands_in_a_chain_with_others),
		T(test_exchange_within_a_chain),
		T(test_failure_leaves_a_chain_as_it_was),
	};

	begin_in_namespaces(argc, argv);
	return cmocka_run_group_tests_name("attach", tests, NULL, NULL);
}
