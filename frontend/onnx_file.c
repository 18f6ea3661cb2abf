/* onnx_file -- bytes to messages.  The wire is walked once by our own scanner
 * before protobuf-c sees it: protobuf-c recurses as deep as the file says and
 * cannot tell where it stopped; the scanner bounds the depth and names the byte. */
#include "frontend/onnx.h"

#include <stdlib.h>
#include <string.h>

/* ---- the scanner */
struct scan {
	const uint8_t *start, *end;
	const char *file;
	struct diag *d;
};

const uint8_t *
onnx_varint(const uint8_t *p, const uint8_t *end, uint64_t *v)
{
	int shift;

	*v = 0;
	for (shift = 0; p < end && shift < 70; shift += 7) {
		if (shift < 64)
			*v |= (uint64_t)(*p & 127) << shift;
		if (!(*p++ & 128))
			return p;
	}
	return NULL;
}

static const ProtobufCFieldDescriptor *
field_of(const ProtobufCMessageDescriptor *m, uint64_t id)
{
	unsigned i;

	for (i = 0; i < m->n_fields; i++)
		if (m->fields[i].id == id)
			return &m->fields[i];
	return NULL;
}

static bool
bad(const struct scan *s, const uint8_t *at, const ProtobufCMessageDescriptor *m, const char *what)
{
	return diag_invalid(s->d, LOC_FILE(s->file),
	    "not a whole ONNX file: %s at byte %zu of %zu (in a %s); is it truncated or not ONNX?",
	    what, (size_t)(at - s->start), (size_t)(s->end - s->start), m->short_name);
}

static bool
scan(const struct scan *s, const ProtobufCMessageDescriptor *m, const uint8_t *p,
    const uint8_t *end, int depth)
{
	while (p < end) {
		const uint8_t *at = p;
		const ProtobufCFieldDescriptor *f;
		uint64_t tag, v;
		size_t left;

		p = onnx_varint(p, end, &tag);
		if (!p)
			return bad(s, at, m, "cut-off field number");
		if (tag >> 3 == 0 || tag >> 3 > 536870911)
			return bad(s, at, m, "impossible field number");
		f = field_of(m, tag >> 3);
		left = (size_t)(end - p);
		switch (tag & 7) {
		case 0:
			p = onnx_varint(p, end, &v);
			if (!p)
				return bad(s, at, m, "cut-off number");
			break;
		case 1:
		case 5:
			if (left < ((tag & 7) == 1 ? 8 : 4))
				return bad(s, at, m, "cut-off number");
			p += (tag & 7) == 1 ? 8 : 4;
			break;
		case 2:
			p = onnx_varint(p, end, &v);
			if (!p || v > (uint64_t)(end - p))
				return bad(s, at, m, "a field longer than the rest");
			if (v > INT32_MAX)
				return diag_unsupported(s->d, LOC_FILE(s->file),
				    "field of %llu bytes at byte %zu: ONNX files end at 2 GB, keep "
				    "the "
				    "weights as external data",
				    (unsigned long long)v, (size_t)(at - s->start));
			if (f && f->type == PROTOBUF_C_TYPE_MESSAGE) {
				if (depth >= ONNX_DEPTH)
					return bad(s, at, m, "messages nested too deep");
				if (!scan(s, f->descriptor, p, p + v, depth + 1))
					return false;
			}
			p += v;
			break;
		default:
			return bad(s, at, m, "unknown wire type");
		}
	}
	return true;
}

/* ---- protobuf-c's memory: never freed one by one */
static void *
take(void *data, size_t size)
{
	struct onnx_file *f = data;

	return arena_alloc(size >= ONNX_BIG ? f->keep : f->own, size ? size : 1);
}

static void
give(void *data, void *p)
{
	(void)data, (void)p;
}

static ProtobufCMessage *
unpack(struct onnx_file *f, const ProtobufCMessageDescriptor *m, const void *bytes, size_t size,
    struct diag *d)
{
	struct scan s = {bytes, (const uint8_t *)bytes + size, f->name, d};
	ProtobufCAllocator alloc = {take, give, f};
	ProtobufCMessage *msg;

	if (!scan(&s, m, bytes, s.end, 0))
		return NULL;
	msg = protobuf_c_message_unpack(m, &alloc, size, bytes);
	if (!msg)
		diag_invalid(d, LOC_FILE(f->name), "not an ONNX file: its %s does not decode",
		    m->short_name);
	return msg;
}

void *
onnx_pack(struct arena *a, const ProtobufCMessage *m, size_t *size)
{
	void *p;

	*size = protobuf_c_message_get_packed_size(m);
	p = arena_alloc(a, *size + 1);
	protobuf_c_message_pack(m, p);
	return p;
}

/* ---- files */
/* Text starts with <, a comment, or a word; binary with a field's tag, a control
 * character in every file that exists (ModelProto's first field is a number). */
static bool
is_text(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r'); i++)
		;
	if (i == n || !(p[i] == '<' || p[i] == '#' || p[i] == '/' || (p[i] | 32) >= 'a'))
		return false;
	for (i = 0; i < n && i < 512; i++)
		if ((unsigned char)p[i] < ' ' && !strchr("\t\n\r", p[i]))
			return false;
	return true;
}

static void
start(struct onnx_file *f, struct arena *keep, const char *path, const char *name)
{
	*f = (struct onnx_file){.keep = keep, .own = arena_create(), .path = path};
	f->name = name ? name : path_base(path);
	f->dir = path_dir(keep, path);
}

bool
onnx_open_bytes(struct onnx_file *f, struct arena *keep, const char *path, const char *name,
    const void *bytes, size_t size, struct diag *d)
{
	bool ok;

	start(f, keep, path, name);
	if (size == 0) {
		ok = diag_invalid(d, LOC_FILE(f->name), "is empty");
	} else if (is_text(bytes, size)) {
		f->text = true;
		ok = onnx_text_parse(f, bytes, size, d);
	} else {
		f->m =
		    (Onnx__ModelProto *)unpack(f, &onnx__model_proto__descriptor, bytes, size, d);
		ok = f->m;
		if (ok && !f->m->graph)
			ok = diag_invalid(
			    d, LOC_FILE(f->name), "holds no graph; is it an ONNX model?");
	}
	if (!ok)
		onnx_close(f);
	return ok;
}

bool
onnx_open(
    struct onnx_file *f, struct arena *keep, const char *path, const char *name, struct diag *d)
{
	size_t size;
	void *bytes = file_read(d, path, &size);
	bool ok;

	if (!bytes)
		return false;
	ok = onnx_open_bytes(f, keep, path, name, bytes, size, d);
	free(bytes);
	return ok;
}

void
onnx_close(struct onnx_file *f)
{
	arena_destroy(f->own);
	f->own = NULL;
	f->m = NULL;
}

struct loc
onnx_node_loc(const struct onnx_file *f, const Onnx__NodeProto *n, int index)
{
	struct loc loc = {.file = arena_strdup(f->keep, f->name), .node = index};

	if (n->name && *n->name)
		loc.name = arena_strdup(f->keep, n->name);
	else if (n->n_output && *n->output[0])
		loc.name = arena_strdup(f->keep, n->output[0]);
	loc.op = arena_strdup(f->keep, onnx_str(n->op_type));
	if (f->text)
		loc.line = ((const struct onnx_text_node *)(const void *)n)->line;
	return loc;
}

const char *
onnx_domain(const char *s)
{
	return !s || strcmp(s, "ai.onnx") == 0 ? "" : s;
}

int64_t
onnx_opset(const Onnx__ModelProto *m, const Onnx__FunctionProto *fn, const char *domain)
{
	size_t i;

	domain = onnx_domain(domain);
	for (i = 0; fn && i < fn->n_opset_import; i++)
		if (strcmp(onnx_domain(fn->opset_import[i]->domain), domain) == 0)
			return fn->opset_import[i]->version;
	for (i = 0; i < m->n_opset_import; i++)
		if (strcmp(onnx_domain(m->opset_import[i]->domain), domain) == 0)
			return m->opset_import[i]->version;
	return 0;
}

/* ---- small readers of whole files */
static void
list_inputs(struct arena *a, const Onnx__GraphProto *g, struct onnx_summary *s)
{
	struct map *inits = map_create(a);
	size_t i;

	for (i = 0; i < g->n_initializer; i++)
		map_put(inits, arena_strdup(a, onnx_str(g->initializer[i]->name)), s);
	s->inputs = arena_array(a, const char *, g->n_input + 1);
	for (i = 0; i < g->n_input; i++)
		if (!map_get(inits, onnx_str(g->input[i]->name)))
			s->inputs[s->ninputs++] = arena_strdup(a, onnx_str(g->input[i]->name));
}

bool
onnx_summarize(const char *path, struct arena *a, struct onnx_summary *s, struct diag *d)
{
	struct onnx_file f;

	if (!onnx_open(&f, a, path, NULL, d))
		return false;
	*s = (struct onnx_summary){
	    .ir_version = f.m->ir_version,
	    .opset = onnx_opset(f.m, NULL, ""),
	    .producer = arena_strdup(a, onnx_str(f.m->producer_name)),
	    .nodes = (int)f.m->graph->n_node,
	    .initializers = (int)f.m->graph->n_initializer,
	};
	list_inputs(a, f.m->graph, s);
	onnx_close(&f);
	return true;
}

struct tensor *
onnx_tensor_read(struct arena *a, const char *path, const char **name, struct diag *d)
{
	struct onnx_file f;
	Onnx__TensorProto *t;
	struct tensor *out = NULL;
	size_t size;
	void *bytes = file_read(d, path, &size);

	if (!bytes)
		return NULL;
	start(&f, a, path, NULL);
	t = (Onnx__TensorProto *)unpack(&f, &onnx__tensor_proto__descriptor, bytes, size, d);
	if (t) {
		out = onnx_tensor(&f, t, LOC_FILE(arena_strdup(a, path)), d);
		if (out && name)
			*name = t->name && *t->name ? arena_strdup(a, t->name) : NULL;
	}
	free(bytes);
	onnx_close(&f);
	return out;
}
