/* regex -- the instructions of a pattern's program: regex.c writes, match.c runs. */
#ifndef RETORT_HOST_REGEX_H
#define RETORT_HOST_REGEX_H

enum { MATCH, CLASS, DATA, SPLIT, JUMP, ASSERT };
enum { AT_BEGIN, AT_END, AT_LINE, AT_LINE_END, AT_WORD, AT_NO_WORD };

#endif
