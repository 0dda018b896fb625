#include "flame/experts/timeline.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"

namespace flame::experts {
namespace {

/// About a gigabyte of JSON: a viewer takes no more.
constexpr std::size_t kMostEvents = std::size_t{8} << 20;

double microseconds(io::Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

void Timeline::open(const std::filesystem::path& path) {
  const std::filesystem::path directory = path.parent_path();
  if (!directory.empty() && !io::FileSystem::real().is_directory(directory)) {
    throw FileError(path, "cannot write the timeline: there is no such directory");
  }
  const io::AtomicFile writable(path);  // an unwritable path is found now, not after the run
  path_ = path;
  enabled_ = true;
  start_ = io::Clock::now();
}

Timeline::~Timeline() {
  try {
    close();
  } catch (const Error& error) {
    fmt::print(stderr, "flame: the timeline was not written: {}\n", error.what());
  }
}

void Timeline::add(Row row, const char* kind, std::uint32_t layer, std::uint32_t expert, io::Clock::time_point begin,
                   io::Clock::time_point end) {
  if (!enabled_ || events_.size() >= kMostEvents) return;
  events_.push_back({row, kind, layer, expert, begin, end});
}

void Timeline::close() {
  if (!enabled_) return;
  enabled_ = false;
  io::AtomicFile output(path_);
  std::string text =
      "[\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":0,\"args\":{\"name\":\"compute\"}},\n"
      "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"storage\"}}";
  for (const Event& event : events_) {
    const std::string layer =
        event.layer < layer_names_.size() ? layer_names_[event.layer] : std::to_string(event.layer);
    text += fmt::format(",\n{{\"name\":\"{} {}", event.kind, layer);
    if (event.expert != kNoExpert) text += fmt::format(" expert {}", event.expert);
    text += fmt::format("\",\"cat\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}}}",
                        event.kind, event.row == Row::kCompute ? 0 : 1, microseconds(event.begin - start_),
                        microseconds(event.end - event.begin));
    if (text.size() > (std::size_t{1} << 20)) {
      output.file().append(text);
      text.clear();
    }
  }
  output.file().append(text + "\n]\n");
  output.commit();
  events_.clear();
}

}  // namespace flame::experts
