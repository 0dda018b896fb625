#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace flame::test {

/// How a run of the flame program ended.
struct ProgramResult {
  int exit_code = -1;
  std::string standard_output;
  std::string standard_error;
};

/// Runs a program found on PATH or by its path, words[0], with the words that follow and `input` on standard input, and
/// waits for it.
[[nodiscard]] ProgramResult run_program(std::vector<std::string> words, const std::string& input = "");

/// Runs `flame ARGUMENTS…` with `input` on standard input, and waits for it.
[[nodiscard]] ProgramResult run_flame(const std::vector<std::string>& arguments, const std::string& input = "");

/// A checkpoint with random weights and T5's tokenizer, made once a process with `flame synth`.
[[nodiscard]] const std::filesystem::path& tiny_model();

}  // namespace flame::test
