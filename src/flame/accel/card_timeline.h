#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "flame/accel/axi_memory.h"
#include "flame/experts/timeline.h"

namespace flame::accel {

/// The timeline of a run on the simulated card, in kernel cycles, as its memory ports see it: the row of the CPU's
/// storage thread shows which expert's beats arrive on the first weight channel (the others carry the same experts),
/// the row of its compute thread one span a layer command, from the request of its token to the answer of its result's
/// last write.
class CardTimeline final : public AxiObserver {
 public:
  /// The file is written by close(), or when the object goes. Throws FileError when it cannot be created.
  CardTimeline(const std::filesystem::path& path, double clock_mhz);
  ~CardTimeline() override;

  /// Where the experts lie in the first channel, and the names of the layers, in the order of the device.
  void set_experts(std::uint64_t first_address, std::uint64_t stride, std::uint32_t experts,
                   std::vector<std::string> layer_names);
  /// A layer command that will be run, in the order in which they are; `token` is where it reads its token.
  void expect(std::uint32_t layer, std::uint32_t expert, bool computes, std::uint64_t token);
  /// Writes the file. Throws FileError.
  void close();

  void read_requested(std::size_t port, std::uint64_t address, std::uint64_t cycle) override;
  void beat_read(std::size_t port, std::uint64_t address, std::uint64_t cycle) override;
  void written(std::size_t port, std::uint64_t address, std::uint64_t cycle) override;

 private:
  struct Command {
    std::uint32_t layer = 0, expert = 0;
    bool computes = false;
    std::uint64_t token = 0;
    std::uint64_t begin = 0, end = 0;  // cycles, 0: not yet
    bool loading = false;
  };

  void end_command();
  void end_load();
  [[nodiscard]] io::Clock::time_point at(std::uint64_t cycle) const;

  experts::Timeline timeline_;
  double clock_mhz_;
  std::uint64_t first_address_ = 0, stride_ = 0;
  std::uint32_t experts_ = 0;
  std::deque<Command> commands_;
  std::optional<std::uint64_t> load_;  ///< number of the expert whose beats are arriving
  std::uint64_t load_begin_ = 0, load_end_ = 0;
};

}  // namespace flame::accel
