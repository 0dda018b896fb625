#include "flame/model/logits_processor.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace flame::model {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

void forbid(std::span<const std::int32_t> tokens, std::span<float> scores) {
  for (const std::int32_t token : tokens) {
    // Lists in a configuration may name ids that the model does not have; transformers ignores those too.
    if (token >= 0 && static_cast<std::size_t>(token) < scores.size())
      scores[static_cast<std::size_t>(token)] = kMinusInfinity;
  }
}

void allow_only(std::span<const std::int32_t> tokens, std::span<float> scores) {
  std::ranges::fill(scores, kMinusInfinity);
  for (const std::int32_t token : tokens) scores[static_cast<std::size_t>(token)] = 0.0F;
}

}  // namespace

LogitsProcessor::LogitsProcessor(const GenerationOptions& options, std::size_t vocab_size) : options_(&options) {
  for (const std::vector<std::int32_t>& word : options.bad_words_ids) {
    const bool is_end =
        word.size() == 1 && std::ranges::find(options.eos_token_ids, word[0]) != options.eos_token_ids.end();
    if (!is_end) bad_words_.push_back(word);
  }
  if (options.repetition_penalty != 1.0) seen_.resize(vocab_size);
}

void LogitsProcessor::constrain(std::span<const std::int32_t> tokens, std::span<float> scores) {
  if (options_->repetition_penalty != 1.0) penalise_repetition(tokens, scores);
  if (options_->no_repeat_ngram_size > 0) forbid_repeated_ngrams(tokens, scores);
  if (!bad_words_.empty()) forbid_bad_words(tokens, scores);
  if (tokens.size() < options_->length_floor()) forbid(options_->eos_token_ids, scores);
  if (options_->forced_bos_token_id && tokens.size() == 1) allow_only({&*options_->forced_bos_token_id, 1}, scores);
  if (!options_->forced_eos_token_ids.empty() && tokens.size() + 1 == options_->length_limit()) {
    allow_only(options_->forced_eos_token_ids, scores);
  }
  forbid(options_->suppress_tokens, scores);
  const std::size_t begin = options_->forced_bos_token_id ? 2 : 1;
  if (tokens.size() == begin) forbid(options_->begin_suppress_tokens, scores);
}

void LogitsProcessor::warp(std::span<float> scores) {
  // Sorting needs an order: a NaN, as a model whose activations overflow makes them, is ruled out.
  for (float& score : scores) {
    if (std::isnan(score)) score = kMinusInfinity;
  }
  if (options_->temperature != 1.0) {
    for (float& score : scores) score /= static_cast<float>(options_->temperature);
  }
  if (options_->top_k != 0) keep_top_k(scores);
  if (options_->top_p < 1.0) keep_top_p(scores);
}

void LogitsProcessor::penalise_repetition(std::span<const std::int32_t> tokens, std::span<float> scores) {
  const auto penalty = static_cast<float>(options_->repetition_penalty);
  for (const std::int32_t token : tokens) {
    const auto index = static_cast<std::size_t>(token);
    if (seen_[index] != 0) continue;
    seen_[index] = 1;
    scores[index] = scores[index] < 0.0F ? scores[index] * penalty : scores[index] / penalty;
  }
  for (const std::int32_t token : tokens) seen_[static_cast<std::size_t>(token)] = 0;
}

void LogitsProcessor::forbid_repeated_ngrams(std::span<const std::int32_t> tokens, std::span<float> scores) const {
  const std::size_t size = options_->no_repeat_ngram_size;
  if (tokens.size() < size) return;
  const auto prefix = tokens.last(size - 1);
  for (std::size_t start = 0; start + size <= tokens.size(); ++start) {
    if (std::ranges::equal(tokens.subspan(start, size - 1), prefix))
      forbid(tokens.subspan(start + size - 1, 1), scores);
  }
}

void LogitsProcessor::forbid_bad_words(std::span<const std::int32_t> tokens, std::span<float> scores) const {
  for (const std::vector<std::int32_t>& word : bad_words_) {
    const std::span<const std::int32_t> prefix(word.data(), word.size() - 1);
    if (prefix.size() > tokens.size()) continue;
    if (std::ranges::equal(tokens.last(prefix.size()), prefix)) forbid({&word.back(), 1}, scores);
  }
}

void LogitsProcessor::keep_top_k(std::span<float> scores) {
  if (options_->top_k >= scores.size()) return;
  sorted_.assign(scores.begin(), scores.end());
  const auto kth = sorted_.begin() + static_cast<std::ptrdiff_t>(options_->top_k - 1);
  std::nth_element(sorted_.begin(), kth, sorted_.end(), std::greater<>());
  const float threshold = *kth;
  for (float& score : scores) {
    if (score < threshold) score = kMinusInfinity;
  }
}

void LogitsProcessor::keep_top_p(std::span<float> scores) {
  order_.resize(scores.size());
  std::iota(order_.begin(), order_.end(), 0U);
  // By score, then id: what a stable sort gives, without its memory.
  std::ranges::sort(order_, [&](std::uint32_t a, std::uint32_t b) {
    return scores[a] < scores[b] || (scores[a] == scores[b] && a < b);
  });
  const float largest = scores[order_.back()];
  double sum = 0.0;
  for (const float score : scores) sum += std::exp(score - largest);
  // From the least likely: those whose probabilities together stay within 1 - p go, but never the most likely one.
  const auto outside = static_cast<float>(1.0 - options_->top_p);
  double cumulative = 0.0;
  for (std::size_t i = 0; i + 1 < order_.size(); ++i) {
    float& score = scores[order_[i]];
    cumulative += static_cast<float>(std::exp(score - largest) / sum);
    if (static_cast<float>(cumulative) > outside) break;
    score = kMinusInfinity;
  }
}

void log_softmax(std::span<float> logits) {
  const float largest = *std::ranges::max_element(logits);
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const auto offset = static_cast<float>(std::log(sum));
  for (float& logit : logits) logit = logit - largest - offset;
}

}  // namespace flame::model
