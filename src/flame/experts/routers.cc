#include "flame/experts/routers.h"

namespace flame::experts {

std::vector<model::Router> routers_of(const model::SwitchConfig& config, const model::DenseWeights& dense) {
  std::vector<model::Router> routers;
  for (const model::StackWeights* stack : {&dense.encoder, &dense.decoder}) {
    for (const model::BlockWeights& block : stack->blocks) {
      if (block.router) routers.emplace_back(*block.router, config.expert_capacity, config.router_dtype);
    }
  }
  return routers;
}

}  // namespace flame::experts
