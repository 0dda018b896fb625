#pragma once

#include <cstddef>
#include <memory>

#include "flame/routing/predictor.h"

namespace flame::eval {

/// `predictor` as if somebody struck out of its forecasts what will not come. A rank() names the expert that will come,
/// with certainty, where it is among the predictor's `first` best, and nothing otherwise: what it foresees is begun at
/// once, and nothing is loaded in vain. What the forecasts are good for, as far as loading ahead goes; no strict bound,
/// as what is struck out also says which experts to keep. One row.
[[nodiscard]] std::shared_ptr<routing::Predictor> make_foreseen_predictor(std::shared_ptr<routing::Predictor> predictor,
                                                                          std::size_t first, std::uint32_t layers);

}  // namespace flame::eval
