/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configurations: good and bad files, how they are written, sizes, errors, names.
 *
 * Fixtures in tests/fixtures/config/: bad_*.yaml end with the errors they must give, exactly these
 * and in this order, as "# error: LINE:COLUMN: beginning of the text"; "# dropped: N" says how many
 * more are counted only.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/config_bed.h"

static void expect_fixture_line(const char *path, const char *line, struct config_errors *errs,
				uint32_t *n)
{
	char want[2048];
	if (strncmp(line, "# error: ", 9) == 0) {
		snprintf(want, sizeof(want), "%s:%s%s", path,
			 line[9] >= '0' && line[9] <= '9' ? "" : " ", line + 9);
		want[strcspn(want, "\n")] = '\0';
		if (*n >= errs->n || strncmp(errs->items[*n].text, want, strlen(want)) != 0)
			fail_msg("expected %s\n   found %s", want,
				 *n < errs->n ? errs->items[*n].text : "no more errors");
		(*n)++;
	} else if (strncmp(line, "# dropped: ", 11) == 0) {
		assert_int_equal(errs->n_dropped, strtoul(line + 11, NULL, 10));
		errs->n_dropped = 0;
	}
}

static void check_bad_fixture(const char *path)
{
	struct config_errors errs = {0};
	struct config *cfg = UNTOUCHED;
	char line[1024];
	uint32_t n = 0;
	FILE *f;

	assert_int_equal(config_load(path, &cfg, &errs), -EINVAL);
	assert_ptr_equal(cfg, UNTOUCHED);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		expect_fixture_line(path, line, &errs, &n);
	fclose(f);
	if (n == 0 || n != errs.n)
		fail_msg("%s: %u errors expected, %u found, last: %s", path, n, errs.n,
			 errs.n ? errs.items[errs.n - 1].text : "none");
	assert_int_equal(errs.n_dropped, 0);
	config_errors_free(&errs);
}

static void bad_files_give_exactly_the_errors_they_name(void **state)
{
	DIR *dir = opendir(FIXTURES);
	struct dirent *e;
	char path[512];
	int n = 0;

	(void)state;
	assert_non_null(dir);
	while ((e = readdir(dir))) {
		if (strncmp(e->d_name, "bad_", 4) != 0)
			continue;
		snprintf(path, sizeof(path), FIXTURES "%s", e->d_name);
		check_bad_fixture(path);
		n++;
	}
	closedir(dir);
	assert_true(n >= 38);
}

static void scalars_mean_what_their_key_says(void **state)
{
	struct config *cfg = load_good("interfaces: [\"eth0\", 'no', 0x10, 1e3]\n"
				       "watch: \"yes\"\n"
				       "limits: {flows: '2048'}\n"
				       "metrics: {listen: off}\n");

	(void)state;
	assert_string_equal(cfg->interfaces[1].name, "no");
	assert_string_equal(cfg->interfaces[2].name, "0x10");
	assert_string_equal(cfg->interfaces[3].name, "1e3");
	assert_true(cfg->watch);
	assert_int_equal(cfg->limits.flows, 2048);
	assert_false(cfg->metrics_enabled);
	config_free(&cfg);
}

static void words_are_taken_as_written(void **state)
{
	(void)state;
	expect_error("interfaces: [eth0]\nwatch: YES\n",
		     "test.yaml:2:8: key 'watch': expected true or false, found 'YES'");
	expect_error("interfaces: [eth0]\nflow_idle: \"\"\n", "test.yaml:2:12: key 'flow_idle'");
	expect_error("interfaces: [eth0]\nflow_idle:\n", "test.yaml:2:1: key 'flow_idle'");
	expect_error("interfaces: [eth0]\nsocket: \"/a\\tb\"\n", "found '/a\\x09b'");
	expect_error("interfaces: [eth0]\nlimits: {flows: +2048}\n", "found '+2048'");
	expect_error("interfaces: [eth0]\nlimits: {flows: 2_048}\n", "found '2_048'");
	expect_error("interfaces: [eth0]\nlimits: {flows: 0x800}\n", "found '0x800'");
	expect_error("interfaces: [eth0]\nlimits: {flows: 99999999999999999999}\n", "found '9999");
}

static void quoted_texts_are_read_right_or_not_at_all(void **state)
{
	static const struct {
		const char *yaml;
		const char *text; /* NULL: refused */
	} cases[] = {
		{"'it''s'", "it's"},      {"'a''b''c'", "a'b'c"},
		{"'''a'''", "'a'"},       {"''''", "'"},
		{"\"a''''b\"", "a''''b"}, {"\"\\\"\\\"\\x41\\u00e4\"", "\"\"Aä"},
		{"'a''''b'", NULL}, /* the library reads a''' */
		{"''''''", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = repeat("interfaces: [eth0]\nsocket_group: ", cases[i].yaml, 1, "\n");

		if (cases[i].text) {
			struct config *cfg = load_good(text);

			assert_string_equal(cfg->socket_group, cases[i].text);
			config_free(&cfg);
		} else {
			expect_error(text, "test.yaml:2:15: two escaped single quotes in a row");
		}
		free(text);
	}
}

static void texts_of_many_pieces_are_read_whole(void **state)
{
	char *text = repeat("interfaces: [eth0]\nsocket_group: '", "x''", 300, "'\n");
	struct config *cfg = load_good(text);

	(void)state;
	assert_int_equal(strlen(cfg->socket_group), 600);
	for (size_t i = 0; i < 600; i++)
		assert_int_equal(cfg->socket_group[i], i % 2 ? '\'' : 'x');
	config_free(&cfg);
	free(text);
}

static void text_that_is_no_text_is_refused(void **state)
{
	struct config_errors errs = {0};
	struct config *cfg = UNTOUCHED;
	static const struct {
		const char *bytes;
		size_t len;
		const char *want;
	} cases[] = {
		{"", 0, "test.yaml: the file is empty"},
		{" \n\t\r\n", 5, "test.yaml: the file is empty"},
		{"\xef\xbb\xbf", 3, "test.yaml: the file is empty"},
		{"a: 1\n\0b: 2\n", 11, "test.yaml:2:1: not a text file (control character 0x00)"},
		{"a: \x1b[0m\n", 8, "test.yaml:1:4: not a text file (control character 0x1b)"},
		{"a: \x7f\n", 5, "test.yaml:1:4: not a text file"},
		{"\xff\xfe"
		 "a\0",
		 4, "test.yaml:1:1: not UTF-8 text (byte 0xff); it looks like UTF-16"},
		{"a: \xc3\xa4\n\xe4\n", 9, "test.yaml:2:1: not UTF-8 text (byte 0xe4)"},
		{"\xc0\xaf\n", 3, "not UTF-8"},         /* longer than needed */
		{"\xed\xa0\x80\n", 4, "not UTF-8"},     /* half of a surrogate pair */
		{"\xf4\x90\x80\x80\n", 5, "not UTF-8"}, /* beyond Unicode */
		{"\xe2\x82", 2, "not UTF-8"},           /* cut */
		{"\x7f"
		 "ELF\x02\x01\x01\0",
		 8, "not a text file"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = config_load_buffer("test.yaml", cases[i].bytes, cases[i].len, &cfg, &errs);

		assert_int_equal(r, -EINVAL);
		assert_int_equal(errs.n, 1);
		assert_non_null(strstr(errs.items[0].text, cases[i].want));
		assert_ptr_equal(cfg, UNTOUCHED);
		config_errors_free(&errs);
	}
}

static void a_byte_order_mark_and_windows_lines_are_fine(void **state)
{
	struct config *cfg = load_good("\xef\xbb\xbfinterfaces:\r\n  - eth0\r\nwatch: true\r\n");

	(void)state;
	assert_string_equal(cfg->interfaces[0].name, "eth0");
	assert_true(cfg->watch);
	config_free(&cfg);
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void hostile_sizes_and_nestings_end_soon_with_an_error(void **state)
{
	static const struct {
		const char *head, *unit;
		size_t n;
		const char *tail, *want;
	} cases[] = {
		{"x-a: ", "[", 20, "", "nested deeper than 16"},
		{"x-a: ", "[", 1000000, "", "nested deeper than 16"},
		{"x-a: ", "{a: ", 100000, "", "nested deeper than 16"},
		{"", "- ", 1000000, "", "nested deeper than 16"},
		{"x-a: [", "1,", 600000, "1]", "more than 500000 values"},
		{"interfaces: [", "eth0,", 33, "]", "at most 32 items, found 33"},
		{"pools: [", "{},", 65, "]", "at most 64 items, found 65"},
		{"vips: [", "{},", 513, "]", "at most 512 items, found 513"},
		{"pools: [{name: a, preset: tcp, port: 1, nodes: [", "10.0.0.1,", 8001, "]}]",
		 "at most 8000 nodes, found 8001"},
		{"x-a: &a {b: 1}\nx-c:\n", "  - &a 1\n", 300, "", "more than 256 anchors"},
		{"x-a: \"", "a", 3000000, "", "not readable as YAML"},
		{"a", ":", 3000000, "", ""},
		{"", "? ", 100000, "", ""},
		{"", "&a ", 100000, "", ""},
		{"", "!a ", 100000, "", ""},
		{"", "%", 100000, "", "starts with '%'"},
		{"", "\n", 3000000, "a", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = repeat(cases[i].head, cases[i].unit, cases[i].n, cases[i].tail);
		struct config_errors errs = {0};
		struct timespec start;
		struct config *cfg;
		bool found = false;

		clock_gettime(CLOCK_MONOTONIC, &start);
		assert_int_equal(load_text(text, &cfg, &errs), -EINVAL);
		assert_ptr_equal(cfg, UNTOUCHED);
		for (uint32_t k = 0; k < errs.n; k++)
			found = found || strstr(errs.items[k].text, cases[i].want);
		if (!found || seconds_since(&start) > 20)
			fail_msg("case %zu: %.1f s, %s", i, seconds_since(&start),
				 errs.items[0].text);
		config_errors_free(&errs);
		free(text);
	}
}

static void too_many_keys_in_a_mapping_are_refused(void **state)
{
	struct config_errors errs = {0};
	struct config *cfg;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	for (int i = 0; i < 201; i++)
		fprintf(f, "x-%d: 1\n", i);
	fclose(f);
	assert_int_equal(load_text(text, &cfg, &errs), -EINVAL);
	assert_non_null(strstr(errs.items[0].text, "test.yaml:201:1: more than 200 keys"));
	config_errors_free(&errs);
	free(text);
}

/* 64 pools that share a list of 8000 nodes by alias: much to walk, nothing to copy. */
static void aliases_cannot_multiply_beyond_the_limits(void **state)
{
	char *nodes = repeat("interfaces: [eth0]\nx-n: &n [", "10.0.0.1,", 8000, "]\npools:\n");
	char *text = repeat(nodes, "  - {name: a, preset: tcp, port: 1, nodes: *n}\n", 64, "");
	struct config_errors errs = {0};
	struct timespec start;
	struct config *cfg;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(load_text(text, &cfg, &errs), -EINVAL);
	assert_int_equal(errs.n, CONFIG_ERRORS_MAX);
	assert_true(errs.n_dropped > 0);
	assert_true(seconds_since(&start) < 20);
	config_errors_free(&errs);
	free(text);
	free(nodes);
}

static void the_largest_configuration_loads(void **state)
{
	struct timespec start;
	struct config *cfg;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	fputs("interfaces: [eth0]\nlimits: {pools: 64}\npools:\n", f);
	for (int p = 0; p < 64; p++) {
		fprintf(f, "  - name: pool%d\n    preset: vllm\n    nodes:\n", p);
		for (int i = 0; i < 125; i++)
			fprintf(f,
				"      - {name: gpu%d, address: 10.%d.0.%d, weight: %d, check: "
				"{port: %d}}\n",
				i, p, i, i + 1, 9000 + i);
	}
	fputs("vips:\n", f);
	for (int v = 0; v < 512; v++)
		fprintf(f, "  - {address: 10.200.%d.%d, port: 80, pool: pool%d}\n", v / 256,
			v % 256, v % 64);
	fclose(f);
	clock_gettime(CLOCK_MONOTONIC, &start);
	cfg = load_good(text);
	assert_true(seconds_since(&start) < 20);
	assert_int_equal(cfg->n_pools, 64);
	assert_int_equal(cfg->n_vips, 512);
	for (uint32_t p = 0; p < 64; p++) {
		assert_int_equal(cfg->pools[p].n_nodes, 125);
		assert_int_equal(cfg->pools[p].nodes[124].check->port, 9124);
		assert_int_equal(cfg->pools[p].nodes[124].port, 80);
	}
	config_free(&cfg);
	free(text);
}

static void files_that_cannot_be_read_say_why(void **state)
{
	static const struct {
		const char *path;
		int r;
		const char *want;
	} cases[] = {
		{FIXTURES "no-such-file.yaml", -ENOENT, "no-such-file.yaml: No such file"},
		{FIXTURES, -EISDIR, "Is a directory"},
		{"/dev/zero", -EINVAL, "/dev/zero: not a regular file"},
	};
	struct config_errors errs = {0};
	struct config *cfg = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(config_load(cases[i].path, &cfg, &errs), cases[i].r);
		assert_int_equal(errs.n, 1);
		assert_non_null(strstr(errs.items[0].text, cases[i].want));
		assert_ptr_equal(cfg, UNTOUCHED);
		config_errors_free(&errs);
	}
}

static void a_huge_file_is_refused_without_reading_it(void **state)
{
	char path[] = "/tmp/sluice-test-config-XXXXXX";
	struct config_errors errs = {0};
	struct config *cfg = UNTOUCHED;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	assert_int_equal(config_load(path, &cfg, &errs), -EFBIG);
	assert_int_equal(errs.n, 1);
	assert_non_null(strstr(errs.items[0].text, "larger than 4194304 bytes"));
	assert_ptr_equal(cfg, UNTOUCHED);
	config_errors_free(&errs);
	close(fd);
	unlink(path);
}

static void missing_files_are_named_with_their_place(void **state)
{
	struct config *cfg = load_fixture("good_full.yaml");
	struct config_errors errs = {0};

	(void)state;
	assert_int_equal(config_check_files(cfg, &errs), -ENOENT);
	assert_int_equal(errs.n, 8);
	assert_string_equal(errs.items[0].text, FIXTURES
			    "good_full.yaml:59:16: key 'pools[0].check.ca_file': cannot read "
			    "'" FIXTURES "ca.pem': No such file or directory");
	config_errors_free(&errs);
	config_free(&cfg);
}

static void errors_are_printed_one_a_line_and_the_rest_counted(void **state)
{
	struct config_errors errs = {0};
	char *text = NULL, *out = NULL;
	struct config *cfg;
	size_t size;
	FILE *f;
	int lines = 0;

	(void)state;
	f = open_memstream(&text, &size);
	for (int i = 0; i < 25; i++)
		fprintf(f, "k%d: 1\n", i);
	fclose(f);
	assert_int_equal(load_text(text, &cfg, &errs), -EINVAL);
	assert_int_equal(errs.n, CONFIG_ERRORS_MAX);
	assert_int_equal(errs.n_dropped, 5);
	f = open_memstream(&out, &size);
	config_errors_print(&errs, f);
	fclose(f);
	for (char *p = out; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, CONFIG_ERRORS_MAX + 1);
	assert_non_null(strstr(out, "\n… and 5 more\n"));
	config_errors_free(&errs);
	assert_int_equal(errs.n, 0);
	free(out);
	free(text);
}

static void hostile_text_in_messages_stays_on_one_line(void **state)
{
	(void)state;
	expect_error("interfaces: [eth0]\n\"a\\nb\\u200b\": 1\n", "key 'a\\x0ab");
	expect_error("interfaces: [eth0]\nwatch: |\n  a\n  b\n", "found 'a\\x0ab\\x0a'");
	expect_error("interfaces: [eth0]\nwatch: \"%s%n%d\"\n", "found '%s%n%d'");
	expect_error("interfaces: [eth0]\n"
		     "watch: ääääääääääääääääääääääääääääääääääääääääääää\n",
		     "ä…'");
}

static void names_follow_the_rule(void **state)
{
	char name[CONFIG_NAME_MAX + 1];
	struct address a;
	char longest[CONFIG_NAME_MAX + 2];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[CONFIG_NAME_MAX] = '\0';
	assert_true(config_name_valid(longest));
	longest[CONFIG_NAME_MAX] = 'a';
	longest[CONFIG_NAME_MAX + 1] = '\0';
	assert_false(config_name_valid(longest));
	assert_true(config_name_valid("gpu-1.rack_2"));
	assert_true(config_name_valid("7"));
	assert_false(config_name_valid(""));
	assert_false(config_name_valid("-n"));
	assert_false(config_name_valid(".."));
	assert_false(config_name_valid("a b"));
	assert_false(config_name_valid("a/b"));
	assert_false(config_name_valid("ä"));
	assert_int_equal(address_parse("::1", &a), 0);
	config_node_default_name(&a, name);
	assert_string_equal(name, "0--1");
	assert_true(config_name_valid(name));
}

static void things_are_found_by_name(void **state)
{
	struct config *cfg = load_fixture("good_full.yaml");
	struct config_node node;

	(void)state;
	assert_int_equal(config_find_pool(cfg, "looked-up"), 1);
	assert_int_equal(config_find_pool(cfg, "nothing"), -ENOENT);
	assert_int_equal(config_find_vip(cfg, "chat"), 0);
	assert_int_equal(config_find_vip(cfg, "llama"), -ENOENT);
	assert_int_equal(config_find_node(&cfg->pools[0], "10.0.1.13"), 3);
	assert_int_equal(config_find_node(&cfg->pools[1], "gpu1"), -ENOENT);
	config_node_init(&cfg->pools[1], &node);
	assert_int_equal(node.weight, 5);
	assert_int_equal(node.tier, 2);
	assert_int_equal(node.port, 9000);
	assert_int_equal(node.slots, 32);
	assert_ptr_equal(node.spec, cfg->pools[1].spec);
	config_free(&cfg);
}

static void enumerators_have_the_words_of_the_file(void **state)
{
	(void)state;
	assert_string_equal(config_policy_name(CONFIG_POLICY_WEIGHTED_ROUND_ROBIN),
			    "weighted-round-robin");
	assert_string_equal(config_mode_name(CONFIG_MODE_L2DSR), "l2dsr");
	assert_string_equal(config_scheme_name(CONFIG_SCHEME_TCP), "tcp");
	assert_string_equal(config_mode_name(0), "?");
	assert_string_equal(config_on_down_name(99), "?");
	assert_string_equal(config_dns_type_name(CONFIG_DNS_AAAA), "AAAA");
	assert_string_equal(config_discovery_type_name(CONFIG_DISCOVERY_NONE), "none");
	assert_string_equal(config_affinity_name(CONFIG_AFFINITY_SOURCE), "source");
	assert_string_equal(config_xdp_mode_name(CONFIG_XDP_GENERIC), "generic");
	assert_string_equal(config_dataplane_name(CONFIG_DATAPLANE_DPDK), "dpdk");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_files_give_exactly_the_errors_they_name),
		cmocka_unit_test(scalars_mean_what_their_key_says),
		cmocka_unit_test(words_are_taken_as_written),
		cmocka_unit_test(quoted_texts_are_read_right_or_not_at_all),
		cmocka_unit_test(texts_of_many_pieces_are_read_whole),
		cmocka_unit_test(text_that_is_no_text_is_refused),
		cmocka_unit_test(a_byte_order_mark_and_windows_lines_are_fine),
		cmocka_unit_test(hostile_sizes_and_nestings_end_soon_with_an_error),
		cmocka_unit_test(too_many_keys_in_a_mapping_are_refused),
		cmocka_unit_test(aliases_cannot_multiply_beyond_the_limits),
		cmocka_unit_test(the_largest_configuration_loads),
		cmocka_unit_test(files_that_cannot_be_read_say_why),
		cmocka_unit_test(a_huge_file_is_refused_without_reading_it),
		cmocka_unit_test(missing_files_are_named_with_their_place),
		cmocka_unit_test(errors_are_printed_one_a_line_and_the_rest_counted),
		cmocka_unit_test(hostile_text_in_messages_stays_on_one_line),
		cmocka_unit_test(names_follow_the_rule),
		cmocka_unit_test(things_are_found_by_name),
		cmocka_unit_test(enumerators_have_the_words_of_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
