// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/discovery_answer.h"

#include <errno.h>
#include <stdlib.h>

void discovery_answer_free(struct discovery_answer *answer)
{
	free(answer->targets);
	*answer = (struct discovery_answer){0};
}

int discovery_answer_add(struct discovery_answer *answer, const struct discovery_target *target)
{
	struct discovery_target *targets = answer->targets;

	/* Room doubles: full at every power of two. */
	if ((answer->n & (answer->n - 1)) == 0) {
		targets = reallocarray(targets, answer->n ? 2 * (size_t)answer->n : 1,
				       sizeof(*targets));
		if (!targets)
			return -ENOMEM;
		answer->targets = targets;
	}
	targets[answer->n++] = *target;
	return 0;
}

static int compare(const void *pa, const void *pb)
{
	const struct discovery_target *a = pa, *b = pb;

	return endpoint_compare(&a->endpoint, &b->endpoint);
}

const struct endpoint *discovery_answer_finish(struct discovery_answer *answer)
{
	struct discovery_target *t = answer->targets;
	const struct endpoint *twice = NULL;
	uint32_t n = 0;

	if (answer->n)
		qsort(t, answer->n, sizeof(*t), compare);
	for (uint32_t i = 0; i < answer->n; i++) {
		if (n && endpoint_equal(&t[n - 1].endpoint, &t[i].endpoint)) {
			if (!twice)
				twice = &t[n - 1].endpoint;
			continue;
		}
		t[n++] = t[i];
	}
	answer->n = n;
	return twice;
}

const struct discovery_target *discovery_answer_find(const struct discovery_answer *answer,
						     const struct endpoint *endpoint)
{
	const struct discovery_target key = {.endpoint = *endpoint};

	if (!answer->n)
		return NULL;
	return bsearch(&key, answer->targets, answer->n, sizeof(key), compare);
}
