// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/drill_probe.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/sluicectl/clock.h"

struct drill_probe {
	const struct drill_plan *plan;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake;
	bool stop;
	struct drill_probe_stats stats;
};

static size_t drop(char *data, size_t size, size_t n, void *userdata)
{
	(void)data;
	(void)userdata;
	return size * n;
}

static void set_options(CURL *easy, const struct drill_plan *plan, const char *url,
			struct curl_slist *headers, char *error)
{
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)plan->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "sluicectl-drill");
	if (plan->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, plan->ca_file);
	if (plan->body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, plan->body);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	}
}

/* One request; what went wrong in `what`, "" if nothing did. */
static void ask(const struct drill_plan *plan, const char *url, char what[DRILL_ERROR_MAX])
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char error[CURL_ERROR_SIZE] = "";
	CURL *easy = curl_easy_init();
	long status = 0;
	CURLcode code;

	what[0] = '\0';
	if (!easy || !headers) {
		snprintf(what, DRILL_ERROR_MAX, "out of memory");
		curl_slist_free_all(headers);
		curl_easy_cleanup(easy);
		return;
	}
	set_options(easy, plan, url, headers, error);
	code = curl_easy_perform(easy);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK)
		snprintf(what, DRILL_ERROR_MAX, "%.100s: %.120s", url,
			 error[0] ? error : curl_easy_strerror(code));
	else if (status < 200 || status > 299)
		snprintf(what, DRILL_ERROR_MAX, "%.100s: status %ld", url, status);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
}

/* With the lock held. */
static void count(struct drill_probe *p, const char *what, int64_t took_ms)
{
	p->stats.sent++;
	if (!what[0] && took_ms > p->stats.worst_ms)
		p->stats.worst_ms = took_ms;
	if (what[0] && p->stats.failed++ == 0)
		snprintf(p->stats.first_error, sizeof(p->stats.first_error), "%s", what);
}

/* With the lock held: until it is time for the next, or to stop. */
static void wait_until(struct drill_probe *p, int64_t at_ms)
{
	const struct timespec at = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000};

	while (!p->stop && clock_ms() < at_ms)
		pthread_cond_timedwait(&p->wake, &p->lock, &at);
}

static void *run(void *arg)
{
	struct drill_probe *p = arg;
	char what[DRILL_ERROR_MAX];

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; !p->stop; i++) {
		int64_t began_ms = clock_ms();

		pthread_mutex_unlock(&p->lock);
		ask(p->plan, p->plan->urls[i % p->plan->n_urls], what);
		pthread_mutex_lock(&p->lock);
		count(p, what, clock_ms() - began_ms);
		wait_until(p, began_ms + p->plan->interval_ms);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are for the thread that does the drill. */
static int start_thread(struct drill_probe *p)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&p->thread, NULL, run, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int drill_probe_start(const struct drill_plan *plan, struct drill_probe **ret)
{
	struct drill_probe *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	int r;

	if (!p)
		return -ENOMEM;
	p->plan = plan;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	r = start_thread(p);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void drill_probe_stop(struct drill_probe **probe)
{
	struct drill_probe *p = *probe;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
	*probe = NULL;
}

void drill_probe_stats(struct drill_probe *p, struct drill_probe_stats *ret_stats)
{
	*ret_stats = (struct drill_probe_stats){0};
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	*ret_stats = p->stats;
	pthread_mutex_unlock(&p->lock);
}
