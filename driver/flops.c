/* flops -- the arithmetic of one core node, a multiply-add counted as two. */
#include "driver/driver.h"

#include <string.h>

static double
count(const struct value *v)
{
	double n = 1;

	for (int i = 0; i < v->rank; i++)
		n *= dim_const(v->dims[i]) ? (double)v->dims[i] : 1;
	return n;
}

/* every letter of "bmk,bkn->bmn" once */
static double
contract_flops(const struct node *n)
{
	const char *spec = attr_string(n, "spec");
	double total = 2;
	bool seen[128] = {0};
	int operand = 0, axis = 0;

	for (const char *p = spec; *p && *p != '-'; p++) {
		if (*p == ',') {
			operand++;
			axis = 0;
			continue;
		}
		if ((unsigned char)*p < 128 && !seen[(unsigned char)*p] && axis < n->in[operand]->rank) {
			int64_t dim = n->in[operand]->dims[axis];

			seen[(unsigned char)*p] = true;
			total *= dim_const(dim) ? (double)dim : 1;
		}
		axis++;
	}
	return total;
}

/* y elements x taps x channels of one group */
static double
conv_flops(const struct value *y, const struct value *w)
{
	double taps = 2;

	for (int i = 1; i < w->rank; i++)
		taps *= dim_const(w->dims[i]) ? (double)w->dims[i] : 1;
	return count(y) * taps;
}

static double
pool_flops(const struct node *n, const struct value *y)
{
	const int64_t *kernel;
	double taps = 1;
	int k = attr_ints(n, "kernel", &kernel);

	for (int i = 0; i < k; i++)
		taps *= (double)kernel[i];
	return count(y) * taps;
}

double
node_flops(const struct node *n)
{
	switch (n->op) {
	case OP_contract:
		return contract_flops(n);
	case OP_conv:
		return conv_flops(n->out[0], n->in[1]);
	case OP_conv_grad_data:
		return conv_flops(n->in[0], n->in[1]);
	case OP_conv_grad_weight:
		return conv_flops(n->in[1], n->out[0]);
	case OP_max_pool:
	case OP_sum_pool:
		return pool_flops(n, n->out[0]);
	default:
		break;
	}
	switch (op_info[n->op].class) {
	case OC_map:
		return n->op == OP_cast ? 0 : count(n->out[0]);
	case OC_reduce:
		return count(n->in[0]);
	default:
		return 0;
	}
}
