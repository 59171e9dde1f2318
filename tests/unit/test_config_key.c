/* SPDX-License-Identifier: BSD-2-Clause */
/* The hash's key from the configuration, from a file of its own, or the public one. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/config_bed.h"

#define REST                                                                                       \
	"interfaces: [eth0]\n"                                                                     \
	"pools: [{name: a, preset: json, nodes: [10.0.0.1]}]\n"                                    \
	"vips: [{address: 10.0.0.100, port: 80, pool: a}]\n"
#define DIGITS "00112233445566778899aabbccddeeff"

static const uint8_t key[CONFIG_HASH_KEY_SIZE] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
						  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
static char dir[] = "/tmp/sluice-key-XXXXXX";
static char config_path[64], key_path[64];

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(config_path, sizeof(config_path), "%s/sluice.yaml", dir);
	snprintf(key_path, sizeof(key_path), "%s/hash.key", dir);
	write_file(config_path, "hash_key_file: hash.key\n" REST);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	(void)unlink(config_path);
	(void)unlink(key_path);
	return rmdir(dir);
}

/* config_load() of the file, whose key is that text; NULL: there is none. */
static int load_with(const char *text, struct config **ret, struct config_errors *errs)
{
	(void)unlink(key_path);
	if (text)
		write_file(key_path, text);
	*ret = UNTOUCHED;
	return config_load(config_path, ret, errs);
}

static void a_key_is_read_from_its_file(void **state)
{
	static const char *const good[] = {DIGITS, DIGITS "\n", DIGITS " \r\n\n",
					   "00112233445566778899AABBCCDDEEFF\n"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct config_errors errs = {0};
		struct config *cfg;

		if (load_with(good[i], &cfg, &errs) < 0)
			fail_msg("%s", errs.items[0].text);
		assert_memory_equal(cfg->hash_key, key, sizeof(key));
		assert_string_equal(cfg->hash_key_file, key_path);
		config_free(&cfg);
	}
}

static void a_file_without_a_key_is_refused_with_its_line(void **state)
{
	static const char *const bad[] = {NULL, "", "\n", DIGITS "0", DIGITS "\n" DIGITS, "x" DIGITS,
					  "00112233445566778899aabbccddeef", " " DIGITS,
					  DIGITS "                                           \n"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct config_errors errs = {0};
		struct config *cfg;

		assert_true(load_with(bad[i], &cfg, &errs) < 0);
		assert_ptr_equal(cfg, UNTOUCHED);
		assert_int_equal(errs.n, 1);
		if (!strstr(errs.items[0].text, "sluice.yaml:1:16: key 'hash_key_file': ") ||
		    !strstr(errs.items[0].text, key_path) ||
		    !strstr(errs.items[0].text, bad[i] ? "32 hexadecimal digits" : "No such file"))
			fail_msg("%s", errs.items[0].text);
		config_errors_free(&errs);
	}
}

static void a_key_in_two_places_is_refused(void **state)
{
	(void)state;
	expect_error("hash_key: " DIGITS "\nhash_key_file: hash.key\n" REST,
		     "hash_key is there too");
	expect_error("hash_key_file: hash.key\nhash_key: " DIGITS "\n" REST,
		     "hash_key is there too");
}

static void expect_warning(const struct config *cfg, const char *want)
{
	struct config_errors list = {0};

	config_warnings(cfg, &list);
	assert_int_equal(list.n, want ? 1 : 0);
	if (want && !strstr(list.items[0].text, want))
		fail_msg("%s", list.items[0].text);
	config_errors_free(&list);
}

static void a_key_that_others_know_is_warned_of(void **state)
{
	struct config_errors errs = {0};
	struct config *cfg = load_good(REST);

	(void)state;
	expect_warning(cfg, "hash_key is not set");
	config_free(&cfg);
	cfg = load_good("hash_key: 736c756963652d64656661756c742d6b\n" REST);
	expect_warning(cfg, "hash_key is not set");
	config_free(&cfg);
	cfg = load_good("hash_key: " DIGITS "\n" REST);
	expect_warning(cfg, NULL);
	config_free(&cfg);
	assert_int_equal(load_with(DIGITS "\n", &cfg, &errs), 0);
	assert_int_equal(chmod(key_path, 0600), 0);
	expect_warning(cfg, NULL);
	assert_int_equal(chmod(key_path, 0644), 0);
	expect_warning(cfg, "mode 0644");
	config_free(&cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_read_from_its_file),
		cmocka_unit_test(a_file_without_a_key_is_refused_with_its_line),
		cmocka_unit_test(a_key_in_two_places_is_refused),
		cmocka_unit_test(a_key_that_others_know_is_warned_of),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
