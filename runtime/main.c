/* main -- of every emitted executable.  The linker's -u decides which of the two
 * mains is in it (link_flags.h); the other stays an absent weak symbol, and with
 * it all that it would pull out of the archive. */
#include "runtime/abi.h"

#include <stdio.h>

#pragma weak rt_trainer_main
#pragma weak rt_infer_main
#pragma weak retort_trainer
#pragma weak retort_program

int
main(int argc, char **argv)
{
	if (rt_trainer_main && &retort_trainer)
		return rt_trainer_main(&retort_trainer, argc, argv);
	if (rt_infer_main && retort_program)
		return rt_infer_main(retort_program(), argc, argv);
	fprintf(stderr, "this executable was linked without a program\n");
	return 70;
}
