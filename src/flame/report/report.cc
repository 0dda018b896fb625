#include "flame/report/report.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/engine/inspection.h"
#include "flame/eval/text_examples.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/io/json_lines.h"
#include "flame/kernels/target.h"
#include "flame/model/config.h"
#include "flame/model/generation_config.h"
#include "flame/report/items.h"
#include "flame/report/page.h"
#include "flame/report/summary.h"
#include "flame/report/time_left.h"

namespace flame::report {
namespace {

// Of the data, so many lines are scored; the rest teaches the predictors. A quick page uses few of both.
constexpr std::size_t kTestExamples = 500;
constexpr std::size_t kQuickTestExamples = 40;
constexpr std::size_t kQuickProfileExamples = 240;

std::size_t count_lines(const std::filesystem::path& path) {
  io::JsonLinesReader reader(path);
  std::size_t lines = 0;
  while (reader.next()) ++lines;
  return lines;
}

Subject subject_of(const ReportOptions& options) {
  Subject subject{.model = options.model,
                  .also = options.also,
                  .data = options.data,
                  .field = options.field,
                  .reference = options.reference,
                  .task = options.task,
                  .budget = options.expert_memory,
                  .storage_bandwidth = options.storage_bandwidth,
                  .quick = options.quick};
  // What would be found wrong by a measurement, minutes later, is found here.
  check_budget(subject);
  check_slots(subject, engine::to_json(engine::inspect(subject.model, std::nullopt)));
  (void)eval::read_examples(options.data, options.field, {options.reference}, 1);
  if (!options.task.empty()) {
    (void)model::load_generation_defaults(options.model, model::load_config(options.model), options.task);
  }
  const std::size_t lines = count_lines(options.data);
  if (lines < 8) {
    throw UsageError(fmt::format("{}: a report needs at least 8 examples, found {}", options.data.string(), lines));
  }
  subject.test_examples = std::min(lines / 4, options.quick ? kQuickTestExamples : kTestExamples);
  subject.profile_examples = lines - subject.test_examples;
  if (options.quick) subject.profile_examples = std::min(subject.profile_examples, kQuickProfileExamples);
  return subject;
}

std::vector<ItemMaker> chosen_items(const std::vector<std::string>& only) {
  if (only.empty()) return item_makers();
  std::vector<ItemMaker> chosen;
  for (const std::string& id : only) {
    const auto found = std::find_if(item_makers().begin(), item_makers().end(),
                                    [&](const ItemMaker& maker) { return maker.id == id; });
    if (found == item_makers().end()) {
      std::string known;
      for (const ItemMaker& maker : item_makers()) known += fmt::format("{}{}", known.empty() ? "" : ", ", maker.id);
      throw UsageError(fmt::format("--only {}: there is no such item; there are {}", id, known));
    }
    chosen.push_back(*found);
  }
  return chosen;
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string today() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm calendar{};
  gmtime_r(&now, &calendar);
  return fmt::format("{:04}-{:02}-{:02}", calendar.tm_year + 1900, calendar.tm_mon + 1, calendar.tm_mday);
}

std::string weights_checksum(const std::filesystem::path& model) {
  return fmt::format("{:016x}", io::Checkpoint::open(model).content_checksum());
}

/// What was measured, where: kept beside the measurements, so that they can be drawn elsewhere.
Json subject_json(const Subject& subject, const std::string& version) {
  utsname system{};
  uname(&system);
  Json also = Json::array();
  Json also_checksums = Json::object();
  for (const std::filesystem::path& model : subject.also) {
    also.push_back(model.string());
    also_checksums[model.string()] = weights_checksum(model);
  }
  return {{"subject",
           {{"model", subject.model.string()},
            {"also", also},
            {"data", subject.data.string()},
            {"field", subject.field},
            {"reference", subject.reference},
            {"task", subject.task},
            {"test_examples", subject.test_examples},
            {"profile_examples", subject.profile_examples},
            {"expert_memory", subject.budget},
            {"storage_bandwidth", subject.storage_bandwidth},
            {"quick", subject.quick}}},
          {"checksum", weights_checksum(subject.model)},
          {"also_checksums", also_checksums},
          {"data_checksum", checksum_text(io::file_checksum(subject.data))},
          {"processor", fmt::format("{}, {} threads, kernels for {}", processor_name(),
                                    std::thread::hardware_concurrency(), kernels::instruction_set())},
          {"system", fmt::format("{} {}", system.sysname, system.release)},
          {"version", version},
          {"date", today()}};
}

Subject parse_subject(const JsonView& view) {
  const JsonView subject = view.at("subject");
  Subject parsed{.model = subject.at("model").as_string(),
                 .data = subject.at("data").as_string(),
                 .field = subject.at("field").as_string(),
                 .reference = subject.at("reference").as_string(),
                 .task = subject.at("task").as_string(),
                 .test_examples = subject.at("test_examples").as_unsigned(),
                 .profile_examples = subject.at("profile_examples").as_unsigned(),
                 .budget = subject.at("expert_memory").as_string(),
                 .storage_bandwidth = subject.at("storage_bandwidth").as_string(),
                 .quick = subject.at("quick").as_bool()};
  const JsonView also = subject.at("also");
  for (std::size_t i = 0; i < also.size(); ++i) parsed.also.emplace_back(also.element(i).as_string());
  return parsed;
}

/// What a person would type for the whole report, in the directory where it was measured.
std::string report_command(const Subject& subject, const JsonView& measured) {
  std::vector<std::string> arguments = {"report", subject.model.string()};
  for (const std::filesystem::path& model : subject.also) {
    arguments.insert(arguments.end(), {"--also", model.string()});
  }
  if (!subject.task.empty()) arguments.insert(arguments.end(), {"--task", subject.task});
  arguments.insert(arguments.end(),
                   {"--data", subject.data.string(), "--field", subject.field, "--reference", subject.reference, "-o"});
  const std::optional<JsonView> directory = measured.find("directory");
  const std::filesystem::path data = directory ? directory->as_string() : "report/data";
  arguments.push_back(data.parent_path().string());
  const Subject usual;
  if (subject.budget != usual.budget) arguments.insert(arguments.end(), {"--expert-memory", subject.budget});
  if (subject.storage_bandwidth != usual.storage_bandwidth) {
    arguments.insert(arguments.end(), {"--storage-bandwidth", subject.storage_bandwidth});
  }
  if (subject.quick) arguments.emplace_back("--quick");
  return command_line(arguments);
}

Table facts_of(const Subject& subject, const JsonView& measured) {
  const auto text = [&](const char* key) { return measured.at(key).as_string(); };
  return {
      .header = {"what", "value"},
      .rows = {{"model", fmt::format("{} (weights' XXH3 {})", subject.model.filename().string(), text("checksum"))},
               {"data", fmt::format("{}: the first {} examples scored, the {} behind them profiled",
                                    subject.data.filename().string(), subject.test_examples, subject.profile_examples)},
               {"budget", fmt::format("{} for experts; storage of {} where nothing else is said", subject.budget,
                                      subject.storage_bandwidth)},
               {"processor", text("processor")},
               {"system", text("system")},
               {"program", fmt::format("flame {}{}", text("version"), subject.quick ? ", --quick" : "")},
               {"made by", report_command(subject, measured)},
               {"measured", text("date")}}};
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  io::AtomicFile file(path, io::Existing::kReplace);
  file.file().append(text);
  file.commit();
}

/// Writes what is about to be measured into the data directory. What lies there of other weights or data is refused:
/// the same command would pass it off as this model's. Returns whether they were made with the same options.
bool claim_directory(const std::filesystem::path& path, Json& measured) {
  bool same = false;
  if (io::FileSystem::real().exists(path)) {
    const Json earlier = parse_json(io::read_file(path), path);
    const JsonView view(earlier, path);
    const auto compare = [&](const std::string& what, const std::optional<JsonView>& before, const Json& now) {
      const std::string was = before ? before->as_string() : "not noted";
      if (was == now) return;
      throw UsageError(fmt::format("{} holds measurements of other {} (XXH3 {}, now {}): give another -o, or remove it",
                                   path.parent_path().string(), what, was, now.get<std::string>()));
    };
    compare("weights", view.at("checksum"), measured.at("checksum"));
    compare("data", view.find("data_checksum"), measured.at("data_checksum"));
    // What was measured of models that this run leaves out stays there, and so does what they were.
    if (const std::optional<JsonView> also = view.find("also_checksums")) {
      for (const std::string& model : also->keys()) {
        Json& now = measured["also_checksums"][model];
        if (now.is_null()) now = also->at(model).as_string();
        compare("weights of " + model, also->at(model), now);
      }
    }
    same = view.at("subject").value() == measured.at("subject");
  }
  write_file(path, measured.dump(1) + "\n");
  return same;
}

std::string with_replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// The item, or why there is none.
Item make_item(const ItemMaker& maker, const Subject& subject, Measurements& measurements) {
  Item item;
  try {
    item = maker.make(subject, measurements);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    item = {};
    item.absent = failure.what();
    item.failed = dynamic_cast<const NotMeasured*>(&failure) == nullptr;
  } catch (const Json::exception& failure) {  // a stored file without what this version writes
    item = {};
    item.absent = fmt::format("its data is not of the form expected: {}", failure.what());
    item.failed = true;
  }
  item.id = maker.id;
  item.title = maker.title;
  return item;
}

/// "Not all of this was measured by the build of flame …: in part or whole fig4a, fig8b by XXH3 …"; empty where all
/// was. `others` are the ids of the page's items by the build; "" is one that was not noted.
std::string other_builds_text(const std::map<std::string, std::set<std::string>>& others,
                              const std::vector<Item>& items, const std::string& build) {
  if (others.empty()) return {};
  std::string text;
  for (const auto& [other, ids] : others) {
    std::string names;
    for (const Item& item : items) {
      if (ids.contains(item.id)) names += fmt::format("{}{}", names.empty() ? "" : ", ", item.id);
    }
    text += fmt::format("{}{}", text.empty() ? "" : "; ", names);
    text += other.empty() ? " by a build that is not noted" : " by XXH3 " + other;
  }
  return fmt::format(
      "Not all of this was measured by the build of flame (its program's XXH3 is {}) that drew this page: in part or "
      "whole {}. Numbers of builds that differ may differ by what changed between them.",
      build, text);
}

}  // namespace

ReportResult make_report(const ReportOptions& options, const ReportCallbacks& callbacks) {
  const std::vector<ItemMaker> makers = chosen_items(options.only);
  const bool draw_only = !options.from.empty();
  std::error_code unknown;  // where -o is still to be made, it is no directory of data
  if (draw_only && std::filesystem::equivalent(options.from, options.output, unknown)) {
    throw UsageError(
        fmt::format("-o {}: is the directory of data that --from names, where a page does not belong: give "
                    "another",
                    options.output.string()));
  }
  const std::filesystem::path data_directory = draw_only ? options.from : options.output / "data";
  const std::filesystem::path subject_path = data_directory / "report.json";
  Json measured;
  Subject subject;
  bool same_options = false;
  if (draw_only) {
    measured = parse_json(io::read_file(subject_path), subject_path);
    subject = parse_subject(JsonView(measured, subject_path));
  } else {
    subject = subject_of(options);
    measured = subject_json(subject, options.version);
    measured["directory"] = data_directory.string();
    io::FileSystem::real().create_directories(data_directory);
    same_options = claim_directory(subject_path, measured);
  }

  ReportProgress progress;
  progress.items = makers.size();
  TimeLeft time_left(makers, subject);
  MeasurementCallbacks on_measurement;
  on_measurement.on_start = [&](const Measurement& measurement, const std::string& command) {
    progress.command = command;
    time_left.start(measurement.name);
    progress.seconds_left = time_left.seconds();
    if (callbacks.on_command) callbacks.on_command(progress);
  };
  on_measurement.on_tick = [&] {
    progress.seconds_left = time_left.seconds();
    if (callbacks.on_tick) callbacks.on_tick(progress);
  };
  on_measurement.on_end = [&](const Measurement& measurement, double seconds) {
    time_left.end(measurement.name, seconds);
  };
  Measurements measurements(data_directory, options.program, draw_only, on_measurement);

  Page page;
  page.title = fmt::format("FLAME on {}", subject.model.filename().string());
  page.ours = fmt::format("{} on {}", subject.model.filename().string(), subject.data.filename().string());
  page.facts = facts_of(subject, JsonView(measured, subject_path));
  // From the page to the data, wherever the two were said to be.
  const std::filesystem::path links =
      std::filesystem::absolute(data_directory).lexically_relative(std::filesystem::absolute(options.output));
  // Commands name the directory that they were run with, also where the data has been moved since.
  const std::string here = data_directory.string() + "/";
  const std::string there = measured.value("directory", data_directory.string()) + "/";
  const std::string whole_report = report_command(subject, JsonView(measured, subject_path));
  const auto add = [&](Item item) {
    for (std::string& command : item.commands) command = with_replaced(command, here, there);
    item.report_command = fmt::format("{} --only {}", whole_report, item.id);
    for (std::string& file : item.data_files) {
      file = (links / file).generic_string();
    }
    page.items.push_back(std::move(item));
  };
  std::map<std::string, std::set<std::string>> other_builds;
  // An item that is not there shows nothing of what was read for it.
  const auto note_builds = [&](const Item& item, Measurements& used) {
    for (const std::string& build : used.take_other_builds()) {
      if (item.absent.empty()) other_builds[build].insert(item.id);
    }
  };
  ReportResult result;
  for (const ItemMaker& maker : makers) {
    ++progress.item;
    progress.id = maker.id;
    Item item = make_item(maker, subject, measurements);
    note_builds(item, measurements);
    time_left.finish_item(progress.item);
    if (!item.absent.empty() && callbacks.on_absent) callbacks.on_absent(item.id, item.absent);
    if (item.failed) ++result.failed_items;
    add(std::move(item));
  }
  if (same_options && !options.only.empty()) {
    // The page keeps the items that earlier runs have measured.
    Measurements stored(data_directory, options.program, true, {});
    for (const ItemMaker& maker : item_makers()) {
      const auto made = [&](const ItemMaker& other) { return other.id == maker.id; };
      if (std::any_of(makers.begin(), makers.end(), made)) continue;
      Item item = make_item(maker, subject, stored);
      note_builds(item, stored);
      if (item.absent.empty()) add(std::move(item));
    }
    measurements.add_asked(stored.asked());
    const auto place = [](const Item& item) {
      return std::find_if(item_makers().begin(), item_makers().end(),
                          [&](const ItemMaker& maker) { return maker.id == item.id; });
    };
    std::stable_sort(page.items.begin(), page.items.end(),
                     [&](const Item& a, const Item& b) { return place(a) < place(b); });
  }
  const Summary summary = summarise(subject, measurements);
  page.summary = summary.sentences;
  if (const std::string other = other_builds_text(other_builds, page.items, measurements.build()); !other.empty()) {
    page.summary.push_back(other);
    if (callbacks.on_other_build) callbacks.on_other_build(other);
  }
  page.summary.push_back(
      "Every figure and table below was measured on the model named here by the commands given with it, of which each "
      "prints what its file below data/ holds as \"output\"; the paper's numbers beside them are its own, for its "
      "model "
      "and data. The paper is Lin et al., \"FLAME: Fully Leveraging MoE Sparsity for Transformer on FPGA\", DAC 2024, "
      "doi 10.1145/3649329.3656507.");
  page.summary_tables = summary.tables;
  page.recommendation = summary.recommendation;

  io::FileSystem::real().create_directories(options.output / "figures");
  for (const Item& item : page.items) {
    for (const Figure& figure : item.figures) {
      write_file(options.output / "figures" / (figure.id + ".svg"), standalone_svg(figure));
    }
  }
  result.page = options.output / "index.html";
  write_file(result.page, to_html(page));
  result.content = std::move(page);
  return result;
}

}  // namespace flame::report
