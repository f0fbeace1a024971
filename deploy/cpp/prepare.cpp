#include "prepare.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "edge_file.hpp"

namespace {
const cv::Scalar kOutside(124, 116, 104);  // RGB: the ImageNet mean
constexpr double kSameView = 1.1, kSameMask = 1.02;

void check_shape(const cv::Mat& frame, double expected, double allowed, const char* of) {
    const double found = static_cast<double>(frame.cols) / frame.rows;
    if (expected > 0 && (found / expected > allowed || expected / found > allowed))
        throw FrameError("frame is " + std::to_string(frame.rows) + "x" +
                         std::to_string(frame.cols) + " (width / height " +
                         cv::format("%.2f", found) + "), that of " + of + " is " +
                         cv::format("%.2f", expected) + "; crop it to the fitted view, or turn it");
}

void check_colours(const cv::Mat& frame) {
    double low = 0, high = 0;
    if (frame.channels() == 1) {
        cv::minMaxLoc(frame, &low, &high);
    } else {
        cv::Mat channels[4];
        cv::split(frame, channels);
        if (cv::norm(channels[0], channels[1], cv::NORM_INF) > 0 ||
            cv::norm(channels[1], channels[2], cv::NORM_INF) > 0)
            return;
        cv::minMaxLoc(channels[0], &low, &high);
    }
    if (low != high)  // a covered lens gives frames of one value; they are judged
        throw FrameError("frame is grey, the model was fitted on colour frames; set the camera to "
                         "colour, or fit with --colour grey");
}

// As edge/likeness.py: colours that no codec and no noise make, told from a few pixels.
void check_grey(const cv::Mat& frame) {
    if (frame.channels() == 1) return;
    const int stride = std::max(1, static_cast<int>(std::sqrt(frame.total() / 16384.0)));
    cv::Mat values;
    frame.convertTo(values, CV_32S);
    int brightest = 64;
    std::vector<int> apart;
    for (int row = 0; row < values.rows; row += stride)
        for (int column = 0; column < values.cols; column += stride) {
            const int* pixel = values.ptr<int>(row) + column * values.channels();
            const auto [low, high] = std::minmax({pixel[0], pixel[1], pixel[2]});
            brightest = std::max(brightest, high);
            apart.push_back(high - low);
        }
    const auto clear = std::count_if(apart.begin(), apart.end(),
                                     [&](int distance) { return distance > 0.12 * brightest; });
    if (clear * 2000 >= static_cast<std::ptrdiff_t>(apart.size()))
        throw FrameError("frame has colours, the model was fitted on grey frames; set the camera "
                         "to mono, or fit with --colour grey");
}

void check_mask_size(const cv::Mat& frame, const InputSpec& spec) {
    const cv::Size mask = spec.roi_size;
    if (mask.empty()) return;
    if ((frame.rows < spec.height && frame.rows != mask.height) ||
        (frame.cols < spec.width && frame.cols != mask.width))
        throw FrameError("frame is enlarged, and the mask of the region of interest is of another "
                         "size; draw the mask on a frame as it is");
}

cv::Mat to_8bit(const cv::Mat& frame, int bit_depth) {
    const int expected = bit_depth == 8 ? CV_8U : CV_16U;
    if (frame.depth() != expected)
        throw FrameError("frame holds " + cv::typeToString(frame.depth()) +
                         ", the model expects pixels of " + std::to_string(bit_depth) +
                         " bits; declare the camera's bit depth when fitting (--bit-depth)");
    if (bit_depth == 8) return frame;
    const unsigned white = (1u << bit_depth) - 1;
    cv::Mat scaled(frame.size(), CV_8UC(frame.channels()));
    for (int row = 0; row < frame.rows; ++row) {
        const auto* from = frame.ptr<std::uint16_t>(row);
        auto* to = scaled.ptr<std::uint8_t>(row);
        for (int i = 0; i < frame.cols * frame.channels(); ++i) {
            if (from[i] > white)
                throw FrameError("frame holds the value " + std::to_string(from[i]) +
                                 ", above white (" + std::to_string(white) + "); declare the "
                                 "camera's true bit depth");
            to[i] = static_cast<std::uint8_t>((from[i] * 255u + white / 2) / white);
        }
    }
    return scaled;
}

cv::Mat to_colour(cv::Mat pixels, const InputSpec& spec) {
    if (pixels.channels() == 4) {
        cv::Mat alpha, opaque;
        cv::extractChannel(pixels, alpha, 3);
        double least = 0;
        cv::minMaxLoc(alpha, &least);
        if (!spec.drops_alpha && least < 255)
            throw FrameError("frame has transparent pixels; save it opaque, or declare that the "
                             "channel is to be dropped (--alpha ignore)");
        cv::cvtColor(pixels, opaque, cv::COLOR_RGBA2RGB);
        pixels = opaque;
    }
    cv::Mat grey;
    if (!spec.grey || pixels.channels() == 1) return pixels;
    cv::cvtColor(pixels, grey, cv::COLOR_RGB2GRAY);
    return grey;
}

// Area when shrinking, bilinear when enlarging; per axis when the two axes disagree.
cv::Mat resized(const cv::Mat& picture, cv::Size size) {
    const cv::Size shrunk(std::min(picture.cols, size.width), std::min(picture.rows, size.height));
    cv::Mat small = picture, enlarged;
    if (shrunk != picture.size()) cv::resize(picture, small, shrunk, 0, 0, cv::INTER_AREA);
    if (shrunk == size) return small;
    cv::resize(small, enlarged, size, 0, 0, cv::INTER_LINEAR);
    return enlarged;
}
}  // namespace

InputSpec::InputSpec(const nlohmann::json& fields)
    : height(fields.at("height")),
      width(fields.at("width")),
      bit_depth(fields.at("bit_depth")),
      grey(fields.at("colour") == "grey"),
      drops_alpha(fields.at("alpha") == "ignore"),
      turns_upright(fields.at("exif") == "apply"),
      coloured(fields.value("coloured", false)),
      monochrome(fields.value("monochrome", false)),
      aspect(fields.value("aspect", 0.0)),
      roi_aspect(fields.value("roi_aspect", 0.0)) {
    if (fields.contains("roi_hw"))
        roi_size = {fields.at("roi_hw").at(1).get<int>(), fields.at("roi_hw").at(0).get<int>()};
    if (!fields.contains("roi")) return;
    const std::size_t pixels = static_cast<std::size_t>(height) * width;
    const auto bits = inflated(from_base64(fields.at("roi")), (pixels + 7) / 8);
    outside.create(height, width, CV_8U);
    for (std::size_t i = 0; i < pixels; ++i)
        outside.data[i] = bits[i / 8] >> (7 - i % 8) & 1 ? 0 : 255;
}

InputSpec InputSpec::of_copies() const {
    InputSpec any = *this;
    any.coloured = any.monochrome = false;
    any.aspect = any.roi_aspect = 0;
    any.roi_size = {};
    return any;
}

cv::Mat decode(const std::string& bytes, bool turns_upright) {
    const bool jpeg = bytes.rfind("\xff\xd8\xff", 0) == 0;
    const bool png = bytes.rfind("\x89PNG", 0) == 0;
    if (!jpeg && !png && bytes.rfind("BM", 0) != 0)
        throw FrameError("expected a JPEG, PNG or BMP file; convert it");
    // OpenCV fills what is missing of a JPEG with grey and says nothing.
    const std::size_t last = bytes.find_last_not_of('\0');
    if (jpeg && bytes.compare(last - 1, 2, "\xff\xd9") != 0)
        throw FrameError("is truncated (no end marker); write it again");
    if (png && turns_upright && bytes.find("eXIf") != std::string::npos)
        throw FrameError("is a PNG with EXIF data, which this program does not read; save it "
                         "upright and without");
    int flags = cv::IMREAD_UNCHANGED;
    if (jpeg)
        flags = cv::IMREAD_ANYCOLOR | (turns_upright ? 0 : cv::IMREAD_IGNORE_ORIENTATION);
    const cv::Mat data(1, static_cast<int>(bytes.size()), CV_8U, const_cast<char*>(bytes.data()));
    cv::Mat frame = cv::imdecode(data, flags);
    if (frame.empty()) throw FrameError("not a readable image (truncated or corrupt)");
    if (frame.channels() == 3) cv::cvtColor(frame, frame, cv::COLOR_BGR2RGB);
    if (frame.channels() == 4) cv::cvtColor(frame, frame, cv::COLOR_BGRA2RGBA);
    return frame;
}

cv::Mat prepare(const cv::Mat& frame, const InputSpec& spec) {
    check_shape(frame, spec.aspect, kSameView, "the fitted frames");
    check_shape(frame, spec.roi_aspect, kSameMask, "the mask of the region of interest");
    check_mask_size(frame, spec);
    if (spec.coloured) check_colours(frame);
    if (spec.monochrome) check_grey(frame);
    cv::Mat pixels = to_colour(to_8bit(frame, spec.bit_depth), spec);
    pixels = resized(pixels, {spec.width, spec.height});
    cv::Mat prepared;
    if (pixels.channels() == 1)
        cv::cvtColor(pixels, prepared, cv::COLOR_GRAY2RGB);
    else
        prepared = pixels.isContinuous() && pixels.data != frame.data ? pixels : pixels.clone();
    if (!spec.outside.empty()) prepared.setTo(kOutside, spec.outside);
    return prepared;
}
