/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/health.h"

#include "userspace/lib/cleanup.h"

void health_settings_default(struct health_settings *ret)
{
	*ret = (struct health_settings){
		.interval_ms = 1000,
		.jitter_ratio = 0.1,
		.timeout_ms = 5000,
		.rise = 2,
		.fall = 3,
		.refused_interval_ms = 200,
		.refused_fall = 2,
		.busy_ms = 30000,
		.progress_ms = 10000,
		.hung_ms = 60000,
		.warm_up_ms = 30000,
		.warm_up_start_ratio = 0.1,
		.warm_up_steps = 4,
		.samples = 3,
		.kv_high_ratio = 0.95,
		.kv_low_ratio = 0.90,
		.gpu_memory_high_ratio = 0.95,
		.gpu_memory_low_ratio = 0.92,
		.queue_outlier = 4,
		.queue_outlier_min = 8,
		.latency_high_ms = 0,
		.latency_outlier = 5,
		.latency_outlier_min_ms = 200,
		.aborts_high = 0,
		.self_drain_ms = 30000,
		.forget_ms = 30000,
		.flap_changes = 6,
		.flap_window_ms = 300000,
		.flap_hold_ms = 10000,
		.flap_hold_max_ms = 300000,
	};
}

const char *health_state_name(enum lb_state state)
{
	static const char *const names[] = {
		[LB_STATE_NONE] = "none",
		[LB_STATE_UNKNOWN] = "unknown",
		[LB_STATE_LOADING] = "loading",
		[LB_STATE_WARMING] = "warming",
		[LB_STATE_HEALTHY] = "healthy",
		[LB_STATE_DEGRADED] = "degraded",
		[LB_STATE_UNHEALTHY] = "unhealthy",
		[LB_STATE_DRAINING] = "draining",
		[LB_STATE_MAINTENANCE] = "maintenance",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "?";
}

const char *health_dim_name(enum health_dim dim)
{
	static const char *const names[HEALTH_DIM_N] = {
		[HEALTH_DIM_KV] = "kv cache",   [HEALTH_DIM_GPU_MEMORY] = "gpu memory",
		[HEALTH_DIM_QUEUE] = "queue",   [HEALTH_DIM_LATENCY] = "latency",
		[HEALTH_DIM_ABORTS] = "aborts",
	};

	return dim < HEALTH_DIM_N ? names[dim] : "?";
}

const char *health_result_name(enum health_result result)
{
	static const char *const names[HEALTH_RESULT_N] = {
		[HEALTH_PASS] = "pass",
		[HEALTH_REFUSED] = "refused",
		[HEALTH_UNREACHABLE] = "unreachable",
		[HEALTH_ANSWER_TIMEOUT] = "no answer in time",
		[HEALTH_STATUS_LOADING] = "loading",
		[HEALTH_STATUS_DRAINING] = "draining",
		[HEALTH_STATUS_BAD] = "bad status",
		[HEALTH_GARBAGE] = "not understood",
	};

	return result > 0 && result < HEALTH_RESULT_N ? names[result] : "?";
}

const char *health_cause_name(enum health_cause cause)
{
	static const char *const names[HEALTH_CAUSE_N] = {
		[HEALTH_CAUSE_START] = "start",
		[HEALTH_CAUSE_PASSED] = "passed",
		[HEALTH_CAUSE_REFUSED] = "refused",
		[HEALTH_CAUSE_UNREACHABLE] = "unreachable",
		[HEALTH_CAUSE_NO_ANSWER] = "no_answer",
		[HEALTH_CAUSE_LOADING] = "loading",
		[HEALTH_CAUSE_SAID_DRAINING] = "said_draining",
		[HEALTH_CAUSE_BAD_STATUS] = "bad_status",
		[HEALTH_CAUSE_GARBAGE] = "garbage",
		[HEALTH_CAUSE_HUNG] = "hung",
		[HEALTH_CAUSE_KV] = "kv_cache",
		[HEALTH_CAUSE_GPU_MEMORY] = "gpu_memory",
		[HEALTH_CAUSE_QUEUE] = "queue",
		[HEALTH_CAUSE_LATENCY] = "latency",
		[HEALTH_CAUSE_ABORTS] = "aborts",
		[HEALTH_CAUSE_ADOPTED] = "adopted",
		[HEALTH_CAUSE_IDLE_ABORTS] = "idle_aborts",
		[HEALTH_CAUSE_RECOVERED] = "recovered",
		[HEALTH_CAUSE_WARMED_UP] = "warmed_up",
		[HEALTH_CAUSE_STAYED] = "stayed",
		[HEALTH_CAUSE_ORDERED] = "ordered",
	};

	return cause > 0 && cause < HEALTH_CAUSE_N ? names[cause] : "?";
}
