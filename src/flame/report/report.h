#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace flame::report {

struct ReportOptions {
  std::filesystem::path model;
  std::filesystem::path data;
  std::string field;
  std::string reference;
  std::string task;               ///< empty: none
  std::filesystem::path output;   ///< the page's directory
  std::filesystem::path program;  ///< the flame program, which measures
  bool quick = false;             ///< few examples: a page in minutes
  std::vector<std::string> only;  ///< ids of items; empty: all
  bool only_stored = false;       ///< --from: draw what has been measured, measure nothing
};

struct ReportCallbacks {
  /// A command is about to run, for the item of that number out of `items`.
  std::function<void(std::size_t item, std::size_t items, const std::string& command)> on_command;
  /// An item could not be made.
  std::function<void(const std::string& id, const std::string& why)> on_absent;
};

/// Measures what is missing and writes OUTPUT/index.html, with the measurements in OUTPUT/data. An item that cannot be
/// made is on the page with the reason. Run again after an interruption, it goes on where it stopped. Returns the path
/// of the page. Throws UsageError for an unknown id, FileError, Interrupted.
std::filesystem::path make_report(const ReportOptions& options, const ReportCallbacks& callbacks);

}  // namespace flame::report
