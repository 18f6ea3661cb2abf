/* machine -- what the passes may know of the machine that will run the code.
 * codegen/target.c fills it in; sizes are bytes, rates those of one core a cycle. */
#ifndef RETORT_MACHINE_H
#define RETORT_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct machine {
	int vector_bits;         /* 512, 256, 128 */
	int vector_regs;         /* 32 or 16 */
	bool masked;             /* cheap masked loads and stores */
	int64_t l1, l2, l3;      /* l3: what one program may count on, not all there is */
	double clock;            /* cycles a nanosecond under vector code; for reports only */
	double flops;            /* f32 operations: 2 * lanes * units */
	double l2_rate, l3_rate, memory_rate; /* bytes read in order */
};
/* Where there is no target: a server's core with AVX-512. */
static inline struct machine
machine_usual(void)
{
	return (struct machine){.vector_bits = 512, .vector_regs = 32, .masked = true, .l1 = 32 << 10, .l2 = 1 << 20,
	    .l3 = 16 << 20, .clock = 3, .flops = 64, .l2_rate = 32, .l3_rate = 10, .memory_rate = 5};
}

#endif
