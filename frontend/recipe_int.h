/* recipe_int.h -- what the files of the recipe reader share: recipe.c (the
 * whole), recipe_data.c, recipe_model.c (models), recipe_term.c (tasks and terms),
 * recipe_train.c (stages). */
#ifndef RETORT_RECIPE_INT_H
#define RETORT_RECIPE_INT_H

#include "frontend/recipe.h"
#include "frontend/yaml.h"

#include <math.h>
#include <string.h>

/* data_root: NULL: the recipe's */
void recipe_data(struct ydoc *, ynode *, struct recipe *, const char *data_root);
/* [HEIGHT, WIDTH] or one number for both; n NULL: as it is */
void recipe_resize(struct ydoc *, ynode *n, const char *what, int64_t *size);
void recipe_folder_labels(struct arena *, struct recipe *);
bool recipe_models(struct ydoc *, ynode *, struct recipe *);
/* recipe_record.c: is the teacher given as files; reads such a one; adds its files to the
 * fields of the data, once all is read */
bool recipe_recorded(struct ydoc *, ynode *model);
void recipe_teacher_record(struct ydoc *, ynode *, const struct recipe *, struct recipe_model *);
void recipe_record_fields(struct arena *, struct recipe *, struct diag *);
/* recipe_view.c: fields that are read as FIELD@K */
void recipe_views(struct arena *, struct recipe *);
void recipe_tasks(struct ydoc *, ynode *, struct recipe *);
int recipe_terms(struct ydoc *, ynode *, const struct recipe *, struct recipe_term **);
/* A number, or {from, to, over, curve}; `otherwise` where the mapping does not have it. */
struct dial recipe_dial(
    struct ydoc *, ynode *map, const char *key, double otherwise, double least, double most);
/* recipe_metric.c: the metric agreement of every task that learns from a teacher's outputs */
void recipe_agreement(struct arena *, struct recipe *);
/* recipe_balance.c: after the stage's terms */
void recipe_balance(struct ydoc *, ynode *stage, const struct recipe *, struct recipe_stage *);
void recipe_check_balance(const struct recipe *, const struct recipe_stage *, struct diag *);
void recipe_adaptor(struct ydoc *, ynode *term, const char *what, struct recipe_term *); /* recipe_adaptor.c */
void recipe_check_modules(const struct recipe *, struct diag *);
void recipe_train(struct ydoc *, ynode *, struct recipe *);

/* recipe_search.c: the document gets the values of this point; false: reported */
bool recipe_choose(struct ydoc *, const int *choice);
void recipe_search(struct ydoc *, ynode *, struct recipe *);

/* recipe_check.c: references between the parts; reports all that dangle */
void recipe_check(const struct recipe *, struct arena *, struct diag *);

#endif
