/* svg -- a picture of a graph: one box per node, rows by distance from the inputs,
 * lines from where a value is made to where it is used. Inputs on top, outputs below. */
#include "driver/driver.h"

#include <string.h>

enum { BOX_W = 150, BOX_H = 34, GAP_X = 18, GAP_Y = 30, MARGIN = 20, MAX_NODES = 4000 };

struct place {
	int row, column;
};

static void
xml(struct str *s, const char *text)
{
	for (; *text; text++) {
		const char *special = strchr("<>&\"", *text);

		if (special && *special)
			str_addf(s, "&#%d;", *text);
		else
			str_addn(s, text, 1);
	}
}

/* What a node is, by what it does to shapes: composites have no class of their own. */
enum look { WEIGHTED, SHAPE_KEPT, SHRINKS, OTHER, NLOOKS };
static const struct {
	const char *fill, *text;
} looks[NLOOKS] = {
    [WEIGHTED] = {"#cfe3ff", "matrix product, convolution"},
    [SHAPE_KEPT] = {"#fff2cc", "shape kept"},
    [SHRINKS] = {"#d9f2d9", "reduction, pooling"},
    [OTHER] = {"#eeeeee", "other"},
};

static double
elements(const struct value *v)
{
	double n = 1;

	for (int i = 0; i < v->rank; i++)
		n *= dim_const(v->dims[i]) ? (double)v->dims[i] : 1;
	return n;
}

static bool
is_product(const char *op)
{
	static const char *const start[] = {
	    "Conv", "Gemm", "MatMul", "QLinear", "Einsum", "LSTM", "GRU", "RNN", "Attention"};

	for (int i = 0; i < (int)(sizeof start / sizeof *start); i++)
		if (strncmp(op, start[i], strlen(start[i])) == 0)
			return true;
	return false;
}

static enum look
look(const struct node *n)
{
	const struct value *x = n->nin ? n->in[0] : NULL, *y = n->nout ? n->out[0] : NULL;
	bool same;

	switch (op_info[n->op].class) {
	case OC_contract:
	case OC_conv:
		return WEIGHTED;
	case OC_map:
		return SHAPE_KEPT;
	case OC_reduce:
	case OC_pool:
		return SHRINKS;
	default:
		break;
	}
	if (op_info[n->op].onnx && is_product(op_info[n->op].onnx))
		return WEIGHTED;
	if (!x || !y || x->rank < 0 || y->rank < 0)
		return OTHER;
	same = x->rank == y->rank;
	for (int i = 0; same && i < x->rank; i++)
		same = x->dims[i] == y->dims[i];
	return same ? SHAPE_KEPT : elements(y) < elements(x) ? SHRINKS : OTHER;
}

static int
center_x(struct place p)
{
	return MARGIN + p.column * (BOX_W + GAP_X) + BOX_W / 2;
}

static int
top_y(struct place p)
{
	return MARGIN + p.row * (BOX_H + GAP_Y);
}

static void
box(struct str *s, int x, int y, const char *fill, int radius, const char *title, const char *bold,
    const char *below)
{
	str_add(s, "<g><title>");
	xml(s, title);
	str_addf(s,
	    "</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\" fill=\"%s\" "
	    "stroke=\"#666\"/>",
	    x, y, BOX_W, BOX_H, radius, fill);
	str_addf(s, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" font-weight=\"bold\">",
	    x + BOX_W / 2, y + 14);
	xml(s, bold);
	str_addf(s, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"middle\" fill=\"#444\">",
	    x + BOX_W / 2, y + 28);
	xml(s, below);
	str_add(s, "</text></g>\n");
}

static void
edge(struct str *s, int x0, int y0, int x1, int y1)
{
	int side = x0 == x1 && y1 - y0 > GAP_Y ? BOX_W : 0; /* past the boxes between */

	str_addf(s,
	    "<path d=\"M%d %dC%d %d %d %d %d %d\" fill=\"none\" stroke=\"#999\" "
	    "marker-end=\"url(#head)\"/>\n",
	    x0, y0, x0 + side, y0 + GAP_Y, x1 + side, y1 - GAP_Y, x1, y1);
}

static void
draw_node(struct driver *d, struct graph *g, struct str *s, const struct node *n, struct place p)
{
	box(s, center_x(p) - BOX_W / 2, top_y(p), looks[look(n)].fill, 5, n->name ? n->name : "",
	    op_info[n->op].onnx ? op_info[n->op].onnx : op_info[n->op].id,
	    n->nout && n->out[0] ? value_text(d->arena, g, n->out[0]) : "");
}

static void
legend(struct str *s, int y)
{
	for (int i = 0; i < NLOOKS; i++) {
		str_addf(s,
		    "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\" "
		    "stroke=\"#666\"/>",
		    MARGIN, y + 16 * i, looks[i].fill);
		str_addf(s, "<text x=\"%d\" y=\"%d\">%s</text>\n", MARGIN + 18, y + 16 * i + 10,
		    looks[i].text);
	}
}

/* Where a value comes from: a node's box or an input's; false: a constant. */
static bool
place_of(const struct graph *g, const struct place *at, const struct value *v, struct place *from)
{
	if (v->def) {
		*from = at[v->def->id];
		return true;
	}
	for (int i = 0; i < g->inputs.n; i++)
		if (g->inputs.v[i] == v) {
			*from = (struct place){0, i};
			return true;
		}
	return false;
}

bool
graph_svg(struct driver *d, struct graph *g, const char *path)
{
	struct place *at = arena_array(d->arena, struct place, g->nnode + 1);
	int *width = arena_array(d->arena, int, g->nodes.n + 3), rows = 0, columns, wide, high;
	struct place from;
	struct str s = {0};
	bool ok;

	if (g->nodes.n > MAX_NODES)
		return diag_unsupported(&d->diag, LOC_FILE(path),
		    "the graph has %d nodes; pictures end at %d", g->nodes.n, MAX_NODES);
	width[0] = g->inputs.n; /* row 0: inputs */
	columns = g->inputs.n > 1 ? g->inputs.n : 1;
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		int row = 1;

		for (int k = 0; k < n->nin; k++)
			if (n->in[k] && n->in[k]->def && at[n->in[k]->def->id].row + 1 > row)
				row = at[n->in[k]->def->id].row + 1;
		at[n->id] = (struct place){row, width[row]++};
		if (row > rows)
			rows = row;
		if (width[row] > columns)
			columns = width[row];
	}
	rows++; /* the last: outputs */
	if (g->outputs.n > columns)
		columns = g->outputs.n;
	wide = 2 * MARGIN + columns * (BOX_W + GAP_X);
	wide = wide < 240 ? 240 : wide;
	high = 2 * MARGIN + (rows + 1) * (BOX_H + GAP_Y) + 16 * NLOOKS;
	str_addf(&s,
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d "
	    "%d\" "
	    "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" "
	    "fill=\"#fff\"/>\n"
	    "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" "
	    "markerHeight=\"7\" "
	    "orient=\"auto\"><path d=\"M0 1L8 4L0 7z\" fill=\"#999\"/></marker></defs>\n",
	    wide, high, wide, high);
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		for (int k = 0; k < n->nin; k++)
			if (n->in[k] && place_of(g, at, n->in[k], &from))
				edge(&s, center_x(from), top_y(from) + BOX_H, center_x(at[n->id]),
				    top_y(at[n->id]));
	}
	for (int i = 0; i < g->inputs.n; i++)
		box(&s, center_x((struct place){0, i}) - BOX_W / 2, top_y((struct place){0, i}),
		    "#fff", BOX_H / 2, g->inputs.v[i]->name, g->inputs.v[i]->name,
		    value_text(d->arena, g, g->inputs.v[i]));
	for (int i = 0; i < g->outputs.n; i++) {
		struct place to = {rows, i};

		if (place_of(g, at, g->outputs.v[i], &from))
			edge(&s, center_x(from), top_y(from) + BOX_H, center_x(to), top_y(to));
		box(&s, center_x(to) - BOX_W / 2, top_y(to), "#fff", BOX_H / 2,
		    g->output_names.v[i], g->output_names.v[i],
		    value_text(d->arena, g, g->outputs.v[i]));
	}
	for (int i = 0; i < g->nodes.n; i++)
		draw_node(d, g, &s, g->nodes.v[i], at[g->nodes.v[i]->id]);
	legend(&s, high - MARGIN - 16 * NLOOKS + 8);
	str_add(&s, "</svg>\n");
	ok = file_write(&d->diag, path, s.s, s.n);
	str_free(&s);
	return ok;
}
