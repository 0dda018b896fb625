#include "flame/routing/mix_predictor.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "routing/synthetic_trace.h"

namespace flame::routing {
namespace {

constexpr std::uint32_t kExperts = 5;
constexpr std::uint32_t kLayers = 3;

/// Says something else after everything that it hears, row by row and layer by layer.
class Listener final : public Predictor {
 public:
  Listener(bool approach, bool hidden) : approach_(approach), hidden_(hidden) {}

  void begin(std::size_t sequences) override { heard_.assign(sequences, 1); }
  void reorder(std::span<const std::uint32_t> parents) override {
    std::vector<std::uint64_t> moved;
    for (const std::uint32_t parent : parents) moved.push_back(heard_[parent]);
    heard_ = std::move(moved);
  }
  void feed(std::span<const std::int32_t> tokens) override {
    for (std::size_t row = 0; row < tokens.size(); ++row) hear(row, 11 + static_cast<std::uint64_t>(tokens[row]));
  }
  void approach(std::uint32_t layer, MatrixView<const float> hidden) override {
    if (approach_) hear_states(layer + 101, hidden);
  }
  void hidden(std::uint32_t layer, MatrixView<const float> hidden) override {
    if (hidden_) hear_states(layer + 201, hidden);
  }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    hear(sequence, 301 + layer * kExperts + expert);
  }
  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    std::array<float, kExperts> share{};
    float sum = 0.0F;
    for (std::uint32_t expert = 0; expert < kExperts; ++expert) {
      const std::uint64_t mixed = (heard_[sequence] + layer * kExperts + expert) * 0x9E3779B97F4A7C15ULL;
      sum += share[expert] = 1.0F + static_cast<float>(mixed >> 54);
    }
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = {static_cast<std::uint16_t>(i), share[i] / sum};
    return out.size();
  }
  [[nodiscard]] bool needs_approach() const override { return approach_; }
  [[nodiscard]] bool needs_hidden() const override { return hidden_; }
  [[nodiscard]] PredictorCost cost(std::size_t) const override { return {}; }
  [[nodiscard]] std::string name() const override { return "listener"; }

 private:
  void hear(std::size_t row, std::uint64_t what) { heard_[row] = (heard_[row] ^ what) * 0xD1B54A32D192ED03ULL; }
  void hear_states(std::uint64_t where, MatrixView<const float> hidden) {
    for (std::size_t row = 0; row < hidden.rows(); ++row) {
      hear(row, where * 1000 + static_cast<std::uint64_t>(hidden.row(row)[0]));
    }
  }

  bool approach_;
  bool hidden_;
  std::vector<std::uint64_t> heard_;  ///< [rows]
};

MixPredictor mixture(const Profile& profile) {
  std::vector<std::unique_ptr<Predictor>> parts;
  for (const bool approach : {false, true}) {
    for (const bool hidden : {false, true}) parts.push_back(std::make_unique<Listener>(approach, hidden));
  }
  const std::vector<MixWeights> weights = {
      {0, 1, {0.9F, 0.2F, 0.4F, 0.1F}}, {1, 1, {0.1F, 0.8F, 0.3F, 0.5F}}, {2, 1, {0.3F, 0.4F, 0.7F, 0.2F}}};
  return {"mix", std::move(parts), weights, kLayers, profile};
}

using Ranking = std::vector<RankedExpert>;

std::vector<Ranking> rankings(MixPredictor& mix, std::size_t rows) {
  std::vector<Ranking> all;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      all.emplace_back(kExperts);
      mix.rank(row, layer, all.back());
    }
  }
  return all;
}

// What parts said is kept, and that must never show: a mixture that is asked all the time says what one that is asked
// for the first time does, whatever both have heard.
RC_GTEST_PROP(MixPredictor, AsksAPartAgainAfterAllThatItHears, ()) {
  const Trace trace = test::random_trace(kExperts, kLayers, 2, 4, 1);
  Profile profile(trace.info, fitting_options({}, kExperts));
  profile.add(trace);
  MixPredictor asked = mixture(profile);
  MixPredictor silent = mixture(profile);
  std::size_t rows = *rc::gen::inRange<std::size_t>(1, 4);
  asked.begin(rows);
  silent.begin(rows);
  std::uint32_t layer = 0;
  const auto calls = *rc::gen::inRange(1, 12);
  for (int call = 0; call < calls; ++call) {
    const std::vector<Ranking> before = rankings(asked, rows);
    std::vector<float> states(rows);
    for (float& state : states) state = static_cast<float>(*rc::gen::inRange(0, 1000));
    const MatrixView<const float> shown(states.data(), rows, 1);
    const auto expert = *rc::gen::inRange<std::uint16_t>(0, kExperts);
    const auto kind = *rc::gen::inRange(0, 5);
    if (kind == 4) {
      const std::vector<std::uint32_t> parents = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint32_t>>(
          rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(rows))));
      asked.reorder(parents);
      silent.reorder(parents);
      rows = parents.size();
      continue;
    }
    if (kind == 3) {
      for (std::size_t row = 0; row < rows; ++row) {
        asked.observe(row, layer, expert);
        silent.observe(row, layer, expert);
        static_cast<void>(rankings(asked, rows));
      }
      layer = (layer + 1) % kLayers;
    } else {
      for (MixPredictor* const mix : {&asked, &silent}) {
        if (kind == 0) mix->feed(std::vector<std::int32_t>(rows, expert));
        if (kind == 1) mix->approach(layer, shown);
        if (kind == 2) mix->hidden(layer, shown);
      }
    }
    RC_ASSERT(rankings(asked, rows) != before);  // or the parts would not have heard
  }
  RC_ASSERT(rankings(asked, rows) == rankings(silent, rows));
}

}  // namespace
}  // namespace flame::routing
