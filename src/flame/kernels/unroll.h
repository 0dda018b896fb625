#pragma once

/// Before a loop with a constant number of rounds, at most 16, whose arrays must end up in registers.
#if defined(__clang__)
#define FLAME_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FLAME_UNROLL _Pragma("GCC unroll 16")
#endif
