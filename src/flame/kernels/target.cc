#include "flame/kernels/target.h"

#include <hwy/highway.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace flame::kernels {
namespace {

// Asked once, before anything is forced: the answer traps into a hypervisor and takes tens of microseconds.
std::int64_t all_supported() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

}  // namespace

std::string_view instruction_set() {
  all_supported();
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(targets & -targets);
}

std::vector<std::string_view> available_instruction_sets() {
  std::vector<std::string_view> names;
  for (std::int64_t targets = all_supported(); targets != 0; targets &= targets - 1) {
    names.emplace_back(hwy::TargetName(targets & -targets));
  }
  return names;
}

bool force_instruction_set(std::string_view name) {
  for (std::int64_t targets = all_supported(); targets != 0; targets &= targets - 1) {
    const std::int64_t target = targets & -targets;
    if (name.empty() || name == hwy::TargetName(target)) {
      hwy::SetSupportedTargetsForTest(name.empty() ? 0 : target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      return true;
    }
  }
  return false;
}

std::size_t last_level_cache_bytes() {
  // Not sysconf(): on AMD glibc (2.36) gives the sum over all caches of a socket, of which a core reaches one.
  std::size_t kilobytes = 0;
  for (int level = 0;; ++level) {
    std::ifstream size("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/size");  // "32768K"
    if (!(size >> kilobytes)) break;
  }
  return kilobytes > 0 ? kilobytes << 10 : std::size_t{32} << 20;
}

}  // namespace flame::kernels
