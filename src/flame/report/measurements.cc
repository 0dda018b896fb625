#include "flame/report/measurements.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "flame/base/checksum.h"
#include "flame/base/interrupt.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"

extern char** environ;

namespace flame::report {
namespace {

/// Waits for the child, which is in a process group of its own so that it gets one interruption, from here, and not a
/// second one from the terminal: the second would end it before it has kept what it did.
int wait_for(pid_t child, const std::function<void()>& on_tick) {
  constexpr timespec kTick = {.tv_sec = 0, .tv_nsec = 50'000'000};
  bool passed_on = false;
  for (std::size_t tick = 0;; ++tick) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (ended < 0 && errno != EINTR) return -1;
    if (interrupted() && !passed_on) {
      kill(child, SIGINT);
      passed_on = true;
    }
    if (on_tick && tick % 4 == 3) on_tick();
    nanosleep(&kTick, nullptr);  // an interruption ends it early
  }
}

std::string last_lines(const std::string& text) {
  constexpr std::size_t kShown = 600;
  return text.size() <= kShown ? text : "…" + text.substr(text.size() - kShown);
}

void replace_output(std::vector<std::string>& arguments, const std::filesystem::path& output) {
  for (std::string& argument : arguments) {
    if (argument == "{output}") argument = output.string();
  }
}

/// Of the file's bytes: every build that differs has another one.
std::string build_of(const std::filesystem::path& program) {
  return program.empty() ? std::string() : checksum_text(io::file_checksum(program));
}

void write_json(const std::filesystem::path& path, const Json& value) {
  io::AtomicFile file(path, io::Existing::kReplace);
  file.file().append(to_text(value) + "\n");
  file.commit();
}

}  // namespace

std::string command_line(const std::vector<std::string>& arguments) {
  std::string line = "flame";
  for (const std::string& argument : arguments) {
    const bool plain = !argument.empty() && std::all_of(argument.begin(), argument.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || std::string_view("-_./:=,+").find(static_cast<char>(c)) != std::string_view::npos;
    });
    line += plain ? " " + argument : " '" + argument + "'";
  }
  return line;
}

Measurements::Measurements(std::filesystem::path directory, std::filesystem::path program, bool only_stored,
                           MeasurementCallbacks callbacks)
    : directory_(std::move(directory)),
      program_(std::move(program)),
      build_(build_of(program_)),
      only_stored_(only_stored),
      callbacks_(std::move(callbacks)) {
  if (!only_stored_) io::FileSystem::real().create_directories(directory_);
}

bool Measurements::stored(const std::string& name) const {
  return io::FileSystem::real().exists(directory_ / (name + ".json"));
}

Json Measurements::json(const Measurement& measurement) {
  asked_.insert(measurement.name);
  io::FileSystem& files = io::FileSystem::real();
  const std::filesystem::path path = directory_ / (measurement.name + ".json");
  const std::string command = command_line(measurement.arguments);
  if (files.exists(path)) {
    const Json stored = parse_json(io::read_file(path), path);
    const JsonView view(stored, path);
    if (only_stored_ || (view.at("command").as_string() == command && !older_than_inputs(path, measurement))) {
      commands_[measurement.name] = view.at("command").as_string();
      note_build(view);
      return view.at("output").value();
    }
  }
  if (only_stored_) throw NotMeasured(fmt::format("`{}` has not been run", command));

  const std::filesystem::path output = directory_ / (measurement.name + ".output");
  const double seconds = run(measurement, measurement.arguments, output);
  Json stored = {{"command", command},
                 {"seconds", seconds},
                 {"program", build_},
                 {"output", parse_json(io::read_file(output), output)}};
  write_json(path, stored);
  files.remove(output);
  commands_[measurement.name] = command;
  return stored["output"];
}

std::string Measurements::command(const Measurement& measurement) const {
  if (const auto known = commands_.find(measurement.name); known != commands_.end()) return known->second;
  std::vector<std::string> arguments = measurement.arguments;
  replace_output(arguments, directory_ / measurement.name);
  return command_line(arguments);
}

std::vector<std::string> Measurements::recipe(const Measurement& measurement) const {
  std::vector<std::string> commands;
  const auto add = [&](const std::string& command) {
    if (std::find(commands.begin(), commands.end(), command) == commands.end()) commands.push_back(command);
  };
  for (const std::string& argument : measurement.arguments) {
    const auto made = files_.find(argument);
    if (made == files_.end() || made->second.name == measurement.name) continue;
    for (const std::string& command : recipe(made->second)) add(command);
  }
  add(command(measurement));
  return commands;
}

std::filesystem::path Measurements::file(const Measurement& measurement) {
  asked_.insert(measurement.name);
  io::FileSystem& files = io::FileSystem::real();
  const std::filesystem::path path = directory_ / measurement.name;
  files_.emplace(path.string(), measurement);
  const std::filesystem::path made_by = directory_ / (measurement.name + ".made.json");
  std::vector<std::string> arguments = measurement.arguments;
  replace_output(arguments, path);
  const std::string command = command_line(arguments);
  if (only_stored_) {
    // A trace, profile or bundle may be left out where what was measured with it is there; a result may not.
    if (files.exists(made_by)) {
      const Json note = parse_json(io::read_file(made_by), made_by);
      note_build(JsonView(note, made_by));
    }
    if (path.extension() != ".json" || files.exists(path)) return path;
    throw NotMeasured(fmt::format("`{}` has not been run", command));
  }
  // The command is noted before it runs: a file without its note would be taken for another command's.
  bool same = false;
  if (files.exists(made_by)) {
    const Json note = parse_json(io::read_file(made_by), made_by);
    const JsonView view(note, made_by);
    same = view.at("command").as_string() == command && !older_than_inputs(made_by, measurement);
    if (same && files.exists(path)) {
      note_build(view);
      return path;
    }
  }
  if (!same) {
    std::error_code failure;
    std::filesystem::remove_all(path, failure);
    if (failure) throw FileError(path, "cannot remove what another command made", failure.value());
    write_json(made_by, {{"command", command}, {"program", build_}});
  }
  const std::filesystem::path output = directory_ / (measurement.name + ".output");
  const double seconds = run(measurement, arguments, output);
  files.remove(output);
  write_json(made_by, {{"command", command}, {"seconds", seconds}, {"program", build_}});
  return path;
}

void Measurements::note_build(const JsonView& stored) {
  const std::optional<JsonView> program = stored.find("program");
  const std::string made_by = program ? program->as_string() : "";
  if (made_by != build_) other_builds_.insert(made_by);
}

bool Measurements::older_than_inputs(const std::filesystem::path& made, const Measurement& measurement) const {
  std::error_code failure;
  const auto made_at = std::filesystem::last_write_time(made, failure);
  if (failure) return true;
  return std::any_of(measurement.arguments.begin(), measurement.arguments.end(), [&](const std::string& argument) {
    const std::filesystem::path path = argument;
    if (path.parent_path() != directory_ || !std::filesystem::is_regular_file(path, failure)) return false;
    const auto changed_at = std::filesystem::last_write_time(path, failure);
    return !failure && changed_at > made_at;
  });
}

Json Measurements::given(const std::string& name, const std::string& how) const {
  const std::filesystem::path path = directory_ / (name + ".json");
  if (!io::FileSystem::real().exists(path)) throw NotMeasured(fmt::format("{} is not there: {}", path.string(), how));
  return parse_json(io::read_file(path), path);
}

double Measurements::run(const Measurement& measurement, const std::vector<std::string>& arguments,
                         const std::filesystem::path& output) {
  throw_if_interrupted();
  const std::string command = command_line(arguments);
  if (const auto failed = failed_.find(command); failed != failed_.end()) throw DeviceError(failed->second);
  if (callbacks_.on_start) callbacks_.on_start(measurement, command);
  const std::filesystem::path messages = output.string() + ".messages";
  std::vector<std::string> words = {program_.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  const auto begin = std::chrono::steady_clock::now();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t child = 0;
  const int failure = posix_spawn(&child, program_.c_str(), &actions, &attributes, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failure != 0) throw FileError(program_, "cannot run it", failure);
  const int exit_code = wait_for(child, callbacks_.on_tick);
  const std::string said = io::read_file(messages);
  io::FileSystem::real().remove(messages);
  throw_if_interrupted();
  if (exit_code != 0) {
    const std::string why = fmt::format("`{}` failed with exit code {}: {}", command, exit_code, last_lines(said));
    failed_.emplace(command, why);
    throw DeviceError(why);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (callbacks_.on_end) callbacks_.on_end(measurement, seconds);
  return seconds;
}

}  // namespace flame::report
