/* yaml.h -- a YAML document read against a schema.  Every reader reports what is
 * wrong with its line and goes on with a default, so that one run finds all
 * mistakes.  Not for other rooms. */
#ifndef RETORT_YAML_H
#define RETORT_YAML_H

#include "base/base.h"

#include <yaml.h>

struct ydoc {
	const char *path;
	struct arena *arena;
	struct diag *diag;
	yaml_document_t doc;
};
typedef yaml_node_t ynode;

ynode *yaml_open(struct ydoc *, struct arena *, const char *path,
    struct diag *); /* the root, a mapping; NULL: reported */
void yaml_close(struct ydoc *);
struct loc yaml_loc(const struct ydoc *, const ynode *);
bool yaml_bad(const struct ydoc *, const ynode *, const char *fmt, ...) /* always false */
    __attribute__((format(printf, 3, 4)));
int yaml_line(const ynode *);

/* Is it a mapping whose keys are all in the list?  what: "terms.soft".  Reports
 * unknown keys with the nearest known one, and keys given twice. */
bool yaml_keys(const struct ydoc *, ynode *, const char *what, int n, const char *const *keys);
#define YAML_KEYS(d, node, what, ...)                                                              \
	yaml_keys((d), (node), (what),                                                             \
	    (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                         \
	    (const char *const[]){__VA_ARGS__})
ynode *yaml_get(const struct ydoc *, ynode *map, const char *key); /* NULL: absent or null */
/* The pairs of a mapping and the items of a sequence; a single other node is a
 * sequence of itself.  Key of pair i as text. */
int yaml_count(ynode *);
ynode *yaml_item(const struct ydoc *, ynode *, int i);
ynode *yaml_value(const struct ydoc *, ynode *, int i);
const char *yaml_key(const struct ydoc *, ynode *, int i);
ynode *yaml_key_node(const struct ydoc *, ynode *, int i);
static inline bool
yaml_is_map(const ynode *n)
{
	return n && n->type == YAML_MAPPING_NODE;
}
static inline bool
yaml_is_list(const ynode *n)
{
	return n && n->type == YAML_SEQUENCE_NODE;
}
static inline bool
yaml_is_scalar(const ynode *n)
{
	return n && n->type == YAML_SCALAR_NODE;
}

/* Scalars of a key of map; the default where it is absent.  Ranges are inclusive. */
const char *yaml_text(const struct ydoc *, const ynode *); /* NULL: not a scalar (reported) */
const char *yaml_string(const struct ydoc *, ynode *map, const char *key, const char *def);
bool yaml_bool(const struct ydoc *, ynode *map, const char *key, bool def);
double yaml_number(
    const struct ydoc *, ynode *map, const char *key, double def, double lo, double hi);
int64_t yaml_int(
    const struct ydoc *, ynode *map, const char *key, int64_t def, int64_t lo, int64_t hi);
bool yaml_scalar_number(const struct ydoc *, const ynode *, double *); /* reports */
bool yaml_scalar_int(const struct ydoc *, const ynode *, int64_t *);
int yaml_strings(const struct ydoc *, ynode *map, const char *key,
    const char ***v); /* one string is a list of one */
/* The same of a node itself. */
int yaml_number_list(const struct ydoc *, ynode *, double **v);
int yaml_int_list(const struct ydoc *, ynode *, int64_t **v, int64_t lo, int64_t hi);
int yaml_numbers(const struct ydoc *, ynode *map, const char *key, double **v);
int yaml_ints(
    const struct ydoc *, ynode *map, const char *key, int64_t **v, int64_t lo, int64_t hi);
/* "; did you mean "x"?" or a list of what there is */
const char *yaml_hint(const struct ydoc *, const char *word, int n, const char *const *known);

#endif
