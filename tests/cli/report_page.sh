#!/usr/bin/env bash
# Makes a report of a tiny random model and opens its page in headless Chromium: every item there, every figure drawn, no text
# on other text or cut, no message on the console, the tables' numbers those of the JSON files. Then draws the stored
# measurements again, elsewhere and without the model.
# usage: report_page.sh FLAME SOURCE_DIRECTORY     exits with 77, and says so, where there is no Chromium, Python or gnuplot
set -euo pipefail
flame=$1 source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for program in python3 gnuplot; do
  command -v "$program" >/dev/null || { echo "SKIPPED: $program is not installed"; exit 77; }
done

cd "$scratch"
"$flame" synth "$source/tests/data/cli/tiny.json" -o tiny-random --tokenizer "$source/tests/data/text/t5/spiece.model"
# The dialogues have no references; any text will do for a model that writes noise.
sed 's/}$/, "summary": "Two people talk."}/' "$source/data/dialogues.jsonl" >examples.jsonl
"$flame" report tiny-random --data examples.jsonl --field dialogue --reference summary -o report --quick &>progress || { cat progress; exit 1; }
"$flame" report --from report/data -o again
cmp report/index.html <(sed 's|"../report/data/|"data/|g' again/index.html) ||
  { echo "drawn again the page is another" >&2; exit 1; }
python3 "$source/tools/report/check_page.py" report/index.html --complete
