/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The compiled form of a metric expression: shared by the compiler (metricexpr.c) and the
 * evaluation (metricrun_internal.h), and nobody else's business.
 *
 * Nodes refer to each other by index. Operands come before what they are operands of.
 */
#ifndef SLUICE_AGENT_METRICEXPR_TREE_H
#define SLUICE_AGENT_METRICEXPR_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/agent/metricexpr.h"

#define METRIC_SELECTORS_MAX 24 /* in one expression, as are the next three */
#define METRIC_FILTERS_MAX   32
#define METRIC_VALUES_MAX    64
#define METRIC_STEPS_MAX     64
#define METRIC_NODE_NONE     UINT8_MAX

enum metric_node_kind {
	METRIC_NODE_NUMBER = 1,
	METRIC_NODE_SELECT,
	METRIC_NODE_AGG,    /* one operand */
	METRIC_NODE_BINARY, /* two operands */
	METRIC_NODE_FIRST,  /* one or more */
};

struct metric_node {
	enum metric_node_kind kind;
	bool many;     /* stands for a value per label set, not for one value */
	bool optional; /* `?` behind it */
	char op;       /* BINARY: + - * / */
	enum metric_agg agg;
	double number;
	uint8_t selector; /* SELECT: index */
	uint8_t operand;  /* the first one, or METRIC_NODE_NONE */
	uint8_t next;     /* the next operand of the same node, or METRIC_NODE_NONE */
};

struct metric_filter {
	const char *label;
	bool negated;
	uint8_t first_value;
	uint8_t n_values;
};

enum metric_step_kind {
	METRIC_STEP_KEY = 1,
	METRIC_STEP_INDEX,
	METRIC_STEP_ALL,
};

struct metric_step {
	enum metric_step_kind kind;
	const char *key;
	int32_t index; /* from the end if negative */
};

struct metric_selector {
	const char *text; /* as written */
	const char *name; /* Prometheus text */
	bool series;      /* its samples must be kept one by one */
	uint8_t first;    /* filter (Prometheus text) or step (JSON) */
	uint8_t n;
};

struct metric_expr {
	char *text;
	char *strings; /* owns what the const pointers below point to */
	enum metric_format format;
	bool optional;
	uint8_t root;
	uint8_t n_nodes;
	uint8_t n_selectors;
	uint8_t n_filters;
	uint8_t n_values;
	uint8_t n_steps;
	struct metric_node nodes[METRIC_EXPR_MAX_NODES];
	struct metric_selector selectors[METRIC_SELECTORS_MAX];
	struct metric_filter filters[METRIC_FILTERS_MAX];
	const char *values[METRIC_VALUES_MAX];
	struct metric_step steps[METRIC_STEPS_MAX];
};

#endif
