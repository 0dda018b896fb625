#!/usr/bin/env bash
# Measures expert prediction on a model: traces, profile, accuracies, and the tables of docs/routing.md.
#
#   tools/prediction/measure.sh MODEL TRAIN.jsonl TEST.jsonl OUT [DIALOGUES]
#
# Traces the first DIALOGUES (default 1500) of TRAIN and all of TEST, greedily. What OUT holds already is kept; an
# interrupted run goes on. Needs a built flame (FLAME=PATH for another than build/release/bin/flame) and Python 3; with
# CHECK=1 also the Python packages safetensors and numpy, to recount everything with reference.py.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
flame=${FLAME:-$here/../../build/release/bin/flame}
python=${PYTHON:-python3}
[ $# -ge 4 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 train=$2 test=$3 out=$4 dialogues=${5:-1500}
mkdir -p "$out"

[ -f "$out/train.trace" ] || "$flame" trace "$model" --task summarization --input "$train" --field dialogue \
  --limit "$dialogues" --hidden -o "$out/train.trace"
[ -f "$out/test.trace" ] || "$flame" trace "$model" --task summarization --input "$test" --field dialogue \
  --hidden -o "$out/test.trace"
[ -f "$out/train.profile" ] || "$flame" profile "$out/train.trace" --fit --model "$model" -o "$out/train.profile"
[ -f "$out/test.profile" ] || "$flame" profile "$out/test.trace" -o "$out/test.profile"
"$flame" profile --show --json "$out/test.profile" >"$out/paths.json"
"$flame" eval prediction "$out/test.trace" --profile "$out/train.profile" --skip-overlapping --depth 1,2,3 --json \
  >"$out/prediction.json"
if [ "${CHECK:-0}" = 1 ]; then
  "$flame" eval prediction "$out/test.trace" --profile "$out/train.profile" --predictor cepr,incremental --json \
    >"$out/checked.json"
  "$python" "$here/reference.py" --profile "$out/train.trace" --score "$out/test.trace" >"$out/reference.json"
  "$python" "$here/compare.py" "$out/checked.json" "$out/reference.json"
fi
"$python" "$here/tables.py" "$out/prediction.json" "$out/paths.json" | tee "$out/tables.md"
