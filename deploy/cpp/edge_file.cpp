#include "edge_file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include <openssl/evp.h>
#include <sys/stat.h>
#include <zlib.h>

namespace {
const std::string kMark = "crc32-of-this-file:";  // edge/model_files/integrity.py
constexpr std::size_t kDigits = 8;

uLong checksum(uLong sum, const std::string& bytes, std::size_t from, std::size_t to) {
    return crc32_z(sum, reinterpret_cast<const Bytef*>(bytes.data()) + from, to - from);
}
}  // namespace

std::string read_bytes(const std::string& path) {
    struct stat found {};
    if (stat(path.c_str(), &found) != 0) throw FrameError(std::strerror(errno));
    if (!S_ISREG(found.st_mode)) throw FrameError("is no regular file; name a file");
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw FrameError("cannot be read; check its permissions");
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::string read_sealed(const std::string& path) {
    std::string bytes;
    try {
        bytes = read_bytes(path);
    } catch (const FrameError& error) {
        throw ModelFileError(path + ": " + error.what());
    }
    const std::size_t mark = bytes.find(kMark);
    const std::size_t start = mark + kMark.size();
    if (mark == std::string::npos || start + kDigits > bytes.size())
        throw ModelFileError(path + ": carries no seal; expected a whole .onnx file written by "
                                    "anomalib-lite export");
    // Taken over the file with zeros in the checksum's place.
    uLong sum = checksum(crc32_z(0, nullptr, 0), bytes, 0, start);
    sum = checksum(sum, std::string(kDigits, '0'), 0, kDigits);
    sum = checksum(sum, bytes, start + kDigits, bytes.size());
    char expected[kDigits + 1];
    std::snprintf(expected, sizeof expected, "%08lx", sum);
    if (bytes.compare(start, kDigits, expected) != 0)
        throw ModelFileError(path + ": is damaged (its content does not fit its own checksum); "
                                    "copy it again, or export it anew");
    return bytes;
}

std::string sha256(const std::string& bytes) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) != 1)
        throw std::runtime_error("OpenSSL computes no sha256 on this machine");
    std::string text;
    for (unsigned int i = 0; i < length; ++i) {
        char pair[3];
        std::snprintf(pair, sizeof pair, "%02x", digest[i]);
        text += pair;
    }
    return text;
}

std::vector<unsigned char> from_base64(const std::string& text) {
    std::vector<unsigned char> bytes(text.size() / 4 * 3);
    const auto* given = reinterpret_cast<const unsigned char*>(text.data());
    if (text.empty() || EVP_DecodeBlock(bytes.data(), given, static_cast<int>(text.size())) < 0)
        throw std::invalid_argument("is no base64");
    const std::size_t last = text.find_last_not_of('=');
    bytes.resize(bytes.size() - (text.size() - 1 - last));
    return bytes;
}

std::vector<unsigned char> inflated(const std::vector<unsigned char>& packed, std::size_t size) {
    std::vector<unsigned char> bytes(size);
    uLongf found = size;
    if (uncompress(bytes.data(), &found, packed.data(), packed.size()) != Z_OK || found != size)
        throw std::invalid_argument("does not unpack to " + std::to_string(size) + " bytes");
    return bytes;
}
