/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of attach.c on a real kernel share: a pair of interfaces in a namespace of the
 * test's own, a pin directory, programs of others.
 */
#ifndef SLUICE_TESTS_ATTACH_BED_H
#define SLUICE_TESTS_ATTACH_BED_H

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

static inline void run(const char *command)
{
	int r = system(command);

	if (r)
		fail_msg("%s: %d", command, r);
}

static inline uint32_t attached(const char *name, enum config_xdp_mode *ret_mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	assert_int_equal(bpf_xdp_query(if_nametoindex(name), 0, &opts), 0);
	if (ret_mode)
		*ret_mode = opts.skb_prog_id ? CONFIG_XDP_GENERIC : CONFIG_XDP_NATIVE;
	return opts.drv_prog_id ? opts.drv_prog_id : opts.skb_prog_id;
}

/* A program that passes everything; with a map descriptor it uses that map. */
static inline int pass_program(int map_fd)
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

static inline void attach_by_hand(const char *name, int prog_fd, uint32_t flags)
{
	assert_int_equal(bpf_xdp_attach(if_nametoindex(name), prog_fd, flags, NULL), 0);
}

static inline struct attach *open_ok(enum attach_start want)
{
	struct attach_error err;
	struct attach *a = NULL;

	if (attach_open(&settings, &a, &err) < 0)
		fail_msg("attach_open: %s", err.text);
	assert_int_equal(attach_start(a), want);
	return a;
}

static inline void interfaces_ok(struct attach *a, const struct config_interface *i, uint32_t n)
{
	struct attach_error err;

	if (attach_interfaces(a, i, n, &err) < 0)
		fail_msg("attach_interfaces: %s", err.text);
}

static inline const struct attach_status *first_status(const struct attach *a)
{
	uint32_t n;
	const struct attach_status *status = attach_status(a, &n);

	assert_true(n > 0);
	return status;
}

static inline void assert_change(const struct attach *a, uint32_t i, enum attach_change want)
{
	const struct attach_status *status;
	uint32_t n;

	status = attach_status(a, &n);
	assert_true(i < n);
	assert_int_equal(status[i].change, want);
}

static inline int setup(void **state)
{
	(void)state;
	run("ip link add sl0 type veth peer name sl1 && ip link set sl0 up && ip link set sl1 up");
	return 0;
}

static inline int teardown(void **state)
{
	struct attach_error err;

	(void)state;
	(void)attach_detach_pinned(PIN_DIR, &err);
	run("ip link del sl0");
	run("rm -rf " PIN_DIR);
	return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
