#include "cli/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "support/test_data.h"

extern char** environ;

namespace flame::test {
namespace {

std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

ProgramResult run_program(std::vector<std::string> words, const std::string& input) {
  const TemporaryDirectory directory;
  const std::string in = (directory / "in").string();
  const std::string out = (directory / "out").string();
  const std::string err = (directory / "err").string();
  std::ofstream(in, std::ios::binary) << input;

  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t child = 0;
  const int failure = posix_spawnp(&child, pointers.front(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw std::runtime_error("cannot run " + words.front());
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_all(out), read_all(err)};
}

ProgramResult run_flame(const std::vector<std::string>& arguments, const std::string& input) {
  std::vector<std::string> words = {FLAME_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program(std::move(words), input);
}

const std::filesystem::path& tiny_model() {
  static const TemporaryDirectory directory;
  static const std::filesystem::path model = [] {
    std::filesystem::path path = directory / "tiny";
    const ProgramResult made = run_flame({"synth", data_path("cli/tiny.json").string(), "-o", path.string(),
                                          "--tokenizer", data_path("text/t5/spiece.model").string()});
    if (made.exit_code != 0) throw std::runtime_error("flame synth failed: " + made.standard_error);
    // The tasks of the configuration are not the synthesis's to know.
    std::filesystem::copy_file(data_path("cli/tiny.json"), path / "config.json",
                               std::filesystem::copy_options::overwrite_existing);
    return path;
  }();
  return model;
}

}  // namespace flame::test
