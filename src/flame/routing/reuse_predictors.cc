// No prediction, only reuse (lru, lifo), and the bounds of both kinds (belady, oracle).
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "flame/routing/context_table.h"
#include "flame/routing/history.h"
#include "flame/routing/predictor_parts.h"

namespace flame::routing {
namespace {

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

/// The experts that buffers of every size hold for one layer of one row: the first k of `stack` fill a buffer of k
/// (all three policies have this inclusion property; Mattson et al., IBM Systems Journal 1970).
struct Reuse {
  std::vector<std::uint16_t> stack;
  std::vector<std::uint16_t> met;  ///< lifo: experts in the order in which they were first used
  std::vector<std::uint16_t>
      guest;  ///< lifo: of a buffer of k = index + 1, the one that is not among the first k - 1 met
  std::vector<std::size_t> next_use;  ///< belady: [E], the position of each expert's next use in this layer
};

void use_lru(Reuse& reuse, std::uint16_t expert) {
  std::vector<std::uint16_t>& stack = reuse.stack;
  auto found = std::find(stack.begin(), stack.end(), expert);
  if (found == stack.end()) found = stack.insert(stack.end(), expert);
  std::rotate(stack.begin(), found, found + 1);
}

/// A full buffer of k gives up what came last (Huang et al. 2023): it keeps the first k - 1 experts it met for good,
/// and beside them the last one used that is not among those.
void use_lifo(Reuse& reuse, std::uint16_t expert) {
  auto found = std::find(reuse.met.begin(), reuse.met.end(), expert);
  if (found == reuse.met.end()) {
    found = reuse.met.insert(reuse.met.end(), expert);
    reuse.guest.push_back(expert);
  }
  const auto used = static_cast<std::size_t>(found - reuse.met.begin());
  for (std::size_t i = 0; i <= used; ++i) reuse.guest[i] = expert;
  reuse.stack.clear();
  for (std::size_t i = 0; i < reuse.guest.size(); ++i) {
    // What a buffer of i + 1 holds beyond one of i: met[i - 1] becomes a resident, unless it was the guest already.
    const bool was_guest = i > 0 && reuse.guest[i - 1] == reuse.met[i - 1];
    reuse.stack.push_back(i == 0 || was_guest ? reuse.guest[i] : reuse.met[i - 1]);
  }
}

/// Of two experts the one that is used again sooner stays nearer the top (Belady's MIN as a stack).
void use_belady(Reuse& reuse, std::uint16_t expert) {
  std::vector<std::uint16_t>& stack = reuse.stack;
  if (std::find(stack.begin(), stack.end(), expert) == stack.end()) stack.push_back(expert);
  std::uint16_t carried = expert;
  for (std::uint16_t& place : stack) {
    const bool found = place == expert && &place != stack.data();
    if (&place == stack.data() || found || reuse.next_use[carried] < reuse.next_use[place]) std::swap(carried, place);
    if (carried == expert) break;
  }
}

enum class Policy : std::uint8_t { kLru, kLifo, kBelady };

class ReusePredictor final : public Predictor {
 public:
  ReusePredictor(Policy policy, const Profile& profile)
      : policy_(policy), layers_(profile.layers()), experts_(profile.experts()) {}

  void begin(std::size_t sequences) override {
    rows_.resize(sequences);
    for (Row& row : rows_) {
      row.position = 0;
      row.next_use_after.clear();
      row.layers.resize(layers_);
      for (Reuse& reuse : row.layers) {
        reuse.stack.clear();
        reuse.met.clear();
        reuse.guest.clear();
        reuse.stack.reserve(experts_);
        reuse.met.reserve(experts_);
        reuse.guest.reserve(experts_);
      }
    }
  }

  void reorder(std::span<const std::uint32_t> parents) override {
    spare_.resize(parents.size());
    for (std::size_t row = 0; row < parents.size(); ++row) spare_[row] = rows_[parents[row]];
    rows_.swap(spare_);
  }

  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    Row& row = rows_[sequence];
    Reuse& reuse = row.layers[layer];
    if (policy_ == Policy::kLru) use_lru(reuse, expert);
    if (policy_ == Policy::kLifo) use_lifo(reuse, expert);
    if (policy_ == Policy::kBelady) {
      reuse.next_use.resize(experts_, kNever);
      reuse.next_use[expert] = row.position < row.next_use_after.size() ? row.next_use_after[row.position] : kNever;
      use_belady(reuse, expert);
    }
    ++row.position;
  }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const std::vector<std::uint16_t>& stack = rows_[sequence].layers[layer].stack;
    const std::size_t count = std::min(out.size(), stack.size());
    for (std::size_t i = 0; i < count; ++i) out[i] = {stack[i], 0.0F};
    return count;
  }

  void foresee(std::size_t sequence, std::span<const std::uint16_t> future) override {
    if (policy_ != Policy::kBelady) return;
    Row& row = rows_[sequence];
    row.next_use_after.assign(future.size(), kNever);
    for (Reuse& reuse : row.layers) reuse.next_use.assign(experts_, kNever);
    for (std::size_t position = future.size(); position-- > 0;) {
      std::size_t& next = row.layers[position % layers_].next_use[future[position]];
      row.next_use_after[position] = std::exchange(next, position);
    }
  }

  [[nodiscard]] bool needs_future() const override { return policy_ == Policy::kBelady; }
  [[nodiscard]] bool has_probabilities() const override { return false; }
  [[nodiscard]] PredictorCost cost(std::size_t /*k*/) const override { return {0, 0, 1.0}; }
  [[nodiscard]] std::string name() const override {
    return policy_ == Policy::kLru ? "lru" : policy_ == Policy::kLifo ? "lifo" : "belady";
  }

 private:
  struct Row {
    std::vector<Reuse> layers;
    std::vector<std::size_t> next_use_after;  ///< belady: of each position from the example's start
    std::size_t position = 0;
  };

  Policy policy_;
  std::uint32_t layers_;
  std::uint32_t experts_;
  std::vector<Row> rows_;
  std::vector<Row> spare_;
};

/// Knows what comes. Past the end of what it was told, popularity.
class OraclePredictor final : public Predictor {
 public:
  explicit OraclePredictor(const Profile& profile) : histories_(profile.layers(), profile.expert_bits()) {
    for (std::uint32_t layer = 0; layer < profile.layers(); ++layer) {
      popularity_.push_back(history_table(profile, layer, 0, 1));
    }
  }

  void begin(std::size_t sequences) override {
    histories_.begin(sequences);
    futures_.assign(sequences, {});
  }
  void reorder(std::span<const std::uint32_t> parents) override {
    histories_.reorder(parents);
    spare_.clear();
    for (const std::uint32_t parent : parents) spare_.push_back(futures_[parent]);
    futures_.swap(spare_);
  }
  void observe(std::size_t sequence, std::uint32_t layer, std::uint16_t expert) override {
    histories_.observe(sequence, layer, expert);
    std::span<const std::uint16_t>& future = futures_[sequence];
    if (!future.empty()) future = future.subspan(1);
  }
  void foresee(std::size_t sequence, std::span<const std::uint16_t> future) override { futures_[sequence] = future; }

  std::size_t rank(std::size_t sequence, std::uint32_t layer, std::span<RankedExpert> out) override {
    const ContextTable& table = popularity_[layer];
    const std::size_t ahead = histories_.depth(histories_.row(sequence), layer) - 1;
    const std::span<const std::uint16_t> future = futures_[sequence];
    if (ahead >= future.size() || out.empty()) return table.rank(0, 0, out);
    const std::size_t wanted = std::min<std::size_t>(out.size(), table.experts());
    out[0] = {future[ahead], 1.0F};
    std::size_t written = 1;
    for (const RankedExpert& candidate : table.popularity()) {
      if (written == wanted) break;
      if (candidate.expert != future[ahead]) out[written++] = {candidate.expert, 0.0F};
    }
    return wanted;
  }

  [[nodiscard]] bool needs_future() const override { return true; }
  [[nodiscard]] PredictorCost cost(std::size_t /*k*/) const override { return {0, 0, 0.0}; }
  [[nodiscard]] std::string name() const override { return "oracle"; }

 private:
  Histories histories_;
  std::vector<ContextTable> popularity_;  ///< [layers]
  std::vector<std::span<const std::uint16_t>> futures_;
  std::vector<std::span<const std::uint16_t>> spare_;
};

}  // namespace

std::unique_ptr<Predictor> make_reuse_predictor(std::string_view name, const PredictorOptions& /*options*/,
                                                const Profile& profile) {
  if (name == "oracle") return std::make_unique<OraclePredictor>(profile);
  if (name == "lru") return std::make_unique<ReusePredictor>(Policy::kLru, profile);
  if (name == "lifo") return std::make_unique<ReusePredictor>(Policy::kLifo, profile);
  return std::make_unique<ReusePredictor>(Policy::kBelady, profile);
}

}  // namespace flame::routing
