#!/usr/bin/env bash
# Installs a build into a scratch directory, builds examples/generate against it alone, and runs it.
# usage: installed_example.sh CMAKE BUILD_DIRECTORY SOURCE_DIRECTORY
set -euo pipefail
cmake=$1 build=$2 source=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$cmake" --install "$build" --prefix "$scratch/prefix" >/dev/null
"$cmake" -S "$source/examples/generate" -B "$scratch/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$scratch/prefix" >/dev/null
"$cmake" --build "$scratch/build"
"$scratch/prefix/bin/flame" synth "$source/tests/data/cli/tiny.json" -o "$scratch/model" \
  --tokenizer "$source/tests/data/text/t5/spiece.model"
printed=$("$scratch/build/generate" "$scratch/model" "Hello there.")
expected=$("$scratch/prefix/bin/flame" generate "$scratch/model" --text "Hello there.")
[ "$printed" = "$expected" ] || { echo "the example printed '$printed', the program '$expected'" >&2; exit 1; }
