#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "flame/model/moe_device.h"

namespace flame::experts {

/// An expert of the whole model: its MoE layer's number times experts per layer, plus its number in that layer.
using ExpertIndex = std::uint32_t;

/// An MoE layer of the whole model: the encoder's first, then the decoder's.
using LayerIndex = std::uint32_t;

/// The MoE layers of a model and the experts in each.
struct ExpertGrid {
  std::uint32_t encoder_layers = 0;
  std::uint32_t decoder_layers = 0;
  std::uint32_t experts = 0;  ///< in each layer

  [[nodiscard]] std::uint32_t layers() const { return encoder_layers + decoder_layers; }
  [[nodiscard]] std::uint32_t size() const { return layers() * experts; }

  [[nodiscard]] LayerIndex layer(model::MoeLayer layer) const {
    assert(layer.index < (layer.stack == model::Stack::kEncoder ? encoder_layers : decoder_layers));
    return layer.stack == model::Stack::kEncoder ? layer.index : encoder_layers + layer.index;
  }
  [[nodiscard]] model::MoeLayer layer(LayerIndex layer) const {
    assert(layer < layers());
    if (layer < encoder_layers) return {model::Stack::kEncoder, layer};
    return {model::Stack::kDecoder, layer - encoder_layers};
  }
  [[nodiscard]] ExpertIndex expert(LayerIndex layer, std::uint32_t expert) const {
    assert(layer < layers() && expert < experts);
    return layer * experts + expert;
  }
  [[nodiscard]] LayerIndex layer_of(ExpertIndex expert) const { return expert / experts; }
  [[nodiscard]] std::uint32_t number_of(ExpertIndex expert) const { return expert % experts; }
  friend bool operator==(const ExpertGrid&, const ExpertGrid&) = default;
};

}  // namespace flame::experts
