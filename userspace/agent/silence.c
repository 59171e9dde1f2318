// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/silence.h"

#include <math.h>
#include <stdlib.h>

#define MEMORY	  8    /* checks and scrapes that `loss` remembers, more or less */
#define LOSS_MOST 0.95 /* or no node could ever be found dead */

static void note(struct silence *s, double lost)
{
	s->loss += (lost - s->loss) / MEMORY;
}

void silence_word(struct silence *s, int64_t started_ms, int64_t now_ms)
{
	note(s, 0);
	if (now_ms - started_ms <= SILENCE_SOON_MS)
		s->asked_ms = started_ms;
}

void silence_nothing(struct silence *s)
{
	note(s, 1);
}

void silence_row_ends(struct silence *s)
{
	s->n = 0;
}

/*
 * From the second on, those who are to speak for the way must have been asked after the first had
 * ended: what broke the way in the middle of the first came before that.
 */
void silence_row_grows(struct silence *s, int64_t started_ms, int64_t now_ms)
{
	if (s->n == 0)
		s->since_ms = started_ms;
	else if (s->n == 1)
		s->since_ms = s->ended_ms;
	s->ended_ms = now_ms;
	if (s->n < UINT32_MAX)
		s->n++;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of what the peers lose: a few bad ones among them say nothing of the way. */
static double median(struct silence_case *c)
{
	qsort(c->peers, c->n_heard, sizeof(c->peers[0]), compare);
	return c->peers[c->n_heard / 2];
}

bool silence_is_doubtful(struct silence_case *c)
{
	double loss = c->lossy;

	if (c->n_heard)
		loss = fmax(loss, median(c));
	else if (c->n_peers && (c->for_ms < SILENCE_ALL_MS || loss > SILENCE_LOSS_MIN))
		return true;
	if (loss <= SILENCE_LOSS_MIN)
		return false;
	return pow(fmin(loss, LOSS_MOST), c->n) > SILENCE_CHANCE;
}
