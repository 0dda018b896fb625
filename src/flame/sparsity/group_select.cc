#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "flame/sparsity/group_select.cc"  // this file, compiled once for every instruction set
#include <hwy/foreach_target.h>
// Must come before what follows.
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <cstring>

#include "flame/sparsity/group_select.h"

HWY_BEFORE_NAMESPACE();
namespace flame::sparsity::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kLongestGroup = 16;

// Scores are compared as integers: the bits of a float without its sign order as its magnitude does. 16-bit floats are
// widened to 32-bit lanes first; T is std::int32_t or std::uint16_t, the integer of the stored element's size.
using Lanes = hn::ScalableTag<std::int32_t>;

template <typename T>
hn::Vec<Lanes> load_key(Lanes d, const T* from) {
  if constexpr (sizeof(T) == 4) {
    return hn::And(hn::LoadU(d, from), hn::Set(d, 0x7fffffff));
  } else {
    const hn::Rebind<std::uint16_t, Lanes> narrow;
    return hn::And(hn::PromoteTo(d, hn::LoadU(narrow, from)), hn::Set(d, 0x7fff));
  }
}

/// Scalar reads and writes go through memcpy: what lies there are floats, or bytes of a file.
template <typename T>
std::int32_t key_at(const T* scores, std::size_t i) {
  T element;
  std::memcpy(&element, scores + i, sizeof(element));
  return static_cast<std::int32_t>(element) & (sizeof(T) == 4 ? 0x7fffffff : 0x7fff);
}

template <typename T>
void set_zero(T* elements, std::size_t i) {
  std::memset(elements + i, 0, sizeof(T));
}

/// Stores zeros where `keep` is false and leaves the other elements as they are.
template <typename T>
void zero_where_not(Lanes d, hn::Mask<Lanes> keep, T* elements) {
  if constexpr (sizeof(T) == 4) {
    hn::StoreU(hn::IfThenElseZero(keep, hn::LoadU(d, elements)), d, elements);
  } else {
    const hn::Rebind<std::uint16_t, Lanes> narrow;
    const auto wide = hn::IfThenElseZero(keep, hn::PromoteTo(d, hn::LoadU(narrow, elements)));
    hn::StoreU(hn::DemoteTo(narrow, wide), narrow, elements);
  }
}

/// Groups that fit a vector whole (M divides the lanes): every lane counts by M - 1 rotations within its group how many
/// others go before it. Returns how many elements were done; the rest is less than a vector.
template <typename S, typename T>
std::size_t select_by_rotation(std::size_t n, std::size_t m, const S* scores, T* elements, std::size_t count) {
  const Lanes d;
  const std::size_t lanes = hn::Lanes(d);
  using Indices = decltype(hn::SetTableIndices(d, static_cast<const std::int32_t*>(nullptr)));
  Indices other_lane[kLongestGroup - 1];
  HWY_ALIGN std::int32_t lower[kLongestGroup - 1][hn::MaxLanes(Lanes())];  // 1: that other stands before this lane
  for (std::size_t r = 1; r < m; ++r) {
    HWY_ALIGN std::int32_t lane_of[hn::MaxLanes(Lanes())];
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t place = lane % m;
      const std::size_t other = (place + r) % m;
      lane_of[lane] = static_cast<std::int32_t>(lane - place + other);
      lower[r - 1][lane] = other < place ? 1 : 0;
    }
    other_lane[r - 1] = hn::SetTableIndices(d, lane_of);
  }
  const auto limit = hn::Set(d, static_cast<std::int32_t>(n));
  const auto one = hn::Set(d, 1);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto key = load_key(d, scores + i);
    auto before = hn::Zero(d);
    for (std::size_t r = 0; r + 1 < m; ++r) {
      // other > key, or equal and standing before: in integers, other > key - 1.
      const auto other = hn::TableLookupLanes(key, other_lane[r]);
      const auto goes_before = hn::Gt(other, hn::Sub(key, hn::Load(d, lower[r])));
      before = hn::Add(before, hn::IfThenElseZero(goes_before, one));
    }
    zero_where_not(d, hn::Lt(before, limit), elements + i);
  }
  return i;
}

/// Groups of any length, one a lane: a tile of lanes × M keys is transposed, then all pairs are compared. Returns how
/// many elements were done; the rest is less than a tile.
template <typename S, typename T>
std::size_t select_by_tiles(std::size_t n, std::size_t m, const S* scores, T* elements, std::size_t count) {
  const Lanes d;
  const std::size_t lanes = hn::Lanes(d);
  HWY_ALIGN std::int32_t keys[kLongestGroup * hn::MaxLanes(Lanes())];
  HWY_ALIGN std::int32_t keep[kLongestGroup * hn::MaxLanes(Lanes())];
  const auto limit = hn::Set(d, static_cast<std::int32_t>(n));
  const auto one = hn::Set(d, 1);
  const std::size_t tile = lanes * m;
  std::size_t first = 0;
  for (; first + tile <= count; first += tile) {
    for (std::size_t group = 0; group < lanes; ++group) {
      for (std::size_t j = 0; j < m; ++j) keys[j * lanes + group] = key_at(scores, first + group * m + j);
    }
    for (std::size_t i = 0; i < m; ++i) {
      const auto key = hn::Load(d, keys + i * lanes);
      const auto key_below = hn::Sub(key, one);
      auto before = hn::Zero(d);
      for (std::size_t j = 0; j < i; ++j) {
        before = hn::Add(before, hn::IfThenElseZero(hn::Gt(hn::Load(d, keys + j * lanes), key_below), one));
      }
      for (std::size_t j = i + 1; j < m; ++j) {
        before = hn::Add(before, hn::IfThenElseZero(hn::Gt(hn::Load(d, keys + j * lanes), key), one));
      }
      hn::Store(hn::VecFromMask(d, hn::Lt(before, limit)), d, keep + i * lanes);
    }
    for (std::size_t group = 0; group < lanes; ++group) {
      for (std::size_t j = 0; j < m; ++j) {
        if (keep[j * lanes + group] == 0) set_zero(elements, first + group * m + j);
      }
    }
  }
  return first;
}

/// What the vectors leave over: groups one by one, the last of a row perhaps cut short.
template <typename S, typename T>
void select_one_by_one(std::size_t n, std::size_t m, const S* scores, T* elements, std::size_t count) {
  for (std::size_t first = 0; first < count; first += m) {
    const std::size_t size = std::min(m, count - first);
    bool keep[kLongestGroup];
    for (std::size_t i = 0; i < size; ++i) {
      const std::int32_t key = key_at(scores, first + i);
      std::size_t before = 0;
      for (std::size_t j = 0; j < size; ++j) {
        const std::int32_t other = key_at(scores, first + j);
        before += other > key || (other == key && j < i) ? 1 : 0;
      }
      keep[i] = before < n;
    }
    for (std::size_t i = 0; i < size; ++i) {
      if (!keep[i]) set_zero(elements, first + i);
    }
  }
}

/// `count` elements, a group beginning at the first; `scores` may be `elements`.
template <typename S, typename T>
void select(Pattern pattern, const S* scores, T* elements, std::size_t count) {
  const std::size_t n = pattern.n;
  const std::size_t m = pattern.m;
  const std::size_t lanes = hn::Lanes(Lanes());
  const std::size_t done = lanes % m == 0 && lanes > 1 ? select_by_rotation(n, m, scores, elements, count)
                                                       : select_by_tiles(n, m, scores, elements, count);
  select_one_by_one(n, m, scores + done, elements + done, count - done);
}

void select_32(Pattern pattern, const std::int32_t* scores, std::int32_t* elements, std::size_t count) {
  select(pattern, scores, elements, count);
}

void select_16(Pattern pattern, std::uint16_t* elements, std::size_t count) {
  select(pattern, static_cast<const std::uint16_t*>(elements), elements, count);
}

}  // namespace flame::sparsity::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace flame::sparsity {
namespace {

HWY_EXPORT(select_32);
HWY_EXPORT(select_16);

}  // namespace

std::uint32_t largest_of_group(std::span<const float> scores, std::size_t n) {
  assert(scores.size() <= 16);
  const auto key_of = [&](std::size_t i) { return std::bit_cast<std::uint32_t>(scores[i]) & 0x7fffffffU; };
  std::uint32_t kept = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    std::size_t before = 0;
    for (std::size_t j = 0; j < scores.size(); ++j) {
      before += key_of(j) > key_of(i) || (key_of(j) == key_of(i) && j < i) ? 1 : 0;
    }
    if (before < n) kept |= 1U << i;
  }
  return kept;
}

void keep_largest(Pattern pattern, DataType type, std::span<std::byte> rows, std::size_t columns) {
  assert(type == DataType::kF32 || type == DataType::kBF16 || type == DataType::kF16);
  if (pattern.dense() || rows.empty()) return;
  const std::size_t elements = rows.size() / size_of(type);
  assert(columns > 0 && elements % columns == 0);
  // Groups that fill their rows follow one another without a seam; otherwise every row is a run of its own.
  const std::size_t run = columns % pattern.m == 0 ? elements : columns;
  for (std::size_t first = 0; first < elements; first += run) {
    if (type == DataType::kF32) {
      auto* const weights = reinterpret_cast<std::int32_t*>(rows.data()) + first;
      HWY_DYNAMIC_DISPATCH(select_32)(pattern, weights, weights, run);
    } else {
      HWY_DYNAMIC_DISPATCH(select_16)(pattern, reinterpret_cast<std::uint16_t*>(rows.data()) + first, run);
    }
  }
}

void keep_largest(Pattern pattern, MatrixView<const float> scores, MatrixView<float> weights) {
  assert(scores.rows() == weights.rows() && scores.columns() == weights.columns());
  if (pattern.dense()) return;
  for (std::size_t r = 0; r < weights.rows(); ++r) {
    HWY_DYNAMIC_DISPATCH(select_32)
    (pattern, reinterpret_cast<const std::int32_t*>(scores.row(r).data()),
     reinterpret_cast<std::int32_t*>(weights.row(r).data()), weights.columns());
  }
}

}  // namespace flame::sparsity
#endif  // HWY_ONCE
