#include "flame/eval/perplexity.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "flame/base/matrix_view.h"
#include "flame/model/decoder.h"
#include "flame/model/encoder.h"

namespace flame::eval {

double TokenLoss::perplexity() const {
  return tokens == 0 ? 1.0 : std::exp(negative_log_likelihood / static_cast<double>(tokens));
}

TokenLoss token_loss(const model::SwitchConfig& config, const model::DenseWeights& weights, model::MoeDevice& device,
                     std::span<const std::int32_t> input, std::span<const std::vector<std::int32_t>> targets) {
  assert(!input.empty() && !targets.empty());
  device.begin_batch(1);
  model::Encoder encoder(config, weights, device);
  const std::vector<std::vector<std::int32_t>> inputs = {{input.begin(), input.end()}};
  const MatrixView<const float> encoded = encoder.encode(inputs);

  std::vector<std::vector<std::int32_t>> shifted;
  std::size_t longest = 0;
  TokenLoss loss;
  for (const std::vector<std::int32_t>& target : targets) {
    assert(!target.empty());
    shifted.push_back({config.decoder_start_token_id.value_or(config.pad_token_id.value_or(0))});
    shifted.back().insert(shifted.back().end(), target.begin(), target.end() - 1);
    longest = std::max(longest, target.size());
    loss.tokens += target.size();
  }
  model::Decoder decoder(config, weights, device);
  decoder.begin(encoder.sequences(), encoded, longest);
  decoder.reorder(std::vector<std::uint32_t>(targets.size(), 0));  // one row a target, all from the one example
  Matrix<float> logits(loss.tokens, config.vocab_size);
  decoder.extend(shifted, logits);

  std::size_t t = 0;
  for (const std::vector<std::int32_t>& target : targets) {
    for (const std::int32_t token : target) {
      const std::span<const float> row = logits.row(t++);
      const double largest = *std::max_element(row.begin(), row.end());
      double sum = 0.0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit) - largest);
      loss.negative_log_likelihood +=
          largest + std::log(sum) - static_cast<double>(row[static_cast<std::size_t>(token)]);
    }
  }
  return loss;
}

}  // namespace flame::eval
