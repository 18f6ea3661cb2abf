/* image.c -- ImageDecoder: a host row that decodes into a frame of known size, and the
 * part of it that the image fills. */
#include "host/host.h"
#include "ir/ops/ops_int.h"

enum { FRAME = 2048 }; /* rows and columns, at most, of images not known while compiling */

bool
infer_image_decode(struct graph *g, struct node *n, struct diag *d)
{
	int64_t dims[3] = {
	    attr_int(n, "height"), attr_int(n, "width"), attr_int(n, "format") == 2 ? 1 : 3};

	(void)g;
	if (!ops_known(n, d))
		return false;
	if (n->in[0]->dtype != DT_u8 || n->in[0]->rank != 1)
		return diag_invalid(d, n->loc,
		    "operand is %s of rank %d; a vector of u8 is expected",
		    dtype_info[n->in[0]->dtype].name, n->in[0]->rank);
	if (dims[0] < 0 || dims[1] < 0 || attr_int(n, "format") < 0 || attr_int(n, "format") > 2)
		return diag_invalid(d, n->loc,
		    "a frame of %lld rows and %lld columns in format %lld", (long long)dims[0],
		    (long long)dims[1], (long long)attr_int(n, "format"));
	return ops_count_operand(n, d) && ops_set(n, d, 0, DT_u8, 3, dims) &&
	       ops_set(n, d, 1, DT_i64, 0, NULL) && ops_set(n, d, 2, DT_i64, 0, NULL);
}

/* [height, width, channels]; what cannot be decoded has neither rows nor columns */
bool
expand_ImageDecoder(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const formats[] = {"RGB", "BGR", "Grayscale"};
	const char *format = attr_string(n, "pixel_format");
	int64_t start[3] = {0}, count[3], step[3] = {1, 1, 1}, h = FRAME, w = FRAME;
	struct value *x = n->in[0], *made[3];
	struct attr a[3];
	int k = 0;

	while (k < 3 && strcmp(format, formats[k]) != 0)
		k++;
	if (k == 3)
		return diag_invalid(b->diag, n->loc,
		    "pixel_format \"%s\"; RGB, BGR or Grayscale is expected", format);
	if (x->kind == VAL_CONST && x->dtype == DT_u8 &&
	    !host_image_size(x->data->data, tensor_count(x->data), &w, &h))
		w = h = 0;
	a[0] = attr_of_int("format", k);
	a[1] = attr_of_int("height", h);
	a[2] = attr_of_int("width", w);
	if (!b_ops(b, OP_image_decode, 1, &x, 3, made, 3, a))
		return false;
	count[0] = ops_measure(b, n, 0, made[1], h);
	count[1] = ops_measure(b, n, 1, made[2], w);
	count[2] = made[0]->dims[2];
	return (outs[0] = b_slice(b, made[0], start, count, step)) != NULL;
}
