#!/usr/bin/env bash
# Turns of judge and generator, models that feed each other, a student taught by noise alone.
. "$(dirname "$0")/lib.sh"
DATA=
example image-generator
at_least "pixels, after an epoch" 1 0.1 pixels 1
at_least pixels 1 0
at_least "pixels and answers" 2 0
finish
