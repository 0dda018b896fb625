#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "flame/io/async_reader.h"

namespace flame::io {

/// Demand: the compute thread waits for it. Prefetch: it may never be needed, and gives way between chunks.
enum class ReadPriority : std::uint8_t { kDemand, kPrefetch };

enum class ReadState : std::uint8_t {
  kIdle,       ///< nothing was asked of this entry
  kReading,    ///< queued or under way
  kDone,       ///< every byte is there, and its checksum is right
  kCancelled,  ///< cancel() took effect; nothing writes to its memory any more
  kFailed,     ///< failure() says why; nothing writes to its memory any more
};

/// One long read, done in chunks.
struct ReadRequest {
  std::uint64_t offset = 0;          ///< a multiple of kReadAlignment
  std::uint64_t bytes = 0;           ///< a multiple of kReadAlignment
  std::byte* destination = nullptr;  ///< aligned to kReadAlignment
  /// XXH3-64 of each block of ReadQueueOptions::block_bytes (the last one may be shorter). Empty: not checked.
  /// Has to outlive the read.
  std::span<const std::uint64_t> checksums;
  /// Among prefetches the lowest goes first.
  std::uint64_t rank = 0;
};

struct ReadFailure {
  enum class Reason : std::uint8_t { kNone, kSystem, kEndOfFile, kChecksum };
  Reason reason = Reason::kNone;
  int error_number = 0;      ///< of kSystem
  std::uint64_t offset = 0;  ///< in the file, of the chunk or block that could not be had
  /// "the system says Input/output error at offset 8192 (tried 4 times)".
  [[nodiscard]] std::string message() const;
};

struct ReadQueueOptions {
  std::uint32_t block_bytes = 64 * 1024;          ///< what one checksum covers
  std::uint32_t demand_chunk_bytes = 512 * 1024;  ///< a multiple of block_bytes
  std::uint32_t prefetch_chunk_bytes = 256 * 1024;
  /// A storage that delivers fast_bytes_per_second is asked for prefetches in such chunks: demand waits no longer
  /// behind one than behind a smaller one of a slower storage, and each chunk costs a request and a wake-up.
  std::uint32_t fast_prefetch_chunk_bytes = 512 * 1024;
  double fast_bytes_per_second = 1.5e9;
  std::size_t prefetch_depth = 2;  ///< chunks of prefetches in flight: what a demand read may find before it
  int attempts = 4;                ///< of a chunk that fails or whose checksum is wrong
  Clock::duration retry_delay = std::chrono::milliseconds(1);  ///< before the second attempt; then four times as long
  Clock::duration farewell = std::chrono::seconds(1);  ///< what the queue's end waits for a storage that is silent

  [[nodiscard]] std::uint32_t prefetch_chunk_at(double bytes_per_second) const {
    return bytes_per_second >= fast_bytes_per_second ? fast_prefetch_chunk_bytes : prefetch_chunk_bytes;
  }
};

struct ReadQueueStatistics {
  std::uint64_t bytes = 0;  ///< delivered by the storage, retries included
  std::uint64_t chunks = 0;
  std::uint64_t retries = 0;
  double busy_seconds = 0.0;  ///< at least one chunk was in flight
  double read_seconds = 0.0;  ///< of all reads, from start() to their end
  double open_seconds = 0.0;  ///< at least one read was between its start() and its end
};

/// Long reads into memory that the caller owns, done by one thread over an AsyncReader. Demand goes before prefetch,
/// between chunks, and prefetches by rank; otherwise first come, first served. Blocks are
/// checked as they arrive, so that the bytes before ready_bytes() may be used while the rest is still on its way.
///
/// The queue has a fixed number of entries, numbered by the caller (the expert buffer uses the slot's number). An entry
/// allocates at its first read only. One thread may call everything; state() and ready_bytes() may be called by any.
class ReadQueue {
 public:
  /// `memory` owns all that reads write to and are compared with. It is kept until no read can touch it any more.
  ReadQueue(std::unique_ptr<AsyncReader> reader, std::size_t entries, const ReadQueueOptions& options,
            std::shared_ptr<const void> memory);
  /// Cancels what is under way and waits for it, but no longer than options.farewell. Reads that a dead storage never
  /// gives back are left behind then, on purpose: with them their thread, the reader and `memory`, which all go if the
  /// storage answers after all, and with the process at the latest.
  ~ReadQueue();
  ReadQueue(const ReadQueue&) = delete;
  ReadQueue& operator=(const ReadQueue&) = delete;

  /// The entry has to be idle or ended. Does not block.
  void start(std::size_t entry, const ReadRequest& request, ReadPriority priority);

  /// A prefetch turns out to be needed now: it joins the demand reads, with all attempts before it. No effect on a read
  /// that has ended.
  void promote(std::size_t entry);

  /// Another rank for a prefetch that is under way. No effect on a demand read, or one that has ended.
  void set_rank(std::size_t entry, std::uint64_t rank);

  /// Asks for no further chunk. The entry ends as kCancelled (or kDone, when it was just finished) once its chunks in
  /// flight have come back. Does not block.
  void cancel(std::size_t entry);

  [[nodiscard]] ReadState state(std::size_t entry) const;

  /// Bytes from the start of the read that are there and checked.
  [[nodiscard]] std::uint64_t ready_bytes(std::size_t entry) const;

  /// Blocks until `bytes` are ready, the read has ended, or the deadline passed; returns the state.
  ReadState wait(std::size_t entry, std::uint64_t bytes, Clock::time_point deadline);

  /// Reads that have ended (done, cancelled, failed) since construction: cheap to poll.
  [[nodiscard]] std::uint64_t ended() const;

  /// Blocks until ended() differs from `seen`, or the deadline passed; returns ended().
  std::uint64_t wait_for_end(std::uint64_t seen, Clock::time_point deadline);

  /// Of an entry that is kFailed.
  [[nodiscard]] ReadFailure failure(std::size_t entry) const;

  /// Bytes that the storage delivered for the entry's last read, and the seconds from its first chunk to its end, or 0
  /// when chunks of another read came between.
  struct Delivery {
    std::uint64_t bytes = 0;
    double seconds = 0.0;
    Clock::time_point begin;  ///< its first chunk was submitted
    Clock::time_point end;
  };
  [[nodiscard]] Delivery delivery(std::size_t entry) const;

  /// The share of the entry's read that has arrived, checked or not.
  [[nodiscard]] double progress(std::size_t entry) const;

  [[nodiscard]] ReadQueueStatistics statistics() const;
  [[nodiscard]] std::string describe() const;

 private:
  class Worker;
  std::shared_ptr<Worker> worker_;  ///< the thread's as well, which may have to be left behind
  Clock::duration farewell_;
  std::thread thread_;
};

}  // namespace flame::io
