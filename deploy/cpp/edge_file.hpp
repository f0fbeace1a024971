// The exported file as bytes: read once, sealed or refused. What it says of itself comes later.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

// One line for people: what was found, what was expected, what to do.
struct ModelFileError : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct FrameError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

std::string read_bytes(const std::string& path);  // throws FrameError with the reason

// The bytes of an edge file whose content fits its own checksum; throws ModelFileError.
std::string read_sealed(const std::string& path);

std::string sha256(const std::string& bytes);  // 64 hex digits

std::vector<unsigned char> from_base64(const std::string& text);  // throws std::invalid_argument

// What zlib packed, exactly `size` bytes; throws std::invalid_argument.
std::vector<unsigned char> inflated(const std::vector<unsigned char>& packed, std::size_t size);
