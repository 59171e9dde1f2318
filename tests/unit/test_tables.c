/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/tables.h"

static void test_alloc_sizes(void **state)
{
	struct tables t;

	(void)state;
	assert_int_equal(tables_alloc(3, 4, &t), 0);
	assert_int_equal(t.control->abi, LB_ABI_VERSION);
	assert_int_equal(t.control->epoch, 1);
	assert_int_equal(t.control->n_cpus, 4);
	assert_int_equal(t.n_pools, 3);
	assert_int_equal(t.flows_fd, -1);
	/* the last byte of every region is there (the sanitizer or a fault would tell) */
	t.slots[3 * LB_SLOTS_MAX - 1].exc = 1;
	t.vip_stats[4 * LB_VIPS_MAX - 1].promoted = 1;
	t.backend_stats[4 * LB_BACKENDS_MAX - 1].promoted = 1;
	t.reasons[4 * LB_REASONS_MAX - 1] = 1;
	t.turns[2 * LB_POOLS_MAX - 1].backend[LB_TURNS_MAX - 1] = 1;
	t.members[2 * LB_POOLS_MAX - 1].backend[LB_MEMBERS_MAX - 1] = 1;
	t.limits[3].entries_left = 1;
	t.recent[LB_RECENT_CELLS - 1].mark[1] = 1;
	t.vip_index[LB_VIP_BUCKETS - 1].kind = 1;
	t.backend_info[LB_BACKENDS_MAX - 1].tier = 1;
	tables_close(&t);
	assert_null(t.control);
	tables_close(&t);
}

static void test_counts_are_summed_over_cpus(void **state)
{
	struct lb_count c;
	struct tables t;

	(void)state;
	assert_int_equal(tables_alloc(1, 3, &t), 0);
	for (uint32_t cpu = 0; cpu < 3; cpu++) {
		t.vip_stats[cpu * LB_VIPS_MAX + 7] =
			(struct lb_count){.packets = 1 + cpu, .bytes = 100, .flows = cpu,
					  .entries = UINT32_MAX - cpu, .promoted = 2};
		t.backend_stats[cpu * LB_BACKENDS_MAX + 8191].bytes = 10;
		t.reasons[cpu * LB_REASONS_MAX + LB_R_TTL] = 5;
	}
	t.vip_stats[8].packets = 99; /* a neighbour, not to be counted */
	tables_vip_count(&t, 7, &c);
	assert_int_equal(c.packets, 6);
	assert_int_equal(c.bytes, 300);
	assert_int_equal(c.flows, 3);
	assert_int_equal(c.entries, UINT32_MAX - 5); /* modulo 2^32 */
	assert_int_equal(c.promoted, 6);
	tables_backend_count(&t, 8191, &c);
	assert_int_equal(c.bytes, 30);
	assert_int_equal(tables_reason(&t, LB_R_TTL), 15);
	assert_int_equal(tables_reason(&t, LB_R_OK), 0);
	tables_close(&t);
}

static void test_reason_names_are_there_and_distinct(void **state)
{
	(void)state;
	assert_string_equal(tables_reason_name(LB_R_BAD_IHL), "bad_ihl");
	assert_string_equal(tables_reason_name(LB_EV_FLOW_ADDED), "flow_added");
	assert_non_null(tables_reason_text(LB_R_INTERNAL));
	assert_null(tables_reason_name(LB_R_N));
	assert_null(tables_reason_name(LB_REASONS_MAX));
	for (uint32_t i = 0; i < LB_REASONS_MAX; i++) {
		for (uint32_t j = 0; j < i && tables_reason_name(i); j++) {
			if (tables_reason_name(j))
				assert_string_not_equal(tables_reason_name(i),
							tables_reason_name(j));
		}
	}
	for (uint32_t i = 0; i < LB_R_N; i++)
		assert_non_null(tables_reason_name(i));
	for (uint32_t i = LB_EV_FIRST + 1; i < LB_EV_N; i++)
		assert_non_null(tables_reason_name(i));
}

static void test_zeroed_struct_may_be_closed(void **state)
{
	struct tables t = {0};

	(void)state;
	tables_close(&t); /* must not close descriptor 0 */
	tables_close(NULL);
	assert_int_equal(tables_open("/nonexistent", &t), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc_sizes),
		cmocka_unit_test(test_counts_are_summed_over_cpus),
		cmocka_unit_test(test_reason_names_are_there_and_distinct),
		cmocka_unit_test(test_zeroed_struct_may_be_closed),
	};

	return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}
