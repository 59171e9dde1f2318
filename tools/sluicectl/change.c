// SPDX-License-Identifier: BSD-2-Clause
/* Commands about the configuration as a whole: what a file would change, and taking it over. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sluicectl/client.h"
#include "tools/sluicectl/commands.h"
#include "tools/sluicectl/show.h"
#include "userspace/agent/attach.h"
#include "userspace/agent/config.h"
#include "userspace/lib/cleanup.h"

static void show_lines(const json_t *json)
{
	const json_t *line;
	size_t i;

	json_array_foreach(json_object_get(json, "lines"), i, line)
		puts(json_string_value(line));
}

static const char *effect_of(const json_t *json)
{
	const char *effect = json_string_value(json_object_get(json, "effect"));

	return effect ? effect : "";
}

int cmd_reload(const struct ctl *ctl, int argc, char **argv)
{
	json_t *json = NULL;
	int r = client_call(ctl, "POST", "/v1/reload", NULL, &json);

	(void)argc;
	(void)argv;
	if (r != CTL_OK)
		return r;
	if (!ctl->json)
		show_lines(json);
	if (ctl->json)
		show_json(json);
	else
		puts(json_array_size(json_object_get(json, "lines")) ? "reloaded"
								      : "reloaded: nothing changed");
	json_decref(json);
	return CTL_OK;
}

/* Whole; the size is limited. *ret_text is the caller's. Returns 0 or -errno. */
static int slurp(const char *path, char **ret_text, size_t *ret_len)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *text = malloc(CONFIG_FILE_SIZE_MAX + 1);
	size_t len;

	if (!f)
		return -errno;
	if (!text)
		return -ENOMEM;
	len = fread(text, 1, CONFIG_FILE_SIZE_MAX + 1, f);
	if (ferror(f))
		return -EIO;
	if (len > CONFIG_FILE_SIZE_MAX)
		return -EFBIG;
	*ret_text = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

/* Checked here first: the agent would name its own file in what is wrong. */
static int check(const struct ctl *ctl, const char *path, const char *text, size_t len)
{
	struct config_errors errs = {};
	struct config *cfg = NULL;
	json_t *list = json_array();
	int r = config_load_buffer(path, text, len, &cfg, &errs);

	for (uint32_t i = 0; i < errs.n; i++)
		json_array_append_new(list, json_string(errs.items[i].text));
	if (r < 0 && ctl->json) {
		json_t *json = json_pack("{so}", "errors", json_incref(list));

		show_json(json);
		json_decref(json);
	} else if (r < 0) {
		config_errors_print(&errs, stderr);
	}
	json_decref(list);
	config_errors_free(&errs);
	config_free(&cfg);
	return r < 0 ? CTL_REFUSED : CTL_OK;
}

/* What makes a reload of it possible. */
static void show_way(const json_t *json)
{
	const char *dir = json_string_value(json_object_get(json, "pin_dir"));
	char command[ATTACH_COMMAND_MAX];

	if (!strcmp(effect_of(json), "live"))
		puts("a reload does it");
	else if (!strcmp(effect_of(json), "restart"))
		puts("a reload refuses it: restart the agent (forwarding goes on meanwhile)");
	else
		printf("a reload refuses it: '%s' and start the agent again\n",
		       attach_detach_command(dir ? dir : ATTACH_PIN_DIR, command));
}

static int show_diff(const struct ctl *ctl, const json_t *json)
{
	bool changes = json_array_size(json_object_get(json, "lines"));
	bool live = !strcmp(effect_of(json), "live");

	if (ctl->json) {
		show_json(json);
	} else if (!changes) {
		puts("nothing changes");
	} else {
		show_lines(json);
		show_way(json);
	}
	return !changes ? CTL_OK : live ? CTL_CHANGES : CTL_NEEDS_RESTART;
}

int cmd_diff(const struct ctl *ctl, int argc, char **argv)
{
	_cleanup_free_ char *text = NULL;
	json_t *json = NULL;
	size_t len = 0;
	int r;

	(void)argc;
	r = slurp(argv[0], &text, &len);
	if (r < 0) {
		fprintf(stderr, "sluicectl: %s: %s\n", argv[0], strerror(-r));
		return CTL_REFUSED;
	}
	r = check(ctl, argv[0], text, len);
	if (r == CTL_OK)
		r = client_send(ctl, "/v1/diff", text, len, &json);
	if (r != CTL_OK)
		return r;
	r = show_diff(ctl, json);
	json_decref(json);
	return r;
}
