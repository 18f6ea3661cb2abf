#!/usr/bin/env bash
# run.sh SUITE WORK -- ONNX's own cases through retort verify, in every form of --as.
# SUITE 1.12: as the python3-onnx of this machine writes them.  SUITE open: the archive
# in ../shared/conformance.  They lie in WORK/SUITE, made once.
# exceptions.txt lists what does not pass and why; any other failure fails the test,
# and so does a listed case that passes.  A case that cannot be compiled for a range of
# sizes (as symbolic) is no failure, but their number is: exceptions.txt says how many
# do pass.  77: the cases cannot be had here.
set -euo pipefail
suite=$1 work=$2
here=$(dirname "$0")
cases=$work/$suite

make_112()
{
	local python
	for python in /usr/bin/python3 python3; do
		if "$python" -c 'import onnx, numpy' 2>/dev/null; then
			"$python" -W ignore "$here/generate.py" "$1"
			rm -rf "$1/real" # models that lie elsewhere
			return 0
		fi
	done
	echo "skipped: no python3 with the onnx package (Debian: python3-onnx)"
	return 1
}

make_open()
{
	local archive
	for archive in "${RETORT_SHARED:-$SOURCE/../shared}"/conformance/*open.tar.xz; do
		if [ -r "$archive" ]; then
			mkdir -p "$1"
			tar -C "$1" -xJf "$archive"
			return 0
		fi
	done
	echo "skipped: no ../shared/conformance here"
	return 1
}

if [ ! -e "$cases/complete" ]; then
	rm -rf "$cases"
	case $suite in
	1.12) make_112 "$cases" || exit 77 ;;
	open) make_open "$cases" || exit 77 ;;
	*) echo "no suite $suite"; exit 2 ;;
	esac
	touch "$cases/complete"
fi

log=$work/$suite.log
start=$(date +%s)
status=0
"$RETORT" verify --as=all --jobs "$(nproc)" --table -o "$work/$suite.tsv" "$cases" >"$log" 2>&1 || status=$?
[ "$status" = 0 ] || [ "$status" = 5 ] || { tail -20 "$log"; echo "verify: status $status"; exit 1; }
echo "$(tail -1 "$log") in $(($(date +%s) - start)) s"

awk -v suite="$suite" -v prefix="$cases/" '
	FNR == NR {
		if ($0 !~ /^#/ && NF && $1 == suite) {
			tab = index($0, "\t")
			key = tab ? substr($0, 1, tab - 1) : $0
			sub("^[^ ]+ ", "", key)
			if (sub("^symbolic >= ", "", key)) {
				floor = key + 0
				next
			}
			listed[key] = 1
			if (!tab || tab == length($0)) {
				print "exceptions.txt: no reason for " key
				bad = 1
			}
		}
		next
	}
	/^(ok  |FAIL|none) \// {
		word = substr($0, 1, 4)
		key = substr($0, 6)
		sub(/ \([0-9.]+ s\)$/, "", key)
		if (index(key, prefix) == 1)
			key = substr(key, length(prefix) + 1)
		seen[key] = 1
		symbolic = key ~ / as symbolic$/
		ranges += symbolic && word == "ok  "
		refused = symbolic && word == "none" && !(key in listed)
		fixed += refused
		show = word != "ok  " && !(key in listed) && !refused
		if (show) {
			print word " " key
			bad = 1
		}
		if (word == "ok  " && key in listed) {
			print "listed in exceptions.txt, but it passes: " key
			bad = 1
		}
		if (word == "ok  ")
			passed++
		else
			excepted += !show && !refused
		next
	}
	show { print }
	END {
		for (key in listed)
			if (!(key in seen)) {
				print "listed in exceptions.txt, but there is no such case: " key
				bad = 1
			}
		if (ranges < floor) {
			print ranges " cases pass as symbolic, exceptions.txt says " floor
			bad = 1
		}
		printf "%s: %d pass (%d as symbolic, %d more need a size fixed), %d listed exceptions\n", suite,
		    passed, ranges, fixed, excepted
		exit bad
	}' "$here/exceptions.txt" "$log"
