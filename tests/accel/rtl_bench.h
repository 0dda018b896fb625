#pragma once

#include <memory>

#include "flame/accel/verilator/coverage.h"
#include "verilated.h"

namespace flame::accel::test {

/// Inputs that start something are random too before a bench drives them; this takes them back.
template <class Top>
void release_strobes(Top& top) {
  if constexpr (requires { top.start_i; }) top.start_i = 0;
  if constexpr (requires { top.clear_i; }) top.clear_i = 0;
  if constexpr (requires { top.copy_i; }) top.copy_i = 0;
  if constexpr (requires { top.observe_i; }) top.observe_i = 0;
  if constexpr (requires { top.write_i; }) top.write_i = 0;
  if constexpr (requires { top.beat_valid_i; }) top.beat_valid_i = 0;
  if constexpr (requires { top.token_write_i; }) top.token_write_i = 0;
  if constexpr (requires { top.result_read_i; }) top.result_read_i = 0;
  if constexpr (requires { top.decide_i; }) top.decide_i = 0;
  if constexpr (requires { top.predict_i; }) top.predict_i = 0;
  if constexpr (requires { top.flush_i; }) top.flush_i = 0;
  if constexpr (requires { top.pin_i; }) top.pin_i = 0;
  if constexpr (requires { top.decide_hold_i; }) top.decide_hold_i = 0;
  if constexpr (requires { top.drop_contradicted_i; }) top.drop_contradicted_i = 0;
  if constexpr (requires { top.rvalid_i; }) top.rvalid_i = 0;
  if constexpr (requires { top.arready_i; }) top.arready_i = 0;
  if constexpr (requires { top.awvalid_i; }) top.awvalid_i = 0;
  if constexpr (requires { top.wvalid_i; }) top.wvalid_i = 0;
  if constexpr (requires { top.arvalid_i; }) top.arvalid_i = 0;
  if constexpr (requires { top.done_i; }) top.done_i = 0;
  if constexpr (requires { top.read_i; }) top.read_i = 0;
  if constexpr (requires { top.bvalid_i; }) top.bvalid_i = 0;
  if constexpr (requires { top.data_valid_i; }) top.data_valid_i = 0;
}

/// A module with a clock and a reset, registers random before reset.
template <class Top>
class Bench {
 public:
  explicit Bench(int seed = 1) {
    context_.randReset(2);
    context_.randSeed(seed);
    top_ = std::make_unique<Top>(&context_);
    release_strobes(*top_);
    top_->clk_i = 0;
    top_->rst_ni = 0;
    for (int i = 0; i < 4; ++i) tick();
    top_->rst_ni = 1;
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() {
    top_->final();
    write_coverage(context_);
  }

  Top* operator->() { return top_.get(); }
  /// Inputs take effect on the outputs that depend on them without a clock.
  void settle() {
    top_->clk_i = 0;
    top_->eval();
  }
  void tick() {
    settle();
    top_->clk_i = 1;
    top_->eval();
    settle();
  }

 private:
  VerilatedContext context_;
  std::unique_ptr<Top> top_;
};

}  // namespace flame::accel::test
