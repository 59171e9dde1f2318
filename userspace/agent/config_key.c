/* SPDX-License-Identifier: BSD-2-Clause */
/* The key of the connections' hash: in the configuration, in a file of its own, or public. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/file_read.h"

#define KEY_FILE_MAX 64 /* bytes; the digits and an end of line are 33 */

static const char expected[] = "32 hexadecimal digits";

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *p;

	if (c >= 'A' && c <= 'F')
		c = (char)(c - 'A' + 'a');
	p = c ? strchr(digits, c) : NULL;
	return p ? (int)(p - digits) : -1;
}

/* Returns 0; -EINVAL: not 32 digits and nothing else. */
static int parse_key(const char *text, uint8_t ret_key[CONFIG_HASH_KEY_SIZE])
{
	uint8_t key[CONFIG_HASH_KEY_SIZE];

	for (size_t i = 0; i < sizeof(key); i++, text += 2) {
		int high = hex_digit(text[0]);
		int low = high < 0 ? -1 : hex_digit(text[1]);

		if (low < 0)
			return -EINVAL;
		key[i] = (uint8_t)(high << 4 | low);
	}
	if (*text)
		return -EINVAL;
	memcpy(ret_key, key, sizeof(key));
	return 0;
}

static void hash_key_parse(struct config_ctx *ctx, const struct schema_field *field,
			   const struct yaml_node *node, const struct config_path *path, void *base)
{
	const char *text = config_scalar_text(ctx, node, path, expected);
	struct config *cfg = base;

	(void)field;
	if (text && parse_key(text, cfg->hash_key) < 0)
		config_fail(ctx, node, path, "expected %s, found %zu characters%s", expected,
			    strlen(node->text),
			    strlen(node->text) == 32 ? " that are not all such" : "");
}

static void hash_key_format(const void *base, char *buf, size_t size)
{
	const struct config *cfg = base;
	size_t used = 0;

	for (size_t i = 0; i < CONFIG_HASH_KEY_SIZE && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%02x", cfg->hash_key[i]);
}

const struct schema_custom custom_hash_key = {hash_key_parse, hash_key_format};

static void fail_key(const struct config *cfg, struct config_errors *errs, const char *why)
{
	uint32_t i = 0;

	while (i + 1 < cfg->n_files && strcmp(cfg->files[i].path, cfg->hash_key_file))
		i++;
	config_errors_addf(errs, "%s:%u:%u: key 'hash_key_file': %s: %s", cfg->path,
			   cfg->files[i].line, cfg->files[i].column, cfg->hash_key_file, why);
}

int config_read_key(struct config *cfg, struct config_errors *errs)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	if (!cfg->hash_key_file)
		return 0;
	r = file_read(cfg->hash_key_file, KEY_FILE_MAX, &text, &len);
	if (r < 0 && r != -EFBIG) {
		fail_key(cfg, errs, r == -EINVAL ? "not a regular file" : strerror(-r));
		return r;
	}
	while (text && len && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
	if (text && parse_key(text, cfg->hash_key) == 0)
		return 0;
	fail_key(cfg, errs, "expected 32 hexadecimal digits and nothing else");
	return -EINVAL;
}

void config_warnings(const struct config *cfg, struct config_errors *ret)
{
	struct stat st;

	if (!memcmp(cfg->hash_key, CONFIG_HASH_KEY_PUBLIC, CONFIG_HASH_KEY_SIZE))
		config_errors_addf(ret,
				   "hash_key is not set, and everybody knows the one used instead: a "
				   "client can aim all its connections at one node. Make one for all "
				   "ingress hosts (openssl rand -hex 16 >hash.key), and name it "
				   "(hash_key_file: hash.key)");
	if (cfg->hash_key_file && stat(cfg->hash_key_file, &st) == 0 && st.st_mode & S_IROTH)
		config_errors_addf(ret, "hash_key_file %s can be read by everybody (mode %04o): "
				   "chmod o= %s", cfg->hash_key_file, st.st_mode & 07777,
				   cfg->hash_key_file);
}
