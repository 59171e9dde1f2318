/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Probe results, load samples, the operator's orders and the clock -> state of one node
 * (DESIGN: "Health and load"), and when it is to be probed next.
 *
 * Pure: no clock, no I/O, no allocation, no logging. Each function that can change the state
 * returns whether it did and says from what, to what and why; the caller logs and publishes.
 * Times are milliseconds of the monotonic clock.
 */
#ifndef SLUICE_AGENT_HEALTH_H
#define SLUICE_AGENT_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/backend.h"
#include "userspace/agent/score.h"

#define HEALTH_CAUSE_MAX 192
#define HEALTH_FLAPS_MAX 32 /* changes remembered for damping; flap_changes is below it */

/* From configuration; ratios are fractions of one. health_settings_default() fills DESIGN's. */
struct health_settings {
	/* probes */
	int64_t interval_ms;         /* 1000 */
	double jitter_ratio;         /* 0.1 */
	int64_t timeout_ms;          /* 5000; a probe without an answer counts as this long */
	uint32_t rise;               /* 2 passes */
	uint32_t fall;               /* 3 failures */
	int64_t refused_interval_ms; /* 200: the next probe after "refused" */
	uint32_t refused_fall;       /* 2 refusals */
	int64_t busy_ms;             /* 30000: accepted but unanswered for so long is down if there
					is no progress counter to ask */
	int64_t progress_ms;         /* 10000: progress seen within this is "it works" */
	/* judgement of what works */
	int64_t hung_ms;               /* 60000: running and no progress; 0: never. A counter that
					  nobody saw move, here or on another node, proves nothing */
	int64_t warm_up_ms;            /* 30000; 0: full weight at once */
	double warm_up_start_ratio;    /* 0.1 */
	uint32_t warm_up_steps;        /* 4, from the start to full weight */
	uint32_t samples;              /* 3 in a row, over or under */
	double kv_high_ratio;          /* 0.95: at or above */
	double kv_low_ratio;           /* 0.90: at or below */
	double gpu_memory_high_ratio;  /* 0.95: above */
	double gpu_memory_low_ratio;   /* 0.92: at or below */
	double queue_outlier;          /* 4 times the pool's median; 0: never. Leaves at half */
	double queue_outlier_min;      /* 8 waiting */
	double latency_high_ms;        /* smoothed time of a probe; 0: no fixed limit */
	double latency_outlier;        /* 5 times the pool's median; 0: never. Leaves at half */
	double latency_outlier_min_ms; /* 200 */
	double aborts_high;            /* aborted requests a second; 0: never. Leaves at half */
	int64_t self_drain_ms;         /* 30000 without aborts ends "draining by itself" */
	int64_t forget_ms;             /* 30000 without samples: what they said is forgotten; some
					  times the interval of probes and scrapes */
	/* damping */
	uint32_t flap_changes;    /* 6: more changes than this within the window; 0: never */
	int64_t flap_window_ms;   /* 300000 */
	int64_t flap_hold_ms;     /* 10000: first extra wait, doubling */
	int64_t flap_hold_max_ms; /* 300000 */
};

enum health_result {
	HEALTH_PASS = 1,        /* the answer the configuration expects */
	HEALTH_REFUSED,         /* connection refused, or closed by the node before any answer */
	HEALTH_UNREACHABLE,     /* connect timed out, no route, host unreachable */
	HEALTH_ANSWER_TIMEOUT,  /* accepted the connection, did not answer in time */
	HEALTH_STATUS_LOADING,  /* answered 503 or 400, or says in its body that it is loading */
	HEALTH_STATUS_DRAINING, /* answered that it wants no new work: "draining by itself" (its
				   live flows are kept, unlike after failures); ends with the next
				   pass */
	HEALTH_STATUS_BAD,      /* answered with another status that is not expected */
	HEALTH_GARBAGE,         /* answered something that is no answer: not HTTP, TLS failed */
	HEALTH_RESULT_N,
};

struct health_probe {
	enum health_result result;
	uint32_t http_status; /* 0: none */
	double rtt_ms;        /* of a probe that passed */
	int64_t started_ms;
	bool doubtful; /* silence, and the way may be to blame: counted, but not enough to be down */
	const char *detail; /* what came back, in words ("503 Loading model"), for the cause of a
			       change; NULL or "": none. Read during the call only */
};

enum health_origin {
	HEALTH_ORIGIN_START = 1, /* of this agent, no earlier knowledge */
	HEALTH_ORIGIN_ADOPTED,   /* found in the pinned maps, in state `adopted` */
	HEALTH_ORIGIN_ADDED,     /* while the agent runs (reload, discovery): it warms up */
};

struct health_start {
	uint64_t seed; /* of the jitter; any value that differs between nodes */
	enum health_origin origin;
	enum lb_state adopted;  /* HEALTH_ORIGIN_ADOPTED: lb_backend_info.state */
	enum lb_state operator; /* LB_STATE_NONE, _DRAINING or _MAINTENANCE */
};

/* Of a whole pool, to see who is out of line. Counts fresh values of nodes in state healthy. */
struct health_pool {
	uint32_t n_queue;         /* nodes behind queue_median; an outlier needs one other */
	double queue_median;      /* requests waiting per full backend of weight */
	uint32_t n_latency;       /* nodes behind latency_median_ms */
	double latency_median_ms; /* smoothed probe time */
	uint32_t n_moving;        /* nodes in any state whose progress counter was seen to move */
};

/* Dimensions in which a working node can be degraded. */
enum health_dim {
	HEALTH_DIM_KV,
	HEALTH_DIM_GPU_MEMORY,
	HEALTH_DIM_QUEUE,
	HEALTH_DIM_LATENCY,
	HEALTH_DIM_ABORTS,
	HEALTH_DIM_N,
};

struct health_dim_state {
	bool known;      /* it was judged within forget_ms */
	bool over;       /* counts as degraded */
	uint32_t streak; /* values in a row that say the opposite of `over` */
	double value;    /* as last judged */
	double limit;    /* that it was compared with */
	int64_t seen_ms;
};

/* What the latest change came from, as a word of a closed list; health.cause says it in full. */
enum health_cause {
	HEALTH_CAUSE_START = 1,     /* nothing was heard yet */
	HEALTH_CAUSE_PASSED,        /* probes passed */
	HEALTH_CAUSE_REFUSED,       /* these seven: what a probe brought, as enum health_result */
	HEALTH_CAUSE_UNREACHABLE,
	HEALTH_CAUSE_NO_ANSWER,
	HEALTH_CAUSE_LOADING,
	HEALTH_CAUSE_SAID_DRAINING,
	HEALTH_CAUSE_BAD_STATUS,
	HEALTH_CAUSE_GARBAGE,
	HEALTH_CAUSE_HUNG,          /* requests run, nothing progresses */
	HEALTH_CAUSE_KV,            /* these five: a dimension is over its limit */
	HEALTH_CAUSE_GPU_MEMORY,
	HEALTH_CAUSE_QUEUE,
	HEALTH_CAUSE_LATENCY,
	HEALTH_CAUSE_ABORTS,
	HEALTH_CAUSE_ADOPTED,       /* it was so when it was taken over */
	HEALTH_CAUSE_IDLE_ABORTS,   /* idle, and yet requests are cut short */
	HEALTH_CAUSE_RECOVERED,     /* no dimension is over any more */
	HEALTH_CAUSE_WARMED_UP,     /* the ramp is over */
	HEALTH_CAUSE_STAYED,        /* it drains by itself no more */
	HEALTH_CAUSE_ORDERED,       /* by the operator */
	HEALTH_CAUSE_N,
};

/* One node. Start with health_init(); other modules only read it. A time of -1 is none. */
struct health {
	enum lb_state state;          /* what counts: the operator's order laid over `under` */
	enum lb_state under;          /* what the node itself does */
	enum lb_state operator;       /* order in force: LB_STATE_NONE, _DRAINING, _MAINTENANCE */
	enum lb_state adopted;        /* found at the start; LB_STATE_NONE once under is known */
	int64_t start_ms;             /* of all */
	int64_t since_ms;             /* of state */
	int64_t judged_ms;            /* all up to then is dealt with */
	char cause[HEALTH_CAUSE_MAX]; /* of the latest change of state or of under */
	enum health_cause cause_kind;

	/* probes */
	uint64_t rng;
	int64_t next_probe_ms;
	uint32_t passes;       /* in a row */
	uint32_t failures;     /* in a row, those of a busy node not counted */
	uint32_t refusals;     /* in a row */
	int64_t unanswered_ms; /* begin of the first of a row of answer timeouts */
	bool seen;             /* it has worked as far as anybody knows */
	bool cold;             /* it warms up before it is healthy */
	bool busy;             /* last probe: accepted, not answered, and not counted for that */
	bool doubted;          /* it would be down, but its last probes were doubtful */
	struct score_ewma latency; /* milliseconds of a probe */
	struct score_ewma latency_capped; /* likewise; what is judged by */

	/* progress */
	int64_t warm_ms;   /* begin of the ramp; -1: not warming, or not risen yet */
	int64_t sample_ms; /* last sample */
	double progress;   /* of the last sample that had it */
	bool progress_known;
	int64_t progress_seen_ms; /* of that sample */
	int64_t progress_ms;      /* when it was last seen to move */
	int64_t frozen_ms;        /* running without progress since */
	bool hung;
	double running;     /* of the last sample that had it; < 0: not known */
	int64_t running_ms; /* of that sample */

	/* aborts */
	double aborts; /* of the last sample that had it */
	bool aborts_known;
	int64_t aborts_ms;       /* of that sample */
	uint32_t idle_aborts;    /* samples of late that were idle, and aborts had climbed */
	int64_t leaving_ms;      /* last sign of draining by itself */
	bool leaving_until_pass; /* it was an answer, and the next pass takes it back */
	uint32_t calm_samples;   /* in a row, with no dimension over or on its way there */
	uint32_t calm_needed;    /* so many end what was found degraded at the start */
	struct health_dim_state dims[HEALTH_DIM_N];

	/* damping */
	int64_t flaps_ms[HEALTH_FLAPS_MAX]; /* ring of changes between in and out */
	uint32_t n_flaps;                   /* changes so far */
	uint32_t holds;                     /* held back so many times in a row */
	int64_t hold_until_ms;              /* no way back before */
};

/* A change of state (what counts) or of under alone (`from` == `to` then). */
struct health_change {
	enum lb_state from;
	enum lb_state to;
	enum lb_state under_from;
	enum lb_state under_to;
	char cause[HEALTH_CAUSE_MAX];
};

void health_settings_default(struct health_settings *ret);

/* First probe is due within one interval of now_ms, spread by seed. */
void health_init(struct health *h, const struct health_settings *s,
		 const struct health_start *start, int64_t now_ms);

/*
 * A probe ended. Sets when the next one is due: an interval after the start of this one, sooner
 * after a refusal and while a pass is to be confirmed. A probe that failed for want of something
 * on this host says nothing of the node: do not report it.
 * pool may be NULL, here and below: outliers are not judged then.
 */
bool health_probe(struct health *h, const struct health_settings *s,
		  const struct health_probe *probe, const struct health_pool *pool, int64_t now_ms,
		  struct health_change *ret);

/*
 * A probe that began at started_ms ended without a word, and the way to the node may have been
 * broken on this host: it is as if it had not been. A row of silence is broken by it. Sets when
 * the next one is due.
 */
void health_probe_void(struct health *h, const struct health_settings *s, int64_t started_ms,
		       int64_t now_ms);

/*
 * A scrape brought a sample. Of a node with several pages, each page's own: a value that is handed
 * in twice counts twice. weight: the node's capacity, thousandths (its queue is compared per
 * full backend).
 */
bool health_sample(struct health *h, const struct health_settings *s,
		   const struct load_sample *sample, const struct health_pool *pool,
		   uint32_t weight, int64_t now_ms, struct health_change *ret);

/*
 * A scrape could not connect to the port that serves: a refusal is as good as a probe's, and
 * brings the next probe forward. Other results are left to the probes. Do not call it for pages
 * of an add-on on another port.
 */
bool health_scrape_failed(struct health *h, const struct health_settings *s,
			  enum health_result result, int64_t now_ms, struct health_change *ret);

/* Operator's order: LB_STATE_NONE (undrain), LB_STATE_DRAINING or LB_STATE_MAINTENANCE. */
bool health_order(struct health *h, const struct health_settings *s, enum lb_state order,
		  int64_t now_ms, struct health_change *ret);

/* The clock: ramps end, old samples are forgotten. Call at health_next_ms() or more often. */
bool health_tick(struct health *h, const struct health_settings *s, int64_t now_ms,
		 struct health_change *ret);

/*
 * Nobody was asked for so long, because this host was stopped or held up: that silence is none of
 * the node's. Call before anything else that happens after it.
 */
void health_slept(struct health *h, int64_t ms);

/*
 * When health_tick() is to be called if nothing else is by then (after the latest call): a ramp has
 * a step, something ends. A warming node's weight changes then too. INT64_MAX: never.
 */
int64_t health_next_ms(const struct health *h, const struct health_settings *s);

/* When the next probe is due, if none is under way. */
int64_t health_next_probe_ms(const struct health *h);

/* Thousandths of its capacity that a node gets by its own pace: 1000 unless it is warming. */
uint32_t health_warm_permille(const struct health *h, const struct health_settings *s,
			      int64_t now_ms);

/* Whether live flows to it may go on: not down, not in maintenance (LB_BACKEND_F_ALIVE). */
bool health_alive(const struct health *h);

/*
 * Whether it drains by itself as far as its figures tell, without an order and without having said
 * so: weight_member.inferred.
 */
bool health_drain_inferred(const struct health *h);

/*
 * Figures of a pool for the next samples: nodes[i] with its last sample (NULL: none or stale) and
 * its capacity in thousandths. scratch: room for n doubles.
 */
struct health_pool_member {
	const struct health *health;
	const struct load_sample *sample;
	uint32_t weight;
};
void health_pool_figures(const struct health_pool_member *members, uint32_t n, double *scratch,
			 struct health_pool *ret);

/* "healthy" …; "?" for a value out of range. */
const char *health_state_name(enum lb_state state);
const char *health_dim_name(enum health_dim dim);
const char *health_result_name(enum health_result result);

/* As a label of metrics: "refused", "kv_cache" …; "?" for a value out of range. */
const char *health_cause_name(enum health_cause cause);

#endif
