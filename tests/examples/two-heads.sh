#!/usr/bin/env bash
# Image folders with masks, two sets in a step, two teachers, terms about unlabelled rows:
# the student beats the one of the labels alone on both heads.
. "$(dirname "$0")/lib.sh"
DATA=
example two-heads
at_least "teacher of classes" 1 50
at_least "teacher of masks" 2 75
at_least "both heads, from both teachers" 1 4 "both heads, 400 pictures" 1
at_least "both heads, from both teachers" 2 0.2 "both heads, 400 pictures" 2
finish
