#include "flame/experts/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string_view>

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

/// What every timeline begins with.
constexpr std::string_view kBeginning = R"([
{"name":"thread_name",)";

/// A timeline is replaced by a timeline, and nothing else is.
void require_timeline_or_nothing(const std::filesystem::path& path) {
  io::FileSystem& files = io::FileSystem::real();
  io::require_file_target(path);
  if (!files.exists(path)) return;
  const std::unique_ptr<io::ReadableFile> file = files.open(path);
  std::string beginning(kBeginning.size(), ' ');
  if (file->size() >= beginning.size()) file->read_at(0, std::as_writable_bytes(std::span(beginning)));
  if (file->size() > 0 && beginning != kBeginning) {
    throw UsageError(
        fmt::format("{}: is there already and is no timeline; remove it or name another file", path.string()));
  }
}

}  // namespace

void Timeline::open(const std::filesystem::path& path) {
  const std::filesystem::path directory = path.parent_path();
  if (!directory.empty() && !io::FileSystem::real().is_directory(directory)) {
    throw FileError(path, "cannot write the timeline: there is no such directory");
  }
  require_timeline_or_nothing(path);
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

std::vector<std::size_t> Timeline::rows() const {
  std::vector<std::size_t> rows(events_.size());
  std::vector<std::size_t> loads;
  for (std::size_t i = 0; i < events_.size(); ++i) {
    if (events_[i].row == Row::kStorage) loads.push_back(i);
  }
  std::ranges::stable_sort(loads, {}, [this](std::size_t i) { return events_[i].begin; });
  std::vector<io::Clock::time_point> free_at;  // each row's last event ends then
  for (const std::size_t i : loads) {
    std::size_t row = 0;
    while (row < free_at.size() && free_at[row] > events_[i].begin) ++row;
    if (row == free_at.size()) free_at.emplace_back();
    free_at[row] = events_[i].end;
    rows[i] = row + 1;
  }
  return rows;
}

void Timeline::close() {
  if (!enabled_) return;
  enabled_ = false;
  io::AtomicFile output(path_);
  const std::vector<std::size_t> rows_of = rows();
  const std::size_t most = rows_of.empty() ? 1 : std::max<std::size_t>(1, *std::ranges::max_element(rows_of));
  const auto name_row = [](std::size_t row, const std::string& name) {
    return fmt::format("{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{},\"args\":{{\"name\":\"{}\"}}}}",
                       row, name);
  };
  std::string text = "[\n" + name_row(0, "compute") + ",\n" + name_row(1, "storage");
  for (std::size_t row = 2; row <= most; ++row) text += ",\n" + name_row(row, fmt::format("storage {}", row));
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    const std::string layer =
        event.layer < layer_names_.size() ? layer_names_[event.layer] : std::to_string(event.layer);
    text += fmt::format(",\n{{\"name\":\"{} {}", event.kind, layer);
    if (event.expert != kNoExpert) text += fmt::format(" expert {}", event.expert);
    text +=
        fmt::format("\",\"cat\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}}}", event.kind,
                    rows_of[i], microseconds(event.begin - start_), microseconds(event.end - event.begin));
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
