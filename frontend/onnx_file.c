/* onnx_file -- bytes to messages.  The wire is walked once by our own scanner
 * before protobuf-c sees it: protobuf-c recurses as deep as the file says and
 * cannot tell where it stopped; the scanner bounds the depth and names the byte. */
#include "frontend/onnx.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* A message of protobuf's holds less than 2 GB: said before such a file is read. */
static bool
small_enough(struct diag *d, const char *path)
{
	struct stat st;

	if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size <= INT32_MAX)
		return true;
	return diag_unsupported(d, LOC_FILE(path),
	    "has %lld bytes: ONNX files end at 2 GB, keep the weights as external data", (long long)st.st_size);
}

bool
onnx_open(
    struct onnx_file *f, struct arena *keep, const char *path, const char *name, struct diag *d)
{
	size_t size;
	void *bytes = small_enough(d, path) ? file_read(d, path, &size) : NULL;
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
	/* files older than operator sets are of the first */
	return m->ir_version < 3 && !m->n_opset_import && !*domain ? 1 : 0;
}

/* ---- small readers of whole files */
static enum onnx_kind
kind_of(const Onnx__ValueInfoProto *v)
{
	switch (v->type ? v->type->value_case : ONNX__TYPE_PROTO__VALUE__NOT_SET) {
	case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
		return ONNX_SEQUENCE;
	case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
		return ONNX_OPTIONAL;
	default:
		return ONNX_TENSOR;
	}
}

/* The names and kinds of n of them, without those in `skip`; how many. */
static int
list_values(struct arena *a, size_t n, Onnx__ValueInfoProto **v, const struct map *skip,
    const char ***names, const enum onnx_kind **kinds)
{
	enum onnx_kind *kind = arena_array(a, enum onnx_kind, n + 1);
	int count = 0;
	size_t i;

	*names = arena_array(a, const char *, n + 1);
	*kinds = kind;
	for (i = 0; i < n; i++) {
		if (map_get(skip, onnx_str(v[i]->name)))
			continue;
		(*names)[count] = arena_strdup(a, onnx_str(v[i]->name));
		kind[count++] = kind_of(v[i]);
	}
	return count;
}

static void
list_io(struct arena *a, const Onnx__GraphProto *g, struct onnx_summary *s)
{
	struct map *inits = map_create(a), *none = map_create(a);
	size_t i;

	for (i = 0; i < g->n_initializer; i++)
		map_put(inits, arena_strdup(a, onnx_str(g->initializer[i]->name)), s);
	s->ninputs = list_values(a, g->n_input, g->input, inits, &s->inputs, &s->input_kind);
	s->noutputs = list_values(a, g->n_output, g->output, none, &s->outputs, &s->output_kind);
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
	list_io(a, f.m->graph, s);
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

/* ---- values of the test layout that are no plain tensors */
struct flat {
	struct onnx_file f;
	struct arena *a;
	struct loc loc;
	struct onnx_values *out;
	struct diag *d;
};

static bool
flat_tensor(struct flat *fl, const Onnx__TensorProto *p, const char *name)
{
	struct tensor *t = onnx_tensor(&fl->f, p, fl->loc, fl->d);

	if (!t)
		return false;
	vec_push(fl->a, &fl->out->t, t);
	vec_push(fl->a, &fl->out->name, name);
	return true;
}

static void
flat_list(struct flat *fl, const char *name, int count)
{
	vec_push(fl->a, &fl->out->lists, (struct input_list){name, count});
}

static bool flat_optional(struct flat *, const Onnx__OptionalProto *, const char *name);

static bool
flat_sequence(struct flat *fl, const Onnx__SequenceProto *s, const char *name)
{
	size_t n = s->n_tensor_values + s->n_sequence_values + s->n_optional_values, i;
	bool ok = true;

	if (s->n_sparse_tensor_values)
		return diag_unsupported(fl->d, fl->loc, "holds sparse tensors in a sequence");
	flat_list(fl, name, (int)n);
	for (i = 0; ok && i < n; i++) {
		const char *sub = arena_printf(fl->a, "%s.%zu", name, i);

		if (i < s->n_tensor_values)
			ok = flat_tensor(fl, s->tensor_values[i], sub);
		else if (i < s->n_tensor_values + s->n_sequence_values)
			ok = flat_sequence(fl, s->sequence_values[i - s->n_tensor_values], sub);
		else
			ok = flat_optional(fl,
			    s->optional_values[i - s->n_tensor_values - s->n_sequence_values], sub);
	}
	return ok;
}

static bool
flat_optional(struct flat *fl, const Onnx__OptionalProto *o, const char *name)
{
	if (o->sparse_tensor_value)
		return diag_unsupported(fl->d, fl->loc, "holds an optional sparse tensor");
	if (o->sequence_value)
		return flat_sequence(fl, o->sequence_value, name);
	if (o->optional_value)
		return flat_optional(fl, o->optional_value, name);
	flat_list(fl, name, o->tensor_value ? 1 : -1);
	return !o->tensor_value || flat_tensor(fl, o->tensor_value, name);
}

bool
onnx_value_read(struct arena *a, const char *path, enum onnx_kind kind, const char *name,
    struct onnx_values *out, struct diag *d)
{
	static const ProtobufCMessageDescriptor *const what[] = {
	    [ONNX_TENSOR] = &onnx__tensor_proto__descriptor,
	    [ONNX_SEQUENCE] = &onnx__sequence_proto__descriptor,
	    [ONNX_OPTIONAL] = &onnx__optional_proto__descriptor,
	};
	struct flat fl = {.a = a, .out = out, .d = d};
	ProtobufCMessage *m;
	size_t size;
	void *bytes = file_read(d, path, &size);
	bool ok;

	if (!bytes)
		return false;
	start(&fl.f, a, path, NULL);
	fl.loc = LOC_FILE(arena_strdup(a, path));
	name = arena_strdup(a, name);
	m = unpack(&fl.f, what[kind], bytes, size, d);
	if (!m)
		ok = false;
	else if (kind == ONNX_SEQUENCE)
		ok = flat_sequence(&fl, (Onnx__SequenceProto *)m, name);
	else if (kind == ONNX_OPTIONAL)
		ok = flat_optional(&fl, (Onnx__OptionalProto *)m, name);
	else
		ok = flat_tensor(&fl, (Onnx__TensorProto *)m, name);
	free(bytes);
	onnx_close(&fl.f);
	return ok;
}
