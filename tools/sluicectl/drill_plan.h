/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arguments of `sluicectl drill`, and the file they may name -> what is to be done.
 *
 * URLs are to be asked from where clients are, and not from the ingress host; the agent's socket
 * comes along by `ssh -L FILE:/run/sluice/sluice.sock HOST` and `sluicectl --socket FILE drill`.
 *
 * The file is a JSON object; each key may also be given as an option, which counts then:
 *
 *	nodes		--nodes A,B	names, "node" or "pool/node", in the order of the drill
 *	pool		--pool NAME	instead: all nodes of a pool
 *	urls		--url URL	asked all the while from this host, through a VIP; may be
 *					repeated
 *	body		--body FILE	JSON that is posted there; without it: GET. (In the file: the
 *					JSON itself.)
 *	ca_file		--ca-file FILE	for https
 *	probe		--no-probe	false: no URL, nothing is asked
 *	min_capacity	--min-capacity	"60%": so much of a pool's capacity must be left
 *	deadline	--deadline	"5m": for a node's connections to end; nothing is ever cut off
 *	settle		--settle	"1m": for a node to be healthy again
 *	pause		--pause		"1s": between two nodes
 *	interval	--interval	"200ms": between two requests
 *	timeout		--timeout	"5s": of a request
 *	allow		--allow N	requests that may fail
 *			--dry-run	look, and do nothing
 */
#ifndef SLUICECTL_DRILL_PLAN_H
#define SLUICECTL_DRILL_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define DRILL_NODES_MAX 1000
#define DRILL_URLS_MAX	8
#define DRILL_ERROR_MAX 256

struct drill_plan {
	json_t *json; /* owner of all strings below */
	const char *nodes[DRILL_NODES_MAX];
	size_t n_nodes;
	const char *pool; /* NULL: by nodes */
	const char *urls[DRILL_URLS_MAX];
	size_t n_urls; /* 0 only with no_probe */
	char *body;    /* NULL: GET */
	const char *ca_file;
	bool no_probe;
	bool dry_run;
	double min_capacity; /* 0..1 */
	int64_t deadline_ms;
	int64_t settle_ms;
	int64_t pause_ms;
	int64_t interval_ms;
	int64_t timeout_ms;
	uint32_t allow;
};

/*
 * Returns 0 and a plan for drill_plan_free(); -EINVAL with one line in err that names the option or
 * key; -errno for a file that cannot be read, likewise.
 */
int drill_plan_read(int argc, char **argv, struct drill_plan *ret_plan, char err[DRILL_ERROR_MAX]);

/* Accepts a zeroed plan; clears it. */
void drill_plan_free(struct drill_plan *plan);

#endif
