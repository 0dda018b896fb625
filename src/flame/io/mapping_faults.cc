#include "flame/io/mapping_faults.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>

namespace flame::io {
namespace {

/// Read by a signal handler: no locks, no memory of the heap.
struct Mapping {
  std::atomic<std::uintptr_t> begin = 0;  ///< 0: the entry is free; set last, cleared first
  std::atomic<std::size_t> length = 0;
  std::array<char, 256> path{};  ///< its end, where it is longer
};

std::array<Mapping, 256> mappings;
std::mutex writing;  // taken by remember and forget, never by the handler
std::atomic<bool> ending = false;

void write_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;  // nobody is left to tell
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void handle_fault(int number, siginfo_t* information, void* /*context*/) {
  const auto address = reinterpret_cast<std::uintptr_t>(information->si_addr);
  for (const Mapping& mapping : mappings) {
    const std::uintptr_t begin = mapping.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address - begin >= mapping.length.load(std::memory_order_relaxed)) continue;
    if (ending.exchange(true)) {
      for (;;) pause();  // another thread is telling it already
    }
    write_out("flame: ");
    write_out(mapping.path.data());
    write_out(": cannot be read any more: it was cut short while in use, or its storage failed\n");
    _exit(1);
  }
  // Not one of ours: what happened without this handler happens when the instruction is tried again.
  signal(number, SIG_DFL);
}

}  // namespace

void install_mapping_fault_handler() {
  struct sigaction action {};
  action.sa_sigaction = handle_fault;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

void remember_mapping(const void* begin, std::size_t length, const std::filesystem::path& path) {
  const std::lock_guard lock(writing);
  for (Mapping& mapping : mappings) {
    if (mapping.begin.load(std::memory_order_relaxed) != 0) continue;
    const std::string text = path.string();
    const std::size_t kept = std::min(text.size(), mapping.path.size() - 1);
    std::memcpy(mapping.path.data(), text.data() + (text.size() - kept), kept);
    mapping.path[kept] = '\0';
    mapping.length.store(length, std::memory_order_relaxed);
    mapping.begin.store(reinterpret_cast<std::uintptr_t>(begin), std::memory_order_release);
    return;
  }
}

void forget_mapping(const void* begin) noexcept {
  const std::lock_guard lock(writing);
  for (Mapping& mapping : mappings) {
    if (mapping.begin.load(std::memory_order_relaxed) != reinterpret_cast<std::uintptr_t>(begin)) continue;
    mapping.begin.store(0, std::memory_order_release);
    return;
  }
}

}  // namespace flame::io
