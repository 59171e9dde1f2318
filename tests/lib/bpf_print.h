/* SPDX-License-Identifier: BSD-2-Clause */
/* What libbpf says of a program that the kernel refused, cut to what can be read. */
#ifndef TESTS_LIB_BPF_PRINT_H
#define TESTS_LIB_BPF_PRINT_H

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>

/* For libbpf_set_print(). The verifier's log is a novel; its end says what is wrong. */
static inline int bpf_print_end(enum libbpf_print_level level, const char *format, va_list ap)
{
	static char text[1 << 20];
	int n;

	if (level == LIBBPF_DEBUG)
		return 0;
	n = vsnprintf(text, sizeof(text), format, ap);
	if (n >= (int)sizeof(text))
		n = sizeof(text) - 1;
	return fputs(n > 1500 ? text + n - 1500 : text, stderr);
}

#endif
