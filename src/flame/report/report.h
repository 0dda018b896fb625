#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "flame/report/page.h"

namespace flame::report {

struct ReportOptions {
  std::filesystem::path model;              ///< with `from`: read from there when empty
  std::vector<std::filesystem::path> also;  ///< further models for Figure 7
  std::filesystem::path data;
  std::string field;
  std::string reference;
  std::string task;                           ///< empty: none
  std::filesystem::path output;               ///< the page's directory
  std::filesystem::path program;              ///< the flame program, which measures
  std::string version;                        ///< the program's
  std::string expert_memory = "25%";          ///< the budget: a share of the packed 2:4 int8 experts, or a size
  std::string storage_bandwidth = "500MB/s";  ///< of the storage that single figures are for
  bool quick = false;                         ///< few examples: a page in minutes
  std::vector<std::string> only;              ///< ids of items; empty: all
  std::filesystem::path from;                 ///< a data directory: draw what it holds, measure nothing; empty: measure
};

/// Where a report stands.
struct ReportProgress {
  std::size_t item = 0;  ///< from 1
  std::size_t items = 0;
  std::string id;                      ///< of the item
  std::string command;                 ///< that runs now
  std::optional<double> seconds_left;  ///< of all commands still to run, as those that have run went
};

struct ReportCallbacks {
  /// A command is about to run.
  std::function<void(const ReportProgress& progress)> on_command;
  /// About five times a second while it runs.
  std::function<void(const ReportProgress& progress)> on_tick;
  /// An item could not be made.
  std::function<void(const std::string& id, const std::string& why)> on_absent;
  /// Some of what is on the page was measured by another build of the program: which items.
  std::function<void(const std::string& which)> on_other_build;
};

struct ReportResult {
  std::filesystem::path page;    ///< the file
  Page content;                  ///< what stands on it
  std::size_t failed_items = 0;  ///< left out because a command or a file failed, not for want of a measurement
};

/// Measures what is missing and writes OUTPUT/index.html, with the measurements in OUTPUT/data and each chart as a file
/// of its own in OUTPUT/figures. An item that cannot be
/// made is on the page with the reason. Run again after an interruption, it goes on where it stopped. With `only`, the
/// page also has the items that an earlier run with the same options has measured. What another build of the program
/// has measured is used all the same, and the page says so. Throws UsageError for an unknown id or task, a budget or
/// bandwidth that is none, a budget below one dense expert, an OUTPUT that is `from`, and an OUTPUT whose measurements
/// are of other weights or data; FormatError where the first example lacks `field` or `reference`; FileError,
/// Interrupted.
ReportResult make_report(const ReportOptions& options, const ReportCallbacks& callbacks);

}  // namespace flame::report
