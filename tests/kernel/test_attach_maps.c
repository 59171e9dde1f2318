/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Maps and their pins: what is made, adopted, refused, taken off, on a real kernel. Needs root;
 * runs in a network and mount namespace of its own, so nothing of it is left.
 */
#include "tests/kernel/attach_bed.h"

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
	assert_non_null(strstr(err.text, "sluicectl detach --pin-dir " PIN_DIR "'"));
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_detach_leaves_nothing),
		T(test_detach_without_an_agent),
		T(test_half_made_set_is_rebuilt),
		T(test_layout_change_is_refused_and_the_way_over_works),
		T(test_other_sizes_are_refused),
		T(test_map_of_another_form_is_refused),
		T(test_pin_dir_must_be_a_bpffs_directory_of_its_own),
		T(test_pin_dir_must_be_the_agents_own),
		T(test_a_start_that_fails_leaves_no_directory),
		T(test_bpffs_is_mounted_where_it_is_missing),
	};

	begin_in_namespaces(argc, argv);
	return cmocka_run_group_tests_name("attach, maps", tests, NULL, NULL);
}
