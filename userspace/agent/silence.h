/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes that do not answer -> is that theirs, or the fault of the way to all of them?
 *
 * A check that ends without a word is lost on the way as easily as it is ignored by a dead node: a
 * switch restarts, a flood fills the data path, this host has no processor time left. Then nodes
 * fall silent together, and taking them for dead would reset every live stream, each of them
 * seconds of a GPU, because of something that TCP gets over by itself. So what tells a dead node is
 * that others on the same way answer while it does not. If they do, but lose some checks as well,
 * it must be silent for longer than bad luck explains.
 *
 * What a node says (an answer, a refusal, a reset) needs no witness and is not dealt with here.
 *
 * Pure. Times are milliseconds of the monotonic clock.
 */
#ifndef SLUICE_AGENT_SILENCE_H
#define SLUICE_AGENT_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

#define SILENCE_SOON_MS	 500   /* an answer within this says that the way is good */
#define SILENCE_ALL_MS	 30000 /* all silent for so long, and nothing here explains it: they count */
#define SILENCE_PEERS	 64    /* nodes that are asked about the way */
#define SILENCE_LOSS_MIN 0.02  /* what is lost on a way that is in order */
#define SILENCE_CHANCE	 1e-6  /* bad luck as rare as this is none */

/* What was heard of a node. All zero: nothing yet. */
struct silence {
	double loss;	  /* share of checks and scrapes of late that were not answered */
	int64_t asked_ms; /* start of the latest one that was answered soon; 0: none */
	uint32_t n;	  /* checks in a row without a word */
	int64_t since_ms; /* when the first of them ended; of a single one: when it began */
	int64_t ended_ms; /* when the latest of them did */
};

/* A check or a scrape that began at started_ms brought a word. */
void silence_word(struct silence *s, int64_t started_ms, int64_t now_ms);

/* A check or a scrape ended without one. */
void silence_nothing(struct silence *s);

/* The same of checks only, for the row. */
void silence_row_ends(struct silence *s);
void silence_row_grows(struct silence *s, int64_t started_ms, int64_t now_ms);

/* What speaks for a node that is silent. */
struct silence_case {
	uint32_t n;	  /* its checks in a row, this one included */
	int64_t for_ms;	  /* silence.since_ms to now */
	uint32_t n_peers; /* others that ought to answer by the same way; only whether there are */
	uint32_t n_heard; /* … that were asked since, and answered soon: as many as are in peers */
	double peers[SILENCE_PEERS]; /* their loss; sorted by silence_is_doubtful() */
	double lossy;	  /* share of checks that the data path or this host is known to lose */
};

/* May an end of so many checks in a row without a word have another cause than the node? */
bool silence_is_doubtful(struct silence_case *c);

#endif
