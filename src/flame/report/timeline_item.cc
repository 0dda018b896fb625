#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "flame/base/byte_size.h"
#include "flame/base/json.h"
#include "flame/io/file.h"
#include "flame/report/chart.h"
#include "flame/report/items.h"

namespace flame::report {
namespace {

constexpr std::size_t kTokensShown = 3;

/// An event of a Chrome trace, as `flame generate --timeline` writes it.
struct Event {
  std::string name;    ///< "wait for decoder layer 2 expert 5"
  std::string kind;    ///< "route", "compute", "wait", "load"
  double begin = 0.0;  ///< microseconds
  double end = 0.0;
};

std::vector<Event> read_events(const Json& trace) {
  std::vector<Event> events;
  for (const Json& entry : trace) {
    if (entry.at("ph") != "X") continue;
    Event event;
    event.name = entry.at("name").get<std::string>();
    event.kind = entry.at("cat").get<std::string>();
    if (event.kind == "wait for") event.kind = "wait";
    event.begin = entry.at("ts").get<double>();
    event.end = event.begin + entry.at("dur").get<double>();
    events.push_back(std::move(event));
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.begin < b.begin; });
  return events;
}

}  // namespace

Item token_timeline(const Subject& subject, Measurements& measurements) {
  Item item;
  const Measurement pack = pack_measurement(subject, measurements, "2:4", "int8");
  Measurement run{
      .name = "timeline.trace.json",
      .arguments = {"generate", measurements.file(pack).string(), "--input", subject.data.string(), "--field",
                    subject.field, "--limit", "1", "--beams", "1", "--max-new-tokens", "16", "--expert-memory", "",
                    "--storage-bandwidth", subject.storage_bandwidth, "--timeline", "{output}"}};
  if (!subject.task.empty()) run.arguments.insert(run.arguments.end(), {"--task", subject.task});
  const Json model = measurements.json(inspection(subject));
  *std::find(run.arguments.begin(), run.arguments.end(), "") = std::to_string(budget_bytes(subject, model));
  const std::filesystem::path path = measurements.file(run);
  note_source(item, measurements, pack);
  note_source(item, measurements, run);
  item.data_files.push_back("timeline.trace.json");
  const std::vector<Event> events = read_events(parse_json(io::read_file(path), path));

  // A token begins where the decoder's first MoE layer routes; the last whole ones are shown, when the slots are
  // filled.
  std::vector<double> begins;
  for (const Event& event : events) {
    if (event.name == "route decoder layer 0") begins.push_back(event.begin);
  }
  if (begins.size() < 2) throw NotMeasured("the timeline holds no whole token");
  const std::size_t shown = std::min(kTokensShown, begins.size() - 1);
  const double from = begins[begins.size() - 1 - shown];
  const double until = begins.back();

  Timeline chart{.x_label = "milliseconds",
                 .lanes = {"route", "compute", "wait", "load"},
                 .spans = {},
                 .marks = {},
                 .until = (until - from) / 1e3};
  std::map<std::string, double> total;
  for (const Event& event : events) {
    const auto lane = std::find(chart.lanes.begin(), chart.lanes.end(), event.kind);
    if (lane == chart.lanes.end() || event.end <= from || event.begin >= until) continue;
    const double begin = std::max(event.begin, from);
    const double end = std::min(event.end, until);
    total[event.kind] += end - begin;
    chart.spans.push_back(
        {static_cast<std::size_t>(lane - chart.lanes.begin()), event.kind, (begin - from) / 1e3, (end - from) / 1e3});
  }
  for (std::size_t token = begins.size() - shown; token + 1 < begins.size(); ++token) {
    chart.marks.push_back((begins[token] - from) / 1e3);
  }
  item.figures.push_back(draw(chart, "timeline"));
  const double all = until - from;
  const auto share = [&](const char* kind) { return percent(total[kind] / all); };
  item.sentences = {
      fmt::format("The last {} tokens of a text, with {} of expert memory, 2:4 int8 experts and storage of {}; grey "
                  "lines part the tokens. What is blank in the first three rows is the dense layers'.",
                  shown, format_byte_size(budget_bytes(subject, model)), subject.storage_bandwidth),
      fmt::format(
          "Of {:.3f} ms, {} went to routing, {} to computing experts and {} to waiting for them, while the storage "
          "was loading for {}.",
          all / 1e3, share("route"), share("compute"), share("wait"), share("load"))};
  Table table{.header = {"what", "ms", "share of the time"}, .rows = {}};
  for (const std::string& lane : chart.lanes) {
    table.rows.push_back({lane, fmt::format("{:.3f}", total[lane] / 1e3), percent(total[lane] / all)});
  }
  item.tables = {table};
  return item;
}

}  // namespace flame::report
