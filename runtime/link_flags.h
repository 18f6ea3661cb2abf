/* link_flags -- what follows the object when an executable is linked:
 *   cc -o OUT OBJ <one of these> with -L<folder of libretort_rt.a>
 * The static archives keep the executable's needs at libc, libm and libpthread.
 * main is in the archive and takes rt_trainer_main or rt_infer_main, whichever
 * -u pulled in.  RT_LINK_BLAS comes after, only for objects that call rt_sgemm. */
#ifndef RETORT_LINK_FLAGS_H
#define RETORT_LINK_FLAGS_H

#define RT_LINK_TRAINER                                                                            \
	"-Wl,-u,rt_trainer_main", "-lretort_rt", "-lretort_host", "-l:libpng16.a", "-l:libjpeg.a", "-l:libz.a"
#define RT_LINK_INFER "-Wl,-u,rt_infer_main", "-lretort_rt", "-lretort_host"
#define RT_LINK_BLAS "-l:libopenblas.a"
#define RT_LINK_SYSTEM "-lm", "-lpthread"

#endif
