/* svg -- a picture of a graph: one box per node, rows by distance from the inputs,
 * lines from where a value is made to where it is used. */
#include "driver/driver.h"

#include <string.h>

enum { BOX_W = 150, BOX_H = 34, GAP_X = 18, GAP_Y = 30, MARGIN = 20, MAX_NODES = 4000 };

struct place { int row, column; };

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

static const char *
colour(const struct node *n)
{
	switch (op_info[n->op].class) {
	case OC_contract:
	case OC_conv:
		return "#cfe3ff";
	case OC_map:
		return "#fff2cc";
	case OC_reduce:
	case OC_pool:
		return "#d9f2d9";
	default:
		return "#eeeeee";
	}
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
draw_node(struct driver *d, struct graph *g, struct str *s, const struct node *n, struct place p)
{
	int x = center_x(p) - BOX_W / 2, y = top_y(p);

	str_addf(s, "<g><title>");
	xml(s, n->name ? n->name : "");
	str_addf(s, "</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"5\" fill=\"%s\" stroke=\"#666\"/>", x, y,
	         BOX_W, BOX_H, colour(n));
	str_addf(s, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" font-weight=\"bold\">", x + BOX_W / 2, y + 14);
	xml(s, op_info[n->op].onnx ? op_info[n->op].onnx : op_info[n->op].id);
	str_addf(s, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"middle\" fill=\"#444\">", x + BOX_W / 2, y + 28);
	if (n->nout && n->out[0])
		xml(s, value_text(d->arena, g, n->out[0]));
	str_add(s, "</text></g>\n");
}

bool
graph_svg(struct driver *d, struct graph *g, const char *path)
{
	struct place *at = arena_array(d->arena, struct place, g->nnode + 1);
	int *width = arena_array(d->arena, int, g->nodes.n + 2), rows = 0, columns = 1;
	struct str s = {0};
	bool ok;

	if (g->nodes.n > MAX_NODES)
		return diag_unsupported(&d->diag, LOC_FILE(path), "the graph has %d nodes; pictures end at %d", g->nodes.n, MAX_NODES);
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		int row = 0;

		for (int k = 0; k < n->nin; k++)
			if (n->in[k] && n->in[k]->def && at[n->in[k]->def->id].row + 1 > row)
				row = at[n->in[k]->def->id].row + 1;
		at[n->id] = (struct place){row, width[row]++};
		if (row + 1 > rows)
			rows = row + 1;
		if (width[row] > columns)
			columns = width[row];
	}
	str_addf(&s, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n",
	         2 * MARGIN + columns * (BOX_W + GAP_X), 2 * MARGIN + rows * (BOX_H + GAP_Y));
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		for (int k = 0; k < n->nin; k++)
			if (n->in[k] && n->in[k]->def) {
				struct place from = at[n->in[k]->def->id], to = at[n->id];
				int y = top_y(from) + BOX_H;

				str_addf(&s, "<path d=\"M%d %dC%d %d %d %d %d %d\" fill=\"none\" stroke=\"#999\"/>\n", center_x(from), y,
				         center_x(from), y + GAP_Y, center_x(to), top_y(to) - GAP_Y, center_x(to), top_y(to));
			}
	}
	for (int i = 0; i < g->nodes.n; i++)
		draw_node(d, g, &s, g->nodes.v[i], at[g->nodes.v[i]->id]);
	str_add(&s, "</svg>\n");
	ok = file_write(&d->diag, path, s.s, s.n);
	str_free(&s);
	return ok;
}
