#!/usr/bin/env bash
# What recording costs: processor time of `flame trace` against `flame generate` on the same texts, greedily.
#
#   tools/prediction/tracing_cost.sh MODEL DATA.jsonl [DIALOGUES] [ROUNDS]
#
# Runs generate, trace and trace --hidden in turn, ROUNDS (default 7) times, on one thread over the first DIALOGUES
# (default 80) texts under "dialogue", and prints the median of each and of the ratios within a round. Processor time,
# not the clock's, so that other work on the machine matters little. FLAME=PATH for another than build/release/bin/flame.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
flame=${FLAME:-$here/../../build/release/bin/flame}
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 data=$2 dialogues=${3:-80} rounds=${4:-7}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
common=(--task summarization --input "$data" --field dialogue --limit "$dialogues" --threads 1 --beams 1 --batch 8)

# Seconds of processor time, user and system, that a command takes.
seconds() {
  local TIMEFORMAT='%U %S'
  { time "$@" >"$folder/out" 2>"$folder/err"; } 2>&1 | awk '{ printf "%.3f", $1 + $2 }'
  [ "${PIPESTATUS[0]}" = 0 ] || { cat "$folder/err" >&2; exit 1; }
}

for ((round = 1; round <= rounds; ++round)); do
  generate=$(seconds "$flame" generate "$model" "${common[@]}")
  rm -f "$folder/trace"
  trace=$(seconds "$flame" trace "$model" "${common[@]}" -o "$folder/trace")
  rm -f "$folder/trace"
  hidden=$(seconds "$flame" trace "$model" "${common[@]}" --hidden -o "$folder/trace")
  echo "$generate $trace $hidden"
done | tee "$folder/rounds" | awk '{ print "round " NR ": generate " $1 " s, trace " $2 " s, trace --hidden " $3 " s" }'

median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.3f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
echo "median: generate $(awk '{ print $1 }' "$folder/rounds" | median) s," \
  "trace $(awk '{ print $2 / $1 }' "$folder/rounds" | median) of it," \
  "trace --hidden $(awk '{ print $3 / $1 }' "$folder/rounds" | median) of it"
