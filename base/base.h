/* base -- what every room stands on: arenas, growable arrays, strings, interned
 * names, the one diagnostic channel, files.  Nothing here knows what a graph is. */
#ifndef RETORT_BASE_H
#define RETORT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- die.c: our own bugs.  Prints file:line and the message, aborts. */
_Noreturn void die_at(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#define die(...) die_at(__FILE__, __LINE__, __VA_ARGS__)
#define require(cond) ((cond) ? (void)0 : die("invariant broken: %s", #cond))

/* ---- arena.c: memory that dies by region.  Allocation never fails (it dies)
 * and returns zeroed memory aligned to 64 bytes for sizes >= 64, else 16. */
struct arena;
struct arena *arena_create(void);
void arena_destroy(struct arena *);
void *arena_alloc(struct arena *, size_t);
char *arena_strdup(struct arena *, const char *);
char *arena_strndup(struct arena *, const char *, size_t);
char *arena_printf(struct arena *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *, const char *fmt, va_list);
void *arena_dup(struct arena *, const void *, size_t);
size_t arena_bytes(const struct arena *); /* held from the system */
struct mark { void *chunk; size_t used; };
struct mark arena_mark(struct arena *);
void arena_reset(struct arena *, struct mark); /* frees what came after */
#define arena_new(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_alloc((a), sizeof(T) * (size_t)(n)))

/* heap that dies instead of returning NULL; for weights and files only */
void *xmalloc(size_t);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *, size_t);

/* ---- vec: growable arrays.  VEC(T) declares one; with an arena the old block
 * is abandoned to the arena on growth, with NULL it lives on the heap. */
#define VEC(...) struct { __VA_ARGS__ *v; int n, cap; }
void *vec_grow(struct arena *, void *v, int *cap, int need, size_t size);
#define vec_push(a, vec, ...)                                                  \
	((vec)->n == (vec)->cap                                                \
	     ? (void)((vec)->v = vec_grow((a), (vec)->v, &(vec)->cap,          \
	                                  (vec)->n + 1, sizeof *(vec)->v))     \
	     : (void)0,                                                        \
	 (vec)->v[(vec)->n++] = (__VA_ARGS__))
#define vec_free(vec) (free((vec)->v), (vec)->v = NULL, (vec)->n = (vec)->cap = 0)

/* ---- str.c: a growing string (heap), and helpers on C strings */
struct str { char *s; size_t n, cap; };
void str_add(struct str *, const char *);
void str_addn(struct str *, const void *, size_t);
void str_addf(struct str *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void str_free(struct str *);
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* The candidate nearest to `word` by edit distance, or NULL if none is near. */
const char *str_nearest(const char *word, const char *const *candidates, int n);
bool str_glob(const char *pattern, const char *s); /* * and ? */
void str_json(struct str *, const char *); /* appends a quoted JSON string */

/* ---- map.c: string keys (borrowed, must outlive the map) to pointers */
struct map;
struct map *map_create(struct arena *);
void *map_get(const struct map *, const char *key); /* NULL: absent */
void map_put(struct map *, const char *key, void *value);

/* intern: one pointer per distinct string, for the life of the arena */
struct intern;
struct intern *intern_create(struct arena *);
const char *intern(struct intern *, const char *);

/* ---- diag.c: the one channel for a user's mistakes.  The class of the first
 * error becomes the exit status. */
enum status {
	STATUS_OK = 0,
	STATUS_USAGE = 1,
	STATUS_INVALID = 2,     /* model or recipe is wrong */
	STATUS_UNSUPPORTED = 3, /* right, but retort cannot do it */
	STATUS_IO = 4,
	STATUS_VERIFY = 5,
	STATUS_INTERNAL = 70
};

/* Where something came from; all fields optional (NULL, -1). */
struct loc {
	const char *file;  /* model, recipe or data file */
	int node;          /* index in the file's node list; -1: none */
	int line;          /* text files; 0: none */
	const char *name;  /* node or value name */
	const char *op;    /* operator */
	const char *maker; /* pass that made this from the node: "grad", "distill" */
};
#define LOC_NONE ((struct loc){.node = -1})
#define LOC_FILE(f) ((struct loc){.file = (f), .node = -1})

struct diag {
	FILE *out;          /* NULL: collect into text only */
	bool color, quiet;  /* quiet: errors only */
	int errors, warnings;
	enum status status; /* class of the first error */
	struct str text;    /* everything reported, uncoloured */
};
void diag_init(struct diag *, FILE *out);
void diag_free(struct diag *);
/* All errors return false, so a rule reads: return diag_invalid(d, loc, ...).
 *   student.onnx: node 37 "encoder.q" (MatMul): inner dimension 768 ... 512 */
bool diag_error(struct diag *, enum status, struct loc, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
#define diag_invalid(d, loc, ...) diag_error((d), STATUS_INVALID, (loc), __VA_ARGS__)
#define diag_unsupported(d, loc, ...) diag_error((d), STATUS_UNSUPPORTED, (loc), __VA_ARGS__)
#define diag_io(d, loc, ...) diag_error((d), STATUS_IO, (loc), __VA_ARGS__)
#define diag_usage(d, ...) diag_error((d), STATUS_USAGE, LOC_NONE, __VA_ARGS__)
void diag_warn(struct diag *, struct loc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void diag_note(struct diag *, struct loc, const char *fmt, ...) /* "  note: ..." */
	__attribute__((format(printf, 3, 4)));

/* ---- file.c */
/* Whole file, NUL-terminated beyond size; heap, caller frees.  NULL: reported. */
void *file_read(struct diag *, const char *path, size_t *size);
bool file_exists(const char *path);
bool dir_make(struct diag *, const char *path); /* with parents */
const char *path_join(struct arena *, const char *dir, const char *name); /* absolute name wins */
const char *path_dir(struct arena *, const char *path);   /* "." if none */
const char *path_base(const char *path);                  /* after the last / */
/* The file name without directory and last suffix, made a C identifier. */
const char *path_ident(struct arena *, const char *path);

/* Outputs are written beside their final name and renamed by commit. */
struct outfile { FILE *f; char *path, *tmp; };
bool outfile_open(struct diag *, struct outfile *, const char *path);
bool outfile_commit(struct diag *, struct outfile *); /* flush, check, fsync, rename */
void outfile_abort(struct outfile *);
bool file_write(struct diag *, const char *path, const void *, size_t); /* by outfile */

/* ---- sha256.c: hex digest of a buffer, for manifests and cache keys */
void sha256_hex(const void *, size_t, char hex[65]);

#endif
