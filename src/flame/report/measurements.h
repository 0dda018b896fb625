#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/json.h"

namespace flame::report {

/// A measurement that an item needs was not made, and this run may not make it (--from), or it is one that only a
/// person can make. The item is left out, with the reason.
class NotMeasured : public Error {
 public:
  using Error::Error;
};

/// One flame command, as a person would type it. `name` is that of its file in the data directory.
struct Measurement {
  std::string name;
  std::vector<std::string> arguments;  ///< behind "flame"
};

/// What is told while commands run.
struct MeasurementCallbacks {
  std::function<void(const Measurement& measurement, const std::string& command)> on_start;
  std::function<void()> on_tick;  ///< about five times a second while a command runs
  std::function<void(const Measurement& measurement, double seconds)> on_end;
};

/// The measurements of a report: `flame` commands whose JSON output is kept, so that a report that was interrupted goes
/// on where it stopped and one that is there is drawn again without measuring.
class Measurements {
 public:
  /// `program` is run for each; its working directory is this process's. With `only_stored` nothing is run, and nothing
  /// in `directory` changes. FileError where there is no such program; none is needed to read what is stored.
  Measurements(std::filesystem::path directory, std::filesystem::path program, bool only_stored,
               MeasurementCallbacks callbacks);

  /// The JSON that the command printed: from DIRECTORY/name.json when that was made by the same command, else by
  /// running it now. The file is {"command", "seconds", "program", "output"}. Throws NotMeasured, Interrupted, or
  /// DeviceError with the end of what a failing command wrote.
  Json json(const Measurement& measurement);

  /// A command that makes a file or directory, DIRECTORY/name, instead of JSON: "{output}" in its arguments stands for
  /// that path. Run unless it is there already and was made by the same command, which DIRECTORY/name.made.json tells.
  /// Returns the path; with `only_stored` also that of a trace, profile or bundle that is not there any more, since it
  /// is only named in the commands of what was measured with it, but not that of a result, NAME.json.
  std::filesystem::path file(const Measurement& measurement);

  /// The command that made what json() returned, as a person would type it; of a file, the one that file() would run.
  [[nodiscard]] std::string command(const Measurement& measurement) const;

  /// That command behind those of the traces, profiles and bundles of this directory that it reads, in the order in
  /// which a person would have to type them.
  [[nodiscard]] std::vector<std::string> recipe(const Measurement& measurement) const;

  /// DIRECTORY/name.json as it was put there by a person or another program; NotMeasured, with `how` it is made, where
  /// it is absent.
  [[nodiscard]] Json given(const std::string& name, const std::string& how) const;

  /// True when DIRECTORY/name.json is there, whatever command made it.
  [[nodiscard]] bool stored(const std::string& name) const;

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

  /// The build of the program, by the XXH3 of its file; empty without a program.
  [[nodiscard]] const std::string& build() const { return build_; }
  /// Builds other than that one that made what json() and file() have returned since this was asked last; "" for what
  /// is stored without telling its build.
  [[nodiscard]] std::set<std::string> take_other_builds() { return std::exchange(other_builds_, {}); }

  /// Names of all that has been asked for so far, measured or not.
  [[nodiscard]] const std::set<std::string>& asked() const { return asked_; }
  /// As if these had been asked for too.
  void add_asked(const std::set<std::string>& names) { asked_.insert(names.begin(), names.end()); }

 private:
  /// An argument names a file of this directory that has changed since.
  [[nodiscard]] bool older_than_inputs(const std::filesystem::path& made, const Measurement& measurement) const;
  double run(const Measurement& measurement, const std::vector<std::string>& arguments,
             const std::filesystem::path& output);
  /// Keeps in mind which build made a stored measurement, or a file by the note beside it.
  void note_build(const JsonView& stored);

  std::filesystem::path directory_;
  std::filesystem::path program_;
  std::string build_;
  bool only_stored_;
  MeasurementCallbacks callbacks_;
  std::set<std::string> asked_;
  std::set<std::string> other_builds_;
  std::map<std::string, std::string> commands_;  ///< by the name of what json() returned
  std::map<std::string, Measurement> files_;     ///< what file() was asked for, by path
  std::map<std::string, std::string> failed_;    ///< command, and what it said: not tried again for the next item
};

/// "flame eval prediction test.trace --json": the command with the quotes that a shell needs.
[[nodiscard]] std::string command_line(const std::vector<std::string>& arguments);

}  // namespace flame::report
