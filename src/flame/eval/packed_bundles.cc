#include "flame/eval/packed_bundles.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "flame/base/checksum.h"
#include "flame/base/error.h"
#include "flame/experts/bundle.h"
#include "flame/experts/pack_bundle.h"
#include "flame/io/atomic_output.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/sparsity/pattern.h"

namespace flame::eval {
namespace {

namespace fs = std::filesystem;

/// Changes when the files of a directory do, by their names, sizes and times: reading all weights to see whether they
/// are still the same would be felt by what is measured next.
std::string files_fingerprint(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  Checksum checksum;
  checksum.add_text(fs::weakly_canonical(directory).string());
  for (const fs::path& file : files) {
    checksum.add_text(file.filename().string());
    checksum.add_number(fs::file_size(file));
    checksum.add_number(static_cast<std::uint64_t>(fs::last_write_time(file).time_since_epoch().count()));
  }
  return checksum_text(checksum.value());
}

/// Lies beside the bundles that were packed here: only those are changed.
fs::path note_of(const fs::path& bundle) { return bundle.string() + ".source"; }

void write_note(const fs::path& bundle, const std::string& fingerprint) {
  io::AtomicFile note(note_of(bundle));
  note.file().append(fingerprint);
  note.commit();
}

}  // namespace

PackedBundles::PackedBundles(fs::path checkpoint, fs::path directory, fs::path profile)
    : checkpoint_(std::move(checkpoint)), directory_(std::move(directory)), profile_(std::move(profile)) {
  io::FileSystem::real().create_directories(directory_);
}

void PackedBundles::require_same_weights(const fs::path& bundle) const {
  const std::string fingerprint = files_fingerprint(checkpoint_);
  io::FileSystem& files = io::FileSystem::real();
  const bool ours = files.exists(note_of(bundle));
  if (ours && io::read_file(note_of(bundle)) == fingerprint) return;
  const std::string packed_from = experts::Bundle::open(bundle).model_checksum();
  if (packed_from != checksum_text(io::Checkpoint::open(checkpoint_).content_checksum())) {
    throw UsageError(
        fmt::format("{}: was packed from other weights than those of {}; remove it, or name another "
                    "directory",
                    bundle.string(), checkpoint_.string()));
  }
  if (ours) write_note(bundle, fingerprint);
}

fs::path PackedBundles::get(const std::string& pattern, kernels::PackedType type) const {
  std::string name = fmt::format("{}-{}", pattern, kernels::name_of(type));
  for (char& c : name) c = c == ':' || c == ',' || c == '=' ? '_' : c;
  const fs::path bundle = directory_ / name;
  if (experts::Bundle::is_bundle(bundle)) {
    require_same_weights(bundle);
    if (profile_.empty()) return bundle;
    if (!experts::Bundle::open(bundle).has_profile() ||
        io::read_file(profile_) != io::read_file(bundle / "profile.json")) {
      if (!io::FileSystem::real().exists(note_of(bundle))) {
        throw UsageError(
            fmt::format("{}: was not packed by flame bench, which would have to replace its profile: move it away or "
                        "name another directory",
                        bundle.string()));
      }
      experts::add_profile(bundle, profile_);
    }
    return bundle;
  }
  experts::PackOptions options;
  if (pattern != "dense") options.patterns = sparsity::LayerPatterns::parse(pattern);
  options.type = type;
  if (!profile_.empty()) options.profile = profile_;
  static_cast<void>(experts::pack_bundle(checkpoint_, bundle, options));
  write_note(bundle, files_fingerprint(checkpoint_));
  return bundle;
}

}  // namespace flame::eval
