#include "flame/base/memory_usage.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace flame {
namespace {

// The smallest limit of a control group and of those around it; "max", which is no number, limits nothing.
std::uint64_t smallest_limit(std::filesystem::path group, const std::filesystem::path& root, const char* file) {
  std::uint64_t smallest = std::numeric_limits<std::uint64_t>::max();
  while (true) {
    std::uint64_t limit = 0;
    if (std::ifstream(group / file) >> limit) smallest = std::min(smallest, limit);
    if (group == root || !group.has_relative_path()) return smallest;
    group = group.parent_path();
  }
}

// Lines of /proc/self/cgroup are "number:controllers:path"; version 2 has one without controllers, cgroups(7).
std::uint64_t control_group_limit() {
  const std::filesystem::path mounted = "/sys/fs/cgroup";
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::filesystem::path group = std::filesystem::path(line.substr(second + 1)).relative_path();
    if (controllers.empty()) limit = std::min(limit, smallest_limit(mounted / group, mounted, "memory.max"));
    if (controllers == "memory") {
      const std::filesystem::path root = mounted / "memory";
      limit = std::min(limit, smallest_limit(root / group, root, "memory.limit_in_bytes"));
    }
  }
  return limit;
}

}  // namespace

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

std::uint64_t available_memory() {
  std::ifstream information("/proc/meminfo");
  std::string name;
  std::uint64_t kilobytes = 0;
  std::string unit;
  while (information >> name >> kilobytes) {
    if (name == "MemAvailable:") return std::min(kilobytes * 1024, control_group_limit());
    std::getline(information, unit);
  }
  return 0;
}

bool reset_peak_memory() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << '5' << std::flush;  // 5: reset the peak resident set size, proc(5)
  return clear.good();
}

}  // namespace flame
