#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/io/file.h"

namespace flame::routing {

/// Where a trace comes from: the metadata of its file.
struct TraceInfo {
  std::string model;          ///< the checkpoint as it was named on the command line
  std::string checksum;       ///< of the model's weights; profiles of this trace belong to that model only
  std::string data;           ///< the input file and field
  std::string decoding;       ///< "greedy", "teacher-forced summary", …, with the limits that shaped the output
  std::uint32_t experts = 0;  ///< E of every MoE layer
  std::uint32_t encoder_layers = 0;  ///< MoE layers of the encoder
  std::uint32_t decoder_layers = 0;  ///< MoE layers of the decoder, L
  std::uint32_t d_model = 0;
  std::uint32_t vocabulary = 0;
  friend bool operator==(const TraceInfo&, const TraceInfo&) = default;
};

/// The decisions of one stack. A step is one token in one pass: a decode step, or one token of an encoder input.
struct StackTrace {
  std::uint32_t layers = 0;
  std::vector<std::uint16_t> experts;  ///< [steps, layers]
  std::vector<Float16> probability;    ///< [steps, layers]
  std::vector<std::int32_t> token;     ///< [steps]: the token fed at that step
  std::vector<std::int32_t> example;   ///< [steps]: 0-based, rising
  std::vector<std::uint8_t> dropped;   ///< [steps, layers], encoder only: past expert_capacity
  std::vector<BFloat16> hidden;        ///< [steps, layers, d_model] or empty: the routers' inputs
  std::vector<BFloat16> approach;      ///< [steps, layers, d_model] or empty: the residual stream before the attention
                                       ///< of the block that holds the layer

  [[nodiscard]] std::size_t steps() const { return token.size(); }
  [[nodiscard]] std::span<const std::uint16_t> experts_of(std::size_t step) const {
    return std::span(experts).subspan(step * layers, layers);
  }
};

/// Steps [first, end) of one example.
struct StepRange {
  std::size_t first = 0;
  std::size_t end = 0;
};

struct Trace {
  TraceInfo info;
  StackTrace encoder;
  StackTrace decoder;

  /// Adds the examples of `more`, numbered on from the last of this one. Throws UsageError when info differs in more
  /// than the data, or when only one of the two has hidden states.
  void append(const Trace& more);
};

/// The steps of each example of a stack, in order.
[[nodiscard]] std::vector<StepRange> examples_of(const StackTrace& stack);

/// The examples that are kept, by their place as example_fingerprints() counts them, in both stacks, and numbered anew.
/// Examples past the end of `keep` are kept.
[[nodiscard]] Trace select_examples(const Trace& trace, const std::vector<bool>& keep);

/// 40 bits that name an example by its encoder input (its decoder tokens, where there is no encoder trace), in the
/// order of examples_of(trace.decoder). Equal inputs have equal fingerprints, whatever the model's weights.
[[nodiscard]] std::vector<std::uint64_t> example_fingerprints(const Trace& trace);

/// What to read of a trace file; hidden states are many times the rest.
struct TraceReadOptions {
  bool hidden = false;
  bool approach = false;
};

/// Reads a trace file (docs/routing.md gives the format). Throws FileError or FormatError: a tensor is missing, has
/// another type or shape, an expert is not below `experts`, a token not in the vocabulary, examples do not rise.
[[nodiscard]] Trace read_trace(const std::filesystem::path& path, const TraceReadOptions& options = {},
                               io::FileSystem& files = io::FileSystem::real());

/// Writes to a temporary name and renames: the file is whole or absent.
void write_trace(const std::filesystem::path& path, const Trace& trace);

/// Writes the parts one after the other as one trace, holding one part's tensor in memory at a time.
/// Throws as read_trace and Trace::append.
void join_traces(std::span<const std::filesystem::path> parts, const std::filesystem::path& path);

}  // namespace flame::routing
