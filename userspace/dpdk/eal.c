// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/dpdk/eal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "userspace/dpdk/devices.h"
#include "userspace/lib/cleanup.h"

#define ARGS_MAX   128
#define MEMORY_MIB "256" /* without huge pages, which are taken as needed */
#define SAID_MAX   8192

struct args {
	char *v[ARGS_MAX + 1];
	int n;
	char text[4096]; /* of those made here */
	size_t used;
};

__attribute__((format(printf, 3, 4))) static int fail(char *err, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, DPDK_ERROR_MAX, fmt, ap);
	va_end(ap);
	return r;
}

/* --- arguments -------------------------------------------------------------------------------- */

static void add(struct args *a, const char *text)
{
	size_t len = strlen(text) + 1;

	if (a->n == ARGS_MAX || len > sizeof(a->text) - a->used)
		return;
	memcpy(a->text + a->used, text, len);
	a->v[a->n++] = a->text + a->used;
	a->used += len;
}

static bool has(const struct args *a, const char *prefix)
{
	for (int i = 0; i < a->n; i++)
		if (!strncmp(a->v[i], prefix, strlen(prefix)))
			return true;
	return false;
}

/* Only the devices that are named: DPDK would take every one it has a driver for. */
static void add_devices(struct args *a, const struct config *cfg)
{
	bool any = false;

	for (uint32_t i = 0; i < cfg->n_interfaces; i++) {
		const char *device = cfg->interfaces[i].device;

		if (!device || !device_is_pci(device))
			continue;
		add(a, "-a");
		add(a, device);
		any = true;
	}
	if (!any)
		add(a, "--no-pci");
}

static void add_cores(struct args *a, const struct config *cfg)
{
	char first[16];
	cpu_set_t set;
	int cpu = 0;

	add(a, "-l");
	if (cfg->dpdk.cores) {
		add(a, cfg->dpdk.cores);
		return;
	}
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &set))
			cpu++;
	snprintf(first, sizeof(first), "%d", cpu);
	add(a, first);
}

/* What would end the process, or make it wait for another one for ever. */
static const char *unfit(const char *arg)
{
	if (!strcmp(arg, "-h") || !strcmp(arg, "--help"))
		return "it would print DPDK's help and end";
	if (!strncmp(arg, "--proc-type", strlen("--proc-type")))
		return "sluice-dpdk shares its devices with no other process";
	return NULL;
}

static int check_args(const struct config *cfg, char **extra, int n_extra, char *err)
{
	for (int i = 0; i < (int)cfg->dpdk.n_eal_args + n_extra; i++) {
		const char *arg = i < n_extra ? extra[i] : cfg->dpdk.eal_args[i - n_extra];

		if (unfit(arg))
			return fail(err, -EINVAL, "argument %s for DPDK is not accepted: %s", arg,
				    unfit(arg));
	}
	return 0;
}

static void build(struct args *a, const struct config *cfg, char **extra, int n_extra)
{
	struct args given = {};

	for (uint32_t i = 0; i < cfg->dpdk.n_eal_args; i++)
		add(&given, cfg->dpdk.eal_args[i]);
	for (int i = 0; i < n_extra; i++)
		add(&given, extra[i]);
	add(a, "sluice-dpdk");
	if (!has(&given, "-l") && !has(&given, "-c") && !has(&given, "--lcores"))
		add_cores(a, cfg);
	add_devices(a, cfg);
	if (!cfg->dpdk.huge_pages)
		add(a, "--no-huge");
	if (!cfg->dpdk.huge_pages && !has(&given, "-m")) {
		add(a, "-m");
		add(a, MEMORY_MIB);
	}
	/* no files that a killed process leaves behind, and none that two processes fight over */
	if (!has(&given, "--in-memory") && !has(&given, "--file-prefix"))
		add(a, cfg->dpdk.huge_pages ? "--in-memory" : "--no-shconf");
	if (!has(&given, "--no-telemetry") && !has(&given, "--telemetry"))
		add(a, "--no-telemetry");
	for (int i = 0; i < given.n; i++)
		add(a, given.v[i]);
}

/* --- huge pages ------------------------------------------------------------------------------- */

static unsigned long read_number(const char *dir, const char *size, const char *file)
{
	_cleanup_fclose_ FILE *f = NULL;
	unsigned long n = 0;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s/%s", dir, size, file);
	f = fopen(path, "re");
	return f && fscanf(f, "%lu", &n) == 1 ? n : 0;
}

/* Free ones of any size, those included that may be made on demand. */
static unsigned long free_huge_pages(void)
{
	static const char dir[] = "/sys/kernel/mm/hugepages";
	DIR *d = opendir(dir);
	const struct dirent *e;
	unsigned long n = 0;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			n += read_number(dir, e->d_name, "free_hugepages") +
			     read_number(dir, e->d_name, "nr_overcommit_hugepages");
	if (d)
		closedir(d);
	return n;
}

/* --- start ------------------------------------------------------------------------------------ */

/* The first line of what DPDK said, without its prefix: the cause; consequences follow. */
static const char *first_line(char *said)
{
	char *line = said + strspn(said, "\n");

	line[strcspn(line, "\n")] = '\0';
	if (!strncmp(line, "EAL: ", 5))
		line += 5;
	return *line ? line : "no cause given";
}

static int swap_fd(int fd, int by)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	dup2(by, fd);
	return kept;
}

static void restore_fd(int fd, int kept)
{
	if (kept < 0)
		return;
	dup2(kept, fd);
	close(kept);
}

/* rte_eal_init(), with all that it prints (to both streams, usage included) in ret_said. */
static int init_quietly(struct args *a, char ret_said[SAID_MAX])
{
	_cleanup_close_ int fd = memfd_create("said", MFD_CLOEXEC);
	int out, err, r;
	ssize_t n;

	if (fd < 0)
		return -errno;
	fflush(stdout);
	out = swap_fd(STDOUT_FILENO, fd);
	err = swap_fd(STDERR_FILENO, fd);
	rte_openlog_stream(stderr);
	r = rte_eal_init(a->n, a->v);
	fflush(stdout);
	restore_fd(STDOUT_FILENO, out);
	restore_fd(STDERR_FILENO, err);
	n = pread(fd, ret_said, SAID_MAX - 1, 0);
	ret_said[n > 0 ? n : 0] = '\0';
	return r < 0 ? -(rte_errno ? rte_errno : EINVAL) : 0;
}

/* --- what it says later ----------------------------------------------------------------------- */

static char said_first[160];

static ssize_t keep_first(void *cookie, const char *text, size_t len)
{
	(void)cookie;
	if (!said_first[0])
		snprintf(said_first, sizeof(said_first), "%.*s", (int)strcspn(text, "\n"), text);
	return (ssize_t)len;
}

static void log_to_memory(void)
{
	FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){.write = keep_first});

	if (!f)
		return;
	setvbuf(f, NULL, _IOLBF, 0);
	rte_openlog_stream(f);
}

void eal_log_all(void)
{
	rte_openlog_stream(stderr);
	rte_log_set_global_level(RTE_LOG_DEBUG);
}

/* "EAL: …", "function(): …": that tells an operator nothing. */
const char *eal_said(void)
{
	const char *end = strstr(said_first, "(): ");

	if (end)
		return end + 4;
	return said_first + (strncmp(said_first, "EAL: ", 5) ? 0 : 5);
}

void eal_said_clear(void)
{
	said_first[0] = '\0';
}

int eal_start(const struct config *cfg, char **extra, int n_extra, char err[DPDK_ERROR_MAX])
{
	static struct args args; /* the EAL keeps pointers */
	char said[SAID_MAX];
	int r;

	r = check_args(cfg, extra, n_extra, err);
	if (r < 0)
		return r;
	build(&args, cfg, extra, n_extra);
	if (!has(&args, "--no-huge") && !free_huge_pages())
		return fail(err, -ENOMEM, "no free huge pages: reserve some (sysctl "
			    "vm.nr_hugepages=256), or set dpdk.huge_pages: false");
	rte_log_set_global_level(RTE_LOG_ERR);
	r = init_quietly(&args, said);
	log_to_memory();
	if (r < 0)
		return fail(err, r, "DPDK does not start: %s%s%s%s", first_line(said),
			    cfg->dpdk.cores ? " (dpdk.cores: " : "",
			    cfg->dpdk.cores ? cfg->dpdk.cores : "", cfg->dpdk.cores ? ")" : "");
	return 0;
}
