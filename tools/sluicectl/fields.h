/* SPDX-License-Identifier: BSD-2-Clause */
/* Values of a JSON object by key; "", 0 and false where there is none. */
#ifndef SLUICECTL_FIELDS_H
#define SLUICECTL_FIELDS_H

#include <jansson.h>
#include <stdbool.h>

static inline const char *str(const json_t *json, const char *key)
{
	const char *s = json_string_value(json_object_get(json, key));

	return s ? s : "";
}

static inline long long num(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

static inline double real(const json_t *json, const char *key)
{
	return json_number_value(json_object_get(json, key));
}

static inline bool flag(const json_t *json, const char *key)
{
	return json_is_true(json_object_get(json, key));
}

#endif
