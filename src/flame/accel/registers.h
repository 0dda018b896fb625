#pragma once

#include <cstdint>

/// Register map of flame_kernel (AXI4-Lite, docs/accelerator.md). Control and interrupts are those of any Vitis RTL
/// kernel.
namespace flame::accel::registers {

inline constexpr std::uint32_t kControl = 0x000;
inline constexpr std::uint32_t kGlobalInterruptEnable = 0x004;
inline constexpr std::uint32_t kInterruptEnable = 0x008;
inline constexpr std::uint32_t kInterruptStatus = 0x00C;
inline constexpr std::uint32_t kControlStart = 1U << 0;
inline constexpr std::uint32_t kControlDone = 1U << 1;
inline constexpr std::uint32_t kControlIdle = 1U << 2;

inline constexpr std::uint32_t kCommands = 0x010;  // 64-bit address
inline constexpr std::uint32_t kWeights0 = 0x01C;  // 64-bit address; channels 1 .. 3 at 0x28, 0x34, 0x40
inline constexpr std::uint32_t kWeightsStep = 0x00C;
inline constexpr std::uint32_t kCommandCount = 0x04C;
inline constexpr std::uint32_t kShape =
    0x054;  // d_model/64 | d_ff/64 << 8 | log2 N << 16 | log2 M << 18 | experts << 24
inline constexpr std::uint32_t kSteps = 0x05C;  // of a block of wi | of a block of wo << 16
inline constexpr std::uint32_t kHeaderWords = 0x064;
inline constexpr std::uint32_t kBankWords = 0x06C;
inline constexpr std::uint32_t kStride = 0x074;
inline constexpr std::uint32_t kSlots = 0x07C;
inline constexpr std::uint32_t kPredictor =
    0x084;  // m | expert bits << 4 | prefetches << 8 | L << 12 | drop << 16 | layers << 20
inline constexpr std::uint32_t kFlags = 0x08C;  // bit 0: counters to zero at start, 1: compute whole experts only

inline constexpr std::uint32_t kStatus = 0x090;        // error | index of the command << 8
inline constexpr std::uint32_t kCapabilities = 0x094;  // positions | channels << 8 | slots << 16 | experts << 24
inline constexpr std::uint32_t kCapacity = 0x098;      // words in each slot memory bank
inline constexpr std::uint32_t kLimits = 0x09C;        // d_model/64 | d_ff/64 << 8 | layers << 16 | sequences << 24
inline constexpr std::uint32_t kVersion = 0x0A0;
inline constexpr std::uint32_t kPredictorLimits = 0x0A4;  // burst | log2 table entries << 8 | m << 16 | ranked << 24
inline constexpr std::uint32_t kActivity = 0x0A8;         // loads in progress, bits 0 .. 3; engine busy, bit 4
inline constexpr std::uint32_t kAxiBytes = 0x0AC;         // of a beat: 16, 32 or 64
inline constexpr std::uint32_t kExpectedVersion = 0xF1A30001;

inline constexpr std::uint32_t kCycleCounters = 0x100;    // 64 bits each, in the order of CycleKind
inline constexpr std::uint32_t kTrafficCounters = 0x180;  // 64 bits each
inline constexpr std::uint32_t kClassCounters = 0x200;    // + 16 * layer + 4 * class (1 hit, 2 late, 3 miss)

}  // namespace flame::accel::registers
