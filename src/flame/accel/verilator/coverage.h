#pragma once

#include "verilated.h"

#ifdef FLAME_RTL_COVERAGE
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "verilated_cov.h"
#endif

namespace flame::accel {

/// In a build with -DFLAME_RTL_COVERAGE=ON: what ran of the RTL, into a file of its own in the directory that the
/// environment's FLAME_RTL_COVERAGE names. rtl/coverage sums the files up.
inline void write_coverage([[maybe_unused]] VerilatedContext& context) {
#ifdef FLAME_RTL_COVERAGE
  static std::atomic<unsigned> written{0};
  const char* directory = std::getenv("FLAME_RTL_COVERAGE");
  if (directory == nullptr) return;
  const std::string name = std::to_string(getpid()) + "-" + std::to_string(written++) + ".dat";
  context.coveragep()->write((std::string(directory) + "/" + name).c_str());
#endif
}

}  // namespace flame::accel
