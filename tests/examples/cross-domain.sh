#!/usr/bin/env bash
# Three data sets of different inputs in turn, three teachers, a trunk used three times.
. "$(dirname "$0")/lib.sh"
example cross-domain
at_least "teacher of each" 1 95
at_least "teacher of each" 2 80
at_least "teacher of each" 3 60
at_least "one student, labels" 1 85
at_least "one student, three teachers" 1 85
at_least "one student, three teachers" 2 70
at_least "one student, three teachers" 3 62
finish
