// SPDX-License-Identifier: BSD-2-Clause
/* What of a flood of SYNs counts as load: the agent's share, and the core's use of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/packet/env_native.h"

#include "bpf/core/select.h"
#include "userspace/agent/synshare.h"

#define VIP 7
#define NOW 5000

static void test_share_is_that_of_connections(void **state)
{
	(void)state;
	assert_int_equal(synshare_of(0, 0), 0);
	assert_int_equal(synshare_of(SYNSHARE_LEAST - 1, 0), 0); /* too few to be a flood */
	assert_int_equal(synshare_of(SYNSHARE_LEAST, 0), 1);	   /* never none: 0 would be all */
	assert_int_equal(synshare_of(1000, 900), 0);
	assert_int_equal(synshare_of(1000, 1200), 0); /* followed up from the step before */
	assert_int_equal(synshare_of(1000, 250), 64);
	assert_int_equal(synshare_of(4000000000u, 1000000000), 64);
}

/* A second of so many entries and connections; the share that follows. */
static uint32_t second(struct synshare *s, uint64_t *now, uint32_t entries, uint32_t promoted)
{
	s->t->vip_stats[VIP].entries += entries;
	s->t->vip_stats[LB_VIPS_MAX + VIP].promoted += promoted; /* on another CPU */
	*now += SYNSHARE_STEP_MS;
	synshare_step(s, *now);
	return s->t->vips[VIP].syn_share;
}

static void test_a_flood_sets_the_share_and_its_end_clears_it(void **state)
{
	struct synshare s;
	struct tables t;
	uint64_t now = NOW;

	(void)state;
	assert_int_equal(tables_alloc(1, 2, &t), 0);
	t.vips[VIP].flags = LB_VIP_F_ACTIVE;
	t.vip_stats[VIP].entries = UINT32_MAX - 100; /* it wraps */
	synshare_init(&s, &t);
	synshare_step(&s, now);
	assert_int_equal(second(&s, &now, 5000, 5000), 0);
	assert_int_equal(second(&s, &now, 10000, 1250), 32);
	t.vip_stats[VIP].entries += 100000;
	synshare_step(&s, now + SYNSHARE_STEP_MS - 1); /* not yet */
	assert_int_equal(t.vips[VIP].syn_share, 32);
	t.vip_stats[VIP].entries -= 100000;
	for (int i = 1; i < SYNSHARE_KEEP_MS / SYNSHARE_STEP_MS; i++)
		assert_int_equal(second(&s, &now, 10, 5), 32); /* hardly a second choice */
	assert_int_equal(second(&s, &now, 10, 5), 0);
	tables_close(&t);
}

static void test_only_the_share_counts_as_load(void **state)
{
	struct lb_load load[1 + 1] = {0};
	struct lb_vip vip = {.syn_share = 64};

	(void)state;
	for (uint32_t hash = 0; hash < 40000; hash++)
		lb_load_add(&vip, hash * 0x9e3779b1u, &load[1]);
	assert_in_range(load[1].inc, 9500, 10500);
	load[1].inc = 0;
	vip.syn_share = 0;
	for (uint32_t hash = 0; hash < 1000; hash++)
		lb_load_add(&vip, hash, &load[1]);
	assert_int_equal(load[1].inc, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share_is_that_of_connections),
		cmocka_unit_test(test_a_flood_sets_the_share_and_its_end_clears_it),
		cmocka_unit_test(test_only_the_share_counts_as_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
