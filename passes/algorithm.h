/* algorithm -- what may compute a convolution and who decides: the command line
 * (--conv), a measurement (--tune), else the cost model.  A new algorithm is a row
 * of the table in algorithm.c. */
#ifndef RETORT_ALGORITHM_H
#define RETORT_ALGORITHM_H

#include "passes/cost.h"

/* A convolution or a gradient of one, before layouts. */
struct conv_layer {
	const struct node *n;
	struct conv_shape s;
	bool fixed;              /* its weights are a constant */
	enum residence where;    /* of them */
};
/* "conv:f32:n1:64x56x56:64x56x56:k3x3:s1x1:d1x1:p1.1.1.1:g1:const:l2": all that its time hangs on */
void conv_layer_key(const struct conv_layer *, struct str *);

enum { MAX_ALGORITHMS = 8 };
struct algorithm {
	const char *name;
	int tile;
	double weights;          /* bytes of them, for each byte of the kernel */
	bool precise;            /* its rms error is no worse than that of a sum in order */
	bool (*serves)(const struct conv_layer *, const struct machine *, int tile);
	double (*cost)(const struct conv_layer *, const struct machine *, int tile); /* cycles */
	struct value *(*write)(struct build *, const struct conv_layer *, int tile, const struct node **made); /* NULL: it stays */
};
extern const struct algorithm algorithms[];
extern const int nalgorithms;
/* Cycles of the fastest that may compute it, by the cost model. */
double algorithm_cost(const struct pass_ctx *, const struct conv_layer *);
int algorithm_find(const char *name); /* -1: none of them */

/* What decides instead of the cost model. */
struct choices {
	int nforced;
	struct forced { const char *node; int algorithm; bool seen; } *forced; /* by ONNX node */
	struct arena *arena;     /* for nodes */
	VEC(const char *) nodes; /* all convolutions met, for a message */
	/* ns[i] of each algorithm with a bit in `possible`; false: not known.  May be NULL. */
	bool (*measure)(void *ctx, const struct conv_layer *, unsigned possible, double *ns);
	void *ctx;
};

/* What was decided where there was a choice, for the report. */
struct decision {
	const struct node *n;    /* the convolution as it is now */
	int chosen, ncandidates; /* chosen: of the candidates */
	struct candidate *candidates;
};
const struct decision *decision_of(const struct pass_ctx *, const struct node *); /* NULL: there was no choice */

/* winograd.c: the node for one convolution; *made: what computes it.  NULL: reported */
struct value *winograd_write(struct build *, const struct conv_layer *, int m, const struct node **made);
bool winograd_serves(const struct conv_layer *, const struct machine *, int m);
/* The same of a dilated convolution, every d-th pixel of an image being an image of its own. */
struct value *dilated_write(struct build *, const struct conv_layer *, int m, const struct node **made);
bool dilated_serves(const struct conv_layer *, const struct machine *, int m);
/* The convolution of these images: no dilation. */
struct conv_shape dilated_parts(const struct conv_shape *);

#endif
