#pragma once

#include <filesystem>

namespace flame::accel {

/// Called before Verilator's FST writer opens `path`, which replaces whatever stands there and reports no error; a run
/// may end before it does, so what is there stays as it is. Throws FileError where that is not a regular file, or
/// cannot be written.
void prepare_waveform(const std::filesystem::path& path);

/// Called when the writer has closed `path`. Throws FileError where the file is not a whole waveform: a disk that
/// filled up leaves blocks that end past the file, or never got the mark of being done (GTKWave's FST format: a type
/// byte and a big-endian length of 8 bytes before each block).
void check_waveform(const std::filesystem::path& path);

}  // namespace flame::accel
