#!/bin/bash
# The arrows between rooms that linking cannot check: which room may include what.
# A header of another room is seen as "ROOM/..."; outside libraries by their names.
cd "$(dirname "$0")/.." || exit 1
bad=0

includes() # PATTERN DIR...: lines that include a header matching PATTERN
{
	local pattern=$1
	shift
	grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]$pattern" -r "$@" --include='*.c' --include='*.h' \
		--include='*.def' 2>/dev/null
}

rooms="base host ir frontend passes codegen runtime driver"

only() # PATTERN "ROOMS": nobody else may include it
{
	local room found
	for room in $rooms; do
		case " $2 " in *" $room "*) continue ;; esac
		found=$(includes "$1" "$room")
		if [ -n "$found" ]; then
			printf 'only %s may include %s:\n%s\n' "$2" "$1" "$found"
			bad=1
		fi
	done
}

sees() # ROOM "ROOMS": what of ours a room may include besides itself
{
	local other found
	for other in $rooms; do
		case " $1 $2 " in *" $other "*) continue ;; esac
		found=$(includes "$other/" "$1")
		if [ -n "$found" ]; then
			printf '%s/ may not see %s/:\n%s\n' "$1" "$other" "$found"
			bad=1
		fi
	done
}

only 'protobuf-c/' frontend
only 'onnx\.pb-c\.h' frontend
only '(yaml|cyaml)' frontend
only 'llvm-c/' codegen
only 'cblas' runtime
only '(png|jpeglib|zlib)\.h' "runtime host"

sees base ""
sees host ""
sees ir "base host"
sees frontend "base host ir runtime"
found=$(includes 'runtime/' frontend | grep -v '"runtime/schedule.def"')
if [ -n "$found" ]; then
	printf 'frontend/ may see runtime/schedule.def only:\n%s\n' "$found"
	bad=1
fi
sees passes "base host ir"
sees runtime "host"

# codegen shares what emitted code and the runtime agree on, and nothing else of it
sees codegen "base host ir passes runtime"
found=$(includes 'runtime/' codegen | grep -vE '"runtime/(abi|link_flags)\.h"')
if [ -n "$found" ]; then
	printf 'codegen/ may see runtime/abi.h and link_flags.h only:\n%s\n' "$found"
	bad=1
fi

# one way out: exit() in the mains only
found=$(grep -nE '(^|[^_[:alnum:]])exit\(' -r $rooms --include='*.c' | grep -vE '^(driver/main|runtime/[a-z_]*main)\.c:' |
	grep -vE '^[^:]*:[0-9]*:[[:space:]]*(/?\*|//)')
if [ -n "$found" ]; then
	printf 'exit() outside the mains:\n%s\n' "$found"
	bad=1
fi
exit $bad
