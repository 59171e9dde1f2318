/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Load, pin, attach, adopt, swap, detach on a real kernel. Needs root; runs in a network and mount
 * namespace of its own, so nothing of it is left.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include <cmocka.h>

#include "tests/lib/namespaces.h"
#include "userspace/agent/attach.h"
#include "userspace/agent/tables.h"
#include "userspace/lib/cleanup.h"

#define PIN_DIR "/sys/fs/bpf/test/sluice"

static const struct attach_settings settings = {
	.pin_dir = PIN_DIR,
	.n_pools = 2,
	.flows = 4096,
	.half_open = 1024,
};

static const struct config_interface veths[2] = {
	{.name = "sl0", .mode = CONFIG_XDP_NATIVE, .priority = 20},
	{.name = "sl1", .mode = CONFIG_XDP_NATIVE, .priority = 20},
};

static void run(const char *command)
{
	int r = system(command);

	if (r)
		fail_msg("%s: %d", command, r);
}

static uint32_t attached(const char *name, enum config_xdp_mode *ret_mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	assert_int_equal(bpf_xdp_query(if_nametoindex(name), 0, &opts), 0);
	if (ret_mode)
		*ret_mode = opts.skb_prog_id ? CONFIG_XDP_GENERIC : CONFIG_XDP_NATIVE;
	return opts.drv_prog_id ? opts.drv_prog_id : opts.skb_prog_id;
}

/* A program that passes everything; with a map descriptor it uses that map. */
static int pass_program(int map_fd)
{
	struct bpf_insn insns[4] = {
		{.code = BPF_LD | BPF_DW | BPF_IMM,
		 .dst_reg = 1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = map_fd},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	unsigned int skip = map_fd < 0 ? 2 : 0;
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", insns + skip, 4 - skip, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void attach_by_hand(const char *name, int prog_fd, uint32_t flags)
{
	assert_int_equal(bpf_xdp_attach(if_nametoindex(name), prog_fd, flags, NULL), 0);
}

static struct attach *open_ok(enum attach_start want)
{
	struct attach_error err;
	struct attach *a = NULL;

	if (attach_open(&settings, &a, &err) < 0)
		fail_msg("attach_open: %s", err.text);
	assert_int_equal(attach_start(a), want);
	return a;
}

static void interfaces_ok(struct attach *a, const struct config_interface *i, uint32_t n)
{
	struct attach_error err;

	if (attach_interfaces(a, i, n, &err) < 0)
		fail_msg("attach_interfaces: %s", err.text);
}

static const struct attach_status *first_status(const struct attach *a)
{
	uint32_t n;
	const struct attach_status *status = attach_status(a, &n);

	assert_true(n > 0);
	return status;
}

static void assert_change(const struct attach *a, uint32_t i, enum attach_change want)
{
	const struct attach_status *status;
	uint32_t n;

	status = attach_status(a, &n);
	assert_true(i < n);
	assert_int_equal(status[i].change, want);
}

static int setup(void **state)
{
	(void)state;
	run("ip link add sl0 type veth peer name sl1 && ip link set sl0 up && ip link set sl1 up");
	return 0;
}

static int teardown(void **state)
{
	struct attach_error err;

	(void)state;
	(void)attach_detach_pinned(PIN_DIR, &err);
	run("ip link del sl0");
	run("rm -rf " PIN_DIR);
	return 0;
}

/* --- tests ------------------------------------------------------------------------------------ */

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
	assert_non_null(strstr(err.text, "sluicectl detach"));
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

static void test_detach_leaves_nothing(void **state)
{
	struct attach_error err;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 2);
	assert_int_equal(attach_detach(a, &err), 0);
	attach_close(&a);
	assert_int_equal(attached("sl0", NULL), 0);
	assert_int_equal(attached("sl1", NULL), 0);
	assert_int_equal(access(PIN_DIR, F_OK), -1);
	assert_int_equal(attach_detach_pinned(PIN_DIR, &err), -ENOENT);
}

static void test_detach_without_an_agent(void **state)
{
	_cleanup_close_ int control = -1, old = -1;
	struct attach_error err;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, &veths[1], 1);
	control = bpf_obj_get(PIN_DIR "/control");
	old = pass_program(control); /* an older build's, on an interface nobody knows of */
	attach_by_hand("sl0", old, XDP_FLAGS_DRV_MODE);
	attach_close(&a);
	assert_int_equal(attach_detach_pinned(PIN_DIR, &err), 0);
	assert_int_equal(attached("sl0", NULL), 0);
	assert_int_equal(attached("sl1", NULL), 0);
	assert_int_equal(access(PIN_DIR, F_OK), -1);
}

static void write_abi(uint32_t abi)
{
	_cleanup_close_ int fd = bpf_obj_get(PIN_DIR "/control");
	struct lb_control c = {0};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &c), 0);
	c.abi = abi;
	assert_int_equal(bpf_map_update_elem(fd, &zero, &c, BPF_ANY), 0);
}

static void test_half_made_set_is_rebuilt(void **state)
{
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	attach_close(&a);
	write_abi(0); /* died before the last step of the first load */
	assert_int_equal(unlink(PIN_DIR "/half_open"), 0);
	a = open_ok(ATTACH_START_REBUILT);
	interfaces_ok(a, veths, 1);
	attach_close(&a);
	a = open_ok(ATTACH_START_ADOPTED);
	attach_close(&a);
}

static void test_layout_change_is_refused_and_the_way_over_works(void **state)
{
	struct attach_error err;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	interfaces_ok(a, veths, 1);
	attach_close(&a);
	write_abi(LB_ABI_VERSION + 1);
	assert_int_equal(attach_open(&settings, &a, &err), -EPROTO);
	assert_non_null(strstr(err.text, "sluicectl detach"));
	print_message("%s\n", err.text);
	assert_int_not_equal(attached("sl0", NULL), 0); /* goes on forwarding meanwhile */
	assert_int_equal(attach_detach_pinned(PIN_DIR, &err), 0);
	assert_int_equal(attached("sl0", NULL), 0);
	a = open_ok(ATTACH_START_NEW);
	attach_close(&a);
}

static void test_other_sizes_are_refused(void **state)
{
	struct attach_settings other = settings;
	struct attach_error err;
	struct attach *a;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	attach_close(&a);
	other.flows = 8192;
	assert_int_equal(attach_open(&other, &a, &err), -EINVAL);
	if (!strstr(err.text, "flows has 4096 entries, the limit of flows"))
		fail_msg("%s", err.text);
	other = settings;
	other.n_pools = 3;
	assert_int_equal(attach_open(&other, &a, &err), -EINVAL);
	assert_non_null(strstr(err.text, "the limit of pools"));
}

static void test_map_of_another_form_is_refused(void **state)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	_cleanup_close_ int fd = -1;
	struct attach_error err;
	struct attach *a;
	struct tables t;

	(void)state;
	a = open_ok(ATTACH_START_NEW);
	attach_close(&a);
	assert_int_equal(unlink(PIN_DIR "/loads"), 0);
	assert_int_equal(tables_open(PIN_DIR, &t), -ENOENT);
	assert_int_equal(attach_open(&settings, &a, &err), -EPROTO);
	assert_non_null(strstr(err.text, "loads is missing"));
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "loads", 4, 64, LB_BACKENDS_MAX, &opts);
	assert_int_equal(bpf_obj_pin(fd, PIN_DIR "/loads"), 0);
	assert_int_equal(tables_open(PIN_DIR, &t), -EPROTO);
	assert_int_equal(attach_open(&settings, &a, &err), -EPROTO);
	assert_non_null(strstr(err.text, "loads has another layout"));
}

static void test_pin_dir_must_be_a_bpffs_directory_of_its_own(void **state)
{
	struct attach_settings s = settings;
	_cleanup_close_ int prog = pass_program(-1);
	struct attach_error err;
	struct attach *a;

	(void)state;
	s.pin_dir = "/tmp/sluice-test-pins";
	assert_int_equal(attach_open(&s, &a, &err), -EINVAL);
	assert_non_null(strstr(err.text, "is not on a bpf file system"));
	assert_int_equal(access("/tmp/sluice-test-pins", F_OK), -1);
	s.pin_dir = "/sys/fs/bpf";
	assert_int_equal(attach_open(&s, &a, &err), -EINVAL);
	assert_non_null(strstr(err.text, "is the root of its file system"));
	run("mkdir -p /sys/fs/bpf/test/other");
	assert_int_equal(bpf_obj_pin(prog, "/sys/fs/bpf/test/other/theirs"), 0);
	s.pin_dir = "/sys/fs/bpf/test/other";
	assert_int_equal(attach_open(&s, &a, &err), -EEXIST);
	assert_non_null(strstr(err.text, "theirs, which is not Sluice's"));
	assert_int_equal(access("/sys/fs/bpf/test/other/theirs", F_OK), 0);
	run("rm -r /sys/fs/bpf/test/other");
}

static void test_pin_dir_must_be_the_agents_own(void **state)
{
	struct attach_error err;
	struct attach *a;

	(void)state;
	run("mkdir -p " PIN_DIR " && chown 65534 " PIN_DIR);
	assert_int_equal(attach_open(&settings, &a, &err), -EPERM);
	assert_non_null(strstr(err.text, "belongs to user 65534"));
	run("mkdir -p " PIN_DIR " && chown 0 " PIN_DIR " && chmod 777 " PIN_DIR);
	assert_int_equal(attach_open(&settings, &a, &err), -EPERM);
	assert_non_null(strstr(err.text, "can be written by others (mode 777)"));
	run("mkdir -p " PIN_DIR " && chmod 755 " PIN_DIR);
	a = open_ok(ATTACH_START_NEW);
	attach_close(&a);
}

static void test_a_start_that_fails_leaves_no_directory(void **state)
{
	struct attach_settings s = settings;
	struct attach_error err;
	struct attach *a;

	(void)state;
	s.flows = UINT32_MAX; /* more than the kernel gives */
	assert_true(attach_open(&s, &a, &err) < 0);
	assert_int_equal(access(PIN_DIR, F_OK), -1);
}

static void test_bpffs_is_mounted_where_it_is_missing(void **state)
{
	struct attach *a;

	(void)state;
	while (umount("/sys/fs/bpf") == 0) /* ours, and what the host has below it */
		;
	assert_int_equal(access("/sys/fs/bpf/test", F_OK), -1);
	a = open_ok(ATTACH_START_NEW);
	attach_close(&a);
	assert_int_equal(access(PIN_DIR "/control", F_OK), 0);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* An argument is a pattern (* and ?) of the tests that are to run. */
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
		T(test_native_never_becomes_generic),
		T(test_what_the_kernel_says_reaches_the_operator),
		T(test_mode_of_a_running_program_is_not_changed),
		T(test_interface_that_is_not_listed_any_more_is_left),
		T(test_interface_that_comes_back_is_attached_again),
		T(test_reload_works_without_cap_sys_admin),
		T(test_detach_leaves_nothing),
		T(test_detach_without_an_agent),
		T(test_half_made_set_is_rebuilt),
		T(test_layout_change_is_refused_and_the_way_over_works),
		T(test_other_sizes_are_refused),
		T(test_map_of_another_form_is_refused),
		T(test_pin_dir_must_be_a_bpffs_directory_of_its_own),
		T(test_pin_dir_must_be_the_agents_own),
		T(test_a_start_that_fails_leaves_no_directory),
		T(test_stands_in_a_chain_with_others),
		T(test_exchange_within_a_chain),
		T(test_failure_leaves_a_chain_as_it_was),
		T(test_bpffs_is_mounted_where_it_is_missing),
	};

	if (geteuid() != 0) {
		printf("skip: needs root\n");
		return 77;
	}
	own_namespaces();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("attach", tests, NULL, NULL);
}
