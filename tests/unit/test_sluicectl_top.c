// SPDX-License-Identifier: BSD-2-Clause
/* sluicectl top: counters of two moments -> what each node got a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/sluicectl/top_rates.c"

static json_t *node(const char *pool, const char *name, int id, int flows, int packets, int bytes)
{
	return json_pack("{ss ss si ss sf s{si si si} s{si sn}}", "pool", pool, "name", name, "id",
			 id, "state", "healthy", "effective_weight", 2.0, "counters", "new_flows",
			 flows, "packets", packets, "bytes", bytes, "load", "running", 7, "kv");
}

static double value(const json_t *rates, size_t i, const char *key)
{
	const json_t *v = json_object_get(json_array_get(rates, i), key);

	assert_true(json_is_number(v));
	return json_number_value(v);
}

static void near(double got, double want)
{
	if (got < want - 1e-9 || got > want + 1e-9)
		fail_msg("%g, expected %g", got, want);
}

static void differences_are_by_second_and_shares_by_pool(void **state)
{
	json_t *before = json_pack("[ooo]", node("a", "n1", 1, 10, 100, 1000),
				   node("a", "n2", 2, 20, 200, 2000), node("b", "n1", 3, 5, 5, 5));
	json_t *after = json_pack("[ooo]", node("a", "n1", 1, 40, 700, 9000),
				  node("a", "n2", 2, 30, 200, 2000), node("b", "n1", 3, 5, 6, 7));
	json_t *rates = top_rates(before, after, 2);

	(void)state;
	near(value(rates, 0, "new_flows_per_s"), 15);
	near(value(rates, 0, "packets_per_s"), 300);
	near(value(rates, 0, "bits_per_s"), 32000);
	near(value(rates, 0, "share"), 0.75);
	near(value(rates, 0, "running"), 7);
	assert_true(json_is_null(json_object_get(json_array_get(rates, 0), "kv")));
	near(value(rates, 1, "share"), 0.25);
	near(value(rates, 1, "packets_per_s"), 0);
	near(value(rates, 2, "bits_per_s"), 8);
	assert_true(json_is_null(json_object_get(json_array_get(rates, 2), "share")));
	json_decref(before);
	json_decref(after);
	json_decref(rates);
}

static void nodes_that_come_go_or_begin_anew_have_nothing_negative(void **state)
{
	json_t *before = json_pack("[ooo]", node("a", "gone", 1, 10, 10, 10),
				   node("a", "stays", 2, 10, 10, 10),
				   node("a", "anew", 3, 1000, 1000, 1000));
	json_t *after = json_pack("[oooo]", node("a", "new", 4, 9000, 9000, 9000),
				  node("a", "anew", 3, 5, 5, 5), node("a", "stays", 2, 16, 10, 10),
				  node("a", "gone", 9, 70, 70, 70));
	json_t *rates = top_rates(before, after, 1);

	(void)state;
	assert_int_equal(json_array_size(rates), 4);
	near(value(rates, 0, "new_flows_per_s"), 0);
	near(value(rates, 1, "new_flows_per_s"), 0);
	near(value(rates, 2, "new_flows_per_s"), 6);
	near(value(rates, 2, "share"), 1);
	near(value(rates, 3, "new_flows_per_s"), 0); /* another backend under the same name */
	json_decref(before);
	json_decref(after);
	json_decref(rates);
}

static void no_time_is_no_rate(void **state)
{
	json_t *before = json_pack("[o]", node("a", "n1", 1, 1, 1, 1));
	json_t *after = json_pack("[o]", node("a", "n1", 1, 9, 9, 9));
	json_t *rates = top_rates(before, after, 0);

	(void)state;
	near(value(rates, 0, "packets_per_s"), 0);
	json_decref(before);
	json_decref(after);
	json_decref(rates);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(differences_are_by_second_and_shares_by_pool),
		cmocka_unit_test(nodes_that_come_go_or_begin_anew_have_nothing_negative),
		cmocka_unit_test(no_time_is_no_rate),
	};

	return cmocka_run_group_tests_name("sluicectl top", tests, NULL, NULL);
}
