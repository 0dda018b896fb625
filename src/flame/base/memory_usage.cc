#include "flame/base/memory_usage.h"

#include <fstream>
#include <string>

namespace flame {

MemoryUsage memory_usage() {
  MemoryUsage usage;
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string name = line.substr(0, colon);
    std::uint64_t* field = nullptr;
    if (name == "VmRSS") field = &usage.resident;
    if (name == "VmHWM") field = &usage.peak;
    if (name == "RssAnon") field = &usage.anonymous;
    if (name == "RssFile") field = &usage.file;
    if (field != nullptr) *field = std::stoull(line.substr(colon + 1)) * 1024;  // "  12345 kB"
  }
  return usage;
}

bool reset_peak_memory() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << '5' << std::flush;  // 5: reset the peak resident set size, proc(5)
  return clear.good();
}

}  // namespace flame
