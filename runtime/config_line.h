/* config_line -- one line of a configuration as words, checked as it is read.  What is wrong
 * is reported with the line's number and key, by false. */
#ifndef RETORT_CONFIG_LINE_H
#define RETORT_CONFIG_LINE_H

#include "runtime/config.h"

enum { MAX_WORDS = MAX_MILESTONES + 8 };

/* One line as words; all strings point into the region's copy of the text. */
struct line {
	int n, number;
	char *w[MAX_WORDS];
	struct rt_msg *m;
	const char *what;
};

/* The region's copy of the text; NULL: reported. */
char *line_text(const char *text, struct region *, struct rt_msg *);
/* Next line with words in it; false: end of the text, or wrong (l->m says). */
bool line_next(struct line *, char **text);
bool line_bad(struct line *, const char *why); /* false */
bool line_words(struct line *, int n);	       /* so many behind the key */
bool line_integer(struct line *, int i, int64_t lo, int64_t hi, int64_t *);
bool line_real(struct line *, int i, double lo, double hi, double *);
bool line_flag(struct line *, bool *);
bool line_string(struct line *, const char **);

#endif
