// SPDX-License-Identifier: BSD-2-Clause
#include "tools/lib/option_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/lib/log.h"

int option_number(const char *name, const char *text, double min, double max, double *ret)
{
	char *end;
	double x;

	errno = 0;
	x = strtod(text, &end);
	if (errno || end == text || *end || !(x >= min && x <= max)) {
		log_error("--%s: \"%s\" is not a number from %.10g to %.10g", name, text, min, max);
		return -EINVAL;
	}
	*ret = x;
	return 0;
}

int option_count(const char *name, const char *text, double min, double max, uint64_t *ret)
{
	double x;
	int r;

	if (!*text || strspn(text, "0123456789") != strlen(text)) {
		log_error("--%s: \"%s\" is not an integer from %.10g to %.10g", name, text, min,
			  max);
		return -EINVAL;
	}
	r = option_number(name, text, min, max, &x);
	if (r >= 0)
		*ret = (uint64_t)x;
	return r;
}
