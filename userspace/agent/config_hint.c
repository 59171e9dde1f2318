/* SPDX-License-Identifier: BSD-2-Clause */
/* What somebody wrote by mistake -> what was meant, for messages. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"

struct other_name {
	const char *theirs;
	const char *ours;
};

/* What other balancers, or the servers themselves, call it. */
static const struct other_name other_names[] = {
	/* keys */
	{"healthcheck", "check"},
	{"health_check", "check"},
	{"health_checks", "check"},
	{"health", "check"},
	{"probe", "check"},
	{"algorithm", "policy"},
	{"balance", "policy"},
	{"lb_policy", "policy"},
	{"lb_method", "policy"},
	{"scheduler", "policy"},
	{"lb_kind", "mode"},
	{"encap", "mode"},
	{"encapsulation", "mode"},
	{"forwarding", "mode"},
	{"engine", "preset"},
	{"server_type", "preset"},
	{"type", "preset"},
	{"backends", "nodes"},
	{"servers", "nodes"},
	{"members", "nodes"},
	{"endpoints", "nodes"},
	{"targets", "nodes"},
	{"real_servers", "nodes"},
	{"clusters", "pools"},
	{"upstreams", "pools"},
	{"services", "vips"},
	{"frontends", "vips"},
	{"listeners", "vips"},
	{"virtual_servers", "vips"},
	{"ip", "address"},
	{"addr", "address"},
	{"host", "address"},
	{"backend", "pool"},
	{"cluster", "pool"},
	{"upstream", "pool"},
	{"dev", "name"},
	{"xdp_mode", "mode"},
	/* values */
	{"dr", "l2dsr"},
	{"direct-routing", "l2dsr"},
	{"tun", "ipip"},
	{"tunnel", "ipip"},
	{"ip6ip6", "ipip"},
	{"fou", "gue"},
	{"masq", "nat"},
	{"masquerade", "nat"},
	{"snat", "nat"},
	{"dnat", "nat"},
	{"rr", "round-robin"},
	{"wrr", "weighted-round-robin"},
	{"lc", "least-conn"},
	{"wlc", "least-conn"},
	{"least_request", "least-queue"},
	{"maglev", "hash"},
	{"ring_hash", "hash"},
	{"mh", "hash"},
	{"sh", "hash"},
	{"random", "p2c"},
	{"power-of-two", "p2c"},
	{"client", "source"},
	{"drv", "native"},
	{"driver", "native"},
	{"skb", "generic"},
	{"text-generation-inference", "tgi"},
	{"huggingface", "tgi"},
	{"triton-inference-server", "triton"},
	{"tritonserver", "triton"},
	{"tensorrt-llm", "trtllm"},
	{"tensorrtllm", "trtllm"},
	{"llama.cpp", "llamacpp"},
	{"llama-cpp", "llamacpp"},
	{"llama-server", "llamacpp"},
	{"ray", "ray-serve"},
};

const char *config_other_name(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(other_names); i++)
		for (size_t k = 0; k < n && !strcasecmp(other_names[i].theirs, word); k++)
			if (!strcmp(other_names[i].ours, words[k]))
				return words[k];
	return NULL;
}

const char *config_key_home(const struct schema *not_here, const char *key)
{
	static const struct {
		const struct schema *schema;
		const char *home;
	} homes[] = {
		{&schema_top, "the top of the file"},
		{&schema_pool, "a pool or 'defaults'"},
		{&schema_vip, "a VIP"},
		{&schema_check, "'check' of a pool, a node or 'defaults'"},
		{&schema_thresholds, "'thresholds' of a pool, a node or 'defaults'"},
		{&schema_load, "'load' of a pool, a node or 'defaults'"},
		{&schema_discovery, "'discovery' of a pool"},
		{&schema_fallback, "'fallback' of a VIP or 'defaults'"},
		{&schema_node, "a node"},
		{&schema_interface, "an interface"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(homes); i++) {
		if (homes[i].schema == not_here)
			continue;
		for (size_t k = 0; k < homes[i].schema->n; k++)
			if (!strcmp(homes[i].schema->fields[k].key, key))
				return homes[i].home;
	}
	return NULL;
}

static bool is_under_nodes(const struct config_path *path)
{
	return path && path->up && path->up->up && path->up->up->key &&
	       !strcmp(path->up->up->key, "nodes");
}

const char *config_address_hint(const char *text, const struct config_path *path)
{
	struct endpoint ep;

	if (strchr(text, '/'))
		return "; it takes no mask";
	if (endpoint_parse_optional_port(text, &ep) == 0)
		return "; the port is a key of its own";
	if (is_under_nodes(path) && !strchr(text, ':') &&
	    strspn(text, "0123456789.") != strlen(text) && config_name_valid(text))
		return "; names are looked up by the pool's discovery: {dns: {name: …}}";
	return "";
}

/* Complaints of libfyaml that do not say what to look for. */
const char *config_syntax_hint(const char *message)
{
	static const struct {
		const char *part;
		const char *hint;
	} hints[] = {
		{"expected '-' indicator", "; is this line indented like those before it?"},
		{"multiline plain key", "; a key cannot stand here: is it indented like its "
					"neighbours, and does the value "
					"above end on its line?"},
		{"could not find expected ':'", "; a key is followed by a colon and a blank"},
		{"wrongly indented", "; is a '}' or ']' missing above?"},
		{"missing comma in flow", "; or quotes around a value with special characters"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
		if (strstr(message, hints[i].part))
			return hints[i].hint;
	return "";
}
