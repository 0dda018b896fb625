#include "flame/report/report.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/io/json_lines.h"
#include "flame/kernels/target.h"
#include "flame/report/items.h"
#include "flame/report/page.h"

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
                  .data = options.data,
                  .field = options.field,
                  .reference = options.reference,
                  .task = options.task,
                  .quick = options.quick};
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

Table facts_of(const Subject& subject) {
  utsname system{};
  uname(&system);
  const std::uint64_t checksum = io::Checkpoint::open(subject.model).content_checksum();
  return {
      .header = {"what", "value"},
      .rows = {{"model", fmt::format("{} (weights' XXH3 {:016x})", subject.model.filename().string(), checksum)},
               {"data", fmt::format("{}: the first {} examples scored, the {} behind them profiled",
                                    subject.data.filename().string(), subject.test_examples, subject.profile_examples)},
               {"processor", fmt::format("{}, {} threads, kernels for {}", processor_name(),
                                         std::thread::hardware_concurrency(), kernels::instruction_set())},
               {"system", fmt::format("{} {}", system.sysname, system.release)},
               {"date", today()}}};
}

}  // namespace

std::filesystem::path make_report(const ReportOptions& options, const ReportCallbacks& callbacks) {
  const std::vector<ItemMaker> makers = chosen_items(options.only);
  const Subject subject = subject_of(options);
  std::size_t item_number = 0;
  Measurements measurements(options.output / "data", options.program, options.only_stored,
                            [&](const std::string& command) {
                              if (callbacks.on_command) callbacks.on_command(item_number, makers.size(), command);
                            });

  Page page;
  page.title = fmt::format("FLAME on {}", subject.model.filename().string());
  page.facts = facts_of(subject);
  page.summary = {
      "Every figure and table below was measured on the model named here by the commands given with it; the paper's "
      "numbers beside them are the paper's own, for its model and data."};
  for (const ItemMaker& maker : makers) {
    ++item_number;
    Item item;
    try {
      item = maker.make(subject, measurements);
    } catch (const NotMeasured& missing) {
      item.absent = missing.what();
    } catch (const DeviceError& failure) {
      item.absent = failure.what();
    }
    item.id = maker.id;
    item.title = maker.title;
    if (!item.absent.empty() && callbacks.on_absent) callbacks.on_absent(item.id, item.absent);
    page.items.push_back(std::move(item));
  }
  const std::filesystem::path path = options.output / "index.html";
  io::AtomicFile file(path, io::Existing::kReplace);
  file.file().append(to_html(page));
  file.commit();
  return path;
}

}  // namespace flame::report
