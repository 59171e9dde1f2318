/* SPDX-License-Identifier: BSD-2-Clause */
/* The agent's JSON -> text for people. */
#ifndef SLUICECTL_SHOW_H
#define SLUICECTL_SHOW_H

#include <jansson.h>

#include "tools/sluicectl/table.h"

void show_json(const json_t *json);
void show_status(const json_t *json);
void show_backends(const json_t *json);
void show_vips(const json_t *json);

/* The first `most` of these nodes, with what is the matter. */
void show_not_healthy(const json_t *nodes, size_t most);

/* Of a cell with a node's state. */
enum table_colour show_colour_of_state(const char *state);

/* "1.5 min": milliseconds for people. */
const char *show_ms(char *buf, size_t size, json_int_t ms);

#endif
