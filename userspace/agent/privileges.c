// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/privileges.h"

#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

/* The leak checker looks at the process from outside, by calls that no filter of ours has. */
#ifdef __SANITIZE_ADDRESS__
#define FILTERED 0
#else
#define FILTERED 1
#endif

#define BINARY_TREE	2 /* of libseccomp: a search among the calls, not a walk along them */
#define THREADS_WAIT_MS 2000
#define THREADS_POLL_MS 10

/* --- capabilities ----------------------------------------------------------------------------- */

static const unsigned int kept[] = {CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_NET_BIND_SERVICE};

bool privileges_admin(void)
{
	return capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN);
}

static int drop_capabilities(void)
{
	bool have[ARRAY_SIZE(kept)];
	capng_select_t sets = CAPNG_SELECT_CAPS;

	if (capng_get_caps_process() < 0)
		return -EIO;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		have[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		sets = CAPNG_SELECT_BOTH; /* the bounding set too */
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (have[i])
			(void)capng_update(CAPNG_ADD,
					   CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
					   kept[i]);
	return capng_apply(sets) < 0 ? -EPERM : 0;
}

/* --- threads ---------------------------------------------------------------------------------- */

static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *e;
	int n = 0;

	if (!dir)
		return -errno;
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int wait_alone(void)
{
	const struct timespec pause = {.tv_nsec = THREADS_POLL_MS * 1000000L};
	int n;

	for (int waited_ms = 0; (n = count_threads()) > 1; waited_ms += THREADS_POLL_MS) {
		if (waited_ms >= THREADS_WAIT_MS)
			return -EBUSY;
		(void)nanosleep(&pause, NULL);
	}
	return n < 0 ? n : 0;
}

/* --- system calls ----------------------------------------------------------------------------- */

#define ANY(name) SCMP_SYS(name)

/* Whatever their arguments. Numbers that this architecture lacks are negative and left out. */
static const int allowed[] = {
	/* the loop, time, signals, threads */
	ANY(epoll_create1), ANY(epoll_ctl), ANY(epoll_wait), ANY(epoll_pwait), ANY(epoll_pwait2),
	ANY(poll), ANY(ppoll), ANY(select), ANY(pselect6), ANY(eventfd2), ANY(signalfd4),
	ANY(timerfd_create), ANY(timerfd_settime), ANY(timerfd_gettime), ANY(inotify_init1),
	ANY(inotify_add_watch), ANY(inotify_rm_watch), ANY(pidfd_open), ANY(waitid),
	ANY(clock_gettime), ANY(clock_getres), ANY(clock_nanosleep), ANY(nanosleep),
	ANY(gettimeofday), ANY(time), ANY(rt_sigaction), ANY(rt_sigprocmask), ANY(rt_sigreturn),
	ANY(rt_sigtimedwait), ANY(rt_sigpending), ANY(sigaltstack), ANY(restart_syscall),
	ANY(clone), ANY(futex), ANY(set_robust_list), ANY(get_robust_list), ANY(set_tid_address),
	ANY(rseq), ANY(membarrier), ANY(gettid), ANY(sched_yield), ANY(sched_getaffinity),
	ANY(sched_getparam), ANY(sched_getscheduler), ANY(getpriority), ANY(setpriority),
	ANY(getcpu), ANY(exit), ANY(exit_group),
	/* memory */
	ANY(brk), ANY(munmap), ANY(mremap), ANY(madvise), ANY(mlock), ANY(munlock), ANY(mincore),
	ANY(memfd_create),
	/* who and where */
	ANY(getpid), ANY(getppid), ANY(getuid), ANY(geteuid), ANY(getgid), ANY(getegid),
	ANY(getgroups), ANY(getresuid), ANY(getresgid), ANY(capget), ANY(uname), ANY(sysinfo),
	ANY(getrusage), ANY(times), ANY(prlimit64), ANY(getrlimit), ANY(getrandom), ANY(getcwd),
	ANY(umask), ANY(arch_prctl), ANY(prctl),
	/* files */
	ANY(open), ANY(openat), ANY(close), ANY(close_range), ANY(read), ANY(readv), ANY(pread64),
	ANY(preadv), ANY(preadv2), ANY(write), ANY(writev), ANY(pwrite64), ANY(pwritev),
	ANY(pwritev2), ANY(lseek), ANY(stat), ANY(lstat), ANY(fstat), ANY(newfstatat), ANY(statx),
	ANY(statfs), ANY(fstatfs), ANY(access), ANY(faccessat), ANY(faccessat2), ANY(readlink),
	ANY(readlinkat), ANY(getdents64), ANY(fcntl), ANY(flock), ANY(dup), ANY(dup2), ANY(dup3),
	ANY(pipe), ANY(pipe2), ANY(sendfile), ANY(splice), ANY(ftruncate), ANY(fsync),
	ANY(fdatasync), ANY(fadvise64), ANY(unlink), ANY(unlinkat), ANY(rename), ANY(renameat),
	ANY(renameat2), ANY(mkdir), ANY(mkdirat), ANY(rmdir), ANY(chmod), ANY(fchmod),
	ANY(fchmodat), ANY(ioctl),
	/* the network; socket() itself is below */
	ANY(socketpair), ANY(bind), ANY(connect), ANY(listen), ANY(accept), ANY(accept4),
	ANY(shutdown), ANY(getsockname), ANY(getpeername), ANY(getsockopt), ANY(setsockopt),
	ANY(sendto), ANY(sendmsg), ANY(sendmmsg), ANY(recvfrom), ANY(recvmsg), ANY(recvmmsg),
	/* the kernel's side */
	ANY(bpf), ANY(perf_event_open),
};

static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

/* Memory is written to or run, not both. */
static int allow_memory(scmp_filter_ctx ctx, int call)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
				 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (r < 0)
		return r;
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
				SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC));
}

/* Signals to this process only: what abort() and thread libraries send. */
static int allow_own_signals(scmp_filter_ctx ctx)
{
	scmp_datum_t pid = (scmp_datum_t)getpid();
	int r;

	r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, pid));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1,
				     SCMP_A0(SCMP_CMP_EQ, pid));
	return r;
}

static int allow_all(scmp_filter_ctx ctx)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(allowed) && r == 0; i++)
		if (allowed[i] >= 0)
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; i < ARRAY_SIZE(families) && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
	if (r == 0)
		r = allow_memory(ctx, SCMP_SYS(mmap));
	if (r == 0)
		r = allow_memory(ctx, SCMP_SYS(mprotect));
	if (r == 0)
		r = allow_own_signals(ctx);
	/* Its flags cannot be seen; the C library then falls back to clone(). */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

int privileges_filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r;

	if (!ctx)
		return -ENOMEM;
	r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, BINARY_TREE);
	if (r == 0)
		r = allow_all(ctx);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

/* --- all together ----------------------------------------------------------------------------- */

int privileges_drop(const char **ret_what)
{
	int r;

	*ret_what = "threads still run";
	r = wait_alone();
	if (r < 0)
		return r;
	*ret_what = "capabilities";
	r = drop_capabilities();
	if (r < 0)
		return r;
	*ret_what = "no_new_privs";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	*ret_what = "system call filter";
	return FILTERED ? privileges_filter() : 0;
}
