/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libbpf and libxdp print much, some of it warnings about failures that libxdp expects (it probes
 * what the kernel can do). All goes to the log at debug; what the kernel itself says about a
 * refusal (extended netlink acknowledgement) is kept for the one line the operator gets.
 */
#include <bpf/libbpf.h>
#include <string.h>
#include <xdp/libxdp.h>

#include "userspace/agent/attach_priv.h"
#include "userspace/lib/log.h"

#define KERNEL_SAYS "Kernel error message: "

/* Their callbacks carry no user data; one thread owns attach. */
static char reason[160];

static void take_line(const char *line)
{
	const char *at = strstr(line, KERNEL_SAYS);

	log_debug("%s", line);
	if (at)
		snprintf(reason, sizeof(reason), "%s", at + strlen(KERNEL_SAYS));
}

static int print_lines(const char *fmt, va_list ap)
{
	char text[8192], *rest = text, *line;
	int n = vsnprintf(text, sizeof(text), fmt, ap);

	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			take_line(line);
	}
	return n;
}

static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_DEBUG ? 0 : print_lines(fmt, ap);
}

static int print_libxdp(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	return level == LIBXDP_DEBUG ? 0 : print_lines(fmt, ap);
}

void attach_log_start(void)
{
	libbpf_set_print(print_libbpf);
	libxdp_set_print(print_libxdp);
}

const char *attach_log_reason(void)
{
	return reason;
}

void attach_log_clear(void)
{
	reason[0] = '\0';
}
