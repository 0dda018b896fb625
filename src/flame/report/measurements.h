#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/json.h"

namespace flame::report {

/// A measurement that an item needs was not made, and this run may not make it (--from). The item is left out, with the
/// reason.
class NotMeasured : public Error {
 public:
  using Error::Error;
};

/// One flame command, as a person would type it. `name` is that of its file in the data directory.
struct Measurement {
  std::string name;
  std::vector<std::string> arguments;  ///< behind "flame"
};

/// The measurements of a report: `flame` commands whose JSON output is kept, so that a report that was interrupted goes
/// on where it stopped and one that is there is drawn again without measuring.
class Measurements {
 public:
  /// `program` is run for each; its working directory is this process's. With `only_stored` nothing is run.
  /// `on_start` is told each command that is really run.
  Measurements(std::filesystem::path directory, std::filesystem::path program, bool only_stored,
               std::function<void(const std::string& command)> on_start);

  /// The JSON that the command printed: from DIRECTORY/name.json when that was made by the same command, else by
  /// running it now. Throws NotMeasured, Interrupted, or DeviceError with the end of what a failing command wrote.
  Json json(const Measurement& measurement);

  /// A command that makes a file or directory, DIRECTORY/name, instead of JSON: "{output}" in its arguments stands for
  /// that path. Run unless it is there already. Returns the path.
  std::filesystem::path file(const Measurement& measurement);

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

 private:
  void run(const std::vector<std::string>& arguments, const std::filesystem::path& output);

  std::filesystem::path directory_;
  std::filesystem::path program_;
  bool only_stored_;
  std::function<void(const std::string& command)> on_start_;
};

/// "flame eval prediction test.trace --json": the command with the quotes that a shell needs.
[[nodiscard]] std::string command_line(const std::vector<std::string>& arguments);

}  // namespace flame::report
