#include "flame/report/measurements.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/interrupt.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"

extern char** environ;

namespace flame::report {
namespace {

/// Waits for the child; passes an interruption on to it.
int wait_for(pid_t child) {
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(child, &status, 0);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (errno != EINTR) return -1;
    if (interrupted()) kill(child, SIGINT);
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
                           std::function<void(const std::string& command)> on_start)
    : directory_(std::move(directory)),
      program_(std::move(program)),
      only_stored_(only_stored),
      on_start_(std::move(on_start)) {
  io::FileSystem::real().create_directories(directory_);
}

Json Measurements::json(const Measurement& measurement) {
  io::FileSystem& files = io::FileSystem::real();
  const std::filesystem::path path = directory_ / (measurement.name + ".json");
  const std::string command = command_line(measurement.arguments);
  if (files.exists(path)) {
    const Json stored = parse_json(io::read_file(path), path);
    const JsonView view(stored, path);
    if (only_stored_ || view.at("command").as_string() == command) return view.at("output").value();
  }
  if (only_stored_) throw NotMeasured(fmt::format("`{}` has not been run", command));

  const std::filesystem::path output = directory_ / (measurement.name + ".output");
  run(measurement.arguments, output);
  Json stored = {{"command", command}, {"output", parse_json(io::read_file(output), output)}};
  io::AtomicFile file(path, io::Existing::kReplace);
  file.file().append(stored.dump(1) + "\n");
  file.commit();
  files.remove(output);
  return stored["output"];
}

std::filesystem::path Measurements::file(const Measurement& measurement) {
  const std::filesystem::path path = directory_ / measurement.name;
  if (io::FileSystem::real().exists(path)) return path;
  std::vector<std::string> arguments = measurement.arguments;
  replace_output(arguments, path);
  if (only_stored_) throw NotMeasured(fmt::format("`{}` has not been run", command_line(arguments)));
  const std::filesystem::path output = directory_ / (measurement.name + ".output");
  run(arguments, output);
  io::FileSystem::real().remove(output);
  return path;
}

void Measurements::run(const std::vector<std::string>& arguments, const std::filesystem::path& output) {
  throw_if_interrupted();
  if (on_start_) on_start_(command_line(arguments));
  const std::filesystem::path messages = output.string() + ".messages";
  std::vector<std::string> words = {program_.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  pid_t child = 0;
  const int failure = posix_spawn(&child, program_.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw FileError(program_, "cannot run it", failure);
  const int exit_code = wait_for(child);
  const std::string said = io::read_file(messages);
  io::FileSystem::real().remove(messages);
  throw_if_interrupted();
  if (exit_code != 0) {
    throw DeviceError(
        fmt::format("`{}` failed with exit code {}: {}", command_line(arguments), exit_code, last_lines(said)));
  }
}

}  // namespace flame::report
