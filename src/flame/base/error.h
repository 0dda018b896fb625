#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>

namespace flame {

/// Root of every exception FLAME throws. what() is one message for the user: what was wrong, where, and what to do.
/// The command line catches it once and exits with exit_code().
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}

  /// 1: the job failed. UsageError overrides it with 2, Interrupted with 130 or 143.
  [[nodiscard]] virtual int exit_code() const { return 1; }
};

/// The caller asked for something that cannot be: a bad flag, a value out of range, options that exclude each other.
class UsageError : public Error {
 public:
  using Error::Error;
  [[nodiscard]] int exit_code() const override { return 2; }
};

/// The operating system refused a file operation. The message is "PATH: <what>: <system's reason>".
class FileError : public Error {
 public:
  /// `error_number` is an errno value; 0 leaves the system's reason out.
  FileError(const std::filesystem::path& path, const std::string& what, int error_number = 0);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] int error_number() const { return error_number_; }

 private:
  std::filesystem::path path_;
  int error_number_;
};

/// Bytes read from outside are not what their format demands. The message is "PATH: <what>".
class FormatError : public Error {
 public:
  FormatError(const std::filesystem::path& path, const std::string& what);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A checkpoint or bundle is well-formed, but is not a model FLAME can run: a missing tensor, a wrong shape, NaN.
class ModelError : public Error {
 public:
  using Error::Error;
};

/// A device or storage back end failed, or cannot be had on this machine.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// The user pressed Ctrl-C (or sent SIGTERM); what had finished by then has been kept.
class Interrupted : public Error {
 public:
  using Error::Error;
  /// 128 and the number of the signal, as a shell gives for a program that one has ended: 143 after SIGTERM, else 130.
  [[nodiscard]] int exit_code() const override;
};

}  // namespace flame
