// One libFuzzer program a target: FLAME_FUZZ_TARGET is its name.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const flame::fuzz::Target& target =
      *std::find_if(flame::fuzz::targets().begin(), flame::fuzz::targets().end(),
                    [](const flame::fuzz::Target& candidate) { return candidate.name == FLAME_FUZZ_TARGET; });
  target.run(std::as_bytes(std::span(data, size)));
  return 0;
}
