/* onnx_text.h -- reading ONNX text: onnx_text.c has the characters, types and
 * tensors, onnx_text_model.c the attributes, nodes, graphs and models. */
#ifndef RETORT_ONNX_TEXT_H
#define RETORT_ONNX_TEXT_H

#include "frontend/onnx.h"

enum { NEST_MAX = 32 };

struct text {
	struct onnx_file *f;
	struct arena *a;
	struct diag *d;
	const char *start, *p, *end;
	const char *counted; /* lines up to here are in line */
	int line;
	bool failed;         /* the first mistake is the only one reported */
	int nest;
};
struct number {
	bool real;
	double f;
	int64_t i;
	const char *at;
};

bool text_fail(struct text *, const char *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))); /* always false */
void text_skip(struct text *);             /* blanks and comments */
char text_peek(struct text *);             /* the next character that is none of these; 0: the end */
bool text_take(struct text *, char);
bool text_expect(struct text *, char, const char *where); /* false: reported */
bool text_at_word(struct text *);
char *text_string(struct text *); /* in quotes; NULL: none here */
/* A name: a word, or any text in quotes.  NULL: none here. */
char *text_name(struct text *);
char *text_need_name(struct text *, const char *what); /* never NULL */
bool text_number(struct text *, struct number *);
int64_t text_integer(struct text *);
int text_type_number(const char *); /* 0: not an element type */
Onnx__TypeProto *text_type(struct text *);
Onnx__TensorShapeProto *text_shape(struct text *); /* after "[" */
/* The values of a tensor of this type: {numbers}, {strings} or [external data]. */
Onnx__TensorProto *text_tensor(struct text *, const Onnx__TypeProto *, const char *at);

/* A message of type T with its defaults; PUSH appends to one of its lists. */
void *text_message(struct arena *, size_t size, ProtobufCMessageInit);
void *text_grow(struct text *, void *list, size_t n, size_t width);
#define NEW(t, T, init) text_message((t)->a, sizeof(T), (ProtobufCMessageInit)(init))
#define PUSH(t, m, field, x)                                                                       \
	((m)->field = text_grow((t), (m)->field, (m)->n_##field, sizeof *(m)->field),              \
	    (m)->field[(m)->n_##field++] = (x))

#endif
