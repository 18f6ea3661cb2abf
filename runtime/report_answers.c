/* report_answers -- the part of report.html about what the student says: for each task
 * with labels its confusions, its classes, and samples with their pictures. */
#include "runtime/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_CLASSES = 40, LISTED = 30, SIDE = 112 };

/* Folder names where the labels come from folders, else numbers. */
static const char *
class_name(const struct run *r, const struct task_answers *t, int64_t c, char *room, size_t n)
{
	const struct dset *set = t->set < 0 ? NULL : &r->data.sets[t->set];

	for (int i = 0; set && i < set->cfg->nfields; i++) {
		const struct rt_array *a =
		    set->arrays[SPLIT_TRAIN] ? &set->arrays[SPLIT_TRAIN][i] : NULL;

		if (a && strcmp(set->cfg->fields[i].name, t->cfg->target) == 0 && c < a->nclasses)
			return a->classes[c];
	}
	snprintf(room, n, "%lld", (long long)c);
	return room;
}

static void
name(FILE *f, const struct run *r, const struct task_answers *t, int64_t c)
{
	char room[24];

	html(f, class_name(r, t, c, room, sizeof room));
}

static double
row_sum(const struct tally *t, int64_t label)
{
	double sum = 0;

	for (int64_t c = 0; c < t->classes; c++)
		sum += t->counts[label * t->classes + c];
	return sum;
}

static void
confusion_table(FILE *f, const struct run *r, const struct task_answers *t)
{
	int64_t n = t->tally.classes;

	fputs("<div class=\"wide\"><table class=\"confusion\"><tr><th class=\"corner\">label \\ "
	      "answer</th>",
	    f);
	for (int64_t c = 0; c < n; c++) {
		fputs("<th>", f);
		name(f, r, t, c);
		fputs("</th>", f);
	}
	fputs("</tr>\n", f);
	for (int64_t y = 0; y < n; y++) {
		double sum = row_sum(&t->tally, y);

		fputs("<tr><th>", f);
		name(f, r, t, y);
		fputs("</th>", f);
		for (int64_t c = 0; c < n; c++) {
			double k = t->tally.counts[y * n + c], share = sum > 0 ? k / sum : 0;

			/* mistakes show from one in a hundred on */
			fprintf(f,
			    "<td style=\"background:rgb(%s/%.2f)\" title=\"%.1f %% of the label\">",
			    y == c ? "22 163 74" : "220 38 38",
			    y == c ? 0.75 * share : 0.85 * sqrt(share), 100 * share);
			if (k > 0)
				fprintf(f, "%.0f", k);
			fputs("</td>", f);
		}
		fputs("</tr>\n", f);
	}
	fputs("</table></div>\n", f);
}

struct pair {
	int64_t label, answer;
	double n;
};

/* Of many classes: the most frequent mistakes. */
static void
confusion_list(FILE *f, const struct run *r, const struct task_answers *t)
{
	struct pair top[LISTED];
	int64_t n = t->tally.classes;
	int found = 0;

	for (int64_t i = 0; i < n * n; i++) {
		struct pair p = {i / n, i % n, t->tally.counts[i]};
		int at = found;

		if (p.label == p.answer || !(p.n > 0))
			continue;
		while (at > 0 && p.n > top[at - 1].n)
			at--;
		if (at == LISTED)
			continue;
		found += found < LISTED;
		memmove(&top[at + 1], &top[at], sizeof *top * (size_t)(found - 1 - at));
		top[at] = p;
	}
	fputs("<div class=\"wide\"><table "
	      "class=\"classes\"><tr><th>label</th><th>answer</th><th>times</th><th>of "
	      "the label</th></tr>\n",
	    f);
	for (int i = 0; i < found; i++) {
		fputs("<tr><td>", f);
		name(f, r, t, top[i].label);
		fputs("</td><td>", f);
		name(f, r, t, top[i].answer);
		fprintf(f, "</td><td>%.0f</td><td>%.1f %%</td></tr>\n", top[i].n,
		    100 * top[i].n / row_sum(&t->tally, top[i].label));
	}
	fputs("</table></div>\n", f);
}

static void
ratio_cell(FILE *f, double v)
{
	if (isnan(v))
		fputs("<td>&ndash;</td>", f);
	else
		fprintf(
		    f, "<td><span class=\"bar\" style=\"--v:%.1f%%\"></span>%.4f</td>", 100 * v, v);
}

static void
class_table(FILE *f, const struct run *r, const struct task_answers *t)
{
	fputs("<div class=\"wide scroll\"><table "
	      "class=\"classes\"><tr><th>class</th><th>samples</th><th>precision</th>"
	      "<th>recall</th><th>F1</th></tr>\n",
	    f);
	for (int64_t c = 0; c < t->tally.classes; c++) {
		double tp, fp, fn;

		tally_class(&t->tally, c, &tp, &fp, &fn);
		fputs("<tr><th>", f);
		name(f, r, t, c);
		fprintf(f, "</th><td>%.0f</td>", tp + fn);
		ratio_cell(f, tp + fp > 0 ? tp / (tp + fp) : NAN);
		ratio_cell(f, tp + fn > 0 ? tp / (tp + fn) : NAN);
		ratio_cell(f, tp + fp + fn > 0 ? 2 * tp / (2 * tp + fp + fn) : NAN);
		fputs("</tr>\n", f);
	}
	fputs("</table></div>\n", f);
}

/* ---- samples */
static void
sample(FILE *f, struct run *r, const struct task_answers *t, const struct sample *s)
{
	const struct dset *set = &r->data.sets[t->set];
	const struct dsplit *split = &set->split[r->answers.split];
	const struct rt_array *a = &set->arrays[split->source][t->field];
	unsigned char *row = malloc((size_t)a->row_bytes);
	struct picture p = {0};
	struct rt_msg ignored = {0};

	if (row && rt_array_row(a, s->row, row, &ignored))
		p = picture_of(&set->cfg->fields[t->field], row, SIDE);
	if (p.p) {
		fprintf(f,
		    "<figure class=\"sample%s\"><img alt=\"sample %lld\" width=\"%lld\" "
		    "height=\"%lld\" src=\"",
		    s->label == s->answer ? "" : " wrong", (long long)s->row, (long long)p.w,
		    (long long)p.h);
		picture_write(f, &p);
		fprintf(f, "\" title=\"sample %lld\"><figcaption><b>", (long long)s->row);
		name(f, r, t, s->label);
		fputs("</b><span class=\"answer\">", f);
		name(f, r, t, s->answer);
		fprintf(f, " <small>%.0f&nbsp;%%</small></span>", 100 * s->confidence);
		if (s->teacher >= 0) {
			fprintf(f, "<span class=\"taught%s\">teacher ",
			    s->teacher == s->label ? "" : " off");
			name(f, r, t, s->teacher);
			fputs("</span>", f);
		}
		fputs("</figcaption></figure>\n", f);
	}
	free(p.p);
	free(row);
}

static void
samples(FILE *f, struct run *r, const struct task_answers *t)
{
	if (t->nwrong + t->nright == 0)
		return;
	fprintf(f,
	    "<h3>Samples</h3><p class=\"note\">The mistakes that the student is surest of, then "
	    "some that "
	    "are right: label, answer with its probability%s.</p>\n<div class=\"samples\">\n",
	    t->teacher >= 0 ? ", the teacher's answer" : "");
	for (int i = 0; i < t->nwrong; i++)
		sample(f, r, t, &t->wrong[i]);
	for (int i = 0; i < t->nright; i++)
		sample(f, r, t, &t->right[i]);
	fputs("</div>\n", f);
}

void
report_answers(FILE *f, struct run *r)
{
	for (int i = 0; i < r->answers.n; i++) {
		const struct task_answers *t = &r->answers.v[i];

		if (!t->tally.counts || r->answers.updates < 0)
			continue;
		fputs("<section class=\"card\"><h2>", f);
		html(f, t->cfg->name);
		fprintf(f, " <small>%s data, exported weights</small></h2>\n",
		    split_names[r->answers.split]);
		if (t->tally.labels) {
			fputs("<h3>Confusions</h3>\n", f);
			if (t->tally.classes <= TABLE_CLASSES)
				confusion_table(f, r, t);
			else
				confusion_list(f, r, t);
		}
		fputs("<h3>Classes</h3>\n", f);
		class_table(f, r, t);
		samples(f, r, t);
		fputs("</section>\n", f);
	}
}
