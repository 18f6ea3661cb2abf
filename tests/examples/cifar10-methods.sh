#!/usr/bin/env bash
# Each method is a term of one recipe; 100 steps of two of them learn something.
. "$(dirname "$0")/lib.sh"
example cifar10-methods
at_least alone 1 18
at_least kd 1 18
at_least rkd 1 18
finish
