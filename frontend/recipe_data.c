/* recipe_data -- data: of a recipe: files and what is said of each, how they are
 * augmented, which samples make a batch. */
#include "frontend/recipe_int.h"

/* {file: F, resize: [H, W]} or resize: 32 for squares */
void
recipe_resize(struct ydoc *y, ynode *n, const char *what, int64_t *size)
{
	int64_t *v;
	int k;

	if (!n)
		return;
	k = yaml_is_map(n) ? 0 : yaml_int_list(y, n, &v, 1, 16384);
	if (k == 1 || k == 2) {
		size[0] = v[0];
		size[1] = v[k - 1];
	} else {
		yaml_bad(y, n, "%s takes [HEIGHT, WIDTH], or one number for both", what);
	}
}

static void
class_weights(struct ydoc *y, ynode *n, const char *what, struct recipe_field *f)
{
	ynode *at = yaml_get(y, n, "class_weights");
	double sum = 0;

	f->nweights = yaml_numbers(y, n, "class_weights", &f->weights);
	if (!at)
		return;
	for (int i = 0; i < f->nweights; i++) {
		sum += f->weights[i];
		if (!(f->weights[i] >= 0) || isinf(f->weights[i]))
			yaml_bad(y, at, "%s: class %d weighs %g; weights are at least 0", what, i, f->weights[i]);
	}
	if (f->nweights && sum == 0)
		yaml_bad(y, at, "%s: all classes weigh 0", what);
	if (f->classes && f->nweights != f->classes)
		yaml_bad(y, at, "%s has %d class_weights for %lld classes", what, f->nweights, (long long)f->classes);
	if (f->balance)
		yaml_bad(y, at, "%s: \"balance\" and \"class_weights\" both say what classes weigh; give one", what);
}

/* labelled: N, unlabelled: keep | drop, leave_out: [CLASS, ...] */
static void
labelled(struct ydoc *y, ynode *n, const char *what, const char *split, struct recipe_field *f)
{
	static const char *const words[] = {"keep", "drop"};
	const char *others = yaml_string(y, n, "unlabelled", "keep");
	ynode *out = yaml_get(y, n, "leave_out");

	f->labelled = yaml_int(y, n, "labelled", 0, 1, INT64_MAX);
	f->only_labelled = strcmp(others, "drop") == 0;
	if (!f->only_labelled && strcmp(others, "keep") != 0)
		yaml_bad(y, yaml_get(y, n, "unlabelled"), "%s: \"unlabelled\" is \"%s\"%s", what, others,
		    yaml_hint(y, others, 2, words));
	if (yaml_get(y, n, "unlabelled") && !yaml_get(y, n, "labelled"))
		yaml_bad(y, yaml_get(y, n, "unlabelled"), "%s: \"unlabelled\" needs \"labelled\", the number of samples with labels", what);
	if (f->labelled && f->balance)
		yaml_bad(y, yaml_get(y, n, "balance"),
		    "%s: \"labelled\" takes equally many of each class; \"balance\" would weigh them by labels that are hidden", what);
	f->nout = out ? yaml_int_list(y, out, &f->out, 0, 1 << 24) : 0;
	for (int i = 0; f->classes && i < f->nout; i++)
		if (f->out[i] >= f->classes)
			yaml_bad(y, out, "%s: class %lld to leave out is none of the %lld", what, (long long)f->out[i], (long long)f->classes);
	if (strcmp(split, "train") != 0 && (f->labelled || out))
		yaml_bad(y, out ? out : yaml_get(y, n, "labelled"), "%s: \"%s\" is of the field in train; measuring needs all samples and labels",
		    what, out ? "leave_out" : "labelled");
}

/* data.train and so on: {field: file} or {field: {file: F, classes: N, ...}} */
static struct recipe_field
field(struct ydoc *y, ynode *n, const char *name, const char *split, const char *root)
{
	static const char *const balances[] = {"inverse_freq", "none"};
	struct recipe_field f = {.name = name, .line = yaml_line(n)};
	const char *what = arena_printf(y->arena, "data.%s.%s", split, name), *file = NULL;
	ynode *ignore;

	if (yaml_is_scalar(n)) {
		file = yaml_text(y, n);
	} else if (YAML_KEYS(y, n, what, "file", "classes", "ignore", "balance", "class_weights", "resize",
	               "lengths", "max_length", "pad", "labelled", "unlabelled", "leave_out") ||
		   yaml_is_map(n)) {
		file = yaml_string(y, n, "file", NULL);
		if (!file)
			yaml_bad(y, n, "%s names no \"file\"", what);
		f.classes = yaml_int(y, n, "classes", 0, 1, 1 << 24);
		ignore = yaml_get(y, n, "ignore");
		f.has_ignore = ignore && yaml_scalar_int(y, ignore, &f.ignore);
		f.balance = yaml_string(y, n, "balance", NULL);
		if (f.balance && strcmp(f.balance, "none") == 0)
			f.balance = NULL;
		if (f.balance && strcmp(f.balance, "inverse_freq") != 0)
			yaml_bad(y, yaml_get(y, n, "balance"), "\"balance\" is \"%s\"%s", f.balance,
			    yaml_hint(y, f.balance, 2, balances));
		class_weights(y, n, what, &f);
		labelled(y, n, what, split, &f);
		recipe_resize(y, yaml_get(y, n, "resize"), arena_printf(y->arena, "%s.resize", what), f.resize);
		f.lengths = yaml_string(y, n, "lengths", NULL);
		if (f.lengths)
			f.lengths = path_join(y->arena, root, f.lengths);
		f.max_length = yaml_int(y, n, "max_length", 0, 1, 1 << 24);
		f.pad = yaml_number(y, n, "pad", 0, -1e15, 1e15);
		if (!f.lengths && yaml_get(y, n, "max_length"))
			yaml_bad(y, yaml_get(y, n, "max_length"), "%s: \"max_length\" is of ragged rows, which have \"lengths\"", what);
	}
	f.file = path_join(y->arena, root, file ? file : "");
	return f;
}

static bool
takes_from(struct ydoc *y, ynode *n, const char *what, struct recipe_split *s)
{
	if (!yaml_is_map(n) || !yaml_get(y, n, "from") || !yaml_is_scalar(yaml_get(y, n, "from")))
		return false;
	if (!yaml_get(y, n, "fraction"))
		return false; /* a field called from */
	YAML_KEYS(y, n, what, "from", "fraction");
	s->from = yaml_string(y, n, "from", NULL);
	s->fraction = yaml_number(y, n, "fraction", 0.1, 0, 1);
	if (s->from && strcmp(s->from, "train") != 0)
		yaml_bad(y, yaml_get(y, n, "from"),
		    "%s is taken from \"%s\"; only train can be divided", what, s->from);
	if (s->fraction <= 0 || s->fraction >= 1)
		yaml_bad(y, yaml_get(y, n, "fraction"),
		    "\"fraction\" is %g, must lie between 0 and 1", s->fraction);
	return true;
}

static void
split(struct ydoc *y, ynode *data, const char *name, const char *root, struct recipe_split *s)
{
	ynode *n = yaml_get(y, data, name);
	int i, k;

	if (!n)
		return;
	s->line = yaml_line(n);
	if (!yaml_is_map(n)) {
		yaml_bad(y, n, "data.%s must be a mapping from fields to files", name);
		return;
	}
	if (takes_from(y, n, arena_printf(y->arena, "data.%s", name), s))
		return;
	s->fields = arena_array(y->arena, struct recipe_field, yaml_count(n) + 1);
	for (i = 0; i < yaml_count(n); i++) {
		s->fields[i] = field(y, yaml_value(y, n, i), yaml_key(y, n, i), name, root);
		if (s->fields[i].name[0] == '$')
			yaml_bad(y, yaml_key_node(y, n, i), "names of fields do not start with $");
		for (k = 0; k < i; k++)
			if (strcmp(s->fields[k].name, s->fields[i].name) == 0)
				yaml_bad(y, yaml_key_node(y, n, i), "field \"%s\" is given twice",
				    s->fields[i].name);
	}
	s->n = yaml_count(n);
}

static void
splits(struct ydoc *y, ynode *n, const char *root, struct recipe_split *train,
    struct recipe_split *val, struct recipe_split *test)
{
	split(y, n, "train", root, train);
	split(y, n, "val", root, val);
	split(y, n, "test", root, test);
	if (!train->n)
		yaml_bad(y, n, "the data has no \"train\": {FIELD: FILE}");
}

/* sampler: shuffle, balanced, or {balanced: FIELD} */
static void
sampler(struct ydoc *y, ynode *map, struct recipe_sampler *s)
{
	static const char *const kinds[] = {"shuffle", "balanced"};
	ynode *n = yaml_get(y, map, "sampler");
	const char *name;
	bool one;

	if (!n)
		return;
	s->line = yaml_line(n);
	one = yaml_is_map(n) && yaml_count(n) == 1;
	if (!one && !yaml_is_scalar(n)) {
		yaml_bad(y, n, "\"sampler\" is shuffle, balanced or {balanced: FIELD}");
		return;
	}
	name = one ? yaml_key(y, n, 0) : yaml_text(y, n);
	if (strcmp(name, "balanced") == 0) {
		s->balanced = true;
		if (one)
			s->field = yaml_text(y, yaml_value(y, n, 0));
	} else if (strcmp(name, "shuffle") != 0 || one) {
		yaml_bad(y, n, "no sampler is called \"%s\"%s", name, yaml_hint(y, name, 2, kinds));
	}
}

static void
data_sets(struct ydoc *y, ynode *map, struct recipe *r, const char *root)
{
	int i;

	if (!yaml_is_map(map) || !yaml_count(map)) {
		yaml_bad(y, map, "\"sets\" must be a mapping from a name of yours to a data set");
		return;
	}
	r->nsets = yaml_count(map);
	r->sets = arena_array(y->arena, struct recipe_set, r->nsets);
	for (i = 0; i < r->nsets; i++) {
		struct recipe_set *s = &r->sets[i];
		ynode *n = yaml_value(y, map, i);
		const char *what;

		*s = (struct recipe_set){
		    .name = yaml_key(y, map, i), .line = yaml_line(yaml_key_node(y, map, i))};
		what = arena_printf(y->arena, "data.sets.%s", s->name);
		if (!YAML_KEYS(y, n, what, "root", "train", "val", "test", "batch", "limit", "sampler") &&
		    !yaml_is_map(n))
			continue;
		splits(y, n, path_join(y->arena, root, yaml_string(y, n, "root", ".")), &s->train,
		    &s->val, &s->test);
		if (!yaml_get(y, n, "batch"))
			yaml_bad(y, n, "%s has no \"batch\"", what);
		s->batch = yaml_int(y, n, "batch", 1, 1, 1 << 20);
		sampler(y, n, &s->sampler);
		s->limit = yaml_int(y, n, "limit", 0, 1, INT64_MAX);
	}
}

/* ---- augmentation: rows of host/augment.def */
static const char *
augment_hint(struct ydoc *y, const char *name)
{
	const char *names[NAUGMENTS + 1];

	for (int i = 0; i < NAUGMENTS; i++)
		names[i] = augment_table[i].name;
	names[NAUGMENTS] = "resize";
	return yaml_hint(y, name, NAUGMENTS + 1, names);
}

static void
augment_word(struct ydoc *y, ynode *n, const struct augment_param *p, const char *what, double *v)
{
	const char *text = yaml_text(y, n), *s = p->words;
	const char *names[8];
	int k = 0;

	if (!text)
		return;
	while (*s && k < 8) {
		size_t len = strcspn(s, "|");

		names[k++] = arena_strndup(y->arena, s, len);
		s += len + (s[len] == '|');
	}
	for (int i = 0; i < k; i++)
		if (strcmp(names[i], text) == 0) {
			*v = i;
			return;
		}
	yaml_bad(y, n, "%s: \"%s\" is \"%s\"%s", what, p->name, text, yaml_hint(y, text, k, names));
}

static void
augment_value(struct ydoc *y, ynode *n, const struct augment_param *p, const char *what, struct recipe_augment *g, double *v)
{
	double *list = NULL;
	int64_t whole;
	int k;

	switch (p->kind) {
	case PARAM_WORD:
		augment_word(y, n, p, what, v);
		return;
	case PARAM_WHOLE:
		if (!yaml_scalar_int(y, n, &whole))
			return;
		*v = (double)whole;
		list = v;
		k = 1;
		break;
	case PARAM_REAL:
		if (!yaml_scalar_number(y, n, v))
			return;
		list = v;
		k = 1;
		break;
	case PARAM_LIST:
		k = yaml_number_list(y, n, &list);
		if (k > AUG_LIST) {
			yaml_bad(y, n, "%s: \"%s\" takes %d numbers at most", what, p->name, AUG_LIST);
			return;
		}
		for (int i = 0; i < k; i++)
			g->list[g->nlist++] = list[i];
		break;
	default:
		k = yaml_number_list(y, n, &list);
		if (k == 1 && p->kind == PARAM_AROUND && list[0] >= 0) {
			v[0] = p->middle - list[0];
			v[1] = p->middle + list[0];
			if (p->middle > 0 && v[0] < 0)
				v[0] = 0;
		} else if (k == 2) {
			v[0] = list[0];
			v[1] = list[1];
		} else if (k != 0) {
			yaml_bad(y, n, "%s: \"%s\" takes %s[LEAST, MOST]", what, p->name,
			    p->kind == PARAM_AROUND ? "one number above 0 or " : "");
			return;
		}
		if (k && v[0] > v[1])
			yaml_bad(y, n, "%s: \"%s\" goes from %g down to %g", what, p->name, v[0], v[1]);
		list = v;
		k = k ? 2 : 0;
	}
	for (int i = 0; i < k; i++)
		if (!(list[i] >= p->least && list[i] <= p->most))
			yaml_bad(y, n, "%s: \"%s\" is %g, must lie between %g and %g", what, p->name, list[i],
			    p->least, p->most);
		else if (p->kind == PARAM_LIST && list[i] != floor(list[i]))
			yaml_bad(y, n, "%s: \"%s\" holds %g, not a whole number", what, p->name, list[i]);
}

static int
params_of(const struct augment_info *a)
{
	int n = 0;

	while (n < AUG_PARAMS && a->params[n].kind)
		n++;
	return n;
}

/* {NAME: VALUE} or {NAME: {PARAMETER: VALUE, ..., p: CHANCE, fields: [...]}} */
static void
augment_settings(struct ydoc *y, ynode *n, const struct augment_info *a, struct recipe_augment *g)
{
	const char *keys[AUG_PARAMS + 3], *what = arena_printf(y->arena, "augment %s", a->name);
	int np = params_of(a), nkeys = 0;
	bool needs = false;

	for (int i = 0; i < np; i++) {
		keys[nkeys++] = a->params[i].name;
		needs |= i > 0 && a->params[i].required;
	}
	if (strcmp(a->params[0].name, "p") != 0)
		keys[nkeys++] = "p";
	keys[nkeys++] = "fields";
	if (!yaml_is_map(n)) {
		if (needs)
			yaml_bad(y, n, "%s needs \"%s\" as well: {%s: {%s: .., %s: ..}}", what, a->params[1].name, a->name,
			    a->params[0].name, a->params[1].name);
		else if (n && yaml_is_scalar(n) && !yaml_text(y, n)[0])
			return; /* {mixup:} by its defaults */
		else
			augment_value(y, n, &a->params[0], what, g, g->v);
		return;
	}
	yaml_keys(y, n, what, nkeys, keys);
	for (int i = 0; i < np; i++) {
		ynode *v = yaml_get(y, n, a->params[i].name);
		int at = augment_value_at(g->kind, i);

		if (v)
			augment_value(y, v, &a->params[i], what, g, g->v + (at < 0 ? 0 : at));
		else if (a->params[i].required)
			yaml_bad(y, n, "%s has no \"%s\"", what, a->params[i].name);
	}
	if (strcmp(a->params[0].name, "p") != 0)
		g->v[AUG_VALUES - 1] = yaml_number(y, n, "p", 1, 0, 1);
	g->nfields = yaml_strings(y, n, "fields", &g->fields);
	if (g->nfields > 8)
		yaml_bad(y, yaml_get(y, n, "fields"), "%s: 8 fields at most", what);
}

/* [{flip_h: 0.5}, {crop: {pad: 4}}, {resize: 32}, ...] */
static void
augment(struct ydoc *y, ynode *data, struct recipe *r)
{
	ynode *list = yaml_get(y, data, "augment");

	if (!list)
		return;
	if (yaml_count(list) > 16)
		yaml_bad(y, list, "%d augmentations, 16 at most", yaml_count(list));
	r->augments = arena_array(y->arena, struct recipe_augment, yaml_count(list) + 1);
	for (int i = 0; i < yaml_count(list); i++) {
		ynode *n = yaml_item(y, list, i);
		struct recipe_augment *g = &r->augments[r->naugment];
		bool bare = yaml_is_list(list) && yaml_is_scalar(n);
		const char *name = bare ? yaml_text(y, n) : yaml_is_map(n) && yaml_count(n) == 1 ? yaml_key(y, n, 0) : NULL;
		int kind = name ? augment_find(name) : -1;

		if (!name) {
			yaml_bad(y, n, "an augmentation is written {flip_h: 0.5} or {crop: {pad: 4}}");
			continue;
		}
		if (strcmp(name, "resize") == 0 && !bare) {
			if (i > 0)
				yaml_bad(y, n, "resize is about every split and comes first");
			recipe_resize(y, yaml_value(y, n, 0), "augment resize", r->resize);
			r->resize_line = yaml_line(n);
			continue;
		}
		if (kind < 0) {
			yaml_bad(y, n, "no augmentation is called \"%s\"%s", name, augment_hint(y, name));
			continue;
		}
		*g = (struct recipe_augment){.kind = (enum augment_kind)kind, .line = yaml_line(n)};
		augment_defaults(g->kind, g->v);
		if (!bare)
			augment_settings(y, yaml_value(y, n, 0), &augment_table[kind], g);
		else if (augment_table[kind].params[0].required)
			yaml_bad(y, n, "augment %s has no \"%s\"", name, augment_table[kind].params[0].name);
		r->naugment++;
	}
}

/* ---- which samples */
/* {field: F, lengths: [16, 32], fields: [others cut with it], pad: 0} */
static void
buckets(struct ydoc *y, ynode *data, struct recipe *r)
{
	ynode *n = yaml_get(y, data, "buckets"), *at;
	struct recipe_buckets *b = &r->buckets;

	if (!n || (!YAML_KEYS(y, n, "data.buckets", "field", "lengths", "fields", "pad") && !yaml_is_map(n)))
		return;
	b->line = yaml_line(n);
	b->field = yaml_string(y, n, "field", NULL);
	if (!b->field)
		yaml_bad(y, n, "data.buckets names no \"field\" whose length counts");
	at = yaml_get(y, n, "lengths");
	b->n = at ? yaml_ints(y, n, "lengths", &b->lengths, 1, 1 << 20) : 0;
	if (!b->n)
		yaml_bad(y, n, "data.buckets has no \"lengths\", such as [16, 32, 64]");
	if (b->n > 16)
		yaml_bad(y, at, "%d buckets, 16 at most: each is a program of its own", b->n);
	for (int i = 1; i < b->n; i++)
		if (b->lengths[i] <= b->lengths[i - 1])
			yaml_bad(y, at, "lengths must rise: %lld comes after %lld", (long long)b->lengths[i],
			    (long long)b->lengths[i - 1]);
	b->nfields = yaml_strings(y, n, "fields", &b->fields);
	b->has_pad = yaml_get(y, n, "pad") != NULL;
	b->pad = yaml_number(y, n, "pad", 0, -1e15, 1e15);
}

/* {SET: STEPS, ...}: all sets */
static void
interleave(struct ydoc *y, ynode *data, struct recipe *r)
{
	ynode *n = yaml_get(y, data, "interleave");
	const char **names = arena_array(y->arena, const char *, r->nsets + 1);
	int64_t total = 0;

	if (!n)
		return;
	if (!r->nsets) {
		yaml_bad(y, n, "\"interleave\" needs several data sets: data.sets");
		return;
	}
	for (int s = 0; s < r->nsets; s++)
		names[s] = r->sets[s].name;
	if (!yaml_keys(y, n, "data.interleave", r->nsets, names))
		return;
	for (int s = 0; s < r->nsets; s++) {
		r->sets[s].share = yaml_int(y, n, names[s], 0, 1, 1000);
		total += r->sets[s].share;
		if (!r->sets[s].share)
			yaml_bad(y, n, "data.interleave has no share for set \"%s\"", names[s]);
	}
	if (total > 1000)
		yaml_bad(y, n, "data.interleave: the shares add up to %lld, 1000 at most", (long long)total);
	r->interleaved = true;
}

void
recipe_data(struct ydoc *y, ynode *root, struct recipe *r, const char *data_root)
{
	ynode *n = yaml_get(y, root, "data"), *sets;

	if (!n) {
		yaml_bad(y, root, "the recipe has no \"data\"");
		return;
	}
	if (!YAML_KEYS(y, n, "data", "root", "train", "val", "test", "sets", "batch", "shuffle",
		"drop_last", "augment", "workers", "cache_bytes", "sampler", "buckets", "interleave") &&
	    !yaml_is_map(n))
		return;
	r->data_root =
	    data_root ? data_root : path_join(y->arena, r->dir, yaml_string(y, n, "root", "."));
	r->shuffle = yaml_bool(y, n, "shuffle", true);
	r->drop_last = yaml_bool(y, n, "drop_last", true);
	r->workers = yaml_int(y, n, "workers", 1, 1, 16);
	r->cache_bytes = yaml_int(y, n, "cache_bytes", -1, 0, INT64_MAX);
	augment(y, n, r);
	sampler(y, n, &r->sampler);
	buckets(y, n, r);
	sets = yaml_get(y, n, "sets");
	if (sets) {
		data_sets(y, sets, r, r->data_root);
		interleave(y, n, r);
		if (r->buckets.field)
			yaml_bad(y, yaml_get(y, n, "buckets"), "buckets are of a single data set");
		if (r->sampler.balanced)
			yaml_bad(y, yaml_get(y, n, "sampler"), "with \"sets\", the sampler belongs into each set");
		if (yaml_get(y, n, "train") || yaml_get(y, n, "val") || yaml_get(y, n, "test") ||
		    yaml_get(y, n, "batch"))
			yaml_bad(
			    y, n, "with \"sets\", train, val, test and batch belong into each set");
		return;
	}
	interleave(y, n, r);
	splits(y, n, r->data_root, &r->train, &r->val, &r->test);
	if (!yaml_get(y, n, "batch"))
		yaml_bad(y, n, "data has no \"batch\"");
	r->batch = yaml_int(y, n, "batch", 1, 1, 1 << 20);
}

/* ---- image folders give images and, as classes, labels */
static bool
image_folder(const char *file)
{
	static const char *const suffix[] = {"-ubyte", "-ubyte.gz", ".idx", ".idx.gz", ".npy", ".npz", ".csv"};

	if (strchr(path_base(file), '#') || strstr(file, ".npz:") || strstr(file, ".csv:"))
		return false;
	for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++)
		if (str_ends(file, suffix[i]))
			return false;
	return file[0] != 0;
}

/* A field that is some task's target takes the class half of an image folder; where
 * it is not listed and the split has one folder, that folder's classes are meant. */
static void
folder_labels(struct arena *a, const struct recipe *r, struct recipe_split *s)
{
	for (int t = 0; t < r->ntasks; t++) {
		const char *target = r->tasks[t].target;
		int folder = -1, folders = 0, have = -1;

		for (int i = 0; target && i < s->n; i++) {
			if (strcmp(s->fields[i].name, target) == 0)
				have = i;
			else if (image_folder(s->fields[i].file)) {
				folder = i;
				folders++;
			}
		}
		if (have < 0 && folders == 1) {
			struct recipe_field *f = arena_array(a, struct recipe_field, s->n + 1);

			memcpy(f, s->fields, sizeof *f * (size_t)s->n);
			have = s->n++;
			f[have] = (struct recipe_field){.name = target, .file = f[folder].file, .line = f[folder].line};
			s->fields = f;
		}
		if (have >= 0 && image_folder(s->fields[have].file) && !s->fields[have].resize[0])
			s->fields[have].file = arena_printf(a, "%s#labels", s->fields[have].file);
	}
}

void
recipe_folder_labels(struct arena *a, struct recipe *r)
{
	folder_labels(a, r, &r->train);
	folder_labels(a, r, &r->val);
	folder_labels(a, r, &r->test);
	for (int i = 0; i < r->nsets; i++) {
		folder_labels(a, r, &r->sets[i].train);
		folder_labels(a, r, &r->sets[i].val);
		folder_labels(a, r, &r->sets[i].test);
	}
}
