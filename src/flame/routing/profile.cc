#include "flame/routing/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <iterator>
#include <tuple>
#include <utility>

#include "flame/base/bits.h"
#include "flame/base/error.h"

namespace flame::routing {
namespace {

constexpr std::uint32_t kTokenBits = 32;

std::uint32_t bits_of(std::uint32_t experts) {
  return experts <= 1 ? 1 : static_cast<std::uint32_t>(std::bit_width(experts - 1));
}

bool fits(const ProfileOptions& options, std::uint32_t experts) {
  const std::uint32_t bits = bits_of(experts);
  return (options.max_order + options.max_depth) * bits <= 64 && kTokenBits + (options.token_order + 1) * bits <= 64;
}

/// Sorts by key and adds up the counts of equal keys.
void sum_equal(std::vector<std::pair<std::uint64_t, std::uint64_t>>& counts) {
  std::sort(counts.begin(), counts.end());
  std::size_t kept = 0;
  for (const auto& [key, count] : counts) {
    if (kept > 0 && counts[kept - 1].first == key) {
      counts[kept - 1].second += count;
    } else {
      counts[kept++] = {key, count};
    }
  }
  counts.resize(kept);
}

std::string model_text(const TraceInfo& model) {
  return fmt::format("{} experts, {} encoder and {} decoder MoE layers, d_model {}, vocabulary {}", model.experts,
                     model.encoder_layers, model.decoder_layers, model.d_model, model.vocabulary);
}

/// True when one of two sorted lists, neither empty, holds all of the other.
bool contain_one_another(const std::vector<std::uint64_t>& one, const std::vector<std::uint64_t>& other) {
  if (one.empty() || other.empty()) return false;
  return std::includes(one.begin(), one.end(), other.begin(), other.end()) ||
         std::includes(other.begin(), other.end(), one.begin(), one.end());
}

}  // namespace

ProfileOptions fitting_options(ProfileOptions wanted, std::uint32_t experts) {
  while (!fits(wanted, experts) && wanted.token_order > 0 &&
         kTokenBits + (wanted.token_order + 1) * bits_of(experts) > 64) {
    --wanted.token_order;
  }
  while (!fits(wanted, experts) && wanted.max_depth > 1) --wanted.max_depth;
  while (!fits(wanted, experts) && wanted.max_order > 1) --wanted.max_order;
  return wanted;
}

Profile::Profile(const TraceInfo& model, const ProfileOptions& options)
    : model_(model), options_(options), bits_(bits_of(model.experts)) {
  if (model.experts == 0 || model.decoder_layers == 0) {
    throw UsageError("a profile needs a model with MoE layers in its decoder");
  }
  if (options.max_order == 0 || options.max_depth == 0 || options.max_depth > 3 || options.token_order > 1) {
    throw UsageError("profile: the order must be at least 1, the depth 1 to 3, the token order 0 or 1");
  }
  if (!fits(options, model.experts)) {
    throw UsageError(fmt::format(
        "profile: contexts of order {} at depth {} of {} experts do not fit 64 bits; the "
        "largest that do are order {} at depth {}",
        options.max_order, options.max_depth, model.experts, fitting_options(options, model.experts).max_order,
        fitting_options(options, model.experts).max_depth));
  }
  if (std::uint64_t{experts()} * experts() * layers() > kMaximumPairs) {
    throw UsageError(fmt::format("profile: {} experts in {} layers are more pairs than a profile can hold ({})",
                                 experts(), layers(), kMaximumPairs));
  }
  history_ = options.max_order + options.max_depth - 1;
  contexts_.resize(std::size_t{layers()} * (history_ + 1));
  tokens_.resize(std::size_t{layers()} * (options.token_order + 1));
  previous_.resize(std::size_t{layers()} * experts() * experts());
  encoder_.resize(std::size_t{model.encoder_layers} * experts());
}

void Profile::add_fingerprints(const std::vector<std::uint64_t>& sorted) {
  std::vector<std::uint64_t> all;
  std::merge(fingerprints_.begin(), fingerprints_.end(), sorted.begin(), sorted.end(), std::back_inserter(all));
  fingerprints_ = std::move(all);
}

void Profile::add(const Trace& trace) {
  require_model(trace.info);
  std::vector<std::uint64_t> fingerprints = example_fingerprints(trace);
  std::sort(fingerprints.begin(), fingerprints.end());
  if (contain_one_another(fingerprints_, fingerprints)) {
    throw UsageError("all examples of a trace were counted already, or the other way round: a trace was given twice");
  }
  add_fingerprints(fingerprints);
  for (const StepRange& range : examples_of(trace.decoder)) add_example(trace.decoder, range);
  for (std::size_t i = 0; i < trace.encoder.experts.size(); ++i) {
    ++encoder_[i % trace.encoder.layers * experts() + trace.encoder.experts[i]];
  }
  fitted_ = {};
}

void Profile::add_example(const StackTrace& stack, StepRange steps) {
  std::uint64_t history = 0;
  std::size_t position = 0;  // on the circular path of this example
  for (std::size_t step = steps.first; step < steps.end; ++step) {
    const std::span<const std::uint16_t> path = stack.experts_of(step);
    const auto token = static_cast<std::uint64_t>(stack.token[step]);
    for (std::uint32_t layer = 0; layer < layers(); ++layer, ++position) {
      const std::uint64_t expert = path[layer];
      const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(position, history_));
      contexts_[layer * (history_ + 1) + length].add(history << bits_ | expert);
      const auto joined = static_cast<std::uint32_t>(std::min<std::size_t>(position, options_.token_order));
      const std::uint64_t near = low_bits(history, joined * bits_);
      tokens_[layer * (options_.token_order + 1) + joined].add((token << joined * bits_ | near) << bits_ | expert);
      if (step > steps.first) {
        ++previous_[(std::size_t{layer} * experts() + stack.experts_of(step - 1)[layer]) * experts() + expert];
      }
      history = low_bits(history << bits_ | expert, history_ * bits_);
    }
    ++paths_[{path.begin(), path.end()}];
    ++steps_;
  }
}

void Profile::merge(const Profile& other) {
  require_model(other.model_);
  if (other.options_ != options_) {
    throw UsageError(
        fmt::format("profiles counted with different options cannot be merged: order {}, depth {}, token "
                    "order {} and order {}, depth {}, token order {}",
                    options_.max_order, options_.max_depth, options_.token_order, other.options_.max_order,
                    other.options_.max_depth, other.options_.token_order));
  }
  if (contain_one_another(fingerprints_, other.fingerprints_)) {
    throw UsageError("all examples of one profile are in the other already: a part was given twice");
  }
  add_fingerprints(other.fingerprints_);
  const auto add_counts = [](std::vector<FlatCounter>& to, const std::vector<FlatCounter>& from) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      from[i].for_each([&](std::uint64_t key, std::uint64_t count) { to[i].add(key, count); });
    }
  };
  add_counts(contexts_, other.contexts_);
  add_counts(tokens_, other.tokens_);
  for (std::size_t i = 0; i < previous_.size(); ++i) previous_[i] += other.previous_[i];
  for (std::size_t i = 0; i < encoder_.size(); ++i) encoder_[i] += other.encoder_[i];
  for (const auto& [path, tokens] : other.paths_) paths_[path] += tokens;
  steps_ += other.steps_;
  fitted_ = {};
}

void Profile::require_model(const TraceInfo& model) const {
  const auto shape = [](const TraceInfo& info) {
    return std::tuple(info.experts, info.encoder_layers, info.decoder_layers, info.d_model, info.vocabulary);
  };
  if (shape(model) != shape(model_)) {
    throw UsageError(
        fmt::format("the profile is of a model of another shape ({}) than {} ({}): make a profile of this "
                    "model with flame trace and flame profile",
                    model_text(model_), model.model.empty() ? "this one" : model.model, model_text(model)));
  }
  if (!model.checksum.empty() && !model_.checksum.empty() && model.checksum != model_.checksum) {
    throw UsageError(
        fmt::format("the profile was made from other weights (checksum {}) than those of {} (checksum {}): "
                    "make a profile of this model with flame trace and flame profile",
                    model_.checksum, model.model.empty() ? "this model" : model.model, model.checksum));
  }
}

std::size_t Profile::overlap(std::span<const std::uint64_t> fingerprints) const {
  return static_cast<std::size_t>(std::count_if(fingerprints.begin(), fingerprints.end(),
                                                [this](std::uint64_t fingerprint) { return contains(fingerprint); }));
}

bool Profile::contains(std::uint64_t fingerprint) const {
  return std::binary_search(fingerprints_.begin(), fingerprints_.end(), fingerprint);
}

std::vector<std::uint64_t> Profile::popularity(std::uint32_t layer) const {
  std::vector<std::uint64_t> counts(experts(), 0);
  for (const ContextCount& row : contexts(layer, 0)) counts[row.expert] = row.count;
  return counts;
}

std::span<const std::uint64_t> Profile::encoder_popularity(std::uint32_t layer) const {
  return std::span(encoder_).subspan(std::size_t{layer} * experts(), experts());
}

std::vector<ContextCount> Profile::contexts(std::uint32_t layer, std::uint32_t order, std::uint32_t depth) const {
  assert(layer < layers() && order <= options_.max_order && depth >= 1 && depth <= options_.max_depth);
  const std::uint32_t skipped = order == 0 ? 0 : depth - 1;  // without a context, how far ahead makes no difference
  std::vector<std::pair<std::uint64_t, std::uint64_t>> counts;
  for (std::uint32_t length = order + skipped; length <= history_; ++length) {
    contexts_[layer * (history_ + 1) + length].for_each([&](std::uint64_t key, std::uint64_t count) {
      const std::uint64_t context = low_bits(key >> bits_ >> (skipped * bits_), order * bits_);
      counts.emplace_back(context << bits_ | low_bits(key, bits_), count);
    });
  }
  sum_equal(counts);
  std::vector<ContextCount> rows;
  rows.reserve(counts.size());
  for (const auto& [key, count] : counts) {
    rows.push_back({key >> bits_, static_cast<std::uint16_t>(low_bits(key, bits_)), count});
  }
  return rows;
}

std::vector<TokenCount> Profile::tokens(std::uint32_t layer, std::uint32_t order) const {
  assert(layer < layers() && order <= options_.token_order);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> counts;
  for (std::uint32_t length = order; length <= options_.token_order; ++length) {
    tokens_[layer * (options_.token_order + 1) + length].for_each([&](std::uint64_t key, std::uint64_t count) {
      const std::uint64_t token = key >> bits_ >> (length * bits_);
      const std::uint64_t context = low_bits(key >> bits_, order * bits_);
      counts.emplace_back((token << order * bits_ | context) << bits_ | low_bits(key, bits_), count);
    });
  }
  sum_equal(counts);
  std::vector<TokenCount> rows;
  rows.reserve(counts.size());
  for (const auto& [key, count] : counts) {
    rows.push_back({static_cast<std::int32_t>(key >> bits_ >> (order * bits_)), low_bits(key >> bits_, order * bits_),
                    static_cast<std::uint16_t>(low_bits(key, bits_)), count});
  }
  return rows;
}

std::span<const std::uint64_t> Profile::previous_token(std::uint32_t layer) const {
  const std::size_t size = std::size_t{experts()} * experts();
  return std::span(previous_).subspan(layer * size, size);
}

}  // namespace flame::routing
