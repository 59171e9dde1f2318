// SPDX-License-Identifier: BSD-2-Clause
/* What is left after privileges_drop(), and what is not. Each test in a process of its own. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <linux/capability.h>

#include "userspace/agent/privileges.h"

/* In the child: what did not hold ends it with the line as its exit status. */
#define HOLDS(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #x,  \
				errno);                                                            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void in_child(void (*run)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static uint64_t capabilities(uint64_t *ret_permitted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	HOLDS(syscall(SYS_capget, &header, data) == 0);
	*ret_permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

static uint64_t bounding(void)
{
	uint64_t set = 0;

	for (unsigned int cap = 0; cap <= 63; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			set |= UINT64_C(1) << cap;
	return set;
}

static void drop(void)
{
	const char *what = NULL;
	int r = privileges_drop(&what);

	if (r < 0)
		fprintf(stderr, "%s: %s\n", what, strerror(-r));
	HOLDS(r == 0);
}

static void four_are_left(void)
{
	const uint64_t want = UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_NET_ADMIN |
			      UINT64_C(1) << CAP_PERFMON | UINT64_C(1) << CAP_NET_BIND_SERVICE;
	uint64_t permitted;

	HOLDS(privileges_admin());
	drop();
	HOLDS(capabilities(&permitted) == want);
	HOLDS(permitted == want);
	HOLDS(bounding() == want);
	HOLDS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	HOLDS(!privileges_admin());
}

static void test_four_capabilities_are_left(void **state)
{
	(void)state;
	in_child(four_are_left);
}

/* Some of them are enough, as a service manager may give: none is added, none is an error. */
static void some_are_left(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};
	uint64_t permitted;

	data[0].effective = data[0].permitted = 1u << CAP_NET_ADMIN | 1u << CAP_SYS_CHROOT;
	HOLDS(syscall(SYS_capset, &header, data) == 0);
	drop();
	HOLDS(capabilities(&permitted) == UINT64_C(1) << CAP_NET_ADMIN);
	HOLDS(permitted == UINT64_C(1) << CAP_NET_ADMIN);
}

static void test_what_is_not_there_is_not_missed(void **state)
{
	(void)state;
	in_child(some_are_left);
}

static void *wait_for_end(void *arg)
{
	char byte;

	(void)!read(*(int *)arg, &byte, 1);
	return NULL;
}

/* A thread would keep all that its process gave up. */
static void threads_are_an_error(void)
{
	const char *what = NULL;
	pthread_t thread;
	int pipes[2];

	HOLDS(pipe(pipes) == 0);
	HOLDS(pthread_create(&thread, NULL, wait_for_end, &pipes[0]) == 0);
	HOLDS(privileges_drop(&what) == -EBUSY);
	HOLDS(privileges_admin());
	HOLDS(close(pipes[1]) == 0);
	HOLDS(pthread_join(thread, NULL) == 0);
	drop();
}

static void test_with_threads_nothing_is_dropped(void **state)
{
	(void)state;
	in_child(threads_are_an_error);
}

static bool refused(long r)
{
	return r < 0 && errno == EPERM;
}

static void calls_are_refused(void)
{
	char *const none[] = {NULL};

	HOLDS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	HOLDS(privileges_filter() == 0);
	HOLDS(refused(execve("/bin/true", none, none)));
	HOLDS(refused(mount("none", "/mnt", "tmpfs", 0, NULL)));
	HOLDS(refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
	HOLDS(refused(socket(AF_PACKET, SOCK_RAW, 0)));
	HOLDS(refused(syscall(SYS_unshare, 0)));
	HOLDS(refused(syscall(SYS_init_module, NULL, 0, "")));
	HOLDS(refused(kill(getppid(), 0)));
	HOLDS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0) == MAP_FAILED && errno == EPERM);
}

static void test_calls_that_no_agent_makes_are_refused(void **state)
{
	(void)state;
	in_child(calls_are_refused);
}

static void *answer(void *arg)
{
	return arg;
}

static void calls_work(void)
{
	static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	pthread_t thread;
	void *got = NULL;
	int fd;

	HOLDS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	HOLDS(privileges_filter() == 0);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		fd = socket(families[i], SOCK_DGRAM, 0);
		HOLDS(fd >= 0);
		close(fd);
	}
	HOLDS(pthread_create(&thread, NULL, answer, &fd) == 0);
	HOLDS(pthread_join(thread, &got) == 0 && got == &fd);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, 8, 1, NULL);
	HOLDS(fd >= 0);
	HOLDS(kill(getpid(), 0) == 0);
	HOLDS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	      MAP_FAILED);
}

static void test_what_the_agent_does_works(void **state)
{
	(void)state;
	in_child(calls_work);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_four_capabilities_are_left),
		cmocka_unit_test(test_what_is_not_there_is_not_missed),
		cmocka_unit_test(test_with_threads_nothing_is_dropped),
		cmocka_unit_test(test_calls_that_no_agent_makes_are_refused),
		cmocka_unit_test(test_what_the_agent_does_works),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
