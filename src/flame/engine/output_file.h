#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "flame/engine/engine.h"
#include "flame/engine/text_generation.h"
#include "flame/io/json_lines.h"

namespace flame::engine {

/// 16 hexadecimal digits that change when the model's weights, their types in memory, its configuration or tokenizer,
/// the prefix or the options of generation do: runs of equal fingerprints give a prompt the same text. Reads all
/// weights of a checkpoint once.
[[nodiscard]] std::string run_fingerprint(const Engine& engine, const TextGenerationOptions& options);

/// The same of the prefix and the options of generation alone.
[[nodiscard]] std::string options_fingerprint(const TextGenerationOptions& options);

/// The same of one prompt's text or ids.
[[nodiscard]] std::string prompt_fingerprint(const Prompt& prompt);

/// The JSON-lines file of `flame generate -o`: one line a finished prompt, as to_json(TextOutput), with the
/// fingerprints of what it was made from under "fingerprint": {"run", "prompt"}. Opened before the model, so that a
/// wrong path is found at once.
class OutputFile {
 public:
  enum class Mode : std::uint8_t {
    kNew,     ///< the file must not be there; a pipe or device may
    kResume,  ///< goes on behind the whole lines of an interrupted run; a torn last one is dropped
  };

  /// Throws UsageError (the file is there, or cannot be resumed), FileError, and FormatError for lines that generate
  /// has not written.
  OutputFile(std::filesystem::path path, Mode mode);
  /// A new file that nothing was written to goes again, unless it was closed: a run that failed at its start leaves
  /// nothing in the way of the next.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Says what the lines to come are made by. Throws UsageError when the file has lines of another run.
  void begin_run(std::string fingerprint);

  /// False when an earlier run has finished this prompt. Throws UsageError when it finished another one under its
  /// index.
  [[nodiscard]] bool begin_prompt(const Prompt& prompt);

  /// One line, in one write. begin_run() and the prompt's begin_prompt() came before.
  void append(const TextOutput& output);
  void close();
  /// Lines of an earlier run were there.
  [[nodiscard]] bool resumes() const { return !finished_.empty(); }

 private:
  std::filesystem::path path_;
  std::optional<io::JsonLinesWriter> writer_;
  bool is_new_ = false;  ///< made by this object, and still empty
  std::string run_;
  std::optional<std::string> earlier_run_;         ///< of the lines that were there
  std::map<std::uint64_t, std::string> finished_;  ///< fingerprints of the prompts that have a line, by index
  std::map<std::uint64_t, std::string> begun_;     ///< of those that are to get one
};

}  // namespace flame::engine
