#pragma once

#include <array>

// Numbers printed in the paper: Lin et al., "FLAME: Fully Leveraging MoE Sparsity for Transformer on FPGA", DAC 2024,
// doi 10.1145/3649329.3656507. Measured there with google/switch-base-8 and -16 fine-tuned on SAMSum. Typed by hand;
// they are shown beside ours and never mixed with them.
namespace flame::report::paper {

/// Said of a figure for which there is none.
inline constexpr const char* kNoNumber =
    "Nothing stands beside this figure: of the paper's own, FLAME has only the numbers that its text states, and those "
    "hold none for it.";

inline constexpr const char* kModelAndData = "the paper's: switch-base-8 on SAMSum";

// Figure 4(a): experts' share of the parameters, embeddings left out.
inline constexpr double kExpertShare8 = 0.7615;
inline constexpr double kExpertShare256 = 0.9898;

// Figure 5: expert activation paths of the decoder.
inline constexpr double kDistinctPaths = 11693;
inline constexpr double kTopPathShare = 0.075;
inline constexpr double kTopTenPathsShare = 0.287;
inline constexpr double kPathsOfAtMostTenTokens = 0.8335;

// Figure 8: accuracy of CEPR, m = 1 … 6.
inline constexpr double kTopOneLowest = 0.428;
inline constexpr double kTopOneHighest = 0.758;
inline constexpr double kTopTwoHighest = 0.844;
inline constexpr double kTopFiveLowest = 0.714;
inline constexpr double kTopFiveHighest = 0.865;
inline constexpr double kGainOverIncrementalPercent = 37.8;
inline constexpr double kGainAtEqualStoragePercent = 9.86;
inline constexpr std::array<double, 2> kTimesRandom = {3.42, 6.02};

// Figure 9(a): the table's bytes at m = 2 to 3.
inline constexpr double kIndexBytesBelow = 2048;

// Table 1: speed of the accelerator's rows over the first one (neither).
inline constexpr double kBothOverNeither = 2.69;
inline constexpr std::array<double, 2> kPruningAlone = {1.36, 1.82};
inline constexpr std::array<double, 2> kPredictionAlone = {1.48, 1.98};

}  // namespace flame::report::paper
