#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/json.h"
#include "flame/eval/buffer_ceilings.h"
#include "flame/experts/buffered_device.h"
#include "flame/routing/trace.h"

namespace flame::eval {

/// One way to run a bundle.
struct LatencyCase {
  std::string configuration;  ///< "neither", "N:M", "CEPR", "both", "resident", …
  std::filesystem::path bundle;
  experts::BufferOptions buffer;
  /// The storage reads meanwhile, for nobody, as much a decoder step as the case before this one had loaded
  /// (ReadingDevice). For a bundle with a slot for every expert.
  bool reads_along = false;
};

struct LatencyOptions {
  std::size_t input_tokens = 128;
  std::size_t output_tokens = 32;
  std::size_t batch = 1;
  std::size_t repeats = 3;
  std::uint64_t seed = 1;
  /// Route as this trace instead of by the routers (routing::ForcedRouting says how); null: the model's own routing.
  std::shared_ptr<const routing::Trace> routing;
};

/// Seconds over the repeats.
struct Spread {
  double median = 0.0;
  double least = 0.0;
  double most = 0.0;
};
[[nodiscard]] Spread spread_of(std::vector<double> values);

struct LatencyResult {
  LatencyCase setting;
  std::string pattern;
  std::string type;
  std::size_t slots = 0;
  std::uint64_t slot_bytes = 0;
  Spread decoder;                ///< seconds a decoder step, everything
  Spread moe;                    ///< seconds a decoder step, MoE layers alone
  Spread encoder;                ///< seconds
  Spread first_token;            ///< seconds from the start to the first step's logits
  experts::BufferReport report;  ///< of the last repeat
  BufferCeilings ceilings;       ///< of the last repeat
  DecoderBounds bounds;          ///< of a decoder step, medians
  /// Where the storage read meanwhile: bytes a decoder step, means over the repeats.
  struct Reading {
    double asked_bytes = 0.0;        ///< what the case before had loaded
    double read_bytes = 0.0;         ///< less where the storage could not deliver them in the time
    std::uint64_t beside_bytes = 0;  ///< expert memory of the case before
  };
  std::optional<Reading> reading;
};

/// Runs every case in turn, `repeats` times over, after one run of each that is not counted: what disturbs the machine
/// disturbs all alike. All devices are open at once. Throws as opening and generating do.
[[nodiscard]] std::vector<LatencyResult> measure_latency(const std::vector<LatencyCase>& cases,
                                                         const LatencyOptions& options,
                                                         const std::function<void(std::size_t done)>& progress);

/// Entries of `flame bench --json` (docs/buffering.md): one object for scope "decoder", one for "moe".
[[nodiscard]] std::vector<Json> to_json(const LatencyResult& result);

/// Bytes a second of reading `path` from its beginning in pieces of `piece_bytes`, the best of `repeats`.
struct StorageSpeed {
  std::string how;
  std::uint64_t piece_bytes = 0;
  double bytes_per_second = 0.0;
};
/// A plain loop of O_DIRECT reads that keeps one, and eight, under way, and the read queue with each back end.
[[nodiscard]] std::vector<StorageSpeed> measure_storage(const std::filesystem::path& path,
                                                        const std::vector<std::uint64_t>& piece_bytes,
                                                        const io::Throttle& throttle, std::size_t repeats);

}  // namespace flame::eval
