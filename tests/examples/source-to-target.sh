#!/usr/bin/env bash
# Two stages, two data sets, a teacher of another task; its features beat 300 labels alone.
. "$(dirname "$0")/lib.sh"
example source-to-target
at_least "target alone" 1 75
at_least "features, then labels" 1 0.3 "target alone" 1
at_least "features, then both" 1 0.3 "target alone" 1
at_least "fine-tuned from the source" 1 20 "source network as it is" 1
finish
