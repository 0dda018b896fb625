#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "flame/io/async_reader.h"

namespace flame::experts {

/// What happened when, as a Chrome trace (chrome://tracing, ui.perfetto.dev): one row for the compute thread, and
/// as many for the storage as it has loads under way at once, since events of one row must not overlap. Off until
/// open(); costs one comparison an event then.
class Timeline {
 public:
  enum class Row : std::uint8_t { kCompute, kStorage };

  /// The file is written by close(), or when the object goes. Throws FileError when it cannot be created, UsageError
  /// when something that is no timeline is there already.
  void open(const std::filesystem::path& path);
  ~Timeline();

  [[nodiscard]] bool enabled() const { return enabled_; }
  /// Time 0 of the output.
  [[nodiscard]] io::Clock::time_point start() const { return start_; }
  void add(Row row, const char* kind, std::uint32_t layer, std::uint32_t expert, io::Clock::time_point begin,
           io::Clock::time_point end);
  /// Names a layer in the output: index 0 … as ExpertGrid numbers them.
  void set_layer_names(std::vector<std::string> names) { layer_names_ = std::move(names); }
  /// Writes what has been gathered; nothing is gathered afterwards. Throws FileError.
  void close();

  static constexpr std::uint32_t kNoExpert = 0xffffffffU;

 private:
  struct Event {
    Row row;
    const char* kind;
    std::uint32_t layer;
    std::uint32_t expert;
    io::Clock::time_point begin;
    io::Clock::time_point end;
  };

  /// [events_]: 0 for the compute thread, from 1 on for the storage.
  [[nodiscard]] std::vector<std::size_t> rows() const;

  bool enabled_ = false;
  std::filesystem::path path_;
  std::vector<std::string> layer_names_;
  std::vector<Event> events_;
  io::Clock::time_point start_;
};

}  // namespace flame::experts
