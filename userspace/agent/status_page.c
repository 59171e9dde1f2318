// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/status_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "userspace/agent/version.h"
#include "userspace/lib/number.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"refresh\" content=\"5\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" "
	"content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
	"<title>Sluice</title>\n<style>\n"
	"body{font:14px/1.4 sans-serif;margin:1.5em;color:#222;background:#fff}\n"
	"table{border-collapse:collapse;margin:.5em 0 1.5em}\n"
	"td,th{text-align:left;padding:.15em .8em .15em 0;border-bottom:1px solid #ddd}\n"
	"td.n{text-align:right}\n"
	".healthy{color:#060}.warming,.loading,.unknown{color:#06c}\n"
	".degraded,.draining,.maintenance{color:#a50}.unhealthy,.bad{color:#c00;font-weight:bold}\n"
	"</style></head><body>\n";

/* Text that may come from a node: markup in it is shown, not obeyed. */
static void put_text(FILE *f, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			fputc(*s, f);
		}
	}
}

static void put_cell(FILE *f, const char *s)
{
	fputs("<td>", f);
	put_text(f, s);
	fputs("</td>", f);
}

static void put_seconds(FILE *f, int64_t ms)
{
	if (ms < 120000)
		fprintf(f, "<td class=\"n\">%.1f s</td>", (double)ms / 1000);
	else if (ms < 7200000)
		fprintf(f, "<td class=\"n\">%.1f min</td>", (double)ms / 60000);
	else
		fprintf(f, "<td class=\"n\">%.1f h</td>", (double)ms / 3600000);
}

/* A value that a node may not tell. */
static void put_value(FILE *f, const struct node *node, enum load_field field, double factor,
		      const char *unit)
{
	if (node->sample_ms < 0 || !load_has(&node->sample, field))
		fputs("<td class=\"n\">–</td>", f);
	else
		fprintf(f, "<td class=\"n\">%.0f%s</td>", node->sample.value[field] * factor, unit);
}

/* --- parts ------------------------------------------------------------------------------------ */

static void put_agent(FILE *f, const struct agent *agent, int64_t now_ms)
{
	fprintf(f, "<h1>Sluice %s</h1>\n<p>Up %.0f s, configuration ", SLUICE_VERSION,
		(double)(now_ms - agent->started_ms) / 1000);
	put_text(f, agent->cfg->path);
	fputs(". <a href=\"/metrics\">Metrics</a></p>\n", f);
	if (agent->dataplane.stopped)
		fprintf(f, "<p class=\"bad\">Nothing is forwarded: sluice-dpdk has not run for "
			   "%.0f s.</p>\n",
			(double)(now_ms - agent->dataplane.stopped_ms) / 1000);
	if (!agent->reload_error[0])
		return;
	fputs("<p class=\"bad\">Last reload refused: ", f);
	put_text(f, agent->reload_error);
	fputs("</p>\n", f);
}

static void put_vips(FILE *f, const struct agent *agent)
{
	char text[ENDPOINT_TEXT_MAX];

	fputs("<h2>VIPs</h2>\n<table><tr><th>VIP<th>Address<th>Pool<th>Mode<th>Policy<th>Packets"
	      "<th>Bytes<th>New flows</tr>\n", f);
	for (uint32_t i = 0; i < agent->n_vips; i++) {
		const struct vip *vip = agent->vips[i];
		struct lb_count n;

		tables_vip_count(&agent->tables, vip->id, &n);
		fputs("<tr>", f);
		put_cell(f, vip->name);
		put_cell(f, endpoint_format(&vip->cfg->endpoint, text));
		put_cell(f, vip->pool->name);
		put_cell(f, config_mode_name(vip->pool->cfg->mode));
		put_cell(f, config_policy_name(vip->pool->cfg->policy));
		fprintf(f, "<td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64
			   "</td><td class=\"n\">%" PRIu64 "</td></tr>\n",
			(uint64_t)n.packets, (uint64_t)n.bytes, (uint64_t)n.flows);
	}
	fputs("</table>\n", f);
}

static void put_node(FILE *f, const struct agent *agent, const struct node *node, int64_t now_ms)
{
	const char *state = health_state_name(node->health.state);
	char text[ENDPOINT_TEXT_MAX], brief[NUMBER_BRIEF_MAX];
	struct lb_count n;

	tables_backend_count(&agent->tables, node->id, &n);
	fputs("<tr>", f);
	put_cell(f, node->name);
	put_cell(f, endpoint_format(&node->endpoint, text));
	fprintf(f, "<td class=\"%s\">%s</td>", state, state);
	put_seconds(f, now_ms - node->health.since_ms);
	fprintf(f, "<td class=\"n\">%s of %u</td>",
		number_brief(brief, (double)node->effective / 1000), node->weight);
	put_value(f, node, LOAD_QUEUE, 1, "");
	put_value(f, node, LOAD_RUNNING, 1, "");
	put_value(f, node, LOAD_KV, 100, " %");
	put_value(f, node, LOAD_GPU_MEM, 100, " %");
	fprintf(f, "<td class=\"n\">%" PRIu64 "</td>", (uint64_t)n.flows);
	put_cell(f, node->health.cause);
	fputs("</tr>\n", f);
}

static void put_pool(FILE *f, const struct agent *agent, const struct pool *pool, int64_t now_ms,
		     uint32_t *left)
{
	uint32_t n = pool->n_nodes < *left ? pool->n_nodes : *left;
	char part[NUMBER_BRIEF_MAX], whole[NUMBER_BRIEF_MAX];

	fputs("<h2>Pool ", f);
	put_text(f, pool->name);
	fprintf(f, "</h2>\n<p>Healthy: %s of %s. Slots in transition: %u of %u.",
		number_brief(part, (double)pool->verdict.healthy / 1000),
		number_brief(whole, (double)pool->verdict.capacity / 1000),
		publish_in_transition(agent->publish, pool->id), pool->n_slots);
	if (pool->verdict.empty)
		fputs(" <span class=\"bad\">No node left: this host answers.</span>", f);
	if (pool->verdict.panic)
		fputs(" <span class=\"bad\">Panic: degraded nodes stay in.</span>", f);
	fputs("</p>\n<table><tr><th>Node<th>Address<th>State<th>Since<th>Weight<th>Queue<th>Running"
	      "<th>KV<th>GPU memory<th>New flows<th>Cause</tr>\n", f);
	for (uint32_t i = 0; i < n; i++)
		put_node(f, agent, pool->nodes[i], now_ms);
	fputs("</table>\n", f);
	if (n < pool->n_nodes)
		fprintf(f, "<p>… and %u more.</p>\n", pool->n_nodes - n);
	*left -= n;
}

/* Counters that are not zero, but for the ordinary ones. */
static void put_packets(FILE *f, const struct agent *agent)
{
	fputs("<h2>Packets that were not forwarded, and what happened to flows</h2>\n<table>", f);
	for (uint32_t i = LB_R_NOT_VIP + 1; i < LB_REASONS_MAX; i++) {
		uint64_t n = tables_reason_name(i) ? tables_reason(&agent->tables, i) : 0;

		if (!n)
			continue;
		fputs("<tr>", f);
		put_cell(f, tables_reason_name(i));
		put_cell(f, tables_reason_text(i));
		fprintf(f, "<td class=\"n\">%" PRIu64 "</td></tr>\n", n);
	}
	fputs("</table>\n", f);
}

char *status_page(const struct agent *agent, int64_t now_ms, size_t *ret_len)
{
	uint32_t left = STATUS_PAGE_NODES_MAX;
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	if (!f)
		return NULL;
	fputs(head, f);
	put_agent(f, agent, now_ms);
	put_vips(f, agent);
	for (uint32_t i = 0; i < agent->n_pools; i++)
		put_pool(f, agent, agent->pools[i], now_ms, &left);
	put_packets(f, agent);
	fputs("</body></html>\n", f);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}
