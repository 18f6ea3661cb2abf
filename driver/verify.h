/* verify -- what the files of retort verify share. */
#ifndef RETORT_VERIFY_H
#define RETORT_VERIFY_H

#include "driver/driver.h"

/* ---- verify_case.c: false after reporting; *same turns false where an output differs */
bool verify_folder(struct driver *, const char *dir, bool *same); /* ONNX's layout */
bool verify_model(struct driver *, bool *same);                   /* M.onnx with its inputs and --ref */

#endif
