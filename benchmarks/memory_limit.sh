#!/usr/bin/env bash
# The expert buffer against a memory map under the same memory limit: what llama.cpp-like loaders do when a model does not
# fit. Each program runs alone in a control group (version 1 or 2) that may have dense weights + budget + SPARE_MIB (40
# unless set), page cache included. With READ_BPS it gets no more than so many bytes a second from the disk below WORK;
# the kernel lets a tenth of a second's bytes through that were saved up before, so that runs have to be long: 256 tokens
# unless TOKENS says otherwise. Needs root.
#
#   benchmarks/memory_limit.sh CHECKPOINT ROUTE_TRACE WORK [BUDGET_PERCENT] [READ_BPS] [flame bench options…]
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
checkpoint=$1 trace=$2 work=$3 percent=${4:-25} read_bps=${5:-0}
shift $(($# < 5 ? $# : 5))
more=() predicted=()
while [ $# -gt 0 ]; do
  case $1 in
    --predictor | --context) predicted+=("$1" "$2") && shift 2 ;; # of `both` alone
    *) more+=("$1") && shift ;;
  esac
done
root=$(cd "$(dirname "$0")/.." && pwd)
flame=${FLAME:-$root/build/release/bin/flame}
common=(bench "$checkpoint" --work "$work" --route-trace "$trace")

# Makes the bundle, and tells how large its parts are.
"$flame" "${common[@]}" "${more[@]}" "${predicted[@]}" --budget "$percent%" --only both --repeats 1 --tokens 1 --input-tokens 8 >/dev/null
bundle=$work/2_4-int8
# One profile for all, or each would make its own, and pack the bundle with it once more, into its own page cache.
[[ " ${more[*]} " == *" --profile "* ]] || more+=(--profile "$work/profile.json")
dense=$(stat -c %s "$bundle/model.safetensors")
experts=$(stat -c %s "$bundle/experts.safetensors")
spare=${SPARE_MIB:-40}
limit=$((dense + experts * percent / 100 + (spare << 20)))
device=$(stat -c %d "$bundle")
device=$((device >> 8)):$((device & 255))

groups=()
leave() {
  for group in "${groups[@]}"; do rmdir "$group" 2>/dev/null || true; done
}
trap leave EXIT
enter() { # the control group of this name, with its limits; the caller joins it
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$1"
    groups+=("/sys/fs/cgroup/$1")
    echo "$limit" >"/sys/fs/cgroup/$1/memory.max"
    echo 0 >"/sys/fs/cgroup/$1/memory.swap.max" 2>/dev/null || true
    [ "$read_bps" = 0 ] || echo "$device rbps=$read_bps" >"/sys/fs/cgroup/$1/io.max"
  else
    mkdir -p "/sys/fs/cgroup/memory/$1" "/sys/fs/cgroup/blkio/$1"
    groups+=("/sys/fs/cgroup/memory/$1" "/sys/fs/cgroup/blkio/$1")
    echo "$limit" >"/sys/fs/cgroup/memory/$1/memory.limit_in_bytes"
    [ "$read_bps" = 0 ] || echo "$device $read_bps" >"/sys/fs/cgroup/blkio/$1/blkio.throttle.read_bps_device"
  fi
}
run() { # configuration
  local name=flame-memory-limit-$$-$1 options=(--budget "$percent%")
  [ "$1" != mapped ] || options=()
  [ "$1" != both ] || options+=("${predicted[@]}")
  enter "$name"
  # Pages that an earlier run left in the cache would be charged to nobody.
  for file in "$bundle"/*.safetensors; do dd if="$file" iflag=nocache count=0 status=none; done
  for file in "$bundle"/*.safetensors; do
    cached=$(fincore --bytes --noheadings --output RES "$file")
    [ "$cached" -lt $((1 << 20)) ] || { echo "$file: another program keeps $cached bytes of it in the cache, charged to nobody here" >&2 && exit 1; }
  done
  (
    for group in "/sys/fs/cgroup/$name" "/sys/fs/cgroup/memory/$name" "/sys/fs/cgroup/blkio/$name"; do
      [ ! -d "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
    done
    exec "$flame" "${common[@]}" "${options[@]}" --only "$1" --tokens "${TOKENS:-256}" --input-tokens 64 --repeats 3 "${more[@]}"
  )
  for statistics in "/sys/fs/cgroup/$name/memory.stat" "/sys/fs/cgroup/memory/$name/memory.stat"; do
    [ ! -f "$statistics" ] || echo "$1: $(grep '^pgmajfault' "$statistics")"
  done
}
echo "limit $((limit >> 20)) MiB: dense $((dense >> 20)) MiB, $percent % of $((experts >> 20)) MiB of experts, and $spare MiB;" \
  "disk $([ "$read_bps" = 0 ] && echo 'as it is' || echo "at $read_bps bytes/s")"
run both
run N:M
run mapped
