#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/model/generation_config.h"

namespace flame::model {

/// The score of a beam that was never finished: large, but finite, so that fp32 swallows another score beside it.
inline constexpr float kNeverFinished = -1.0e9F;

/// One sequence of a beam search, start token included.
struct Beam {
  std::vector<std::int32_t> tokens;
  float score = 0.0F;
};

/// The beam search of one example, as transformers 5.24's vectorised _beam_search does it, scores in fp32 and in its
/// order of operations. It holds no model: the caller runs one batch row a running beam and hands over log
/// probabilities. Of equal continuations those of the lower beam, then token, are candidates first; equal candidates
/// fall as in torch.topk on a processor.
class BeamSearch {
 public:
  /// `options` must outlive this.
  BeamSearch(const GenerationOptions& options, std::size_t vocab_size);

  /// Running beams, the best first: what the next step continues. At the start all hold the start token alone.
  [[nodiscard]] std::span<const Beam> running() const { return running_; }

  /// log_probabilities [beams, vocab], processed, of the token after each running beam. Afterwards running beam i goes
  /// on from what was running beam parents()[i].
  void advance(MatrixView<const float> log_probabilities);

  [[nodiscard]] std::span<const std::uint32_t> parents() const { return parents_; }

  /// Nothing can change the result any more, or the length limit is reached.
  [[nodiscard]] bool done() const { return done_; }

  /// The finished sequences, the best first; score is divided by the length penalty. Valid when done(). As in
  /// transformers, a score at or below kNeverFinished loses to the placeholders that the search begins with. Where
  /// fewer than num_return_sequences are above it, unfinished ones and placeholders are among the first of that number,
  /// filled up with padding tokens, or with one end token, to the longest of them.
  [[nodiscard]] std::span<const Beam> finished() const { return {finished_.data(), finished_.size()}; }

 private:
  struct Candidate {
    float score = 0.0F;  // sum of log probabilities
    std::uint32_t beam = 0;
    std::int32_t token = 0;
    bool ends = false;
  };
  void choose_candidates(MatrixView<const float> log_probabilities);
  void keep_finished();
  void continue_running();
  void check_whether_improvable();
  void fill_unfinished();

  const GenerationOptions& options_;
  std::size_t kept_;  // candidates looked at: enough that num_beams go on even if every end token is among them
  std::size_t length_ = 1;
  bool improvable_ = true;
  bool done_ = false;
  std::vector<Beam> running_;
  std::vector<Beam> next_running_;
  std::vector<Beam> finished_;
  std::vector<Beam> next_finished_;
  std::vector<std::uint8_t> is_finished_;  // of finished_: a real sequence, not a placeholder
  std::vector<std::uint8_t> next_is_finished_;
  std::vector<Candidate> candidates_;
  std::vector<std::uint32_t> parents_;
  std::vector<std::uint32_t> order_;  // scratch
  std::vector<float> order_scores_;   // scratch
};

}  // namespace flame::model
