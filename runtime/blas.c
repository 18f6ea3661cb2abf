/* blas -- the other provider of contractions, row-major f32 (the only file that
 * knows cblas).  The pool owns the threads, so OpenBLAS gets one; its kernels
 * follow the processor it detects, or OPENBLAS_CORETYPE (Haswell, SkylakeX...)
 * in the environment for a processor newer than the library. */
#include "runtime/abi.h"

#include <cblas.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
one_thread(void)
{
	openblas_set_num_threads(1);
}

/* c[m,n] = op(a) op(b), op transposes where ta, tb are not 0 */
void
rt_sgemm(int32_t ta, int32_t tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
    const float *b, int64_t ldb, float *c, int64_t ldc)
{
	pthread_once(&once, one_thread);
	cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
	    (blasint)m, (blasint)n, (blasint)k, 1.0f, a, (blasint)lda, b, (blasint)ldb, 0.0f, c,
	    (blasint)ldc);
}
