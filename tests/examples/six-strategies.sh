#!/usr/bin/env bash
# Shared, differentiated, transfer, adaptive, attention, fusion: each beats 300 labels alone.
. "$(dirname "$0")/lib.sh"
example six-strategies
at_least "teacher of both" 1 85
at_least "teacher of speakers" 2 85
for method in shared differentiated adaptive attention fusion; do
	at_least $method 1 5 "300 labels" 1
done
at_least transfer 1 1 "300 labels" 1
finish
