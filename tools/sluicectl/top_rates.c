// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/top_rates.h"

#include <string.h>

#include "tools/sluicectl/fields.h"

static const json_t *find(const json_t *nodes, const json_t *like)
{
	const json_t *node;
	size_t i;

	json_array_foreach(nodes, i, node)
		if (!strcmp(str(node, "pool"), str(like, "pool")) &&
		    !strcmp(str(node, "name"), str(like, "name")) && num(node, "id") == num(like, "id"))
			return node;
	return NULL;
}

static double rate(const json_t *before, const json_t *after, const char *key, double seconds)
{
	long long n = num(json_object_get(after, "counters"), key) -
		      num(json_object_get(before, "counters"), key);

	return before && n > 0 && seconds > 0 ? (double)n / seconds : 0;
}

/* Where it was last time, if the list did not change; else wherever it is. */
static const json_t *earlier(const json_t *before, size_t i, const json_t *node)
{
	const json_t *guess = json_array_get(before, i);

	return guess && !strcmp(str(guess, "name"), str(node, "name")) &&
			       !strcmp(str(guess, "pool"), str(node, "pool")) &&
			       num(guess, "id") == num(node, "id")
		       ? guess
		       : find(before, node);
}

static json_t *rates_of(const json_t *before, const json_t *node, double seconds)
{
	const json_t *load = json_object_get(node, "load");

	return json_pack("{ss ss ss sf sf sf sf sn sO? sO? sO?}", "pool", str(node, "pool"), "name",
			 str(node, "name"), "state", str(node, "state"), "effective_weight",
			 real(node, "effective_weight"), "new_flows_per_s",
			 rate(before, node, "new_flows", seconds), "packets_per_s",
			 rate(before, node, "packets", seconds), "bits_per_s",
			 8 * rate(before, node, "bytes", seconds), "share", "queue",
			 json_object_get(load, "queue"), "running",
			 json_object_get(load, "running"), "kv", json_object_get(load, "kv"));
}

/* Nodes of a pool stand together. */
static void set_shares(json_t *rates)
{
	size_t n = json_array_size(rates), end;

	for (size_t i = 0; i < n; i = end) {
		const char *pool = str(json_array_get(rates, i), "pool");
		double sum = 0;

		for (end = i; end < n && !strcmp(str(json_array_get(rates, end), "pool"), pool); end++)
			sum += real(json_array_get(rates, end), "new_flows_per_s");
		for (size_t k = i; sum > 0 && k < end; k++) {
			json_t *node = json_array_get(rates, k);

			json_object_set_new(node, "share",
					    json_real(real(node, "new_flows_per_s") / sum));
		}
	}
}

json_t *top_rates(const json_t *before, const json_t *after, double seconds)
{
	json_t *rates = json_array();
	const json_t *node;
	size_t i;

	json_array_foreach(after, i, node)
		json_array_append_new(rates, rates_of(earlier(before, i, node), node, seconds));
	set_shares(rates);
	return rates;
}
