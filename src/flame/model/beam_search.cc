#include "flame/model/beam_search.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace flame::model {
namespace {

// The indices of the `count` largest scores, in falling order. Equal ones fall as in torch.topk on the CPU, which
// makes these two calls: which of many sequences at -1e9 are returned is decided by it.
void largest_indices(std::span<const float> scores, std::size_t count, std::vector<std::uint32_t>& order) {
  order.resize(scores.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto larger = [&](std::uint32_t a, std::uint32_t b) {
    return (std::isnan(scores[a]) && !std::isnan(scores[b])) || scores[a] > scores[b];
  };
  const auto last = order.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(order.begin(), last, order.end(), larger);
  std::sort(order.begin(), last, larger);
  order.resize(count);
}

float length_factor(std::size_t length, double penalty) {
  return static_cast<float>(std::pow(static_cast<double>(length), penalty));
}

}  // namespace

BeamSearch::BeamSearch(const GenerationOptions& options, std::size_t vocab_size)
    : options_(options), kept_(std::max<std::size_t>(2, 1 + options.eos_token_ids.size()) * options.num_beams) {
  assert(kept_ <= options.num_beams * vocab_size);
  static_cast<void>(vocab_size);
  running_.assign(options.num_beams, {.tokens = {options.decoder_start_token_id}, .score = kNeverFinished});
  running_.front().score = 0.0F;  // the beams are equal at first: only one of them may be continued
  finished_.assign(options.num_beams, {.tokens = {}, .score = kNeverFinished});
  is_finished_.assign(options.num_beams, 0);
  next_running_ = running_;
  next_finished_ = finished_;
  next_is_finished_ = is_finished_;
  candidates_.reserve(kept_ + 1);
}

void BeamSearch::advance(MatrixView<const float> log_probabilities) {
  assert(!done_ && log_probabilities.rows() == running_.size());
  choose_candidates(log_probabilities);
  keep_finished();
  continue_running();
  ++length_;
  check_whether_improvable();
  if (done_) fill_unfinished();
}

void BeamSearch::choose_candidates(MatrixView<const float> log_probabilities) {
  // The best `kept_` of all beams' continuations, by insertion: nearly every score fails the first comparison.
  candidates_.clear();
  for (std::uint32_t beam = 0; beam < log_probabilities.rows(); ++beam) {
    const std::span<const float> row = log_probabilities.row(beam);
    const float so_far = running_[beam].score;
    for (std::size_t token = 0; token < row.size(); ++token) {
      const float score = row[token] + so_far;
      if (candidates_.size() == kept_ && !(score > candidates_.back().score)) continue;
      if (candidates_.size() == kept_) candidates_.pop_back();
      const auto place = std::ranges::upper_bound(candidates_, score, std::ranges::greater{}, &Candidate::score);
      candidates_.insert(place, {score, beam, static_cast<std::int32_t>(token), false});
    }
  }
  for (Candidate& candidate : candidates_) {
    candidate.ends = length_ + 1 >= options_.length_limit() ||
                     std::ranges::find(options_.eos_token_ids, candidate.token) != options_.eos_token_ids.end();
  }
}

void BeamSearch::keep_finished() {
  const bool stop_when_full = options_.early_stopping == EarlyStopping::kTrue;
  const bool full = std::ranges::all_of(is_finished_, [](std::uint8_t finished) { return finished != 0; });
  const float factor = length_factor(length_, options_.length_penalty);  // tokens after the start, the new one included
  order_scores_.clear();
  for (const Beam& beam : finished_) order_scores_.push_back(beam.score);
  // Only the best num_beams candidates may finish; those after them are there to go on.
  const auto finishes = [&](std::size_t i) { return candidates_[i].ends && i < options_.num_beams; };
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    float score = candidates_[i].score / factor;
    score += stop_when_full && full ? kNeverFinished : 0.0F;
    score += improvable_ ? 0.0F : kNeverFinished;
    score += finishes(i) ? 0.0F : kNeverFinished;
    order_scores_.push_back(score);
  }
  largest_indices(order_scores_, options_.num_beams, order_);
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const std::size_t from = order_[i];
    Beam& beam = next_finished_[i];
    if (from < finished_.size()) {
      beam.tokens.assign(finished_[from].tokens.begin(), finished_[from].tokens.end());
      next_is_finished_[i] = is_finished_[from];
    } else {
      const Candidate& candidate = candidates_[from - finished_.size()];
      const std::vector<std::int32_t>& parent = running_[candidate.beam].tokens;
      beam.tokens.assign(parent.begin(), parent.end());
      beam.tokens.push_back(candidate.token);
      next_is_finished_[i] = finishes(from - finished_.size()) ? 1 : 0;
    }
    beam.score = order_scores_[from];
  }
  finished_.swap(next_finished_);
  is_finished_.swap(next_is_finished_);
}

void BeamSearch::continue_running() {
  order_scores_.clear();
  for (const Candidate& candidate : candidates_) {
    order_scores_.push_back(candidate.score + (candidate.ends ? kNeverFinished : 0.0F));
  }
  largest_indices(order_scores_, options_.num_beams, order_);
  parents_.clear();
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const Candidate& candidate = candidates_[order_[i]];
    const std::vector<std::int32_t>& parent = running_[candidate.beam].tokens;
    next_running_[i].tokens.assign(parent.begin(), parent.end());
    next_running_[i].tokens.push_back(candidate.token);
    next_running_[i].score = order_scores_[order_[i]];
    parents_.push_back(candidate.beam);
  }
  running_.swap(next_running_);
}

void BeamSearch::check_whether_improvable() {
  const bool to_the_end = options_.early_stopping == EarlyStopping::kNever && options_.length_penalty > 0.0;
  const std::size_t hypothetical = (to_the_end ? options_.length_limit() : length_) - 1;
  const float best = running_.front().score / length_factor(hypothetical, options_.length_penalty);
  float worst = finished_.front().score;
  for (const Beam& beam : finished_) worst = std::min(worst, beam.score);
  const bool better_than_any = std::ranges::any_of(
      is_finished_, [&](std::uint8_t finished) { return best > (finished != 0 ? worst : kNeverFinished); });
  improvable_ = improvable_ && better_than_any;

  const bool full = std::ranges::all_of(is_finished_, [](std::uint8_t finished) { return finished != 0; });
  const bool all_end = std::ranges::all_of(candidates_, &Candidate::ends);
  done_ = !improvable_ || (full && options_.early_stopping == EarlyStopping::kTrue) || all_end;
}

void BeamSearch::fill_unfinished() {
  // transformers' output_fill_value, by which a padding token of id 0 counts as none.
  const std::vector<std::int32_t>& ends = options_.eos_token_ids;
  const auto is_end = [&](std::int32_t token) { return std::ranges::find(ends, token) != ends.end(); };
  const std::int32_t fill = ends.empty() ? -1 : options_.pad_token_id != 0 ? options_.pad_token_id : ends.front();
  std::size_t longest = 1;
  const std::span<Beam> returned(finished_.data(), options_.num_return_sequences);
  for (const Beam& beam : returned) longest = std::max(longest, beam.tokens.size());
  for (Beam& beam : returned) {
    if (beam.tokens.empty()) beam.tokens.push_back(options_.decoder_start_token_id);
    if (beam.tokens.size() > 1 && is_end(beam.tokens.back())) continue;
    // Nothing counts behind an end token.
    beam.tokens.resize(is_end(fill) ? std::min(longest, beam.tokens.size() + 1) : longest, fill);
  }
}

}  // namespace flame::model
