/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/config_yaml.h"

#include <assert.h>
#include <errno.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"

/* A mapping or list under construction. */
struct frame {
	struct yaml_node *node;
	const char *anchor;          /* registered when the node is complete */
	const struct yaml_node *key; /* of a mapping: waits for its value */
	uint32_t cap;
};

struct anchor {
	struct anchor *next;
	const char *name;
	const struct yaml_node *node;
};

struct builder {
	const char *buf; /* the source */
	size_t len;
	struct arena *arena;
	struct yaml_error *error;
	struct frame stack[YAML_DEPTH_MAX];
	uint32_t depth;
	uint32_t n_nodes;
	uint32_t n_documents;
	struct anchor *anchors; /* newest first: a name may be used again */
	uint32_t n_anchors;
	const struct yaml_node *root;
};

#define ANCHORS_MAX 256

static int fail_at(struct yaml_error *error, uint32_t line, uint32_t column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int fail_at(struct yaml_error *error, uint32_t line, uint32_t column, const char *fmt, ...)
{
	va_list ap;

	error->line = line;
	error->column = column;
	va_start(ap, fmt);
	vsnprintf(error->text, sizeof(error->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

#define fail(b, node, ...) fail_at((b)->error, (node)->line, (node)->column, __VA_ARGS__)

/* Bytes of the UTF-8 sequence at p (RFC 3629, table 3-7 of Unicode), or 0 if there is none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (n == 0 || n > left || p[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* Refuse what is no text, before the YAML library sees it. */
static int check_text(const char *buf, size_t len, struct yaml_error *error)
{
	const unsigned char *p = (const unsigned char *)buf;
	uint32_t line = 1, column = 1;
	bool content = false;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(p + i, len - i);

		if (n == 0)
			return fail_at(error, line, column, "not UTF-8 text (byte 0x%02x)%s", p[i],
				       i == 0 && p[i] >= 0xfe ? "; it looks like UTF-16" : "");
		if ((p[i] < 0x20 && !strchr("\t\n\r", p[i])) || p[i] == 0 || p[i] == 0x7f)
			return fail_at(error, line, column,
				       "not a text file (control character 0x%02x)", p[i]);
		/* Directives have no use here, and the library takes quadratic time for some. */
		if (p[i] == '%' && column == 1)
			return fail_at(error, line, column, "a line that starts with '%%'");
		content = content || !strchr(" \t\n\r", p[i]);
		column++;
		if (p[i] == '\n') {
			line++;
			column = 1;
		}
		i += n;
	}
	if (!content)
		return fail_at(error, 0, 0, "the file is empty");
	return 0;
}

static int node_new(struct builder *b, enum yaml_kind kind, struct fy_event *fye,
		    struct yaml_node **ret_node)
{
	const struct fy_mark *mark = fy_event_start_mark(fye);
	struct yaml_node *node = arena_alloc(b->arena, 1, sizeof(*node));

	if (!node)
		return -ENOMEM;
	node->kind = kind;
	node->line = mark ? (uint32_t)mark->line + 1 : 0;
	node->column = mark ? (uint32_t)mark->column + 1 : 0;
	if (++b->n_nodes > YAML_NODES_MAX)
		return fail(b, node, "more than %d values in one file", YAML_NODES_MAX);
	if (fy_event_get_tag_token(fye))
		return fail(b, node, "tags (\"!…\") are not used here");
	*ret_node = node;
	return 0;
}

/*
 * Add up the pieces of a token's text, and copy them to buf unless it is NULL. Returns the length.
 * fy_token_get_text() would do, but in libfyaml 0.7.12 it leaks for some quoted scalars.
 */
static size_t token_pieces(struct fy_token_iter *iter, char *buf)
{
	const struct fy_iter_chunk *chunk = NULL;
	size_t len = 0;

	while ((chunk = fy_token_iter_chunk_next(iter, chunk, NULL))) {
		if (buf)
			memcpy(buf + len, chunk->str, chunk->len);
		len += chunk->len;
	}
	return len;
}

/* One walk over a token; ret_len may be NULL if buf is not. Returns 0 or -ENOMEM. */
static int token_walk(struct fy_token *token, char *buf, size_t *ret_len)
{
	struct fy_token_iter *iter = fy_token_iter_create(token);
	size_t len;

	if (!iter)
		return -ENOMEM;
	len = token_pieces(iter, buf);
	fy_token_iter_destroy(iter);
	if (ret_len)
		*ret_len = len;
	return 0;
}

/* Text of a token, and a NUL, in the arena; token NULL: none. NULL if there is no memory. */
static const char *token_text(struct builder *b, struct fy_token *token, size_t *ret_len)
{
	size_t len = 0;
	char *text;

	if (token && token_walk(token, NULL, &len) < 0)
		return NULL;
	text = arena_alloc(b->arena, len + 1, 1);
	if (!text || (token && token_walk(token, text, NULL) < 0))
		return NULL;
	*ret_len = len;
	return text;
}

/* What an empty value belongs to, which has no place of its own: its key, or its list. */
static const struct yaml_node *owner_of_next(const struct builder *b)
{
	const struct frame *f = b->depth ? &b->stack[b->depth - 1] : NULL;

	return f && f->key ? f->key : f ? f->node : NULL;
}

/*
 * Whether a scalar in single quotes has two escaped quotes in a row, which libfyaml 0.7.12 reads
 * wrongly: 'a''''b' becomes a''', not a''b.
 */
static bool is_misread(const struct builder *b, struct fy_token *token)
{
	const struct fy_mark *start = fy_token_start_mark(token);
	const struct fy_mark *end = fy_token_end_mark(token);

	if (!start || !end || end->input_pos > b->len || start->input_pos > end->input_pos)
		return true;
	return memmem(b->buf + start->input_pos, end->input_pos - start->input_pos, "''''", 4);
}

static int scalar_new(struct builder *b, struct fy_event *fye, const struct yaml_node **ret_node)
{
	struct fy_token *token = fye->scalar.value;
	enum fy_scalar_style style;
	struct yaml_node *node = NULL;
	const char *text;
	size_t len = 0;
	int r;

	r = node_new(b, YAML_SCALAR, fye, &node);
	if (r < 0)
		return r;
	if (node->line == 0 && owner_of_next(b)) {
		node->line = owner_of_next(b)->line;
		node->column = owner_of_next(b)->column;
	}
	text = token_text(b, token, &len);
	if (!text)
		return -ENOMEM;
	node->text = text;
	style = token ? fy_scalar_token_get_style(token) : FYSS_PLAIN;
	if ((style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) && node->column > 1)
		node->column--; /* the library points behind the quote */
	if (style == FYSS_SINGLE_QUOTED && is_misread(b, token))
		return fail(b, node,
			    "two escaped single quotes in a row; write it in double quotes");
	if (style == FYSS_PLAIN || (style == FYSS_ANY && len == 0))
		node->is_null =
			len == 0 || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0;
	/* An escape in double quotes can make any character; none of these has a use here. */
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < 0x20 && !strchr("\n\t", text[i])) || !text[i] ||
		    text[i] == 0x7f)
			return fail(b, node, "control character 0x%02x in a value", text[i]);
	*ret_node = node;
	return 0;
}

static int anchor_add(struct builder *b, const char *name, const struct yaml_node *node)
{
	struct anchor *a;

	if (!name)
		return 0;
	if (++b->n_anchors > ANCHORS_MAX)
		return fail(b, node, "more than %d anchors", ANCHORS_MAX);
	a = arena_alloc(b->arena, 1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	*a = (struct anchor){.next = b->anchors, .name = name, .node = node};
	b->anchors = a;
	return 0;
}

static int alias_find(struct builder *b, struct fy_event *fye, const struct yaml_node **ret_node)
{
	const struct fy_mark *mark = fy_event_start_mark(fye);
	size_t len;
	const char *name = token_text(b, fye->alias.anchor, &len);

	if (!name)
		return -ENOMEM;
	for (const struct anchor *a = b->anchors; a; a = a->next) {
		if (strcmp(a->name, name) != 0)
			continue;
		*ret_node = a->node;
		return 0;
	}
	return fail_at(b->error, mark ? (uint32_t)mark->line + 1 : 0,
		       mark ? (uint32_t)mark->column + 1 : 0,
		       "alias '*%.60s' names no anchor that is complete before it", name);
}

/* Room for one more element of the given size in *elements. */
static int grow(struct builder *b, struct frame *f, void **elements, size_t size)
{
	uint32_t cap = f->cap ? f->cap * 2 : 4;
	void *p;

	if (f->node->n < f->cap)
		return 0;
	p = arena_alloc(b->arena, cap, size);
	if (!p)
		return -ENOMEM;
	if (f->node->n)
		memcpy(p, *elements, f->node->n * size);
	*elements = p;
	f->cap = cap;
	return 0;
}

static const struct yaml_pair *pair_find(const struct yaml_node *map, const char *key)
{
	for (uint32_t i = 0; i < map->n; i++)
		if (strcmp(map->pairs[i].key->text, key) == 0)
			return &map->pairs[i];
	return NULL;
}

static int pair_add(struct builder *b, struct frame *f, const struct yaml_node *key,
		    const struct yaml_node *value)
{
	void *pairs = f->node->pairs;
	int r;

	if (f->node->n >= YAML_KEYS_MAX)
		return fail(b, key, "more than %d keys in one mapping", YAML_KEYS_MAX);
	r = grow(b, f, &pairs, sizeof(struct yaml_pair));
	if (r < 0)
		return r;
	f->node->pairs = pairs;
	f->node->pairs[f->node->n++] = (struct yaml_pair){key, value};
	return 0;
}

/* The pairs of `from` that the mapping being closed does not have itself. */
static int merge_one(struct builder *b, struct frame *f, const struct yaml_node *from)
{
	int r;

	if (from->kind != YAML_MAP)
		return fail(b, from, "'<<' takes a mapping or a list of mappings, not %s",
			    yaml_kind_name(from));
	b->n_nodes += from->n; /* so that merges of merges end as well */
	if (b->n_nodes > YAML_NODES_MAX)
		return fail(b, from, "more than %d values in one file", YAML_NODES_MAX);
	for (uint32_t i = 0; i < from->n; i++) {
		if (pair_find(f->node, from->pairs[i].key->text))
			continue;
		r = pair_add(b, f, from->pairs[i].key, from->pairs[i].value);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Replace the pair "<<" by what it stands for; keys written out win, then the first merged. */
static int merge_apply(struct builder *b, struct frame *f)
{
	const struct yaml_pair *pair = pair_find(f->node, "<<");
	const struct yaml_node *from;
	uint32_t at;
	int r = 0;

	if (!pair)
		return 0;
	from = pair->value;
	at = (uint32_t)(pair - f->node->pairs);
	f->node->n--;
	memmove(&f->node->pairs[at], &f->node->pairs[at + 1],
		(f->node->n - at) * sizeof(*f->node->pairs));
	if (from->kind != YAML_LIST)
		return merge_one(b, f, from);
	if (from->n > YAML_KEYS_MAX)
		return fail(b, from, "'<<' with more than %d mappings", YAML_KEYS_MAX);
	for (uint32_t i = 0; i < from->n && r == 0; i++)
		r = merge_one(b, f, from->items[i]);
	return r;
}

static int key_add(struct builder *b, struct frame *f, const struct yaml_node *key)
{
	const struct yaml_pair *old;

	if (key->kind != YAML_SCALAR)
		return fail(b, key, "a key must be a plain word, not %s", yaml_kind_name(key));
	old = pair_find(f->node, key->text);
	if (old)
		return fail(b, key, "duplicate key '%.60s', first given in line %u", key->text,
			    old->key->line);
	f->key = key;
	return 0;
}

/* A complete value, or an opening mapping or list, goes where it belongs. */
static int place(struct builder *b, const struct yaml_node *node)
{
	const struct yaml_node *key;
	struct frame *f;
	void *items;
	int r;

	if (b->depth == 0) {
		b->root = node;
		return 0;
	}
	f = &b->stack[b->depth - 1];
	if (f->node->kind == YAML_MAP) {
		if (!f->key)
			return key_add(b, f, node);
		key = f->key;
		f->key = NULL;
		return pair_add(b, f, key, node);
	}
	items = f->node->items;
	r = grow(b, f, &items, sizeof(*f->node->items));
	if (r < 0)
		return r;
	f->node->items = items;
	f->node->items[f->node->n++] = node;
	return 0;
}

static int open_node(struct builder *b, enum yaml_kind kind, struct fy_event *fye)
{
	struct fy_token *anchor = fy_event_get_anchor_token(fye);
	struct frame f = {0};
	size_t len;
	int r;

	r = node_new(b, kind, fye, &f.node);
	if (r < 0)
		return r;
	if (b->depth == YAML_DEPTH_MAX)
		return fail(b, f.node, "nested deeper than %d levels", YAML_DEPTH_MAX);
	r = place(b, f.node);
	if (r < 0)
		return r;
	if (anchor) {
		f.anchor = token_text(b, anchor, &len);
		if (!f.anchor)
			return -ENOMEM;
	}
	b->stack[b->depth++] = f;
	return 0;
}

static int close_node(struct builder *b)
{
	struct frame *f;
	int r;

	assert(b->depth > 0);
	f = &b->stack[b->depth - 1];
	if (f->node->kind == YAML_MAP) {
		r = merge_apply(b, f);
		if (r < 0)
			return r;
	}
	b->depth--;
	return anchor_add(b, f->anchor, f->node);
}

static int take_scalar(struct builder *b, struct fy_event *fye)
{
	const struct yaml_node *node = NULL;
	const char *anchor = NULL;
	size_t len;
	int r;

	r = scalar_new(b, fye, &node);
	if (r < 0)
		return r;
	if (fye->scalar.anchor) {
		anchor = token_text(b, fye->scalar.anchor, &len);
		if (!anchor)
			return -ENOMEM;
	}
	r = anchor_add(b, anchor, node);
	return r < 0 ? r : place(b, node);
}

static int take_event(struct builder *b, struct fy_event *fye)
{
	const struct fy_mark *mark = fy_event_start_mark(fye);
	const struct yaml_node *node = NULL;
	int r;

	switch (fye->type) {
	case FYET_DOCUMENT_START:
		if (b->n_documents++ > 0)
			return fail_at(b->error, mark ? (uint32_t)mark->line + 1 : 0, 1,
				       "a second document starts here; one file holds one");
		return 0;
	case FYET_MAPPING_START:
		return open_node(b, YAML_MAP, fye);
	case FYET_SEQUENCE_START:
		return open_node(b, YAML_LIST, fye);
	case FYET_MAPPING_END:
	case FYET_SEQUENCE_END:
		return close_node(b);
	case FYET_SCALAR:
		return take_scalar(b, fye);
	case FYET_ALIAS:
		r = alias_find(b, fye, &node);
		return r < 0 ? r : place(b, node);
	default:
		return 0;
	}
}

/* The first line indented with a tab, which YAML does not allow; 0 if there is none. */
static uint32_t tab_line(const char *buf, size_t len)
{
	uint32_t line = 1;
	bool indent = true;

	for (size_t i = 0; i < len; i++) {
		if (indent && buf[i] == '\t')
			return line;
		if (buf[i] == '\n')
			line++;
		indent = buf[i] == '\n' || (indent && buf[i] == ' ');
	}
	return 0;
}

/* The library's own first complaint. */
static int syntax_error(struct fy_diag *diag, const char *buf, size_t len, struct yaml_error *error)
{
	uint32_t tab = tab_line(buf, len);
	struct fy_diag_error *e;
	void *iter = NULL;

	e = fy_diag_errors_iterate(diag, &iter);
	if (!e || !e->msg)
		return fail_at(error, tab, tab ? 1 : 0, "not readable as YAML%s",
			       tab ? ": indented with a tab" : "");
	if (tab)
		return fail_at(error, tab, 1,
			       "not readable as YAML: indented with a tab, where only spaces are "
			       "allowed");
	return fail_at(error, e->line > 0 ? (uint32_t)e->line : 0,
		       e->column > 0 ? (uint32_t)e->column : 0,
		       "not readable as YAML: %.160s%s", e->msg, config_syntax_hint(e->msg));
}

static void discard_output(struct fy_diag *diag, void *user, const char *buf, size_t len)
{
	(void)diag;
	(void)user;
	(void)buf;
	(void)len;
}

static struct fy_diag *diag_new(void)
{
	struct fy_diag_cfg cfg;
	struct fy_diag *diag;

	fy_diag_cfg_default(&cfg);
	cfg.fp = NULL;
	cfg.output_fn = discard_output;
	cfg.colorize = false;
	diag = fy_diag_create(&cfg);
	if (diag)
		fy_diag_set_collect_errors(diag, true);
	return diag;
}

/* Returns -ENODATA when the library gave up. */
static int run(struct builder *b, struct fy_parser *parser)
{
	for (;;) {
		struct fy_event *fye = fy_parser_parse(parser);
		bool end;
		int r;

		if (!fye)
			return -ENODATA;
		end = fye->type == FYET_STREAM_END;
		r = take_event(b, fye);
		fy_parser_event_free(parser, fye);
		if (r < 0 || end)
			return r;
	}
}

static int parse_with(struct builder *b, const char *buf, size_t len, struct fy_diag *diag)
{
	struct fy_parse_cfg cfg = {
		.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE |
			 FYPCF_DEFAULT_VERSION_1_2,
		.diag = diag,
	};
	struct fy_parser *parser;
	int r;

	parser = fy_parser_create(&cfg);
	if (!parser)
		return -ENOMEM;
	r = fy_parser_set_string(parser, buf, len);
	r = r < 0 ? -ENOMEM : run(b, parser);
	if (r == -ENODATA)
		r = syntax_error(diag, buf, len, b->error);
	fy_parser_destroy(parser);
	return r;
}

int yaml_parse(struct arena *arena, const char *buf, size_t len, const struct yaml_node **ret_root,
	       struct yaml_error *ret_error)
{
	struct builder b = {.arena = arena, .error = ret_error};
	struct fy_diag *diag;
	int r;

	assert(arena);
	assert(buf || len == 0);
	assert(ret_root);
	assert(ret_error);

	if (len >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0) {
		buf += 3;
		len -= 3;
	}
	r = check_text(buf, len, ret_error);
	if (r < 0)
		return r;
	b.buf = buf;
	b.len = len;
	diag = diag_new();
	if (!diag)
		return -ENOMEM;
	r = parse_with(&b, buf, len, diag);
	fy_diag_destroy(diag);
	if (r < 0)
		return r;
	if (!b.root)
		return fail_at(ret_error, 0, 0, "the file holds nothing but comments");
	*ret_root = b.root;
	return 0;
}

const struct yaml_node *yaml_get(const struct yaml_node *node, const char *key)
{
	const struct yaml_pair *pair;

	if (!node || node->kind != YAML_MAP)
		return NULL;
	pair = pair_find(node, key);
	return pair ? pair->value : NULL;
}

static bool same_shape(const struct yaml_node *a, const struct yaml_node *b)
{
	if (!a || !b || a->kind != b->kind || a->n != b->n || a->is_null != b->is_null)
		return false;
	return a->kind != YAML_SCALAR || strcmp(a->text, b->text) == 0;
}

/* Depth is bound by YAML_DEPTH_MAX for a tree, and aliases only point to complete nodes; but shared
 * nodes can make a walk long, so that it gives up (as "different") after some steps. */
static bool equal_within(const struct yaml_node *a, const struct yaml_node *b, uint32_t *steps)
{
	if (a == b)
		return true;
	if (!same_shape(a, b) || (*steps)-- == 0)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		if (a->kind == YAML_LIST && !equal_within(a->items[i], b->items[i], steps))
			return false;
		if (a->kind == YAML_MAP &&
		    (!equal_within(a->pairs[i].key, b->pairs[i].key, steps) ||
		     !equal_within(a->pairs[i].value, b->pairs[i].value, steps)))
			return false;
	}
	return true;
}

bool yaml_equal(const struct yaml_node *a, const struct yaml_node *b)
{
	uint32_t steps = 1000;

	return equal_within(a, b, &steps);
}

const char *yaml_kind_name(const struct yaml_node *node)
{
	if (node->kind == YAML_MAP)
		return "a mapping";
	if (node->kind == YAML_LIST)
		return "a list";
	return node->is_null ? "nothing" : "a value";
}
