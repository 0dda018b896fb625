#pragma once

#include <filesystem>
#include <string>

#include "flame/kernels/packed_matrix.h"

namespace flame::eval {

/// Bundles of one checkpoint, packed in different ways, in a directory that keeps them for the next run.
class PackedBundles {
 public:
  /// `profile` goes into every bundle; empty: none. Makes the directory.
  PackedBundles(std::filesystem::path checkpoint, std::filesystem::path directory, std::filesystem::path profile);

  /// DIRECTORY/2_4-int8 for "2:4" (or "dense", or a list as sparsity::LayerPatterns reads it) and int8; packed now when
  /// it is not there. One that was packed here (2_4-int8.source lies beside it) gets the profile when it has another;
  /// throws UsageError for the same of any other bundle, which is read only, and for one that was packed from other
  /// weights, which is looked for where the checkpoint's files are not those it was last compared with; and as
  /// experts::pack_bundle and Bundle::open.
  [[nodiscard]] std::filesystem::path get(const std::string& pattern, kernels::PackedType type) const;

 private:
  void require_same_weights(const std::filesystem::path& bundle) const;

  std::filesystem::path checkpoint_;
  std::filesystem::path directory_;
  std::filesystem::path profile_;
};

}  // namespace flame::eval
