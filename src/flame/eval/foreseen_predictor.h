#pragma once

#include <cstddef>
#include <memory>

#include "flame/routing/predictor.h"

namespace flame::eval {

/// For bounds: `predictor` as if somebody struck out of its forecasts what will not come. A rank() names the expert
/// that will come, with certainty, where it is among the predictor's `first` best, and nothing otherwise. No buffer
/// that begins loads for those experts only can do better with the predictor: what it foresees is begun at once, and
/// nothing is loaded in vain. One row.
[[nodiscard]] std::shared_ptr<routing::Predictor> make_foreseen_predictor(std::shared_ptr<routing::Predictor> predictor,
                                                                          std::size_t first, std::uint32_t layers);

}  // namespace flame::eval
