#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "flame/engine/engine.h"
#include "flame/engine/text_generation.h"
#include "flame/eval/rouge.h"
#include "flame/eval/text_examples.h"

namespace flame::eval {

/// Predicted texts by the index of their example.
using TextPredictions = std::map<std::uint64_t, std::string>;

/// Reads JSON lines as `flame generate -o` writes them: `key` is the text; "index", where a line has one, is its
/// example, otherwise the line's number from 0. Throws FileError; FormatError for a line without the text and for an
/// index that comes twice.
[[nodiscard]] TextPredictions read_predictions(const std::filesystem::path& file, const std::string& key = "text");

/// Generates a text for every example through `engine`, into `file` as `flame generate -o` would, and returns all.
/// A file that is there is gone on from: what stands in it is not generated again. Throws UsageError when it was made by
/// another model, with other options or from other texts. After Interrupted what was finished is in the file.
[[nodiscard]] TextPredictions generate_predictions(
    engine::Engine& engine, std::span<const TextExample> examples, const engine::TextGenerationOptions& options,
    const std::filesystem::path& file, const std::function<void(const std::string& message)>& on_warning = {});

/// One score an example. Throws ModelError naming the first example that has no prediction, and how many have none.
[[nodiscard]] std::vector<RougeScores> score(std::span<const TextExample> examples, const TextPredictions& predictions,
                                             bool stem, ManyReferences many);

}  // namespace flame::eval
