# Sourced by the examples' `run`:
#
#   run [--data DIR] [--out DIR] [--seeds "1 2 3"] [--quick] [OPTIONS OF retort distill]
#
# DIR of the data has a folder for each data set (the example's README says which). Recipes and
# models are copied to the output folder and run there, one folder for each run. --quick is
# what the tests run: one seed, less training. $RETORT is the command, $CC the C compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
RETORT=${RETORT:-retort}
CC=${CC:-cc}
data=data out=out seeds="1 2 3" quick= options=()
while [ $# -gt 0 ]; do
	case $1 in
	--data) data=$2 && shift ;;
	--out) out=$2 && shift ;;
	--seeds) seeds=$2 && shift ;;
	--quick) quick=1 seeds=1 ;;
	-h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;;
	*) options+=("$1") ;;
	esac
	shift
done
mkdir -p "$out"
[ ! -d "$data" ] || data=$(cd "$data" && pwd)
cd "$out"
cp "$here"/*.yaml "$here"/*.onnxtxt .

say() { printf '\n== %s\n' "$*"; }

# need_data FILE...: below --data
need_data() {
	for f in "$@"; do
		[ -e "$data/$f" ] || {
			echo "skipped: $data/$f is missing; README.md says where it comes from (--data DIR names its folder)" >&2
			exit 77
		}
	done
}

# distil RECIPE DIR OPTIONS...: into DIR; what the run prints goes to DIR/log
distil() {
	local recipe=$1 dir=$2
	shift 2
	mkdir -p "$dir"
	"$RETORT" distill "$recipe" -o "$dir" --data "$data" ${options[@]+"${options[@]}"} "$@" >"$dir/log" 2>&1 || {
		tail -n 20 "$dir/log" >&2
		echo "$recipe failed" >&2
		exit 1
	}
}

# for_seeds RECIPE DIR OPTIONS...: into DIR.SEED
for_seeds() {
	local recipe=$1 dir=$2 s
	shift 2
	for s in $seeds; do distil "$recipe" "$dir.$s" --seed "$s" "$@"; done
}

# metric DIR KEY: the last one in its metrics.jsonl
metric() { grep -o "\"$2\": *[0-9.e+-]*" "$1/metrics.jsonl" | tail -n 1 | sed 's/.*: *//'; }

# row NAME DIR KEY...: a row of a table; for each key a column, 100 x the metric, its mean
# over DIR.SEED and the sample standard deviation
row() {
	local name=$1 dir=$2 key s
	shift 2
	printf '| %s' "$name"
	for key in "$@"; do
		for s in $seeds; do metric "$dir.$s" "$key"; done | awk '
			{ v[NR] = 100 * $1; sum += v[NR] }
			END {
				m = sum / NR
				for (i in v) d += (v[i] - m) ^ 2
				printf(NR > 1 ? " | %.2f +- %.2f" : " | %.2f", m, NR > 1 ? sqrt(d / (NR - 1)) : 0)
			}'
	done
	echo " |"
}
